"""The trio tasks that make a loop's calls of trio functions (`_calls.py`): each makes one call after the other.

A new task for each call would cost as much as the rest of it, and a turn of trio's scheduler before it begins. Here the first step of a
call is made where it is called, in the name of a task that waits for such a call; a call that never waits needs no turn of trio at
all. Measured, on Python 3.11, calls of an async function that does nothing / of `trio.sleep(0)`: 68 / 61 microseconds with a task for each,
26 / 31 with tasks that are used again, 8 / 18 with the first step made at once.
"""

from __future__ import annotations

import contextvars
import functools
import sys
import types
import weakref
from typing import TYPE_CHECKING, Any

import outcome
import trio

from ._calls import TrioCall
from ._flavour import run_as_trio
from ._trio_private import park_in

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator

    from ._loop import TrioEventLoop

# As many tasks wait for the next call, at most.
MAX_IDLE = 32
# The name of a task that waits for one.
IDLE = "a trio task that waits for calls from asyncio"
_NO_CONTEXT = contextvars.Context()


class Callers:
    """The callers of one run of a loop.

    Invariant: `_idle` has those that wait for a call; they are parked, and nobody has rescheduled them yet.
    """

    def __init__(self, loop: TrioEventLoop, nursery: trio.Nursery) -> None:
        self._loop = loop
        self._nursery = nursery
        self._idle: list[Caller] = []
        self.open = True

    def start(self, async_fn: Callable[..., Awaitable[Any]], args: tuple[Any, ...]) -> TrioCall:
        """Call the function in a trio task, soon."""
        caller = Caller(self)
        call = caller.call = TrioCall(self._loop, caller.scope, async_fn, args)
        call.context.run(functools.partial(self._nursery.start_soon, caller.run, name=call.name))
        return call

    @trio.lowlevel.enable_ki_protection
    def start_now(self, async_fn: Callable[..., Awaitable[Any]], args: tuple[Any, ...]) -> TrioCall:
        """Call the function, up to where it first waits, before this returns. For asyncio code that waits for it at once."""
        if not self._idle:
            return self.start(async_fn, args)
        caller = self._idle.pop()
        call = TrioCall(self._loop, caller.scope, async_fn, args)
        caller.begin(call)
        return call

    def put_back(self, caller: Caller) -> bool:
        """`caller` has made its call; tell whether it is to wait for another."""
        if not self.open or len(self._idle) >= MAX_IDLE:
            return False
        self._idle.append(caller)
        return True

    def stop(self) -> None:
        """End the idle callers now, and the others after their call."""
        self.open = False
        while self._idle:
            self._idle.pop().end()


class Caller:
    """One trio task that makes calls.

    It stands in a shielded scope, since what is around the loop (a cancelled open_loop) must not cut a call: that follows the asyncio task
    that awaits it, which may need it to unwind. To cancel the call cancels the scope; the caller then takes a new one.

    Invariants: `coroutine` is the call that is being made. It was begun by `begin`, outside of the task's own steps, while the task was
    parked; what the call then waits for is what the task is parked in.
    """

    def __init__(self, callers: Callers) -> None:
        self._callers = callers
        self.scope = trio.CancelScope(shield=True)
        # The call that is being made; of a caller that has not started yet, the one that it is to make first.
        self.call: TrioCall | None = None
        self._task: trio.lowlevel.Task | None = None
        self.coroutine: Coroutine[Any, Any, None] | None = None
        # Something still knows the task, which must not make another call.
        self._spent = False

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """The task."""
        task = self._task = trio.lowlevel.current_task()
        if self.call is None:
            raise RuntimeError("a caller is started with its first call")
        before = _references(task)
        with self.scope:
            await self.call.run()
        self.call = None
        waits = _references(task) == before
        while waits:
            self.scope = trio.CancelScope(shield=True)
            task.context, task.name = _NO_CONTEXT, IDLE
            with self.scope:
                waits = self._callers.put_back(self) and await self._make_calls()

    def begin(self, call: TrioCall) -> None:
        """Make the first step of `call`, in the name of the parked task."""
        task = self._parked()
        task.context, task.name = call.context, call.name
        self.call = call
        coroutine = call.run()
        step = functools.partial(call.context.run, coroutine.send, None)
        before = _references(task)
        try:
            trap = run_as_trio(self._callers._loop, task, step)
        except StopIteration:
            self._ended(task)
            self._spent = _references(task) != before
            if self._spent or self.scope.cancel_called or not self._callers.put_back(self):
                self.end()
        else:
            self.coroutine = coroutine
            if not park_in(task, trap):
                # Nothing that trio knows: it shall say so itself.
                trio.lowlevel.reschedule(task, outcome.Value(_Unknown(trap)))

    def end(self) -> None:
        """Wake the parked task, which has no call to make."""
        trio.lowlevel.reschedule(self._parked())

    def _parked(self) -> trio.lowlevel.Task:
        if self._task is None:
            raise RuntimeError("this caller has not been started")
        return self._task

    def _ended(self, task: trio.lowlevel.Task) -> None:
        self.call = self.coroutine = None
        # What belongs to the call is not kept.
        task.context, task.name = _NO_CONTEXT, IDLE

    @types.coroutine
    @trio.lowlevel.enable_ki_protection
    def _make_calls(self) -> Generator[Any, Any, bool]:
        """Park, and go on with calls that have been begun. False to end, True to take a new scope."""
        task = self._parked()
        before = _references(task)
        while True:
            received: Any = yield from outcome.acapture(trio.lowlevel.wait_task_rescheduled, _cannot_be_aborted).__await__()
            coroutine = self.coroutine
            if coroutine is None:
                return self._callers.open and not self._spent
            method: Callable[[Any], Any] = coroutine.send
            if isinstance(received, outcome.Value) and isinstance(received.value, _Unknown):
                method, received = yield from _ask_trio(coroutine, received.value.trap)
            while True:
                try:
                    trap = method(received)
                except StopIteration:
                    break
                method, received = yield from _ask_trio(coroutine, trap)
            del coroutine, method, received
            self._ended(task)
            if _references(task) != before:
                return False
            if self.scope.cancel_called:
                return True
            if not self._callers.put_back(self):
                return False


def _references(task: trio.lowlevel.Task) -> tuple[int, int]:
    """How many references there are to `task`.

    A call that leaves one more has made its task known to something that outlives the call: a lock that it has not released, a limiter
    whose token it has not given back. For that the task is the call, and another call in it would be taken for the first one.
    """
    return sys.getrefcount(task), weakref.getweakrefcount(task)


class _Unknown:
    """Something awaited that is not of trio."""

    def __init__(self, trap: Any) -> None:
        self.trap = trap


def _ask_trio(coroutine: Coroutine[Any, Any, None], trap: Any) -> Generator[Any, Any, tuple[Callable[[Any], Any], Any]]:
    """Hand `trap` to trio; return what to do with its answer."""
    try:
        return coroutine.send, (yield trap)
    except GeneratorExit:
        coroutine.close()
        raise
    except BaseException as exc:
        return coroutine.throw, exc


def _cannot_be_aborted(raise_cancel: object) -> trio.lowlevel.Abort:
    return trio.lowlevel.Abort.FAILED
