"""Debug mode: asyncio's checks, and those that only make sense where two schedulers share a thread.

The checks are instruments of the loop and of trio, which are there while debug mode is on; outside of it nothing of this costs
anything. `_slowness.py` says who keeps whom waiting; `_last_turns.py`, `_ages.py` and `_origins.py` know more for reports and for the task
tree. What asyncio does besides (checks of arguments and threads) is in `_loop.py`, which derives the loop from `Debuggable`.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from typing import TYPE_CHECKING, Any, cast

import trio

from ._ages import Ages
from ._instruments import Watched
from ._last_turns import LastTurns
from ._origins import Origins
from ._slowness import SlowCallbacks, SlowSteps
from ._stdlib import DEBUG_STACK_DEPTH

if TYPE_CHECKING:
    import asyncio

    from ._loop import TrioEventLoop


class Checks:
    """What a loop has that is, or was, in debug mode. Invariant: the instruments are there while it is on, those of trio while the loop
    runs as well."""

    def __init__(self, loop: TrioEventLoop) -> None:
        self.ages = Ages()
        self.last_turns = LastTurns(loop)
        self._slow_callbacks = SlowCallbacks(loop)
        self._slow_steps = SlowSteps(loop, self._slow_callbacks)
        self._of_loop = [Origins(), self.ages, self.last_turns, self._slow_callbacks]
        self._of_trio = [self.ages, self._slow_steps]
        self._loop = loop
        self._in_trio = False

    def begin(self) -> None:
        """Debug mode is switched on. Any thread."""
        for instrument in self._of_loop:
            self._loop.add_instrument(instrument)

    def end(self) -> None:
        """It is switched off."""
        for instrument in self._of_loop:
            # One that has raised is gone already.
            with contextlib.suppress(KeyError):
                self._loop.remove_instrument(instrument)
        # It may be switched on again, and what goes on now ends unseen.
        for instrument in (self.ages, self.last_turns, self._slow_callbacks):
            instrument.forget()

    def watch_trio(self, watch: bool) -> None:
        """From now on, or no more. In the trio run of the loop."""
        if watch is not self._in_trio:
            self._in_trio = watch
            if watch:
                self.ages.know_all()
            for instrument in self._of_trio:
                with contextlib.suppress(KeyError):
                    (trio.lowlevel.add_instrument if watch else trio.lowlevel.remove_instrument)(instrument)
            self._slow_steps.forget()


class _OriginTracking(threading.local):
    """Whether coroutines say where they were made: in a thread in which there is a loop that wants it.

    The base class has each loop put back what it has found. Of two that are open side by side the first to close would switch it off for
    the other one, which would leave it switched on.
    """

    _loops = 0
    _before = 0

    def count(self, change: int) -> None:
        """So many more loops want it."""
        if not self._loops:
            self._before = sys.get_coroutine_origin_tracking_depth()
        self._loops += change
        sys.set_coroutine_origin_tracking_depth(DEBUG_STACK_DEPTH if self._loops else self._before)


_tracking = _OriginTracking()


class Debuggable(Watched):
    """The part of the loop that has a debug mode."""

    _nursery: trio.Nursery | None
    # Asked before the base class's constructor has set it.
    _debug = False
    # Since debug mode was on for the first time.
    _checks: Checks | None = None
    _tracks_origins = False

    def set_debug(self, enabled: bool) -> None:
        """Switch debug mode on or off; see `open_loop`. In a loop that runs, trio's side of it follows with the next turn."""
        if bool(enabled) != self._debug:
            if self._checks is None:
                self._checks = Checks(cast("TrioEventLoop", self))
            (self._checks.begin if enabled else self._checks.end)()
        super().set_debug(enabled)

    def _has_begun(self, task: asyncio.Task[Any]) -> None:
        """In debug mode: `task` is a new one."""
        if self._checks is not None:
            self._checks.ages.begin(task)

    def _set_coroutine_origin_tracking(self, enabled: bool) -> None:
        # What asyncio calls in the loop's thread when the debug mode of a running loop has changed.
        if bool(enabled) is not self._tracks_origins:
            self._tracks_origins = bool(enabled)
            _tracking.count(1 if enabled else -1)
        if self._nursery is not None:
            self._watch_trio(bool(enabled))

    def _watch_trio(self, watch: bool) -> None:
        if self._checks is not None:
            self._checks.watch_trio(watch)
