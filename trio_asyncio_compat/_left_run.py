"""A run of trio that an exception has left before its tasks have ended.

A signal handler may raise anywhere. While trio waits for events no task is running that could be told, and the exception comes out of
`trio.run` at once; in the middle of trio's own code it ends the run for good. A forked child is in a run that only its parent goes on
with. `drive` (`_driven.py`) calls this, so that the loop is afterwards as one that was stopped, and trio ready for another run.
"""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING

import outcome
import trio

from ._calls import close
from ._files import TRIO
from ._trio_private import cut_off, forget_run, go_on, remember_run, show_run, show_task

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._loop import TrioEventLoop


class LeftRun:
    """The run of trio that is made for `loop`, in case that it is left. Made by its main task."""

    def __init__(self, loop: TrioEventLoop) -> None:
        self._loop = loop
        self._root = trio.lowlevel.current_root_task()
        self._known = remember_run()

    def finish(self, error: BaseException) -> None:
        """End what has not ended: in the regular way, if trio was waiting for events when `error` came. Raises what is raised meanwhile
        by another signal, which ends it at once."""
        try:
            if trio.lowlevel.in_trio_run():
                self._loop._pump.interrupt(error)
                go_on(error)
        finally:
            show_run(self._known)
            try:
                self._close_tasks()
            finally:
                forget_run()

    def _close_tasks(self) -> None:
        """Trio takes no more steps. Have the tasks run what they can without: `finally` blocks that do not wait."""
        tasks = _leaves_first(self._root)
        self._loop._scheduler.idle = False
        for task in tasks:
            cut_off(task)
        for task in tasks:
            self._close(task, functools.partial(close, task.coro))
        for call in list(self._loop._calls):
            # Not begun, if it is still open.
            self._close(tasks[-1], call.close)
            call.resolve(outcome.Error(asyncio.CancelledError("the run of trio that made this call was interrupted")))
        self._loop._calls.clear()
        self._loop._abandon_waits("Event loop stopped before Future completed.")

    def _close(self, task: trio.lowlevel.Task, close_it: Callable[[], None]) -> None:
        show_task(task)
        try:
            task.context.run(close_it)
        except BaseException as exc:
            if not _comes_from_trio(exc):
                self._loop.call_exception_handler(
                    {"message": f"exception while {task!r} was ended, since its run was interrupted", "exception": exc}
                )


def _leaves_first(root: trio.lowlevel.Task | None) -> list[trio.lowlevel.Task]:
    found = [] if root is None else [root]
    for task in found:
        for nursery in task.child_nurseries:
            found += nursery.child_tasks
    return found[::-1]


def behind(error: BaseException) -> BaseException:
    """What a signal handler has raised in the middle of trio's own code, if `error` is how trio complains about it; else `error`."""
    cause = error.__cause__
    if not isinstance(error, trio.TrioInternalError) or cause is None:
        return error
    return error if isinstance(cause, Exception) and _comes_from_trio(cause) else cause


def _comes_from_trio(error: BaseException) -> bool:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_code.co_filename.startswith(TRIO)
