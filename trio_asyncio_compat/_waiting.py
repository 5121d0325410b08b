"""A trio task waits for an asyncio future.

The rules of section 6 of the design's table for a call from trio to asyncio: cancellation reaches the future once, waiting
goes on until it is done, and how it ended decides what the trio task sees.
"""

from __future__ import annotations

import asyncio
import contextvars
import signal
from typing import TYPE_CHECKING, Any, TypeVar

import outcome
import trio

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._loop import TrioEventLoop

T = TypeVar("T")


class Wait:
    """One wait of one trio task.

    Invariant: the task is rescheduled exactly once, by whichever of `done` and `abandon` comes first.
    """

    def __init__(self, loop: TrioEventLoop, future: asyncio.Future[Any], cancel: Callable[[object], object]) -> None:
        self.requested: BaseException | None = None
        self._task = trio.lowlevel.current_task()
        self._loop = loop
        self._future = future
        self._cancel = cancel
        self._over = False

    async def wait(self) -> None:
        """Return when the future is done. Raises RuntimeError if the loop stops before that."""
        loop = self._loop
        loop._waits.add(self)
        # A context of its own: the caller's would be copied for nothing.
        self._future.add_done_callback(self.done, context=contextvars.Context())
        try:
            await trio.lowlevel.wait_task_rescheduled(self._abort)
        finally:
            loop._waits.discard(self)

    def done(self, future: asyncio.Future[Any]) -> None:
        """The future is done: a callback of the loop."""
        if not self._over:
            self._over = True
            trio.lowlevel.reschedule(self._task)

    def abandon(self, message: str) -> None:
        """The loop has stopped, so the future cannot be resolved any more."""
        if not self._over:
            self._over = True
            self._future.remove_done_callback(self.done)
            error = self.requested or RuntimeError(message)
            trio.lowlevel.reschedule(self._task, outcome.Error(error))

    def _abort(self, raise_cancel: Callable[[], object]) -> trio.lowlevel.Abort:
        # Raised here already for its reason; what it raises is kept, to be what the trio task sees.
        request = outcome.capture(raise_cancel)
        if isinstance(request, outcome.Error):
            self.requested = request.error.with_traceback(None)
        self._cancel(reason_of(self.requested))
        return trio.lowlevel.Abort.FAILED


def reason_of(request: BaseException | None) -> str:
    """Why trio wants to cancel, in words, for the message of asyncio's CancelledError."""
    return "KeyboardInterrupt" if isinstance(request, KeyboardInterrupt) else str(request)


@trio.lowlevel.enable_ki_protection
async def wait_for_future(loop: TrioEventLoop, future: asyncio.Future[T]) -> T:
    """The result of `future`, which belongs to `loop`, for a trio task.

    If the surrounding scope is cancelled, the future is cancelled once with trio's reason as its message, and waited for.
    `trio.Cancelled` is raised if it then ends in CancelledError; a value or another error counts, since the cancel came
    too late. A group that mixes the two is split. A CancelledError that trio did not ask for is passed on.
    """
    wait = None
    try:
        if future.done():
            return future.result()
        wait = Wait(loop, future, future.cancel)
        await wait.wait()
        if wait.requested is None:
            return future.result()
        return _result_after_cancel(future, wait.requested)
    finally:
        # What the future raises keeps this frame through its traceback, and the future keeps what it raises.
        del future, wait


def _result_after_cancel(future: asyncio.Future[T], requested: BaseException) -> T:
    try:
        result = future.result()
    except asyncio.CancelledError:
        raise requested from None
    except BaseExceptionGroup as group:
        cancelled, rest = group.split(asyncio.CancelledError)
        if cancelled is None:
            _interrupt_later(requested)
            raise
        if rest is None:
            raise requested from None
        raise rest.derive([*rest.exceptions, requested]) from None
    except BaseException:
        _interrupt_later(requested)
        raise
    else:
        _interrupt_later(requested)
        return result
    finally:
        # See wait_for_future.
        del future, requested


async def wait_undisturbed(loop: TrioEventLoop, future: asyncio.Future[Any]) -> BaseException | None:
    """Wait for `future` whatever happens; return the KeyboardInterrupt that came meanwhile, if one did."""
    with trio.CancelScope(shield=True):
        wait = Wait(loop, future, lambda reason: None)
        await wait.wait()
    return wait.requested


def _interrupt_later(requested: BaseException | None) -> None:
    """Ctrl-C was taken from trio to cancel a call that then ended otherwise: give it back, for the next checkpoint."""
    if isinstance(requested, KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
