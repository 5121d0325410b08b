"""The trio tasks that make a loop's calls of trio code (`_calls.py`): each makes one call after the other.

A new task for each call would cost as much as the rest of it, and a turn of trio's scheduler before it begins. Here the first step of a
call is made where it is called, in the name of a task that waits for such a call; a call that never waits needs no turn of trio at
all. Measured, on Python 3.11, calls of an async function that does nothing / of `trio.sleep(0)`: 68 / 61 microseconds with a task for each,
26 / 31 with tasks that are used again, 8 / 18 with the first step made at once, 5 / 16 with the call's coroutine stepped here, and none of
ours around it but the one that lets Ctrl-C in.
"""

from __future__ import annotations

import contextvars
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
    from collections.abc import Callable, Coroutine, Generator

    from ._loop import TrioEventLoop
    from .border.cancellation import Outcome

# Its frames are of no interest in a traceback (pytest's convention); see `_tracebacks.py`.
__tracebackhide__ = True

# As many tasks wait for the next call, at most.
MAX_IDLE = 32
# The name of a task that waits for one.
IDLE = "a trio task that waits for calls from asyncio"


class Callers:
    """The callers of one run of a loop.

    Invariant: `_idle` has those that wait for a call; they are parked, and nobody has rescheduled them yet.
    """

    def __init__(self, loop: TrioEventLoop, nursery: trio.Nursery) -> None:
        self.loop = loop
        # Of idle callers, which must not keep a call's.
        self.no_context = contextvars.Context()
        self.open = True
        self._nursery = nursery
        self._idle: list[Caller] = []

    def start(self, coroutine: Coroutine[Any, Any, Any], name: str, *, protected: bool = False) -> TrioCall:
        """Run `coroutine` in a trio task, soon."""
        caller = Caller(self)
        call = caller.call = TrioCall(self.loop, caller.scope, coroutine, name, protected=protected)
        self.loop._calls.add(call)
        call.context.run(_start_soon, self._nursery, caller, name)
        return call

    @trio.lowlevel.enable_ki_protection
    def start_now(self, coroutine: Coroutine[Any, Any, Any], name: str, *, protected: bool = False) -> TrioCall:
        """Run `coroutine`, up to where it first waits, before this returns. For asyncio code that waits for it at once."""
        if not self._idle:
            return self.start(coroutine, name, protected=protected)
        caller = self._idle.pop()
        call = TrioCall(self.loop, caller.scope, coroutine, name, protected=protected)
        try:
            caller.begin(call)
            return call
        finally:
            # An error of the first step keeps the frames that it came from and those behind them, and the call keeps the error.
            del call

    @property
    def waiting(self) -> bool:
        """Whether a caller waits, so that `start_now` works at any moment, also in a finaliser in the middle of trio's own code."""
        return bool(self._idle)

    def prepare(self) -> None:
        """Have a caller wait for a call soon, if none does."""
        if self.open and not self._idle:
            contextvars.Context().run(_start_soon, self._nursery, Caller(self), IDLE)

    async def prepared(self) -> None:
        """`prepare`, and return when it waits."""
        self.prepare()
        while not self._idle:
            await trio.lowlevel.cancel_shielded_checkpoint()

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

    Invariants: `call` is the one that is being made. Unless it is the task's first, it was begun by `begin`, outside of the task's own
    steps, while the task was parked; what the call then waits for is what the task is parked in.
    """

    def __init__(self, callers: Callers) -> None:
        self._callers = callers
        self.scope = trio.CancelScope(shield=True)
        self.call: TrioCall | None = None
        self._task: trio.lowlevel.Task | None = None
        # How many references to the task `begin` finds.
        self._at_rest: tuple[int, int] | None = None
        # Something still knows the task, which must not make another call.
        self._spent = False

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """The task."""
        self._task = trio.lowlevel.current_task()
        while True:
            with self.scope:
                try:
                    if not await self._make_calls():
                        return
                except GeneratorExit:
                    # The run is given up. What is stepped by hand is not closed together with this.
                    if self.call is not None:
                        self.call.close()
                    raise
            self.scope = trio.CancelScope(shield=True)

    def begin(self, call: TrioCall) -> None:
        """Make the first step of `call`, in the name of the parked task."""
        task = self._parked()
        task.context, task.name = call.context, call.name
        self.call = call
        if self._at_rest is None:
            self._at_rest = _references(task)
        result = self._first_step(task, call.coroutine)
        if result is None:
            self._callers.loop._calls.add(call)
            return
        self._forget_call(task)
        if isinstance(result, outcome.Value):
            call.succeed(result.value)
        else:
            call.fail(result.error)
        # See `start_now`.
        del call, result
        self._spent = _references(task) != self._at_rest
        if self._spent or self.scope.cancel_called or not self._callers.put_back(self):
            self.end()

    def _first_step(self, task: trio.lowlevel.Task, coroutine: Coroutine[Any, Any, Any]) -> Outcome | None:
        """How `coroutine` ended; None if it waits, and the task with it."""
        try:
            trap = run_as_trio(self._callers.loop, task, coroutine.send, None)
        except StopIteration as stop:
            return outcome.Value(stop.value)
        except BaseException as exc:
            return outcome.Error(exc)
        if not park_in(task, trap):
            # Nothing that trio knows: it shall say so itself.
            trio.lowlevel.reschedule(task, outcome.Value(_Unknown(trap)))
        return None

    def end(self) -> None:
        """Wake the parked task, which has no call to make."""
        trio.lowlevel.reschedule(self._parked())

    def _parked(self) -> trio.lowlevel.Task:
        if self._task is None:
            raise RuntimeError("this caller has not been started")
        return self._task

    def _forget_call(self, task: trio.lowlevel.Task) -> None:
        self.call = None
        # What belongs to the call is not kept.
        task.context, task.name = self._callers.no_context, IDLE

    @types.coroutine
    @trio.lowlevel.enable_ki_protection
    def _make_calls(self) -> Generator[Any, Any, bool]:
        """Make calls, parked in between. False to end, True to go on in a new scope."""
        callers, task = self._callers, self._parked()
        loop, pump = callers.loop, callers.loop._pump
        before = _references(task)
        # The first call has not been begun.
        received: Any = None
        while True:
            if self.call is None:
                if not callers.put_back(self):
                    return False
                received = yield _PARKED
            call = self.call
            if call is None:
                return not self._spent
            error, value = yield from _rest_of(call.coroutine, received)
            loop._calls.discard(call)
            self._forget_call(task)
            held = pump.hold()
            if error is None:
                call.succeed(value)
            else:
                call.fail(error)
            del call, received, error, value
            pump.release(held, here=True)
            if _references(task) != before:
                return False
            if self.scope.cancel_called:
                return True


def _start_soon(nursery: trio.Nursery, caller: Caller, name: str) -> None:
    nursery.start_soon(caller.run, name=name)


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


def _rest_of(coroutine: Coroutine[Any, Any, Any], received: Any) -> Generator[Any, Any, tuple[BaseException | None, Any]]:
    """Step `coroutine` to its end, from where `received` is what it was waiting for; return its error and its value."""
    method: Callable[[Any], Any] = coroutine.send
    try:
        if isinstance(received, outcome.Value) and isinstance(received.value, _Unknown):
            method, received = yield from _ask_trio(coroutine, received.value.trap)
        while True:
            try:
                trap = method(received)
            except StopIteration as stop:
                return None, stop.value
            except BaseException as exc:
                return exc, None
            method, received = yield from _ask_trio(coroutine, trap)
    finally:
        # An error may be what was thrown in, and keeps this frame.
        del method, received


def _ask_trio(coroutine: Coroutine[Any, Any, Any], trap: Any) -> Generator[Any, Any, tuple[Callable[[Any], Any], Any]]:
    """Hand `trap` to trio; return what to do with its answer."""
    try:
        return coroutine.send, (yield trap)
    except GeneratorExit:
        raise
    except BaseException as exc:
        return coroutine.throw, exc


def _cannot_be_aborted(raise_cancel: object) -> trio.lowlevel.Abort:
    return trio.lowlevel.Abort.FAILED


def _parking_trap() -> Any:
    waiting = trio.lowlevel.wait_task_rescheduled(_cannot_be_aborted)  # noqa: ASYNC105 (it is closed, not awaited)
    trap = waiting.send(None)
    waiting.close()
    return trap


# What `wait_task_rescheduled` yields to trio: it holds nothing of who yields it. Trio answers with an outcome, which here is a call's.
_PARKED = _parking_trap()
