"""Which loop `asyncio.get_running_loop()` finds in trio code.

`asyncio._set_running_loop` is documented as the hook for authors of event loops. With one loop open in a thread it is set for
as long as that loop is open. While several are, a trio Instrument sets for each step of a task the innermost loop that the
task stands under; it is removed again when one is left.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import trio

from ._stdlib import get_running_loop, set_running_loop

if TYPE_CHECKING:
    import asyncio

    from ._loop import TrioEventLoop


class _OpenLoops(threading.local):
    """The loops that are open in this thread, each by the nursery it was opened with.

    Invariant: `instrument` is set exactly while a single value would not do for all tasks.
    """

    def __init__(self) -> None:
        self.by_nursery: dict[trio.Nursery, TrioEventLoop] = {}
        # A loop that was running before ours: the host, when trio runs as a guest of asyncio.
        self.host: asyncio.AbstractEventLoop | None = None
        self.instrument: _LoopOfTask | None = None


_open = _OpenLoops()
# All that are open in this process, for who wants to see them from any thread (`tasktree/`).
open_in_process: set[TrioEventLoop] = set()


def enter(loop: TrioEventLoop, nursery: trio.Nursery) -> None:
    """`loop` is open from now on for the tasks under `nursery`, and for its parent while that is inside of it."""
    if not _open.by_nursery:
        _open.host = get_running_loop()
    _open.by_nursery[nursery] = loop
    open_in_process.add(loop)
    _adapt()
    set_running_loop(loop)


def leave(nursery: trio.Nursery) -> None:
    """The loop that was opened with `nursery` closes."""
    if nursery in _open.by_nursery:  # not in the child of a fork
        open_in_process.discard(_open.by_nursery.pop(nursery))
    _adapt()
    # No task: a signal handler has raised in the middle of the switch between the two kinds of code.
    set_running_loop(_loop_of(trio.lowlevel.current_task() if trio.lowlevel.in_trio_task() else None))


def forget_all() -> list[TrioEventLoop]:
    """No loop is open in this thread any more: for the child of a fork, where those of the parent do not go on. Return which were."""
    loops = list(_open.by_nursery.values())
    _open.__init__()  # type: ignore[misc]
    open_in_process.clear()
    set_running_loop(None)
    return loops


def _adapt() -> None:
    several = len(_open.by_nursery) + (_open.host is not None) > 1
    if several and _open.instrument is None:
        _open.instrument = _LoopOfTask()
        trio.lowlevel.add_instrument(_open.instrument)
    elif not several and _open.instrument is not None:
        trio.lowlevel.remove_instrument(_open.instrument)
        _open.instrument = None


def _loop_of(task: trio.lowlevel.Task | None) -> asyncio.AbstractEventLoop | None:
    """The innermost loop above `task`; without one, what was running before the first loop was opened."""
    if len(_open.by_nursery) == 1 and _open.host is None:
        return next(iter(_open.by_nursery.values()))
    from_nursery: trio.Nursery | None = None
    while task is not None:
        # Newest first. On the way up only nurseries count that were open when the one we came from was opened.
        counts = from_nursery is None
        for nursery in reversed(task.child_nurseries):
            counts = counts or nursery is from_nursery
            if counts and nursery in _open.by_nursery:
                return _open.by_nursery[nursery]
        from_nursery = task.parent_nursery
        task = from_nursery.parent_task if from_nursery is not None else None
    return _open.host


class _LoopOfTask(trio.abc.Instrument):
    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        set_running_loop(_loop_of(task))

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        set_running_loop(_open.host)
