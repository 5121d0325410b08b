"""The order of asyncio's callbacks: what is ready, what is due, one turn, one slice.

No trio task in it: the pump (`_pump.py`) gives the scheduler its turns, tests may do so by hand.
"""

from __future__ import annotations

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

# asyncio's rule of thumb: rebuild the heap when it has at least this many timers and more than half are cancelled.
MIN_TIMERS_TO_SWEEP = 100


class Scheduler:
    """Callbacks and timers of one loop.

    Invariants: `ready` is in call order and shared with the loop (`loop._ready`). `timers` is a heap of
    `(when, number, handle)`; the number makes timers of one deadline run in the order they were made, and keeps the comparison in
    C. `cancelled` counts the cancelled handles that are still in `timers`. `idle` is True exactly while nobody is
    going to make a turn unless woken.
    """

    def __init__(self, loop: SelectorLoop, poller: Poller, slice_length: float) -> None:
        self.ready: collections.deque[Handle] = collections.deque()
        self.timers: list[tuple[float, int, TimerHandle]] = []
        self.cancelled = 0
        self.time: Callable[[], float] = time.monotonic
        self.idle = False
        self.stopping = False
        self.turns = 0
        self._numbers = 0
        self._loop = loop
        self._poller = poller
        self._slice_length = slice_length
        self._resolution = time.get_clock_info("monotonic").resolution

    def add_timer(self, when: float, handle: TimerHandle) -> None:
        """Have `handle` run at `when`, in seconds on the loop's clock."""
        self._numbers += 1
        heapq.heappush(self.timers, (when, self._numbers, handle))
        handle._scheduled = True

    def sweep(self) -> None:
        """Take cancelled timers off the heap: those at its head, or all once they are more than half of many."""
        timers = self.timers
        if len(timers) >= MIN_TIMERS_TO_SWEEP and self.cancelled * 2 > len(timers):
            # In place: the list is shared with the loop.
            kept = []
            for timer in timers:
                if timer[2]._cancelled:
                    timer[2]._scheduled = False
                else:
                    kept.append(timer)
            timers[:] = kept
            heapq.heapify(timers)
            self.cancelled = 0
        while timers and timers[0][2]._cancelled:
            heapq.heappop(timers)[2]._scheduled = False
            self.cancelled -= 1

    def next_deadline(self) -> float:
        """When the earliest timer is due, in seconds on the loop's clock; infinity if there is none."""
        if self.cancelled:
            self.sweep()
        return self.timers[0][0] if self.timers else math.inf

    def turn(self) -> int:
        """Poll once, move the timers that are due, then run what is ready now; return the number of I/O events.

        What the callbacks add waits for the next turn, as in asyncio. SystemExit and KeyboardInterrupt of a
        callback come out of here; the callbacks behind it stay in `ready`.
        """
        self.turns += 1
        ready = self.ready
        events = self._poller.poll(ready)
        if self.timers:
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
        end = time.perf_counter() + self._slice_length
        while True:
            events = self.turn()
            if self.stopping or (not self.ready and events < 2) or self._poller.lazy or time.perf_counter() >= end:
                return

    def _move_due_timers(self) -> None:
        if self.cancelled:
            self.sweep()
        timers = self.timers
        if not timers:
            return
        now = self.time()
        # At large values of the clock the resolution alone may not change the sum.
        end = now + max(self._resolution, math.ulp(now))
        while timers and timers[0][0] < end:
            handle = heapq.heappop(timers)[2]
            handle._scheduled = False
            if handle._cancelled:
                self.cancelled -= 1
            else:
                self.ready.append(handle)

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
