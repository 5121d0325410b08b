"""Where the caller of an adapter stands: which loop is open here, which flavour runs, and what to say if it is the wrong one."""

from __future__ import annotations

import trio

from .._loop import TrioEventLoop
from .._stdlib import get_running_loop
from .task import task_here


def loop_of_trio_code(caller: str) -> TrioEventLoop:
    """The loop that is open for the current trio task; RuntimeError if there is none, or in asyncio code. `caller` is the adapter."""
    loop = get_running_loop()
    if isinstance(loop, TrioEventLoop) and loop._nursery is not None and trio.lowlevel.in_trio_task():
        return loop
    if trio.lowlevel.in_trio_run() and not trio.lowlevel.in_trio_task():
        raise RuntimeError(
            f"{caller} was called in asyncio code, which can await asyncio's functions directly, "
            "and calls trio's by trio_as_aio(function)(...)"
        )
    raise RuntimeError(f"{caller} needs an open asyncio loop: use 'async with trio_asyncio_compat.open_loop()' around this code")


def loop_of_asyncio_code(caller: str) -> TrioEventLoop:
    """The loop that runs the current asyncio code; RuntimeError if it is not one of ours, or in trio code. `caller` is the adapter."""
    loop = get_running_loop()
    if trio.lowlevel.in_trio_task() and task_here() is None:
        raise RuntimeError(
            f"{caller} was called in trio code, which can await trio's functions directly, "
            "and calls asyncio's by aio_as_trio(function)(...)"
        )
    if not isinstance(loop, TrioEventLoop):
        which = "no asyncio loop runs here" if loop is None else f"{loop!r} does not run on trio"
        raise RuntimeError(f"{caller} needs a loop on trio, and {which}: use trio_asyncio_compat.open_loop(), or run() or TrioEventLoop")
    if loop._nursery is None:
        raise RuntimeError(f"{caller} needs an open asyncio loop, and {loop!r} has been stopped")
    return loop
