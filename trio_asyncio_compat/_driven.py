"""Driving a loop from synchronous code: each `run_forever` is one `trio.run`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import outcome
import trio

from ._interrupts import DrivenGuard
from ._left_run import LeftRun, behind
from ._running import running, serving

if TYPE_CHECKING:
    from ._loop import TrioEventLoop

# Its frames are of no interest in a traceback (pytest's convention); see `_tracebacks.py`.
__tracebackhide__ = True


class MonotonicClock(trio.abc.Clock):
    """`time.monotonic()` as trio's clock: time goes on evenly over several drives of a loop, and between them."""

    def start_clock(self) -> None:
        """Nothing to start."""

    def current_time(self) -> float:
        """Seconds, from the system's own starting point."""
        return time.monotonic()

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Seconds from now to `deadline`."""
        return deadline - time.monotonic()


def drive(loop: TrioEventLoop) -> None:
    """Run `loop` until it is stopped; raise what ended it, as it is."""
    with running(loop, DrivenGuard(loop), time.monotonic):
        while (end := _run(loop)) is None:
            pass
    end.unwrap()


def _run(loop: TrioEventLoop) -> outcome.Outcome[None] | None:
    """Run `loop` in a `trio.run`; return how it ended. None in a forked child that is to go on: that run is the parent's."""
    end: outcome.Outcome[None] | None = None
    run: LeftRun | None = None
    error: BaseException | None = None

    @trio.lowlevel.enable_ki_protection
    async def main() -> None:
        nonlocal end, run
        if error is not None:
            return  # it came before this
        run = LeftRun(loop)
        async with trio.open_nursery() as nursery:
            with serving(loop, nursery, abandon_threads=True) as callers:
                await callers.prepared()
                end = await outcome.acapture(loop._pump.run)
                # What trio tasks the loop still has belong to this drive. First the cancellation: who waits for the loop then sees that.
                for scope in [*(call.scope for call in loop._calls), *loop._carried]:
                    scope.cancel("the drive of the event loop that started this has ended")
                loop._abandon_waits("Event loop stopped before Future completed.")
            nursery.cancel_scope.cancel()

    try:
        trio.run(main, clock=MonotonicClock())
    except BaseException as exc:
        error = behind(exc)
        if run is None and trio.lowlevel.in_trio_run():
            run = LeftRun(loop)
        if run is not None:
            run.finish(exc)
    else:
        return end
    if end is None:
        end = loop._pump.told_to_end()
    if loop._pump.forked:
        loop._pump.forked = False
        return end
    # What the loop was told to end with says more than what trio has found missing after it.
    return end if isinstance(end, outcome.Error) and isinstance(error, trio.TrioInternalError) else outcome.Error(error)
