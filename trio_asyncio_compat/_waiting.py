"""A trio task waits for an asyncio future.

Cancellation reaches the future once, waiting goes on until it is done, and how it ended decides what the trio task sees: the table is
in `border/cancellation.py`.
"""

from __future__ import annotations

import asyncio
import contextvars
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import outcome
import trio

from ._trio_private import is_cancelled
from .border.cancellation import seen_by_trio
from .border.reasons import reason_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._loop import TrioEventLoop

# Its frames are of no interest in a traceback (pytest's convention); see `_tracebacks.py`.
__tracebackhide__ = True

T = TypeVar("T")


class Wait:
    """One wait of one trio task.

    Invariant: the task is rescheduled exactly once, by whichever of `done`, `leave` and `abandon` comes first, if it has parked
    before that.
    """

    def __init__(self, loop: TrioEventLoop, future: asyncio.Future[Any], cancel: Callable[[str], object]) -> None:
        # What trio wants to raise instead of waiting on, once it does.
        self.asked: BaseException | None = None
        self._task = trio.lowlevel.current_task()
        self._loop = loop
        self._future = future
        self._cancel = cancel
        self._over = False
        self._parked = False
        self._error: BaseException | None = None

    async def wait(self, held: bool = False) -> None:
        """Return when the future is done. Raises RuntimeError if the loop stops before that. `held` is of the pump, see `Pump.hold`."""
        loop = self._loop
        if self._future.done():
            loop._pump.release(held)
            return
        if not loop._pump.running:
            loop._pump.release(held)
            raise RuntimeError(f"{self._future!r} cannot be resolved any more, since {loop!r} has been stopped")
        loop._check_this_thread()
        loop._waits.add(self)
        # A context of its own: the caller's would be copied for nothing.
        self._future.add_done_callback(self.done, context=contextvars.Context())
        try:
            # Where trio has cancelled already, the future must hear of it first.
            loop._pump.release(held, here=held and not is_cancelled(self._task))
            if self._over:
                await trio.lowlevel.cancel_shielded_checkpoint()
                if self._error is not None:
                    raise self._error
            else:
                self._parked = True
                await trio.lowlevel.wait_task_rescheduled(self._abort)
        finally:
            loop._waits.discard(self)
            # What a callback in a slice that was made here raises keeps this frame, and the future keeps what it raises.
            del self

    def done(self, future: asyncio.Future[Any]) -> None:
        """The future is done: a callback of the loop."""
        if not self._over:
            self._over = True
            if self._parked:
                trio.lowlevel.reschedule(self._task)

    def abandon(self, message: str) -> None:
        """The loop has stopped, so the future cannot be resolved any more."""
        if not self._over:
            self._over = True
            self._future.remove_done_callback(self.done)
            self._error = self.asked or RuntimeError(message)
            # Tasks have their chance to clean up when the loop is closed, and this wait may be all that refers to one.
            self._loop._hold(self._future)
            if self._parked:
                trio.lowlevel.reschedule(self._task, outcome.Error(self._error))

    def end(self, reason: str) -> None:
        """Cancel the future for `reason`, which is then what the trio task sees of it, unless trio has cancelled it."""
        if not self._over and self.asked is None:
            self.asked = RuntimeError(f"The event loop is ending: {reason}")
            self._cancel(reason)

    def leave(self, reason: object) -> None:
        """Stop waiting; the future goes on."""
        if not self._over:
            self._over = True
            self._future.remove_done_callback(self.done)
            if self._parked:
                trio.lowlevel.reschedule(self._task)

    def _abort(self, raise_cancel: Callable[[], object]) -> trio.lowlevel.Abort:
        # Raised here already for its reason; what it raises is kept, to be what the trio task sees.
        asked = outcome.capture(raise_cancel)
        if isinstance(asked, outcome.Error) and (heeded := self._heed(asked.error)) is not None:
            cancelled = self.asked is not None
            self.asked = heeded.with_traceback(None)
            if not cancelled:
                self._cancel(reason_of(self.asked))
        return trio.lowlevel.Abort.FAILED

    def _heed(self, asked: BaseException) -> BaseException | None:
        """What is to be raised if this wish reaches the future; None if it is not to."""
        return asked


NewWait: TypeAlias = "Callable[[TrioEventLoop, asyncio.Future[Any], Callable[[str], object]], Wait]"


@trio.lowlevel.enable_ki_protection
async def wait_for_future(loop: TrioEventLoop, future: asyncio.Future[T], new_wait: NewWait = Wait, *, held: bool = False) -> T:
    """The result of `future`, which belongs to `loop`, for a trio task; cancelled as `border/cancellation.py` says.

    `held` is what `Pump.hold` has returned, if it was called.
    """
    wait = None
    try:
        if future.done():
            loop._pump.release(held)
            return future.result()
        wait = new_wait(loop, future, future.cancel)
        await wait.wait(held)
        if wait.asked is None:
            return future.result()
        result: T = seen_by_trio(outcome.capture(future.result), wait.asked).unwrap()
        return result
    finally:
        # What the future raises keeps this frame through its traceback, and the future keeps what it raises.
        del future, wait


async def wait_undisturbed(loop: TrioEventLoop, future: asyncio.Future[Any]) -> BaseException | None:
    """Wait until `future` is done, in a cancelled scope too. If Ctrl-C comes before that, return its KeyboardInterrupt at once."""
    with trio.CancelScope(shield=True):
        wait = Wait(loop, future, lambda reason: wait.leave(reason))
        await wait.wait()
    return wait.asked
