"""Watching a loop: `loop.statistics()`, and instruments as trio has them.

An instrument is called before and after each slice, turn, callback and wait of a loop. Nothing in the paths that all callbacks take asks
whether there is one: while there is, the loop's scheduler and pump are of the classes in this file, which are the plain ones with the
calls added; they are turned back when the last instrument is removed. Called by `_loop.py`, which derives the loop from `Watched`.
"""

from __future__ import annotations

import contextlib
import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ._pump import Pump
from ._scheduler import Scheduler
from ._stdlib import SelectorLoop, logger

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from ._readiness import Poller
    from ._stdlib import Handle


@dataclass(frozen=True, slots=True)
class LoopStatistics:
    """What `loop.statistics()` returns.

    Args:
        ready: callbacks that wait for their turn; those that were cancelled are not counted.
        timers: timers that wait for their time, cancelled ones that are still kept among them.
        cancelled_timers: those that are.
        readers, writers: descriptors that are watched. The one with which the loop wakes itself is not counted.
        seconds_to_next_timer: infinity without one; not positive if it is due.
        turns: how often the loop has polled, and run what was ready, so far.
        slices: how often it has been given the thread by trio so far, each time for one turn or several.
        longest_slice: for how many seconds at most one of them has kept trio waiting. The first step of a call from trio is not in one: it
            is made in the step of the trio task that calls.
        waiting_for_asyncio: trio tasks that wait for asyncio code now.
        calls_to_asyncio: calls of trio code into asyncio so far, context managers and iterators one each. What flavour-free code awaits is
            not a call.
        waiting_for_trio: calls of asyncio code into trio that go on now.
        calls_to_trio: such calls so far, those of the loop itself (to resolve names) among them.
    """

    ready: int
    timers: int
    cancelled_timers: int
    readers: int
    writers: int
    seconds_to_next_timer: float
    turns: int
    slices: int
    longest_slice: float
    waiting_for_asyncio: int
    calls_to_asyncio: int
    waiting_for_trio: int
    calls_to_trio: int


class LoopInstrument:
    """Derive from this and override what is of interest; see `TrioEventLoop.add_instrument`.

    Everything is called synchronously in the loop's thread, and must not wait. One that is added in the middle of something (by a
    callback, say) may hear of the end of that without having heard of its beginning; one that is removed hears no more.
    """

    def before_slice(self) -> None:
        """Trio gives the thread to the loop, for a turn or several. Until that is over none of trio's tasks can run."""

    def after_slice(self) -> None:
        """The loop gives it back."""

    def before_turn(self) -> None:
        """The loop is about to poll and to run what is ready."""

    def after_turn(self) -> None:
        """It has done so."""

    def before_callback(self, handle: asyncio.Handle) -> None:
        """A callback, or a step of a task, is about to run.

        Mostly in a turn. The first step of a call from trio code is made outside of one, where it is called; so it may also
        come in the middle of another callback.
        """

    def after_callback(self, handle: asyncio.Handle) -> None:
        """It has run, with whatever result."""

    def before_io_wait(self, timeout: float) -> None:
        """The loop has nothing to run: it waits for a descriptor or a call, and for `timeout` seconds at most, which may be infinite."""

    def after_io_wait(self, timeout: float) -> None:
        """The wait is over. `timeout` is what `before_io_wait` was given."""


_HOOKS = [name for name in vars(LoopInstrument) if name.startswith(("before_", "after_"))]


class Instruments:
    """The instruments of one loop, by the hooks that they override.

    Invariant: the loop's scheduler and pump are of the instrumented classes exactly while there is an instrument.
    """

    def __init__(self, scheduler: Scheduler, pump: Pump) -> None:
        self._scheduler = scheduler
        self._pump = pump
        self._by_hook: dict[str, list[Any]] = {name: [] for name in _HOOKS}
        self._all: list[LoopInstrument] = []
        self._waiting: float | None = None

    def add(self, instrument: LoopInstrument) -> None:
        """From now on."""
        if instrument in self._all:
            return
        if not self._all:
            self._switch(InstrumentedScheduler, InstrumentedPump)
        self._all.append(instrument)
        for name, listeners in self._by_hook.items():
            if getattr(type(instrument), name, None) is not getattr(LoopInstrument, name):
                listeners.append(instrument)

    def remove(self, instrument: LoopInstrument) -> None:
        """No more. KeyError if it is not there."""
        if instrument not in self._all:
            raise KeyError(instrument)
        self._all.remove(instrument)
        for listeners in self._by_hook.values():
            if instrument in listeners:
                listeners.remove(instrument)
        if not self._all:
            self._switch(Scheduler, Pump)

    def _switch(self, scheduler: type[Scheduler], pump: type[Pump]) -> None:
        self._scheduler.__class__ = scheduler
        self._pump.__class__ = pump
        # A slice that goes on is one of the other class.
        self._scheduler.last_turn = True
        self._waiting = None

    def call(self, hook: str, *args: object) -> None:
        """Call this hook of all that have it. One that raises is removed, and logged, whatever it raises, as in trio. SystemExit and
        KeyboardInterrupt, which may be a signal handler's, must not be lost: they end the loop as if a callback had raised them."""
        for instrument in list(self._by_hook[hook]):
            try:
                getattr(instrument, hook)(*args)
            except BaseException as exc:
                # It may have removed itself.
                with contextlib.suppress(KeyError):
                    self.remove(instrument)
                logger.exception("instrument %r raised in %s(), and was removed", instrument, hook)
                if isinstance(exc, (SystemExit, KeyboardInterrupt)):
                    self._pump._loop.call_soon_threadsafe(_raise, exc)

    def begin_wait(self, timeout: float) -> None:
        """The pump parks."""
        self._waiting = timeout
        self.call("before_io_wait", timeout)

    def end_wait(self) -> None:
        """It has been woken, if it was parked."""
        if self._waiting is not None:
            timeout, self._waiting = self._waiting, None
            self.call("after_io_wait", timeout)


def _raise(error: BaseException) -> None:
    raise error


# A hook or a callback may remove the last instrument. The object is of the plain class from then on, while a method of these classes goes
# on: so these call methods by the name of the class, where `super()` would refuse, and what only they have would not be found.


class InstrumentedScheduler(Scheduler):
    """`Scheduler`, of a loop that has instruments."""

    __slots__ = ()

    def slice(self) -> None:
        self._begins()
        start = self._perf_counter()
        served = False
        while True:
            quiet = not self.ready
            found = InstrumentedScheduler._turn(self)
            served = served or found > 0
            now = self._perf_counter()
            if self._lazy or now - start >= self._slice_length or self.last_turn:
                break
            if not (self.ready or found or (served and not quiet) or (self.deadlines and self._first_is_due())):
                break
        self._ended(start, now, found)

    def _turn(self) -> int:
        instruments = _of(self._loop)
        instruments.call("before_turn")
        try:
            self.turns += 1
            found = 0 if self.ready and self._poller.nothing_to_find else self._poller.poll(self.ready)
            if self.deadlines:
                self._move_due_timers()
            InstrumentedScheduler._run_ready(self)
            return found
        finally:
            instruments.call("after_turn")

    def _run_ready(self) -> None:
        instruments, ready = _of(self._loop), self.ready
        for _ in range(len(ready)):
            handle = ready.popleft()
            try:
                if handle._cancelled:
                    continue
                # It runs itself, and could not tell an error of its callback from that of a context that is entered already. (Such a slice
                # was begun before there was an instrument, see `InstrumentedPump.may_serve_here`.)
                if self.in_trio_task and self._cannot_run_here(handle, RuntimeError()):
                    return
                _report(instruments, handle, handle._run)
            except (SystemExit, KeyboardInterrupt):
                if self.ending:
                    handle.cancel()
                raise
            finally:
                del handle

    def run_now(self, handle: Handle) -> None:
        _report(_of(self._loop), handle, functools.partial(Scheduler.run_now, self, handle))

    @staticmethod
    def call(run: Callable[[], object]) -> None:
        """Call a callback. Every frame above this one is the user's, or asyncio's: there Ctrl-C may come, but not in a hook."""
        try:
            run()
        finally:
            del run


def _report(instruments: Instruments, handle: Handle, run: Callable[[], object]) -> None:
    instruments.call("before_callback", handle)
    try:
        InstrumentedScheduler.call(run)
    finally:
        instruments.call("after_callback", handle)
        # An exception of the callback keeps this frame through its traceback: a handle left in it would close a cycle.
        del handle, run


class InstrumentedPump(Pump):
    """`Pump`, of a loop that has instruments."""

    def slice(self) -> None:
        instruments = _of(self._loop)
        instruments.end_wait()
        instruments.call("before_slice")
        try:
            Pump.slice(self)
        finally:
            instruments.call("after_slice")

    def may_serve_here(self, held: bool) -> bool:
        # Such a slice is not reported.
        return False

    def _go_idle(self) -> bool:
        idle = Pump._go_idle(self)
        if idle:
            _of(self._loop).begin_wait(self._scheduler.next_deadline() - self._scheduler.time())
        return idle


def _of(loop: Any) -> Instruments:
    instruments: Instruments = loop._instruments
    return instruments


class Watched(SelectorLoop):
    """The part of the loop that tells how it goes."""

    _scheduler: Scheduler
    _pump: Pump
    _poller: Poller
    _waits: set[Any]
    _calls: set[Any]
    _calls_to_asyncio: int
    _calls_to_trio: int

    @functools.cached_property
    def _instruments(self) -> Instruments:
        return Instruments(self._scheduler, self._pump)

    def statistics(self) -> LoopStatistics:
        """What the loop has to do and has done, in figures; see `LoopStatistics`. From any thread."""
        scheduler = self._scheduler
        # Not `next_deadline`, which forgets cancelled timers.
        deadline = min((timer._when for timer in scheduler.timers()), default=math.inf)
        return LoopStatistics(
            ready=sum(not handle._cancelled for handle in scheduler.ready.copy()),
            timers=scheduler.scheduled,
            cancelled_timers=scheduler.cancelled,
            readers=sum(fd != self._ssock.fileno() for fd in list(self._poller.readers)),
            writers=len(self._poller.writers),
            seconds_to_next_timer=deadline - self.time(),
            turns=scheduler.turns,
            slices=scheduler.slices,
            longest_slice=scheduler.longest_slice,
            waiting_for_asyncio=len(self._waits),
            calls_to_asyncio=self._calls_to_asyncio,
            waiting_for_trio=len(self._calls),
            calls_to_trio=self._calls_to_trio,
        )

    def add_instrument(self, instrument: LoopInstrument) -> None:
        """Have `instrument` called before and after each turn, callback and wait from now on; see `LoopInstrument`.

        In the loop's thread, at any moment. One that is there already is left as it is. One that raises is removed and logged, whatever it
        raises; SystemExit and KeyboardInterrupt end the loop besides, as those of a callback do.
        """
        self._instruments.add(instrument)

    def remove_instrument(self, instrument: LoopInstrument) -> None:
        """Call it no more. KeyError if it is not there: it may have been removed because it raised."""
        self._instruments.remove(instrument)
