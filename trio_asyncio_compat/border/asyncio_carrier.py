"""An asyncio task that makes calls for trio code, one after the other: for context managers and iterators of asyncio."""

from __future__ import annotations

import asyncio
import contextvars
from typing import TYPE_CHECKING, Any

import outcome
import trio

from .cancellation import interrupt_later, seen_by_trio
from .carrier import Block, Carrier
from .contexts import Follower
from .crossing import Manager
from .reasons import cancel_for, message_of, reason_of
from .task import wait_here

if TYPE_CHECKING:
    import types
    from collections.abc import Callable, Coroutine

    from .._loop import TrioEventLoop
    from .cancellation import Outcome
    from .carrier import Subject
    from .crossing import Make, Side

# Its frames are of no interest in a traceback (pytest's convention); see `_tracebacks.py`.
__tracebackhide__ = True


class _Call:
    """One call: what to await, and how it ended."""

    def __init__(self, loop: TrioEventLoop, function: Callable[[], Coroutine[Any, Any, Any]], last: bool) -> None:
        self.function = function
        self.last = last
        # The caller's; then the carrier's before the call and after it.
        self.context = self.before = contextvars.copy_context()
        self.done: asyncio.Future[None] = loop.create_future()
        self.result: Outcome = outcome.Value(None)
        # How often its cancellation was asked for.
        self.cancels = 0


class AsyncioCarrier(Carrier):
    """See `Carrier`. The task has a context of its own, which follows its callers', and is followed by them.

    Invariants: `_call` is the call that is to be made or is being made; the task waits for `_woken` while there is none. A cancellation
    that meets the task then was not meant for a call: it is the *interruption*. It is kept, and reaches the next call, unless it has
    settled the result of that (`settled`).
    """

    def __init__(self, loop: TrioEventLoop, subject: Subject) -> None:
        self.interruption: asyncio.CancelledError | None = None
        self._loop = loop
        self._subject = subject
        self._task: asyncio.Task[None] | None = None
        self._call: _Call | None = None
        self._woken: asyncio.Future[None] | None = None
        self._inward = Follower()
        self._outward = Follower()

    @property
    def future(self) -> asyncio.Future[Any] | None:
        return self._task

    @trio.lowlevel.enable_ki_protection
    async def call(self, function: Callable[[], Coroutine[Any, Any, Any]], *, last: bool = False, disturbed: bool = True) -> Any:
        """Trio-flavoured. If the scope around is cancelled, the call is cancelled once, unless it is not to be `disturbed`."""
        if self.busy:
            self._loop._check_serving()
            raise RuntimeError("another call is still being made: an iterator of the other side can be advanced by one task at a time")
        settled = self.take_settled(last=last)
        if settled is not None:
            self._loop._check_serving()
            return settled.unwrap()
        self._loop._check_serving()
        if self._task is not None and self._task.done():
            raise RuntimeError("the asyncio task of this iterator or context manager has ended")
        self.busy = True
        call = self._call = _Call(self._loop, function, last)
        held = self._loop._pump.hold()
        if self._task is None:
            self._loop._calls_to_asyncio += 1
            task = self._task = self._loop._start_now(self._serve(), contextvars.Context())
            # Together with what made the calls it could be collected before it has cleaned up.
            self._loop._hold(task)
        else:
            self._wake()
        wait = wait_here(self._loop, call.done, self._cancel if disturbed else lambda reason: None)
        try:
            with trio.CancelScope(shield=not disturbed):
                await wait.wait(held)
            if disturbed:
                return seen_by_trio(call.result, wait.asked).unwrap()
            interrupt_later(wait.asked)
            return call.result.unwrap()
        finally:
            self._outward.follow_changes(call.before, call.context)
            # What the call raised keeps this frame.
            del call, wait

    def interrupt(self, message: str) -> None:
        """Cancel the task between two calls, as if asyncio had done it."""
        if self._task is not None:
            self._task.cancel(message)

    def end_soon(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self.end, self._loop)
        except RuntimeError:
            if not self._loop.is_closed():
                raise
            # Closed, with everything in it.

    def _wake(self) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    def _cancel(self, reason: str) -> None:
        call = self._call
        if call is not None and not call.done.done() and self._task is not None:
            call.cancels += 1
            self._task.cancel(reason)

    # In the task

    async def _serve(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("an asyncio task is needed here")
        while (call := await self._next_call(task)) is not None:
            self._inward.follow(call.context)
            call.before = contextvars.copy_context()
            result = call.result = self.take_settled(last=call.last) or await outcome.acapture(call.function)
            call.context = contextvars.copy_context()
            self._call, self.busy = None, False
            for _ in range(call.cancels):
                task.uncancel()
            self.over = call.last or (isinstance(result, outcome.Error) and self._subject.ends_with(result.error))
            call.done.set_result(None)
            if call.cancels and task._must_cancel:  # type: ignore[attr-defined]
                # Asked for in the call's last step: it came too late.
                await _swallow_cancellation()
            if self.over:
                return
            # Not kept while there is nothing to do.
            del call, result
        if self.settled is None:
            await self._abandon(task)

    async def _abandon(self, task: asyncio.Task[Any]) -> None:
        try:
            await self._subject.abandon()
        except (SystemExit, KeyboardInterrupt, asyncio.CancelledError):
            raise
        except BaseException as exc:
            # Without the task: since Python 3.12 its context is entered for the handler, and here it is entered already.
            self._loop.call_exception_handler({"message": f"error while {task!r} closed what trio code has dropped", "exception": exc})

    async def _next_call(self, task: asyncio.Task[Any]) -> _Call | None:
        """The next call, when there is one; None if there will be none."""
        while self._call is None and not self._ending:
            self._woken = self._loop.create_future()
            try:
                await self._woken
            except asyncio.CancelledError as exc:
                self.interruption = exc
            finally:
                self._woken = None
            if self.interruption is not None and self._call is None:
                settled = await self._subject.interrupted(self.interruption)
                if settled is not None:
                    self.interruption = None
                    self.settled = settled
                    self._ending = self.over = isinstance(settled, outcome.Error) and self._subject.ends_with(settled.error)
        if self._call is not None and self.interruption is not None:
            # To be met by the call where it first waits.
            message = self.interruption.args[:1]
            self.interruption = None
            task.uncancel()
            task.cancel(*message)
        return self._call


async def _swallow_cancellation() -> None:
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        pass


class AsyncioBlock(Block):
    """The block, in trio code, of a context manager of asyncio.

    The block stands in a cancel scope of its own, which is cancelled if asyncio cancels the manager's task (`asyncio.timeout` that
    has expired, `TaskGroup` with a failed child). Not in an async generator, which may be left with the block open, and where a scope
    must not be: such a block is not interrupted, and the manager gets the cancellation when it is left.
    """

    def __init__(self, side: Side, make: Make, loop: TrioEventLoop) -> None:
        self.loop = loop
        scope = trio.CancelScope()
        self._scope: trio.CancelScope | None = scope
        otherwise = "asyncio has cancelled the task of a context manager"
        self._manager = Manager(side, make, lambda exc: cancel_for(scope, message_of(exc), otherwise))
        self._carrier = AsyncioCarrier(loop, self._manager)
        self._inside = False

    async def enter(self, *, scoped: bool) -> Any:
        entered = await self._carrier.call(self._manager.enter)
        if not scoped:
            self._scope = None
        elif self._scope is not None:
            self._scope.__enter__()
        self._inside = True
        self.loop._blocks.add(self._carrier)
        return entered

    async def exit(self, kind: type[BaseException] | None, exc: BaseException | None, trace: types.TracebackType | None) -> bool:
        self._inside = False
        self.loop._blocks.discard(self._carrier)
        rest = exc if self._scope is None else _rest_after_scope(self._scope, kind, exc, trace)
        try:
            if self._carrier.ended:
                # Together with its loop: the manager was left then.
                if rest is not None and rest is not exc:
                    raise rest
                return exc is not None and rest is None
            if exc is not None and rest is None:
                return await self._exit_interrupted()
            if isinstance(rest, trio.Cancelled):
                return await self._exit_cancelled(rest)
            return await self._exit(rest, exc)
        finally:
            # If the manager could not be told (the loop has stopped), it learns that there is no block any more.
            self._carrier.end_soon()
            del exc, rest, trace

    async def _exit_interrupted(self) -> bool:
        """Asyncio has cancelled the block: the manager learns of it as in asyncio code, and decides what comes of it."""
        # In a list, which can be emptied: what the manager raises keeps these frames.
        kept, self._carrier.interruption = [self._carrier.interruption], None
        try:
            if await self._carrier.call(lambda: self._manager.exit(kept[0]), last=True) or kept[0] is None:
                return True
            raise kept[0]
        finally:
            kept.clear()

    async def _exit_cancelled(self, cancelled: trio.Cancelled) -> bool:
        """Trio has cancelled the block: the manager gets that once, and its clean-up is not disturbed by it."""
        manager = self._manager

        async def leave() -> bool:
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError as exc:
                return await manager.exit(exc)
            return await manager.exit(asyncio.CancelledError(reason_of(cancelled)))

        self._carrier.interrupt(reason_of(cancelled))
        result = await outcome.acapture(self._leave_undisturbed, leave)
        if isinstance(result, outcome.Value):
            return bool(result.value)
        seen = seen_by_trio(result, cancelled)
        if isinstance(seen, outcome.Error) and seen.error is cancelled:
            return False
        seen.unwrap()
        return False

    async def _leave_undisturbed(self, leave: Callable[[], Coroutine[Any, Any, bool]]) -> bool:
        left: bool = await self._carrier.call(leave, last=True, disturbed=False)
        return left

    async def _exit(self, rest: BaseException | None, exc: BaseException | None) -> bool:
        """The block has ended by itself, with an error or without."""
        try:
            swallowed: bool = await self._carrier.call(lambda: self._manager.exit(rest), last=True)
        except BaseException as raised:
            if raised is exc:
                return False
            raise
        if not swallowed and rest is not None and rest is not exc:
            raise rest
        return swallowed

    def __del__(self) -> None:
        if self._inside:
            self._carrier.end_soon()


def _rest_after_scope(
    scope: trio.CancelScope, kind: type[BaseException] | None, exc: BaseException | None, trace: types.TracebackType | None
) -> BaseException | None:
    """Leave `scope` with `exc`; return what it leaves of it."""
    try:
        return None if scope.__exit__(kind, exc, trace) else exc
    except BaseException as rest:
        return rest
