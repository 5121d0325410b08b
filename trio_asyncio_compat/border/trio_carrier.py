"""A trio task that makes calls for asyncio code, one after the other: for context managers and iterators of trio."""

from __future__ import annotations

import asyncio
import contextvars
from typing import TYPE_CHECKING, Any

import outcome
import trio

from .._calls import TrioFuture
from .._trio_private import is_innermost
from .cancellation import seen_by_asyncio
from .canceller import in_words
from .carrier import Block, Carrier
from .contexts import Follower
from .crossing import Manager
from .reasons import Reason, cancel_for, message_of, reason_of

if TYPE_CHECKING:
    import types
    from collections.abc import Callable, Coroutine

    from .._loop import TrioEventLoop
    from .cancellation import Outcome
    from .carrier import Subject
    from .crossing import Make, Side

# Its frames are of no interest in a traceback (pytest's convention); see `_tracebacks.py`.
__tracebackhide__ = True


class _Call(TrioFuture):
    """One call, as a Future. To cancel it cancels the scope that the carrier's task is in."""

    def __init__(self, loop: TrioEventLoop, scope: trio.CancelScope, function: Callable[[], Coroutine[Any, Any, Any]], last: bool) -> None:
        super().__init__(loop, scope)
        self.function = function
        self.last = last
        # The caller's; then the carrier's before the call and after it.
        self.context = self.before = contextvars.copy_context()


class TrioCarrier(Carrier):
    """See `Carrier`. The task stands in the loop's nursery, in a shielded scope. Its context follows its callers', and is followed by them.

    A call that is cancelled cancels the task's `scope`. A scope for each call would be left while scopes that the call has opened (a
    nursery that was entered) stand inside of it; so the scope is a new one after a cancelled call that has left none open.

    Invariants: `_call` is the call that is to be made or is being made; the task waits for `_woken` while there is none. A cancellation
    that meets the task then was not meant for a call: it is the *interruption*. It is kept, and reaches the next call, unless it has
    settled the result of that (`settled`).
    """

    def __init__(self, loop: TrioEventLoop, subject: Subject) -> None:
        self.interruption: trio.Cancelled | None = None
        self._loop = loop
        self._subject = subject
        self._carried: TrioFuture | None = None
        self.scope = trio.CancelScope()
        self._call: _Call | None = None
        self._woken: trio.Event | None = None
        self._inward = Follower()
        self._outward = Follower()
        # By an interruption.
        self._subject_ended = False

    @property
    def future(self) -> asyncio.Future[Any] | None:
        return self._carried

    async def call(self, function: Callable[[], Coroutine[Any, Any, Any]], *, last: bool = False) -> Any:
        """Asyncio-flavoured. If it is cancelled, so is all that the task does from then on."""
        if self.busy:
            self._loop._check_serving()
            raise RuntimeError("another call is still being made: an iterator of the other side can be advanced by one task at a time")
        settled = self.take_settled(last=last)
        if settled is not None:
            self._loop._check_serving()
            return seen_by_asyncio(settled, None).unwrap()
        self._loop._check_serving()
        if self._carried is None:
            # In an empty context, where all that is set was set by a call.
            self._carried = contextvars.Context().run(self._loop._call_trio, self._serve)
            self._carried.add_done_callback(self._answer)
        elif self.ended:
            raise RuntimeError("the trio task of this iterator or context manager has ended")
        self.busy = True
        call = self._call = _Call(self._loop, self.scope, function, last)
        self._wake()
        try:
            return await call
        finally:
            self._outward.follow_changes(call.before, call.context)
            # What the call raised keeps this frame.
            del call

    def _answer(self, carried: asyncio.Future[Any]) -> None:
        """The task has ended. It has made every call that it was given, unless Ctrl-C came before its first step."""
        if self._call is not None:
            self.over, self.busy = True, False
            call, self._call = self._call, None
            call.resolve(outcome.capture(carried.result))

    def end_soon(self) -> None:
        if self._carried is None:
            return
        try:
            self._loop.call_soon_threadsafe(self.end, self._loop)
        except RuntimeError:
            if not self._loop.is_closed():
                raise
            # Closed, with everything in it.

    def _wake(self) -> None:
        if self._woken is not None:
            self._woken.set()

    # In the task

    # Ctrl-C is for the iterator's own code. A manager's entry and exit are as protected as those of trio's own, since interrupted half-way
    # they would leave a nursery or a scope open in the task.
    @trio.lowlevel.enable_ki_protection
    async def _serve(self) -> None:
        while await self._serve_in(self.scope):
            self.scope = trio.CancelScope()

    async def _serve_in(self, scope: trio.CancelScope) -> bool:
        """Make calls in `scope`; tell whether to go on in another one."""
        task = trio.lowlevel.current_task()
        with scope:
            while (call := await self._next_call()) is not None:
                self._inward.follow(call.context)
                call.before = contextvars.copy_context()
                make = _protected if isinstance(self._subject, Manager) else _interruptible
                result = self.take_settled(last=call.last) or await outcome.acapture(make, call.function)
                if call.asked is not None and _says_nothing(result, call):
                    # asyncio says it only once: if it came too late for this call, nobody else would hear of it.
                    reached = await outcome.acapture(trio.lowlevel.checkpoint)
                    result = reached if isinstance(reached, outcome.Error) else result
                    del reached
                call.context = contextvars.copy_context()
                self._call, self.busy = None, False
                call.resolve(seen_by_asyncio(result, call.asked))
                if call.last or (isinstance(result, outcome.Error) and self._subject.ends_with(result.error)):
                    self.over = True
                    return False
                # Not kept while there is nothing to do.
                del call, result
                if scope.cancel_called and is_innermost(scope, task):
                    return True
            if self.settled is None or not self._subject_ended:
                await self._abandon()
        return False

    async def _abandon(self) -> None:
        # A cancellation is the carrier's own scope's, which ends here.
        ended = seen_by_asyncio(await outcome.acapture(self._subject.abandon), None)
        if isinstance(ended, outcome.Error) and not isinstance(ended.error, asyncio.CancelledError):
            message = "error while closing what asyncio code has dropped"
            self._loop.call_exception_handler({"message": message, "exception": ended.error})

    async def _next_call(self) -> _Call | None:
        """The next call, when there is one; None if there will be none."""
        while self._call is None and not self._ending:
            self._woken = trio.Event()
            try:
                # One interruption is enough to know; what is told of it then takes its time.
                with trio.CancelScope(shield=self.interruption is not None):
                    await self._woken.wait()
            except trio.Cancelled as exc:
                self.interruption = exc
            finally:
                self._woken = None
            if self.interruption is not None and self._call is None and not self._ending:
                settled = await self._subject.interrupted(self.interruption)
                if settled is not None:
                    self.settled = settled
                    self._subject_ended = isinstance(settled, outcome.Error) and self._subject.ends_with(settled.error)
                    # Cancelled itself, by the end of its loop, it makes no other call: who holds the iterator may never drop it.
                    cancelled = self._carried is not None and self._carried.asked is not None
                    self._ending = self.over = self._subject_ended or cancelled
                elif not self._loop._pump.running:
                    # The drive of the loop has ended, and with it everything that could make a call.
                    self._ending = True
        return self._call


async def _protected(function: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    return await function()


@trio.lowlevel.disable_ki_protection
async def _interruptible(function: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    return await function()


def _says_nothing(result: Outcome, call: _Call) -> bool:
    """Whether a cancellation may take the place of this result: a block has been left, an iterator is at its end."""
    if isinstance(result, outcome.Error):
        return isinstance(result.error, StopAsyncIteration)
    return call.last


class _Interrupter:
    """Cancels the block's asyncio task once, if trio cancels the manager's task while the block is in it.

    Separate from the block, which must be free to be dropped.
    """

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self._task = task
        # How many requests to cancel the task are not ours.
        self._cancelling = task.cancelling()
        self._inside = self._told = False
        self._interruption: BaseException | None = None

    def interrupt(self, exc: BaseException) -> None:
        self._interruption = exc
        self._tell()

    def enter(self) -> None:
        # Not before: to cancel the task while it waits for the manager's entry is to cancel that.
        self._inside = True
        self._tell()

    def _tell(self) -> None:
        if self._inside and not self._told and self._interruption is not None:
            self._told = True
            self._task.cancel(reason_of(self._interruption))

    def leave(self) -> bool:
        """Whether the block was cancelled by this, and by nobody else. What comes after is no interruption of the block any more."""
        self._inside = False
        return self._told and self._task.uncancel() <= self._cancelling


class TrioBlock(Block):
    """The block, in asyncio code, of a context manager of trio.

    If trio cancels the manager's task between entering and leaving (a nursery with a crashed child, a scope whose time is over), the
    block's asyncio task is cancelled; the manager then decides what comes of it, and the request is taken back.
    """

    def __init__(self, side: Side, make: Make, loop: TrioEventLoop) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError(f"{side.name}() needs an asyncio task to hold a context manager")
        self.loop = loop
        self._interrupter = _Interrupter(task)
        self._manager = Manager(side, make, self._interrupter.interrupt)
        self._carrier = TrioCarrier(loop, self._manager)
        self._inside = False

    async def enter(self, *, scoped: bool) -> Any:
        try:
            entered = await self._carrier.call(self._enter)
        except asyncio.CancelledError as exc:
            if self._manager.entered:
                # The task was cancelled on its way back from there.
                await self.exit(type(exc), exc, exc.__traceback__)
            raise
        self._inside = True
        self.loop._blocks.add(self._carrier)
        self._interrupter.enter()
        return entered

    async def _enter(self) -> Any:
        """In the manager's task."""
        entered = await self._manager.enter()
        scope = self._carrier.scope
        if scope.cancel_called and not is_innermost(scope, trio.lowlevel.current_task()):
            # The entry was cancelled, and the manager has opened a scope instead of noticing it: the block would be cancelled at once.
            try:
                await trio.lowlevel.checkpoint()
            except trio.Cancelled as exc:
                await self._manager.exit(exc)
                raise
        return entered

    async def exit(self, kind: type[BaseException] | None, exc: BaseException | None, trace: types.TracebackType | None) -> bool:
        self._inside = False
        self.loop._blocks.discard(self._carrier)
        ours = self._interrupter.leave()
        if self._carrier.ended:
            # Together with its loop, or with the drive of it: the manager was left then.
            return False
        try:
            # What a scope around flavour-free code has thrown is for that scope, whatever else has happened.
            if ours and isinstance(exc, asyncio.CancelledError) and not isinstance(exc, trio.Cancelled):
                return await self._exit_cancelled(None)
            if isinstance(exc, asyncio.CancelledError):
                return await self._exit_cancelled(exc)
            return await self._exit(exc)
        finally:
            # If the manager could not be told (the loop has stopped), it learns that there is no block any more.
            self._carrier.end_soon()
            del exc, trace

    async def _exit_cancelled(self, cancelled: asyncio.CancelledError | None) -> bool:
        """The block was cancelled: by asyncio, or by trio if that is None. The manager sees trio's exception."""
        if self._carrier.ended:
            # With its drive, and has closed the manager then.
            return False
        if cancelled is not None:
            message = message_of(cancelled)
            cancel_for(self._carrier.scope, message if isinstance(message, Reason) else in_words(asyncio.current_task(), message))
        manager, carrier = self._manager, self._carrier

        async def leave() -> bool:
            exc: BaseException | None = carrier.interruption
            if exc is None:
                reached = await outcome.acapture(trio.lowlevel.checkpoint)
                exc = reached.error if isinstance(reached, outcome.Error) else None
            try:
                return await manager.exit(exc)
            finally:
                del exc

        try:
            swallowed: bool = await carrier.call(leave, last=True)
        except asyncio.CancelledError:
            if cancelled is None:
                raise
            return False
        return swallowed and cancelled is None

    async def _exit(self, exc: BaseException | None) -> bool:
        """The block has ended by itself, with an error or without."""
        # In a list, which can be emptied: what the manager raises keeps these frames.
        kept = [exc]
        try:
            left: bool = await self._carrier.call(lambda: self._manager.exit(kept[0]), last=True)
            return left
        except BaseException as raised:
            if raised is exc:
                return False
            raise
        finally:
            kept.clear()
            del exc

    def __del__(self) -> None:
        if self._inside:
            self._carrier.end_soon()
