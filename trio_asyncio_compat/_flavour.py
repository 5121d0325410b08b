"""Which kind of code is running in this thread: the switch from trio to asyncio and back.

The pump makes it for the length of a slice, and an adapter for the first step of an asyncio task that it starts
by hand. Nothing else may run asyncio callbacks.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

import sniffio
import trio

from ._stdlib import get_running_loop, set_running_loop, swap_current_task
from ._trio_private import hide_current_task, show_task

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._loop import TrioEventLoop
    from ._stdlib import SelectorLoop

# Its frames are of no interest in a traceback (pytest's convention); see `_tracebacks.py`.
__tracebackhide__ = True

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@trio.lowlevel.enable_ki_protection
def run_as_asyncio(loop: SelectorLoop, function: Callable[[*Ts], T], *args: *Ts) -> T:
    """Call `function` as asyncio code of `loop`, from a step of a trio task; then put everything back.

    Five things say what is running here, and each is switched:

    - trio's current task. An asyncio callback is no part of the trio task that happens to run it: a cancel scope opened
      there would be closed on another task, which corrupts the scope stack and loses the whole run. Hidden,
      a trio function awaited by mistake fails at that call with RuntimeError.
    - sniffio's thread-local, which libraries ask before anything else. Left at "trio", anyio would use its trio backend
      inside an asyncio task.
    - the async generator hooks. A generator takes the finalizer at its first iteration and keeps it, so switching here is
      enough for each to be finished by the side that began it.
    - asyncio's running loop, which differs from `loop` only while several loops are open in one thread.
    - asyncio's current task, which there is if the trio task runs flavour-free code.

    Protected from Ctrl-C, which must not come between two of these.
    """
    task = hide_current_task()
    library = sniffio.thread_local.name
    # Unpacked: the collector does not look into the object that holds them, and an exception's traceback would keep it for ever.
    firstiter, finalizer = sys.get_asyncgen_hooks()
    outer = get_running_loop()
    sniffio.thread_local.name = "asyncio"
    sys.set_asyncgen_hooks(loop._asyncgen_firstiter_hook, loop._asyncgen_finalizer_hook)
    # Asked first, since nearly always there is nothing to switch, and each of these is a system call before Python 3.12 (getpid).
    if outer is not loop:
        set_running_loop(loop)
    aio_task = swap_current_task(loop, None)
    try:
        return function(*args)
    finally:
        # An exception's traceback keeps this frame, which must not keep what it called.
        del function, args
        # The callback may have set another.
        set_running_loop(loop)
        swap_current_task(loop, aio_task)
        del aio_task
        if outer is not loop:
            set_running_loop(outer)
        sys.set_asyncgen_hooks(firstiter, finalizer)
        sniffio.thread_local.name = library
        show_task(task)


@trio.lowlevel.enable_ki_protection
def run_as_trio(loop: TrioEventLoop, task: trio.lowlevel.Task, function: Callable[[*Ts], T], *args: *Ts) -> T:
    """Call `function` as trio code of `task`, which is parked, in that one's context, from asyncio code; then put everything back. See
    `run_as_asyncio`."""
    outer = hide_current_task()
    library = sniffio.thread_local.name
    firstiter, finalizer = sys.get_asyncgen_hooks()
    aio_task = swap_current_task(loop, None)
    show_task(task)
    sniffio.thread_local.name = "trio"
    sys.set_asyncgen_hooks(*loop._trio_hooks)
    try:
        return task.context.run(function, *args)
    finally:
        # As in `run_as_asyncio`.
        del function, args
        sys.set_asyncgen_hooks(firstiter, finalizer)
        sniffio.thread_local.name = library
        hide_current_task()
        show_task(outer)
        swap_current_task(loop, aio_task)
        del aio_task
