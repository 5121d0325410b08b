"""After `os.fork` the child may run loops of its own.

The child has a copy of the thread that forked, in the middle of its trio run. That run goes on only in the parent; in the child it
must not be in the way of a new one.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
import threading

import sniffio
import trio

from . import _current_loop
from ._interrupts import GuardedHandler, unguarded
from ._threads import forget_workers
from ._trio_private import forget_run, is_interrupt_handler
from ._wakeup import WAKEUP


@functools.cache
def register() -> None:
    """Take care of children forked from now on. Called when a loop first runs: an import changes nothing."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_after_in_child)


def _after_in_child() -> None:
    forget_workers()
    WAKEUP.forget()
    if not trio.lowlevel.in_trio_run():
        return
    forget_run()
    for loop in _current_loop.forget_all():
        loop._pump.forked = True
    sniffio.thread_local.name = None
    sys.set_asyncgen_hooks(None, None)
    if threading.current_thread() is not threading.main_thread():
        return
    # Written to by the parent's signals as well, if it stayed: both would read from one socket pair.
    with contextlib.suppress(ValueError):
        signal.set_wakeup_fd(-1)
    handler = unguarded(signal.getsignal(signal.SIGINT))
    if is_interrupt_handler(handler) or isinstance(handler, GuardedHandler):
        signal.signal(signal.SIGINT, signal.default_int_handler)
