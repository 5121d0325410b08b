"""The two trio tasks that give the scheduler its turns.

The *pump* makes slices while callbacks are ready and yields to trio between them; idle, it is parked in
`wait_task_rescheduled` under a scope whose deadline is the next timer's. The *watcher* keeps a wait for the poller
armed; what it finds while the pump is parked it serves itself, which saves one trio tick per read. Both are protected
from Ctrl-C and shielded: they end when they are told to, never in the middle.
"""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING

import outcome
import trio

from ._flavour import run_as_asyncio
from ._trio_private import forget_run

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._readiness import Poller
    from ._scheduler import Scheduler
    from ._stdlib import SelectorLoop

# Its frames are of no interest in a traceback (pytest's convention); see `_tracebacks.py`.
__tracebackhide__ = True


# See `Pump.may_serve_here`.
SERVED_HERE_IN_A_ROW = 16
# Between two slices in a row. trio runs the tasks of a step in an order that it throws dice for, so with one step in between a task may
# have the slice of one step and that of the next before it; with two it waits for one slice at most. Measured, 100 busy asyncio tasks and
# a trio task in a circle of checkpoints: the 99th percentile of its waits 2.1 ms with one step, 1.1 ms with two.
STEPS_OF_TRIO = 2


class Pump:
    """Turns for one scheduler.

    Invariants: while `scheduler.idle` is True the pump's task is parked and not yet rescheduled, so exactly one
    `reschedule` may follow, and whoever does it sets `idle` to False first. A thread or a signal handler never reschedules: it
    may run between any two steps of trio's own code. It appends to `ready` and, if `idle` is set, writes to the
    self-pipe; going idle is marked before `ready` is looked at for the last time, so no callback is missed.
    """

    def __init__(self, loop: SelectorLoop, scheduler: Scheduler, poller: Poller) -> None:
        self._loop = loop
        self._scheduler = scheduler
        self._poller = poller
        # From before `run` has its first step until it ends.
        self.running = False
        self._deadline = math.inf
        self._scope = trio.CancelScope()
        self._task: trio.lowlevel.Task | None = None
        self._watcher: trio.lowlevel.Task | None = None
        self._watcher_waits_for_pump = False
        self._served_here = 0
        self._announced: list[trio.Event] = []
        self._failure: BaseException | None = None
        # This is a forked child: trio takes no more steps, see `_left_run.py`.
        self.forked = False
        self._watching = trio.CancelScope()

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Make turns until the loop is told to stop. Raises what a callback raised if it was SystemExit or
        KeyboardInterrupt; may then be run again."""
        self._task = trio.lowlevel.current_task()
        self.running = True
        try:
            await self._run()
            if self._failure is not None:
                raise self._failure
        except GeneratorExit:
            raise  # trio's run was left: see `told_to_end`
        except BaseException:
            self._failure = None
            raise
        finally:
            self.running = self._scheduler.idle = False
            announced, self._announced = self._announced, []
            for event in announced:
                event.set()

    def fail(self, error: BaseException) -> None:
        """Stop, and have `run` raise `error`; one that is not the first is reported."""
        if self._failure is None:
            self._failure = error
        else:
            self._loop.call_exception_handler({"message": "another error, while the loop was ending with one", "exception": error})
        self._loop.stop()

    def interrupt(self, error: BaseException) -> None:
        """Have `run` raise `error`, without another turn. Only while trio waits for events, or from a trio task."""
        if not self.running:
            return
        self._failure = error
        if self._scheduler.idle:
            self._scheduler.idle = False
            trio.lowlevel.reschedule(self._parked(), outcome.Value(True))

    def told_to_end(self) -> outcome.Outcome[None] | None:
        """How `run` was about to end when trio's run was left (`_left_run.py`); None if it was not."""
        failure, self._failure = self._failure, None
        if failure is not None:
            return outcome.Error(failure)
        return outcome.Value(None) if self._scheduler.stopping else None

    def announce_stop(self, event: trio.Event | None) -> trio.Event:
        """Set `event`, or a new one, when `run` has ended: now, if it is not running."""
        if event is None:
            event = trio.Event()
        if self.running:
            self._announced.append(event)
        else:
            event.set()
        return event

    @trio.lowlevel.enable_ki_protection
    async def _run(self) -> None:
        scheduler = self._scheduler
        while True:
            self._deadline = math.inf
            with trio.CancelScope(shield=True) as self._scope:
                while True:
                    if self._poller.lazy:
                        await self._poller.settle()
                    if self._failure is not None:
                        return
                    self._served_here = 0
                    self.slice()
                    if self.forked:
                        await trio.lowlevel.cancel_shielded_checkpoint()
                    # Asked after the turn: a loop that is stopped before it runs makes one, as in asyncio.
                    if scheduler.stopping:
                        return
                    if not self._go_idle():
                        for _ in range(STEPS_OF_TRIO):
                            await trio.lowlevel.cancel_shielded_checkpoint()
                        continue
                    if self._watcher_waits_for_pump and self._watcher is not None:
                        self._watcher_waits_for_pump = False
                        trio.lowlevel.reschedule(self._watcher)
                    if await trio.lowlevel.wait_task_rescheduled(self._deadline_passed):
                        return

    def start_watching(self, nursery: trio.Nursery) -> None:
        """Start the watcher."""
        # Made here, since `stop_watching` may come before the task has had its first step.
        self._watching = trio.CancelScope(shield=True)
        nursery.start_soon(self._watch, name=f"watcher of {self._loop!r}")

    @trio.lowlevel.enable_ki_protection
    async def _watch(self) -> None:
        """Serve the poller's events while the pump is parked, until `stop_watching`."""
        scheduler = self._scheduler
        self._watcher = trio.lowlevel.current_task()
        with self._watching:
            while True:
                try:
                    if scheduler.cut:
                        # The slice ended for its length alone: there is more to read. Not through the poller, which is two system
                        # calls and an event of trio's that say nothing new.
                        scheduler.cut = False
                        for _ in range(STEPS_OF_TRIO):
                            await trio.lowlevel.cancel_shielded_checkpoint()
                    else:
                        await self._poller.wait()
                except Exception as exc:
                    # Of a signal handler: without a watcher an idle pump would wait for ever.
                    self.interrupt(exc)
                    return
                if not scheduler.idle:
                    # The pump polls at every turn; waiting for the same events beside it would only spin.
                    self._watcher_waits_for_pump = True
                    await trio.lowlevel.wait_task_rescheduled(self._watching_stopped)
                    continue
                self._serve()
                if self.forked:
                    await trio.lowlevel.cancel_shielded_checkpoint()

    def _serve(self) -> None:
        """One slice, in place of the idle pump, in a step of another trio task."""
        try:
            self._scheduler.idle = False
            self.slice()
        except BaseException as exc:
            self._served(exc)
        else:
            self._served(None)

    def _served(self, failure: BaseException | None) -> None:
        """That slice has ended, with what a callback raised, if it was SystemExit or KeyboardInterrupt."""
        if self.forked:
            self._failure = failure or self._failure
            forget_run()
        elif failure is not None:
            # For the pump to end with.
            self._failure = failure
            trio.lowlevel.reschedule(self._parked(), outcome.Value(True))
        elif self._scheduler.stopping:
            # That was the last turn: what it has queued waits for the next run, as in asyncio.
            trio.lowlevel.reschedule(self._parked(), outcome.Value(True))
        elif not self._go_idle():
            trio.lowlevel.reschedule(self._parked())

    def hold(self) -> bool:
        """Do not wake an idle pump for what is scheduled from now until `release`, in the same step of a trio task."""
        idle, self._scheduler.idle = self._scheduler.idle, False
        return idle

    def release(self, held: bool, *, here: bool = False) -> None:
        """`held` is what `hold` has returned. If there is something to do now, wake the pump, or make its next slice `here`.

        `here` is for a trio task that is about to wait or to end; see `may_serve_here`.
        """
        if not held:
            return
        scheduler = self._scheduler
        scheduler.idle = True
        if not scheduler.ready:
            self._set_deadline()
        elif here and self.may_serve_here(held):
            self._served_here += 1
            scheduler.in_trio_task = True
            self._serve()
            scheduler.in_trio_task = False
        else:
            self.wake()

    def may_serve_here(self, held: bool) -> bool:
        """Whether the next slice may be made in this step of a trio task, which has got `held` from `hold`.

        It saves the tick in which the pump would wake up: measured, a call from trio to asyncio that waits once takes one tick instead of
        two. Not too often in a row, so that who does this in a circle also waits for real, where trio can cancel it.
        """
        return held and self._served_here < SERVED_HERE_IN_A_ROW and not self._poller.lazy

    def serve_after(self, step: Callable[[], bool]) -> bool:
        """Make `step` as asyncio code, and if it returns True the next slice with it, which is the way to a call's end that costs least.

        Only if `may_serve_here`. Tells whether the slice was made, and the pump released thereby. Raises what `step` raises.
        """
        try:
            waits, failure = run_as_asyncio(self._loop, self._step_and_slice, step)
            if waits:
                self._served(failure)
            return waits
        finally:
            # See `run_as_asyncio`.
            step = failure = None  # type: ignore[assignment]

    def _step_and_slice(self, step: Callable[[], bool]) -> tuple[bool, BaseException | None]:
        scheduler = self._scheduler
        try:
            if not step():
                return False, None
            self._served_here += 1
            scheduler.in_trio_task = True
            try:
                scheduler.slice()
            except BaseException as exc:
                return True, exc
            finally:
                scheduler.in_trio_task = False
            return True, None
        finally:
            del step

    def stop_watching(self) -> None:
        """End the watcher."""
        self._watching.cancel()

    def slice(self) -> None:
        """One slice of the scheduler, as asyncio code."""
        try:
            run_as_asyncio(self._loop, self._scheduler.slice)
        except BaseException as exc:
            if not self.forked:
                raise
            # Not out of a task: its end would be trio's affair, and trio's poller is the parent's as well.
            self._failure = exc
        if self.forked:
            # Shown again behind the callbacks. Without it trio fails when this step ends.
            forget_run()

    def wake(self) -> None:
        """Have an idle pump make a turn soon. Any thread, any moment."""
        if self._may_reschedule():
            self._scheduler.idle = False
            trio.lowlevel.reschedule(self._parked())
        else:
            self._loop._write_to_self()

    def retime(self) -> None:
        """Have an idle pump wait for the timer that is now the next one."""
        if self._may_reschedule():
            self._set_deadline()
        else:
            self._loop._write_to_self()

    def _may_reschedule(self) -> bool:
        """Whether this is a step of some other trio task of the loop's thread, where trio is at rest.

        Anything else (a signal handler or a finaliser inside trio's own code, our own two tasks on their way to park, another
        thread) would find trio's run queue in the middle of a change.
        """
        if threading.get_ident() != self._loop._thread_id:
            return False
        try:
            task = trio.lowlevel.current_task()
        except RuntimeError:
            return False
        return task is not self._task and task is not self._watcher

    def _go_idle(self) -> bool:
        """Mark the pump as idle, unless there is something to do."""
        scheduler = self._scheduler
        if scheduler.has_more():
            return False
        self._poller.before_idle()
        self._set_deadline()
        scheduler.idle = True
        if scheduler.ready or scheduler.stopping:
            scheduler.idle = False
            return False
        return True

    def _set_deadline(self) -> None:
        scheduler = self._scheduler
        deadline = scheduler.next_deadline()
        if scheduler.time is not scheduler.trio_time:
            deadline += scheduler.trio_time() - scheduler.time()
        if deadline != self._deadline:
            self._scope.deadline = self._deadline = deadline

    def _parked(self) -> trio.lowlevel.Task:
        if self._task is None:
            raise RuntimeError("the pump of this loop has not been started")
        return self._task

    def _deadline_passed(self, raise_cancel: Callable[[], object]) -> trio.lowlevel.Abort:
        self._scheduler.idle = False
        return trio.lowlevel.Abort.SUCCEEDED

    def _watching_stopped(self, raise_cancel: Callable[[], object]) -> trio.lowlevel.Abort:
        self._watcher_waits_for_pump = False
        return trio.lowlevel.Abort.SUCCEEDED
