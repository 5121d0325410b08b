"""A trio task waits for an asyncio future.

Cancellation reaches the future once, waiting goes on until it is done, and how it ended decides what the trio task sees: the table is
in `border/cancellation.py`.
"""

from __future__ import annotations

import asyncio
import contextvars
from typing import TYPE_CHECKING, Any, TypeVar

import outcome
import trio

from .border.cancellation import reason_of, seen_by_trio

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._loop import TrioEventLoop

# Its frames are of no interest in a traceback (pytest's convention); see `_tracebacks.py`.
__tracebackhide__ = True

T = TypeVar("T")


class Wait:
    """One wait of one trio task.

    Invariant: the task is rescheduled exactly once, by whichever of `done` and `abandon` comes first.
    """

    def __init__(self, loop: TrioEventLoop, future: asyncio.Future[Any], cancel: Callable[[str], object]) -> None:
        # What trio wants to raise instead of waiting on, once it does.
        self.asked: BaseException | None = None
        self._task = trio.lowlevel.current_task()
        self._loop = loop
        self._future = future
        self._cancel = cancel
        self._over = False

    async def wait(self) -> None:
        """Return when the future is done. Raises RuntimeError if the loop stops before that."""
        loop = self._loop
        if self._future.done():
            return
        if not loop._pump.running:
            raise RuntimeError(f"{self._future!r} cannot be resolved any more, since {loop!r} has been stopped")
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
            error = self.asked or RuntimeError(message)
            trio.lowlevel.reschedule(self._task, outcome.Error(error))

    def _abort(self, raise_cancel: Callable[[], object]) -> trio.lowlevel.Abort:
        # Raised here already for its reason; what it raises is kept, to be what the trio task sees.
        asked = outcome.capture(raise_cancel)
        if isinstance(asked, outcome.Error) and self._heeds(asked.error):
            self.asked = asked.error.with_traceback(None)
            self._cancel(reason_of(self.asked))
        return trio.lowlevel.Abort.FAILED

    def _heeds(self, asked: BaseException) -> bool:
        """Whether this wish reaches the future."""
        return True


@trio.lowlevel.enable_ki_protection
async def wait_for_future(loop: TrioEventLoop, future: asyncio.Future[T]) -> T:
    """The result of `future`, which belongs to `loop`, for a trio task; cancelled as `border/cancellation.py` says."""
    wait = None
    try:
        if future.done():
            return future.result()
        wait = Wait(loop, future, future.cancel)
        await wait.wait()
        if wait.asked is None:
            return future.result()
        result: T = seen_by_trio(outcome.capture(future.result), wait.asked).unwrap()
        return result
    finally:
        # What the future raises keeps this frame through its traceback, and the future keeps what it raises.
        del future, wait


async def wait_undisturbed(loop: TrioEventLoop, future: asyncio.Future[Any]) -> BaseException | None:
    """Wait for `future` whatever happens; return the KeyboardInterrupt that came meanwhile, if one did."""
    with trio.CancelScope(shield=True):
        wait = Wait(loop, future, lambda reason: None)
        await wait.wait()
    return wait.asked
