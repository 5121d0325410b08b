"""The loop's clock: trio's, unless the program has one of its own.

Test suites replace `loop.time`, in a subclass or on the loop itself, to have timers fire early; asyncio's timers follow it, so ours do. A
base of `TrioEventLoop`. The scheduler (`_scheduler.py`) reads the clock that was found here, the pump translates to trio's.
"""

from __future__ import annotations

import operator
import time
from typing import TYPE_CHECKING

from ._stdlib import SelectorLoop

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._pump import Pump
    from ._scheduler import Scheduler


class LoopTime(property):
    """The method `time` of a loop, which knows when a loop gets another one.

    A timer asks for the time when it is made and when it is due, and must not go through the loop for that each time, where nearly always
    it would find its own clock. So setting the attribute must be noticed: this is a property, and its getter one in C, since a call of
    `loop.time()` should cost no more than that of a method (measured: as much).
    """

    def __call__(self, loop: Clocked) -> float:
        """What `TrioEventLoop.time(loop)` calls, as a method of that name that was overridden may do."""
        return loop._scheduler.clock()


class Clocked(SelectorLoop):
    """The part of the loop that tells the time.

    Invariants, of its scheduler: `trio_time` is the clock of the trio run in which the loop runs, or last did; `clock` is what `time` of
    this class gives; `time` is what timers go by. All three are the same object unless the program has replaced the clock.
    """

    _scheduler: Scheduler
    _pump: Pump

    if TYPE_CHECKING:

        def time(self) -> float: ...
    else:

        def _replace_clock(self, clock: Callable[[], float]) -> None:
            scheduler = self._scheduler
            scheduler.time = scheduler.clock = clock
            scheduler.offset = _offset(clock)
            # A slice that goes on has the offset of the clock before.
            scheduler.last_turn = True
            if scheduler.idle:
                self._pump.retime()

        def _restore_clock(self) -> None:
            if self._scheduler.clock is self._scheduler.trio_time:
                raise AttributeError("time")
            self._replace_clock(self._scheduler.trio_time)

        time = LoopTime(operator.attrgetter("_scheduler.clock"), _replace_clock, _restore_clock)
        # What a property of a subclass is given for this is lost before Python 3.13.
        time.__doc__ = (
            "Seconds on the loop's clock: trio's in a hosted loop, `time.monotonic()` in a driven one. Timers follow an override."
        )

    def _follow_clock(self, trio_time: Callable[[], float]) -> None:
        """From now on trio's clock is this one. To be called when the loop is made and before it runs: it looks for a subclass's clock."""
        scheduler = self._scheduler
        if type(self).time is not Clocked.time:
            scheduler.clock = trio_time
            scheduler.time = self._overridden_time
        elif scheduler.clock is scheduler.trio_time:
            scheduler.time = scheduler.clock = trio_time
        scheduler.trio_time = trio_time
        scheduler.offset = _offset(scheduler.time)

    def _overridden_time(self) -> float:
        # Looked up each time: it may have been set on the loop besides.
        return self.time()


def _offset(clock: Callable[[], float]) -> float | None:
    """How far `clock` is ahead of `time.perf_counter()`, in seconds, or a bit more; None if that may change: for trio's MockClock, say."""
    if clock is time.monotonic:
        return 0.0 if _SAME_CLOCK else None
    # By its name, since it has none in public. Should that change, timers cost a reading of the clock in each turn again.
    kind = type(getattr(clock, "__self__", None))
    if kind.__name__ != "SystemClock" or kind.__module__.partition(".")[0] != "trio":
        return None
    before = time.perf_counter()
    return clock() - before


# True where Python has both from one clock of the system.
_SAME_CLOCK = time.get_clock_info("monotonic").implementation == time.get_clock_info("perf_counter").implementation
