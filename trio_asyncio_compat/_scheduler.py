"""The order of asyncio's callbacks: what is ready, what is due, one turn, one slice.

No trio task in it: the pump (`_pump.py`) gives the scheduler its turns, tests may do so by hand.
"""

from __future__ import annotations

import bisect
import collections
import functools
import heapq
import math
import time
from typing import TYPE_CHECKING

from ._stdlib import ThreadSafeHandle, log_slow_callback, report_callback_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._readiness import Poller
    from ._stdlib import Handle, SelectorLoop, TimerHandle

# Its frames are of no interest in a traceback (pytest's convention); see `_tracebacks.py`.
__tracebackhide__ = True

# asyncio's rule of thumb: rebuild the heap when it has at least this many timers and more than half are cancelled.
MIN_TIMERS_TO_SWEEP = 100
# Popping a heap costs a dozen comparisons for each of many timers, sorting it about as many for each but in one go of C (and next to
# none if most came in order). Once this many were due, and one in so many of all, those left are sorted. Measured: 100,000 timers
# fire in two thirds of the time.
FEW_DUE = 16


class Scheduler:
    """Callbacks and timers of one loop.

    Invariants: `ready` is in call order and shared with the loop (`loop._ready`). `by_deadline` holds the
    timers of each deadline, a deque in the order they were made where there are several, and `deadlines` is a heap of its keys. (A heap of
    plain floats compares and sorts in C, and unlike one of tuples adds nothing that the garbage collector must look at:
    measured, with 100,000 live timers that was half of the cost of making one.)
    `scheduled` counts the handles in there, `cancelled` those of them that are cancelled. `idle` is True exactly while nobody is
    going to make a turn unless woken.
    """

    # An instrumented loop changes the class of this object and changes it back. With a dictionary that would make every access to an
    # attribute slower from then on (measured on 3.11 with callgrind: 40 % more instructions per callback); slots do not care.
    __slots__ = (
        "_loop",
        "_poller",
        "_resolution",
        "_slice_length",
        "by_deadline",
        "cancelled",
        "deadlines",
        "idle",
        "longest_slice",
        "ready",
        "scheduled",
        "slices",
        "stopping",
        "time",
        "turns",
    )

    def __init__(self, loop: SelectorLoop, poller: Poller, slice_length: float) -> None:
        self.ready: collections.deque[Handle] = collections.deque()
        self.deadlines: list[float] = []
        self.by_deadline: dict[float, TimerHandle | collections.deque[TimerHandle]] = {}
        self.scheduled = 0
        self.cancelled = 0
        self.time: Callable[[], float] = time.monotonic
        self.idle = False
        self.stopping = False
        self.turns = 0
        self.slices = 0
        self.longest_slice = 0.0
        self._loop = loop
        self._poller = poller
        self._slice_length = slice_length
        self._resolution = time.get_clock_info("monotonic").resolution

    def add_timer(self, when: float, handle: TimerHandle) -> None:
        """Have `handle` run at `when`, in seconds on the loop's clock."""
        before = self.by_deadline.setdefault(when, handle)
        if before is handle:
            heapq.heappush(self.deadlines, when)
        elif isinstance(before, collections.deque):
            before.append(handle)
        else:
            self.by_deadline[when] = collections.deque([before, handle])
        self.scheduled += 1
        handle._scheduled = True

    def sweep(self) -> None:
        """Forget cancelled timers: those that would be next, or all once they are more than half of many."""
        deadlines = self.deadlines
        if self.scheduled >= MIN_TIMERS_TO_SWEEP and self.cancelled * 2 > self.scheduled:
            for when, timers in list(self.by_deadline.items()):
                if isinstance(timers, collections.deque):
                    timers.extend(timer for timer in [timers.popleft() for _ in range(len(timers))] if not self._forget_cancelled(timer))
                    if not timers:
                        del self.by_deadline[when]
                elif self._forget_cancelled(timers):
                    del self.by_deadline[when]
            # In place: the list is shared with the loop.
            deadlines[:] = self.by_deadline
            heapq.heapify(deadlines)
        while deadlines and self._forget_first(deadlines[0]):
            heapq.heappop(deadlines)

    def _forget_first(self, when: float) -> bool:
        """Forget the cancelled timers that come first at this deadline; tell whether no other is left there."""
        timers = self.by_deadline[when]
        if isinstance(timers, collections.deque):
            while timers and self._forget_cancelled(timers[0]):
                timers.popleft()
            if timers:
                return False
        elif not self._forget_cancelled(timers):
            return False
        del self.by_deadline[when]
        return True

    def _forget_cancelled(self, timer: TimerHandle) -> bool:
        if timer._cancelled:
            timer._scheduled = False
            self.scheduled -= 1
            self.cancelled -= 1
        return timer._cancelled

    def next_deadline(self) -> float:
        """When the earliest timer is due, in seconds on the loop's clock; infinity if there is none."""
        if self.cancelled:
            self.sweep()
        return self.deadlines[0] if self.deadlines else math.inf

    def timers(self) -> list[TimerHandle]:
        """The timers that are not cancelled, by deadline. For who looks from outside, from any thread."""
        timers: list[TimerHandle] = []
        for _, entry in sorted(self.by_deadline.copy().items()):
            timers += list(entry) if isinstance(entry, collections.deque) else [entry]
        return [timer for timer in timers if not timer._cancelled]

    def turn(self) -> int:
        """Poll once, move the timers that are due, then run what is ready now; return the number of I/O events.

        What the callbacks add waits for the next turn, as in asyncio. SystemExit and KeyboardInterrupt of a
        callback come out of here; the callbacks behind it stay in `ready`.
        """
        self.turns += 1
        ready = self.ready
        events = self._poller.poll(ready)
        if self.deadlines:
            self._move_due_timers()
        self._run_ready()
        return events

    def _run_ready(self) -> None:
        """Call what is ready now. Every frame above this one is the user's."""
        ready = self.ready
        popleft = ready.popleft
        if self._loop._debug:
            for _ in range(len(ready)):
                watched = popleft()
                if not watched._cancelled:
                    self._watch(watched, watched._run)
                del watched
            return
        handle = None
        for _ in range(len(ready)):
            handle = popleft()
            if handle._cancelled:
                continue
            if type(handle) is ThreadSafeHandle:
                # Locked while it runs, since Python 3.14.
                handle._run()
                continue
            try:
                handle._context.run(handle._callback, *handle._args)  # type: ignore[arg-type]
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as exc:
                report_callback_error(handle, exc)
        # A handle kept here would keep the callback's objects alive.
        del handle

    def run_now(self, handle: Handle) -> None:
        """Run `handle` in the current context, out of turn: the first step of a task that an adapter starts."""
        if handle._callback is not None:
            try:
                if self._loop._debug:
                    self._watch(handle, functools.partial(handle._callback, *handle._args))
                else:
                    handle._callback(*handle._args)
            finally:
                # See _watch.
                del handle

    def slice(self) -> None:
        """Make turns while callbacks are ready, for about the slice length at most.

        One slice is what a trio task waits for at most when the asyncio side is busy (plus the length of one
        callback, which nobody can cut). A turn that served several events is likely to find more at once, and polling
        again is cheaper than the way through trio.
        """
        self.slices += 1
        start = time.perf_counter()
        while True:
            events = self.turn()
            seconds = time.perf_counter() - start
            if self.stopping or (not self.ready and events < 2) or self._poller.lazy or seconds >= self._slice_length:
                if seconds > self.longest_slice:
                    self.longest_slice = seconds
                return

    def _move_due_timers(self) -> None:
        if self.cancelled:
            self.sweep()
        deadlines = self.deadlines
        if not deadlines:
            return
        now = self.time()
        # At large values of the clock the resolution alone may not change the sum.
        end = now + max(self._resolution, math.ulp(now))
        popped = 0
        # Not `<`: a deadline that is no number is over, as in asyncio, instead of being in everyone's way.
        while deadlines and not deadlines[0] >= end:
            if popped >= FEW_DUE and popped * FEW_DUE > len(deadlines):
                deadlines.sort()  # still a heap
                count = bisect.bisect_left(deadlines, end)
                for when in deadlines[:count]:
                    self._move(when)
                del deadlines[:count]
                return
            popped += 1
            self._move(heapq.heappop(deadlines))

    def _move(self, when: float) -> None:
        """The timers of this deadline are due."""
        timers = self.by_deadline.pop(when)
        for timer in timers if isinstance(timers, collections.deque) else (timers,):
            self.scheduled -= 1
            timer._scheduled = False
            if timer._cancelled:
                self.cancelled -= 1
            else:
                self.ready.append(timer)

    def _watch(self, handle: Handle, run: Callable[[], object]) -> None:
        """Run `handle` as asyncio's debug mode does: known while it runs, and logged if it was slow."""
        loop = self._loop
        loop._current_handle = handle
        try:
            # Real time also where the loop's clock is virtual: what is looked for is a callback that blocks.
            start = time.perf_counter()
            run()
            seconds = time.perf_counter() - start
            if seconds >= loop.slow_callback_duration:
                log_slow_callback(handle, seconds)
        finally:
            loop._current_handle = None
            # An exception of the callback keeps this frame through its traceback: a handle left in it would close a cycle.
            del handle, run
