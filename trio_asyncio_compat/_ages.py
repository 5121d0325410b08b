"""How old tasks are, and how long they have been doing what they do, in debug mode. For the task tree.

Made by `_debug_mode.py`, as an instrument of the loop and of the trio run that it is in.
"""

from __future__ import annotations

import asyncio
import inspect
import time
import weakref
from typing import TYPE_CHECKING, Any

import trio

from ._instruments import LoopInstrument

if TYPE_CHECKING:
    from collections.abc import MutableMapping

_now = time.perf_counter


class Ages(LoopInstrument, trio.abc.Instrument):
    """See the module. Of tasks that are older than the debug mode it is only known what they have been doing since.

    Invariant: a task is in both mappings from its beginning on, or only in `_stepped` from the beginning of the debug mode on. (One
    more weak reference later would look to `_callers.py` as if something had come to know the task.)
    """

    def __init__(self) -> None:
        self._began: MutableMapping[Any, float] = weakref.WeakKeyDictionary()
        self._stepped: MutableMapping[Any, float] = weakref.WeakKeyDictionary()

    def age(self, task: Any) -> float | None:
        """Seconds since `task`, of either world, began; None if that is not known."""
        return _since(self._began, task)

    def in_state(self, task: Any) -> float | None:
        """Seconds since the step that it is in began, or since its last one ended."""
        return _since(self._stepped, task)

    def begin(self, task: Any) -> None:
        """A new task."""
        self._began[task] = self._stepped[task] = _now()

    def know_all(self) -> None:
        """Watch the tasks of this trio run that are there already, too."""
        root = trio.lowlevel.current_root_task()
        left = [] if root is None else [root]
        while left:
            task = left.pop()
            self._stepped.setdefault(task, _now())
            left += [child for nursery in task.child_nurseries for child in nursery.child_tasks]

    def forget(self) -> None:
        """What happens to tasks from now on is not known any more."""
        self._began.clear()
        self._stepped.clear()

    def _step(self, task: Any) -> None:
        if task in self._stepped:
            self._stepped[task] = _now()

    # Asyncio

    def before_callback(self, handle: asyncio.Handle) -> None:
        task = task_of(handle)
        if task is not None:
            coroutine = task.get_coro()
            # One that was not made by `create_task`.
            if task not in self._began and inspect.iscoroutine(coroutine) and inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
                self.begin(task)
            self._step(task)

    def after_callback(self, handle: asyncio.Handle) -> None:
        task = task_of(handle)
        if task is not None:
            self._step(task)

    # Trio

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        self.begin(task)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._step(task)

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self._step(task)


def task_of(handle: Any) -> asyncio.Task[Any] | None:
    """The task that `handle` makes a step of, if it does."""
    task = getattr(handle._callback, "__self__", None)
    return task if isinstance(task, asyncio.Task) else None


def _since(times: MutableMapping[Any, float], task: Any) -> float | None:
    then = times.get(task)
    return None if then is None else _now() - then
