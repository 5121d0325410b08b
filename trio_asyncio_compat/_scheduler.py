"""The order of asyncio's callbacks: what is ready, what is due, one turn, one slice.

No trio task in it: the pump (`_pump.py`) gives the scheduler its turns, tests may do so by hand.
"""

from __future__ import annotations

import bisect
import collections
import heapq
import math
import time
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from ._handles import TimerHandle
from ._stdlib import HANDLES_LOCK, ThreadSafeHandle, report_callback_error

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

    from . import _stdlib
    from ._readiness import Poller
    from ._stdlib import Handle, SelectorLoop

# Its frames are of no interest in a traceback (pytest's convention); see `_tracebacks.py`.
__tracebackhide__ = True

# asyncio's rule of thumb: rebuild the heap when it has at least this many timers and more than half are cancelled.
MIN_TIMERS_TO_SWEEP = 100
# Popping a heap costs a dozen comparisons for each of many timers, sorting it about as many for each but in one go of C (and next to
# none if most came in order). Once this many were due, and one in so many of all, those left are sorted. Measured: 100,000 timers
# fire in two thirds of the time.
FEW_DUE = 16
OVER = -math.inf


class Scheduler:
    """Callbacks and timers of one loop.

    Invariants: `ready` is in call order and shared with the loop (`loop._ready`). `by_deadline` holds the
    timer of each deadline, or a deque in the order they were made where there are several, and `deadlines` is a heap of its keys. (A heap
    of plain floats compares and sorts in C, and unlike one of tuples adds nothing that the garbage collector must look at:
    measured, with 100,000 live timers that was half of the cost of making one.)
    `scheduled` counts the handles in there, `cancelled` those of them that are cancelled. `idle` is True exactly while nobody is
    going to make a turn unless woken. `ending` is True once an error of a callback ends a hosted loop: another callback that raises one is
    not called again, as that of a descriptor would be in each turn. `last_turn` ends a slice with the turn that it is set in.
    While `deferred` is a list, timers are being moved or swept: finalisers and signal handlers, which may run in the middle of that, have
    theirs put there, to be added at the end.
    `offset` is what `time()` is ahead of `time.perf_counter()`, or None where that may change.
    """

    # An instrumented loop changes the class of this object and changes it back. With a dictionary that would make every access to an
    # attribute slower from then on (measured on 3.11 with callgrind: 40 % more instructions per callback); slots do not care.
    __slots__ = (
        "_lazy",
        "_loop",
        "_perf_counter",
        "_poller",
        "_resolution",
        "_slice_length",
        "by_deadline",
        "cancelled",
        "clock",
        "cut",
        "deadlines",
        "deferred",
        "ending",
        "idle",
        "in_trio_task",
        "last_turn",
        "longest_slice",
        "offset",
        "over",
        "ready",
        "scheduled",
        "slices",
        "stopping",
        "time",
        "trio_time",
        "turns",
    )

    def __init__(self, loop: SelectorLoop, poller: Poller, slice_length: float) -> None:
        self.ready: collections.deque[Handle] = collections.deque()
        self.deadlines: list[float] = []
        self.by_deadline: dict[float, _stdlib.TimerHandle | collections.deque[_stdlib.TimerHandle]] = {}
        self.deferred: list[tuple[float, _stdlib.TimerHandle]] | None = None
        self.scheduled = 0
        self.cancelled = 0
        # See `_clock.py`.
        self.time: Callable[[], float] = time.monotonic
        self.clock = self.trio_time = self.time
        self.offset: float | None = None
        # Kept here, so that a program that freezes the time does not freeze the length of slices.
        self._perf_counter = time.perf_counter
        self.idle = False
        self.stopping = False
        self.last_turn = False
        self.ending = False
        self.cut = False
        self.over = False
        self.turns = 0
        self.slices = 0
        self.longest_slice = 0.0
        # Set for a slice that is made in a step of a trio task that is not the pump's; see `_cannot_run_here`.
        self.in_trio_task = False
        self._loop = loop
        self._poller = poller
        self._lazy = poller.lazy
        self._slice_length = slice_length
        self._resolution = time.get_clock_info("monotonic").resolution

    def new_timer(self, when: float, callback: Callable[..., object], args: tuple[Any, ...], context: Context | None) -> TimerHandle:
        """A new timer that runs `callback(*args)` at `when`: a handle and `add_timer`, in one call.

        Every `asyncio.timeout` makes one. Measured: 100,000 timers made and fired 5 % faster than with a call for each.
        """
        # `_should_sweep_all`, written out.
        if self.cancelled * 2 > self.scheduled >= MIN_TIMERS_TO_SWEEP:
            self._sweep_all()
        timer = TimerHandle()
        timer._context = copy_context() if context is None else context
        timer._loop = self._loop
        timer._callback = callback
        timer._args = args
        timer._cancelled = False
        timer._repr = timer._source_traceback = None
        timer._when = when
        timer._scheduled = True
        if when > OVER and self.deferred is None and self.by_deadline.setdefault(when, timer) is timer:
            heapq.heappush(self.deadlines, when)
            self.scheduled += 1
        else:
            self.add_timer(when, timer)
        return timer

    def add_timer(self, when: float, handle: _stdlib.TimerHandle) -> None:
        """Have `handle` run at `when`, in seconds on the loop's clock.

        Raises TypeError for what cannot be compared with a number, before anything has changed.
        """
        # Not `<`: a deadline that is no number is over, as in asyncio, and must not get into the heap, which it would disorder.
        if not when >= OVER:
            when = OVER
        handle._scheduled = True
        if self.deferred is not None:
            self.deferred.append((when, handle))
            return
        self.deferred = []
        try:
            before = self.by_deadline.setdefault(when, handle)
            if before is handle:
                heapq.heappush(self.deadlines, when)
            elif isinstance(before, collections.deque):
                before.append(handle)
            else:
                self.by_deadline[when] = collections.deque([before, handle])
            self.scheduled += 1
        finally:
            self._add_deferred()

    def _add_deferred(self) -> None:
        deferred, self.deferred = self.deferred, None
        for when, handle in deferred or ():
            self.add_timer(when, handle)

    def is_next(self, when: float) -> bool:
        """Whether no timer is due before `when`."""
        return not self.deadlines or not self.deadlines[0] < when

    def sweep(self) -> None:
        """Forget the cancelled timers that would be next, or all of them once they are more than half of many."""
        if self.deferred is not None:
            return
        self.deferred = []
        try:
            if self._should_sweep_all():
                self._forget_all_cancelled()
            deadlines = self.deadlines
            while deadlines and self._forget_first(deadlines[0]):
                heapq.heappop(deadlines)
        finally:
            self._add_deferred()

    def _should_sweep_all(self) -> bool:
        return self.cancelled * 2 > self.scheduled >= MIN_TIMERS_TO_SWEEP

    def _sweep_all(self) -> None:
        if self.deferred is not None:
            return
        self.deferred = []
        try:
            self._forget_all_cancelled()
        finally:
            self._add_deferred()

    def _forget_all_cancelled(self) -> None:
        swept = 0
        for when, timers in list(self.by_deadline.items()):
            if isinstance(timers, collections.deque):
                timers.extend(timer for timer in [timers.popleft() for _ in range(len(timers))] if not self._forget_cancelled(timer))
                if not timers:
                    del self.by_deadline[when]
            elif timers._cancelled:
                # As `_forget_cancelled` does. Servers cancel a timer for each request; this is nearly all that sweeping them costs.
                timers._scheduled = False
                swept += 1
                del self.by_deadline[when]
        self.scheduled -= swept
        self.cancelled -= swept
        # The list itself stays: a slice that goes on has it. Not simply the keys: a timer whose making this has interrupted adds its own.
        self.deadlines[:] = [when for when in self.deadlines if when in self.by_deadline]
        heapq.heapify(self.deadlines)

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

    def _forget_cancelled(self, timer: _stdlib.TimerHandle) -> bool:
        if timer._cancelled:
            timer._scheduled = False
            self.scheduled -= 1
            self.cancelled -= 1
        return timer._cancelled

    def forget_all(self) -> None:
        """The loop is closed: what its callbacks and timers hold is let go."""
        self.ready.clear()
        self.deadlines.clear()
        self.by_deadline.clear()
        self.scheduled = self.cancelled = 0

    def next_deadline(self) -> float:
        """When the earliest timer is due, in seconds on the loop's clock; infinity if there is none."""
        if self.cancelled:
            self.sweep()
        return self.deadlines[0] if self.deadlines else math.inf

    def timers(self) -> list[_stdlib.TimerHandle]:
        """The timers that are not cancelled, by deadline. For who looks from outside, from any thread."""
        timers: list[_stdlib.TimerHandle] = []
        for _, entry in sorted(self.by_deadline.copy().items()):
            timers += list(entry) if isinstance(entry, collections.deque) else [entry]
        return [timer for timer in timers if not timer._cancelled]

    def _cannot_run_here(self, handle: Handle, exc: BaseException) -> bool:
        """Whether `exc` says that the handle's context is that of the trio task in which this slice is made, where it is entered
        already. The handle is then put back, for the pump."""
        if type(exc) is not RuntimeError:
            return False
        try:
            handle._context.run(int)
        except RuntimeError:
            self.ready.appendleft(handle)
            self.last_turn = True
            return True
        return False

    def run_now(self, handle: Handle) -> None:
        """Run `handle` in the current context, out of turn: the first step of a task that an adapter starts."""
        if handle._callback is not None:
            try:
                handle._callback(*handle._args)
            finally:
                # An exception of the callback keeps this frame through its traceback: a handle left in it would close a cycle.
                del handle

    def slice(self) -> None:
        """Make turns while callbacks are ready, for about the slice length at most.

        A turn polls once, moves the timers that are due, then runs what is ready now; what the callbacks add waits for the next turn, as in
        asyncio. SystemExit and KeyboardInterrupt of a callback come out of here; the callbacks behind it stay in `ready`.

        One slice is what a trio task waits for at most when the asyncio side is busy (plus the length of one
        callback, which nobody can cut).

        A slice that served a descriptor ends only with a turn that finds nothing: the answer to what was sent may have come
        already, and one more poll (0.5 us) is cheaper than the way through trio (10 us: two system calls and a tick). Measured,
        echo over one connection with both ends on one core: 123,000 messages/s instead of 52,000 by protocol, 81,000 instead of 42,000
        by streams; with the ends on two cores no difference. Likewise a timer that is due at once: `sleep(1e-9)` in 5 us instead of 30.
        """
        # All of a turn in one function: a call for the turn, and one in it for its callbacks, were a tenth of the instructions of a turn
        # with one message (callgrind, Python 3.11). `_interrupts.py` knows which frames above this one are not of callbacks.
        self._begins()
        perf_counter, offset = self._perf_counter, self.offset
        now = start = perf_counter()
        # A poller that learns what is ready only from trio makes one turn at a time.
        end = start if self._lazy else start + self._slice_length
        ready, deadlines, poller = self.ready, self.deadlines, self._poller
        poll = poller.poll
        served = False
        # Whether a timer is due; not known at first.
        due = True
        handle = args = None
        while True:
            self.turns += 1
            quiet = not ready
            found = poll(ready) if quiet or not poller.nothing_to_find else 0
            # Where the loop's clock goes with that of the slice, it is not read for a timer that has time.
            if deadlines and (due or offset is None or deadlines[0] <= now + offset):
                self._move_due_timers()
            for _ in range(len(ready)):
                handle = ready.popleft()
                if handle._cancelled:
                    continue
                if HANDLES_LOCK and type(handle) is ThreadSafeHandle:
                    # Locked while it runs.
                    handle._run()
                    continue
                args = handle._args
                try:
                    # Written out for no argument and for one, which nearly all have: a call with `*` builds a list and a tuple. Measured,
                    # for a turn of 1,000 callbacks that do nothing: 105 and 125 ns each instead of 185 and 210.
                    if not args:
                        handle._context.run(handle._callback)  # type: ignore[arg-type]
                    elif len(args) == 1:
                        handle._context.run(handle._callback, args[0])  # type: ignore[arg-type]
                    else:
                        handle._context.run(handle._callback, *args)  # type: ignore[arg-type]
                except (SystemExit, KeyboardInterrupt):
                    if self.ending:
                        handle.cancel()
                    raise
                except BaseException as exc:
                    if self.in_trio_task and self._cannot_run_here(handle, exc):
                        break
                    try:
                        report_callback_error(handle, exc)
                    except (SystemExit, KeyboardInterrupt):
                        if self.ending:
                            handle.cancel()
                        raise
            # What is kept here would keep the callback's objects alive.
            handle = args = None
            if found:
                served = True
            now = perf_counter()
            if now >= end or self.last_turn:
                break
            due = False
            if not (ready or found or (served and not quiet)):
                due = bool(deadlines) and self._first_is_due()
                if not due:
                    break
        self._ended(start, now, found)

    def _begins(self) -> None:
        """A slice begins."""
        self.slices += 1
        # In this order, since a signal handler may call `stop` in between.
        self.last_turn = False
        if self.stopping:
            self.last_turn = True
        if self.cancelled and self._should_sweep_all():
            self._sweep_all()

    def _ended(self, start: float, now: float, found: int) -> None:
        """A slice has ended, in whose last turn so many descriptors were ready."""
        self.cut = found > 0 and not self._lazy
        self.over = now - start >= self._slice_length
        if now - start > self.longest_slice:
            self.longest_slice = now - start

    def _first_is_due(self) -> bool:
        return self.deadlines[0] <= self.time()

    def has_more(self) -> bool:
        """Whether the slice that has ended left something that is to run at once."""
        return bool(self.ready) or (self.over and bool(self.deadlines) and self._first_is_due())

    def _move_due_timers(self) -> None:
        # Cancelled ones that would be next are let lie until the loop goes idle: taking each away by itself, as a `timeout` that
        # is disarmed leaves one for nearly every turn, was a fifth of the cost of such a `timeout`.
        deadlines = self.deadlines
        now = self.time()
        if not (deadlines[0] <= now or deadlines[0] < now + self._resolution):
            return
        # At large values of the clock the resolution alone may not change the sum.
        end = now + max(self._resolution, math.ulp(now))
        if self.deferred is not None:
            return
        self.deferred = []
        try:
            self.ready.extend(self._take_timers(end))
        finally:
            self._add_deferred()

    def _take_timers(self, end: float) -> list[_stdlib.TimerHandle]:
        """Take out the timers that are due before `end`; return those that are not cancelled, by deadline."""
        deadlines = self.deadlines
        due: list[float] = []
        while deadlines and deadlines[0] < end:
            if len(due) >= FEW_DUE and len(due) * FEW_DUE > len(deadlines):
                deadlines.sort()  # still a heap
                count = bisect.bisect_left(deadlines, end)
                due += deadlines[:count]
                del deadlines[:count]
                break
            due.append(heapq.heappop(deadlines))
        # Nearly every deadline has one timer: no inner loop for that; no look at who is cancelled where nobody is; nothing taken out of a
        # dictionary one by one that will be empty. Measured, 100,000 timers moved: 0.37 us for each instead of 0.47.
        if deadlines:
            entries = list(map(self.by_deadline.pop, due))
        else:
            entries = list(map(self.by_deadline.__getitem__, due))
            self.by_deadline.clear()
        if collections.deque in map(type, entries):
            timers = [timer for entry in entries for timer in (entry if isinstance(entry, collections.deque) else (entry,))]
        else:
            timers = entries  # type: ignore[assignment]
        for timer in timers:
            timer._scheduled = False
        self.scheduled -= len(timers)
        if self.cancelled:
            count = len(timers)
            timers = [timer for timer in timers if not timer._cancelled]
            self.cancelled -= count - len(timers)
        return timers
