"""Who keeps whom waiting, in debug mode: callbacks of asyncio that are slow, slices that trio has to wait for, steps of trio's tasks that
the loop has to wait for. Each is logged by name once it is over; `loop.slow_callback_duration` says what is slow.

Made by `_debug_mode.py`, as instruments of the loop and of the trio run that it is in.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import trio

from ._instruments import LoopInstrument
from ._stdlib import log_slow_callback, logger
from ._trio_private import is_scheduled

if TYPE_CHECKING:
    import asyncio

    from ._loop import TrioEventLoop

# Real time also where the loop's clock is virtual: what is looked for is code that blocks.
_now = time.perf_counter


class _Steps:
    """So many steps, or callbacks, one after the other, and the longest of them."""

    def __init__(self) -> None:
        self.count = 0
        self.seconds = 0.0
        self.longest = 0.0
        self.name = ""

    def add(self, seconds: float, name: str | None) -> None:
        self.count += 1
        self.seconds += seconds
        if name is not None:
            self.longest, self.name = seconds, name


class SlowCallbacks(LoopInstrument):
    """Asyncio's side: how long its callbacks take, and trio waits for them.

    Invariant: `_running` has the callbacks that run, each called by the one before it.
    """

    def __init__(self, loop: TrioEventLoop) -> None:
        # Here, since few programs need it.
        from .tasktree.frames import describe_handle

        self._describe = describe_handle
        self._loop = loop
        self._running: list[tuple[asyncio.Handle, float]] = []
        self._slice_since: float | None = None
        self._callbacks = _Steps()
        # For which callbacks have run outside of slices: first steps of asyncio tasks that trio code makes when it calls them.
        self.first_steps = 0.0

    def forget(self) -> None:
        """What happens from now on is not known any more."""
        self._running.clear()
        self._loop._current_handle = None
        self._slice_since = None

    def before_callback(self, handle: asyncio.Handle) -> None:
        # asyncio's own exception handler looks at this one.
        self._loop._current_handle = handle  # type: ignore[assignment]
        self._running.append((handle, _now()))

    def after_callback(self, handle: asyncio.Handle) -> None:
        if not self._running or self._running[-1][0] is not handle:
            # It has switched debug mode on.
            return
        seconds = _now() - self._running.pop()[1]
        self._loop._current_handle = self._running[-1][0] if self._running else None  # type: ignore[assignment]
        if _is_slow(self._loop, seconds):
            log_slow_callback(handle, seconds)  # type: ignore[arg-type]
        outside = self._slice_since is None and not self._running
        if outside:
            self.first_steps += seconds
            self._callbacks = _Steps()
        self._callbacks.add(seconds, self._describe(handle) if seconds > self._callbacks.longest else None)
        if outside:
            self._trio_waited(seconds)

    def before_slice(self) -> None:
        self._callbacks = _Steps()
        self._slice_since = _now()

    def after_slice(self) -> None:
        if self._slice_since is None:
            return
        seconds = _now() - self._slice_since
        self._slice_since = None
        self._trio_waited(seconds)

    def _trio_waited(self, seconds: float) -> None:
        if _is_slow(self._loop, seconds) and self._callbacks.count:
            logger.warning(
                "Trio was kept waiting for %.3f seconds, while asyncio ran %s, the longest of them %s with %.3f seconds%s",
                seconds,
                _count(self._callbacks.count, "callback"),
                self._callbacks.name,
                self._callbacks.longest,
                self._waiting_in_trio(),
            )

    def _waiting_in_trio(self) -> str:
        found, pump = trio.lowlevel.current_statistics(), self._loop._pump
        ready = found.tasks_runnable - sum(is_scheduled(task) for task in (pump._task, pump._watcher) if task is not None)
        waiting = [f"{_count(ready, 'task')} ready"] if ready > 0 else []
        deadline = trio.current_time() + found.seconds_to_next_deadline
        # The loop's own deadline, that of asyncio's next timer, hides those behind it.
        if found.seconds_to_next_deadline < 0 and deadline < pump._deadline - 1e-6:
            waiting.append(f"a deadline {-found.seconds_to_next_deadline:.3f} seconds late")
        return f". In trio: {', '.join(waiting)}" if waiting else ""


class SlowSteps(trio.abc.Instrument):
    """Trio's side: how long the steps of its tasks take, but for those of the loop's own two, and asyncio waits for them."""

    def __init__(self, loop: TrioEventLoop, callbacks: SlowCallbacks) -> None:
        # Here, since few programs need it.
        from . import _steps

        self._steps = _steps
        self._loop = loop
        self._callbacks = callbacks
        # The step that is being made: since when, the name of its task, and what it is a step of.
        self._since: float | None = None
        self._name = ""
        self._called: Any = None
        # When it began, of what `callbacks` counts.
        self._first_steps = 0.0
        # Since trio has last looked for I/O.
        self._round = _Steps()

    def forget(self) -> None:
        """The step that goes on now is not seen to its end."""
        self._since = self._called = None

    def after_io_wait(self, timeout: float) -> None:
        self._round = _Steps()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._first_steps = self._callbacks.first_steps
        self._name, self._called = task.name, self._steps.called_by(task)
        self._since = _now()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        pump, since, called = self._loop._pump, self._since, self._called
        self._since = self._called = None
        if since is None or task is pump._task or task is pump._watcher:
            return
        seconds = _now() - since - (self._callbacks.first_steps - self._first_steps)
        if _is_slow(self._loop, seconds):
            step = self._steps.describe_step(self._name, called)
            logger.warning("A step of trio task %s took %.3f seconds%s", step, seconds, self._waiting_in_asyncio())
        else:
            self._round.add(seconds, self._steps.name_of_step(self._name, called) if seconds > self._round.longest else None)

    def before_io_wait(self, timeout: float) -> None:
        steps = self._round
        if steps.count > 1 and _is_slow(self._loop, steps.seconds):
            logger.warning(
                "One round of trio's scheduler took %.3f seconds, for %s of its tasks, the longest of them of %s with %.3f seconds%s",
                steps.seconds,
                _count(steps.count, "step"),
                steps.name,
                steps.longest,
                self._waiting_in_asyncio(),
            )

    def _waiting_in_asyncio(self) -> str:
        scheduler = self._loop._scheduler
        waiting = [f"{_count(len(scheduler.ready), 'callback')} ready"] if scheduler.ready else []
        timers = scheduler.timers()
        if timers and (late := scheduler.time() - timers[0]._when) > 0:
            waiting.append(f"a timer {late:.3f} seconds late")
        return f". Asyncio was kept waiting: {', '.join(waiting)}" if waiting else ""


def _is_slow(loop: TrioEventLoop, seconds: float) -> bool:
    return seconds >= loop.slow_callback_duration


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
