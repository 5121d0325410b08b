"""What a loop has to do, and what it waits for. Called by `collecting.py`."""

from __future__ import annotations

import asyncio
import inspect
import time
from typing import TYPE_CHECKING

from .._interrupts import CALLERS, is_callback
from .asking import as_name
from .frames import describe_call, described
from .model import Loop, Ran, Turn

if TYPE_CHECKING:
    from .._loop import TrioEventLoop
    from .frames import Stacks
    from .model import Frame


_HANDLES = inspect.getfile(asyncio.Handle)


def describe_loop(loop: TrioEventLoop, stacks: Stacks) -> Loop:
    """`loop`, as data; its tasks are not in it."""
    scheduler, poller, now = loop._scheduler, loop._poller, loop.time()
    # With which threads and signals wake the loop: not the program's.
    itself = loop._ssock.fileno()
    wakes = poller.readers.get(itself)
    return Loop(
        name=as_name(type(loop).__name__),
        hosted=loop._hosted,
        state="stopped" if not loop._pump.running else "idle" if scheduler.idle else "busy",
        turns=scheduler.turns,
        ready=[describe_call(handle._callback) for handle in list(scheduler.ready) if not handle._cancelled and handle is not wakes],
        timers=[describe_call(timer._callback, seconds_left=timer._when - now) for timer in scheduler.timers()],
        readers=[describe_call(handle._callback, descriptor=fd) for fd, handle in list(poller.readers.items()) if fd != itself],
        writers=[describe_call(handle._callback, descriptor=fd) for fd, handle in list(poller.writers.items())],
        running=_running(loop, stacks),
        debug=loop.get_debug(),
        last_turns=_last_turns(loop),
    )


def _last_turns(loop: TrioEventLoop) -> list[Turn]:
    if loop._checks is None or not loop.get_debug():
        return []
    now = time.perf_counter()
    return [
        Turn(turn.number, now - turn.began, turn.seconds, [Ran(run.call, run.seconds) for run in list(turn.callbacks)], turn.more)
        for turn in loop._checks.last_turns.records()
    ]


def _running(loop: TrioEventLoop, stacks: Stacks) -> list[Frame]:
    """Where the callback is that runs now. A step of a task is shown with the task."""
    if asyncio.current_task(loop) is not None:
        return []
    stack = stacks.of_thread(loop._thread_id)
    for i in range(len(stack) - 1, -1, -1):
        if stack[i].f_code in CALLERS and stack[i].f_locals.get("self") is loop._scheduler:
            # A handle of asyncio runs itself there.
            if i + 1 < len(stack) and not is_callback(stack[i + 1]):
                return []
            return [frame for frame in described(stack[i + 1 :]) if frame.file != _HANDLES]
    return []
