"""A loop's time of running in a thread: what is set up before its first turn and put back after the last.

Shared by hosted loops (`_lifetime.py`) and driven ones (`_driven.py`).
"""

from __future__ import annotations

import contextlib
import sys
import threading
from typing import TYPE_CHECKING

import trio

from . import _current_loop, _fork
from ._callers import Callers
from ._wakeup import WAKEUP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ._interrupts import InterruptGuard
    from ._loop import TrioEventLoop


@contextlib.contextmanager
def running(loop: TrioEventLoop, guard: InterruptGuard, clock: Callable[[], float]) -> Iterator[None]:
    """`loop` runs in this thread, by `clock`, with `guard` on Ctrl-C."""
    _fork.register()
    # First, and removed last: in between, Ctrl-C waits for a safe point.
    guard.install()
    try:
        loop._guard = guard
        loop._follow_clock(clock)
        loop._thread_id = threading.get_ident()
        loop._set_coroutine_origin_tracking(loop._debug)
        yield
    finally:
        loop._scheduler.stopping = False
        loop._thread_id = None
        loop._set_coroutine_origin_tracking(False)
        # Last: it may raise KeyboardInterrupt.
        guard.remove()


@contextlib.contextmanager
def serving(loop: TrioEventLoop, nursery: trio.Nursery, *, abandon_threads: bool) -> Iterator[Callers]:
    """`nursery` carries the trio tasks of `loop`: its watcher, its workers, its calls."""
    loop._nursery = nursery
    loop._callers = callers = Callers(loop, nursery)
    # Unpacked: the collector does not look into the object that holds them, and these know trio's run, which by an exception's
    # traceback may know the loop: it would never be freed.
    firstiter, finalizer = sys.get_asyncgen_hooks()
    loop._trio_hooks = firstiter, finalizer
    loop._poller.start(nursery)
    if loop._workers is not None:
        loop._workers.start(callers, abandon=abandon_threads)
    loop._pump.running = True
    loop._pump.start_watching(nursery)
    _current_loop.enter(loop, nursery)
    loop._watch_trio(loop._debug)
    loop._hold_wakeup()
    try:
        yield callers
    finally:
        WAKEUP.release(loop)
        loop._watch_trio(False)
        _current_loop.leave(nursery)
        loop._pump.stop_watching()
        loop._nursery = None
        callers.stop()
        loop._callers = None
        loop._poller.stop()
        if loop._workers is not None:
            loop._workers.stop()
