"""Threads at work: of loops' default executors, of trio, of `concurrent.futures`, and the program's own. Called by `collecting.py`."""

from __future__ import annotations

import concurrent.futures.thread
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import trio

from .._files import OUTCOME, TRIO
from .._threads import _Job
from .asking import as_name, ask, attribute, is_a
from .frames import code_of, describe_call, described, is_ours
from .model import Thread

if TYPE_CHECKING:
    import types
    from collections.abc import Callable, Iterator

    from .frames import Stacks

_EXECUTOR = concurrent.futures.thread.__file__
_ON_THE_WAY = (threading.__file__, _EXECUTOR, OUTCOME)


@dataclass
class _Work:
    """What a thread has been given."""

    function: Any = None
    #: What gets the result, of asyncio or of `concurrent.futures`.
    future: Any = None
    #: The trio task that waits for it.
    task: trio.lowlevel.Task | None = None


class ThreadsAtWork:
    """What all threads do at one moment, but for those that `run` tasks, which are shown elsewhere."""

    def __init__(self, stacks: Stacks, run: set[int | None]) -> None:
        # (the thread's name, what it does, its stack from there inwards)
        self._found: list[tuple[str, _Work, list[types.FrameType]]] = []
        # Who looks is not at work, unless it is a worker.
        others = {*run, threading.main_thread().ident, threading.get_ident()}
        for thread in threading.enumerate():
            stack = stacks.of_thread(thread.ident)
            work = _work_of(stack)
            inside = next((i for i, frame in enumerate(stack) if not _is_on_the_way(frame)), len(stack))
            if work.function is None and thread.ident not in others:
                # That of a class of the program has no target.
                work.function = attribute(thread, "_target") or (type(thread).run if inside < len(stack) else None)
            if work.function is not None and not _is_machinery(work):
                self._found.append((thread.name, work, stack[inside:]))

    def describe(self, waiter_of: Callable[[Any], Any], numbers: dict[Any, int]) -> Iterator[Thread]:
        """The threads, as data, with the numbers of the tasks that wait for them."""
        for name, work, stack in self._found:
            task = work.task if work.future is None else waiter_of(work.future)
            yield Thread(as_name(name), describe_call(work.function).function, list(described(stack)), numbers.get(task))


def _work_of(stack: list[types.FrameType]) -> _Work:
    """What a worker is doing; nothing if it is none, or idle."""
    work = _Work()
    for frame in stack:
        if frame.f_code is _Job.run.__code__:
            job = frame.f_locals.get("self")
            work = _Work(attribute(job, "function"), attribute(job, "future"))
        elif _is_trio(frame) and frame.f_code.co_name == "worker_fn":
            # A list with the task in it, or with None once it has gone away.
            waits = frame.f_locals.get("task_register") or [None]
            work = _Work(frame.f_locals.get("sync_fn"), None, waits[0] if is_a(waits[0], trio.lowlevel.Task) else None)
        elif frame.f_code.co_filename == _EXECUTOR and frame.f_code.co_name == "run":
            # Since Python 3.14 these are two calls, one with the future and one with the function.
            item = frame.f_locals.get("self")
            function = attribute(item, "fn", frame.f_locals.get("fn"))
            work = _Work(work.function if function is None else function, attribute(item, "future", work.future))
        elif not _is_on_the_way(frame):
            break
    return work


def _is_machinery(work: _Work) -> bool:
    """Whether this is no call of the program's, or one that is on its way back already."""
    code = code_of(work.function)
    if code is not None and (is_ours(code.co_filename) or code.co_filename.startswith(TRIO) or code.co_filename == _EXECUTOR):
        return True
    return ask(False, _has_result, work.future)


def _has_result(future: Any) -> bool:
    return bool(future.done() and not future.cancelled())


def _is_trio(frame: types.FrameType) -> bool:
    return frame.f_code.co_filename.startswith(TRIO)


def _is_on_the_way(frame: types.FrameType) -> bool:
    """Whether it belongs to a worker thread's way to its job."""
    file = frame.f_code.co_filename
    return file in _ON_THE_WAY or _is_trio(frame) or is_ours(file)
