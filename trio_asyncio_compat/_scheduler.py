"""The order of asyncio's callbacks: what is ready, what is due, one turn, one slice.

No trio task in it: the pump (`_pump.py`) gives the scheduler its turns, tests may do so by hand.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ._stdlib import HANDLES_LOCK, ThreadSafeHandle, report_callback_error
from ._timers import Timers

if TYPE_CHECKING:
    from ._readiness import Poller
    from ._stdlib import Handle, SelectorLoop

# Its frames are of no interest in a traceback (pytest's convention); see `_tracebacks.py`.
__tracebackhide__ = True


class Scheduler(Timers):
    """Callbacks and timers of one loop.

    Invariants: `ready` is in call order and shared with the loop (`loop._ready`). `idle` is True exactly while nobody is
    going to make a turn unless woken. `ending` is True once an error of a callback ends a hosted loop: another callback that raises one is
    not called again, as that of a descriptor would be in each turn. `last_turn` ends a slice with the turn that it is set in.
    """

    # An instrumented loop changes the class of this object and changes it back. With a dictionary that would make every access to an
    # attribute slower from then on (measured on 3.11 with callgrind: 40 % more instructions per callback); slots do not care.
    __slots__ = (
        "_lazy",
        "_perf_counter",
        "_poller",
        "_slice_length",
        "cut",
        "ending",
        "idle",
        "in_trio_task",
        "last_turn",
        "longest_slice",
        "over",
        "slices",
        "stopping",
        "turns",
    )

    def __init__(self, loop: SelectorLoop, poller: Poller, slice_length: float) -> None:
        super().__init__(loop)
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
        self._poller = poller
        self._lazy = poller.lazy
        self._slice_length = slice_length

    def forget_all(self) -> None:
        """The loop is closed: what its callbacks and timers hold is let go."""
        self.ready.clear()
        super().forget_all()

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
            self.sweep()

    def _ended(self, start: float, now: float, found: int) -> None:
        """A slice has ended, in whose last turn so many descriptors were ready."""
        self.cut = found > 0 and not self._lazy
        self.over = now - start >= self._slice_length
        if now - start > self.longest_slice:
            self.longest_slice = now - start

    def has_more(self) -> bool:
        """Whether the slice that has ended left something that is to run at once."""
        return bool(self.ready) or (self.over and bool(self.deadlines) and self._first_is_due())
