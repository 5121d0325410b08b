"""Worker threads that are at work: of loops' default executors, of `trio.to_thread`, of `concurrent.futures`. Called by `collecting.py`."""

from __future__ import annotations

import concurrent.futures.thread
import threading
from typing import TYPE_CHECKING, Any

import outcome

from .._threads import _Job
from .asking import as_name
from .frames import TRIO, code_of, describe_call, described, is_ours
from .model import Thread

if TYPE_CHECKING:
    import types

    from .frames import Stacks

_EXECUTOR = concurrent.futures.thread.__file__
_ON_THE_WAY = (threading.__file__, _EXECUTOR, outcome.capture.__code__.co_filename)


class ThreadsAtWork:
    """The jobs of all threads at one moment."""

    def __init__(self, stacks: Stacks) -> None:
        # (the thread's name, what it was given, its stack from there inwards, the loop's job if it is one's)
        self._found: list[tuple[str, Any, list[types.FrameType], _Job | None]] = []
        for thread in threading.enumerate():
            stack = stacks.of_thread(thread.ident)
            function = job = None
            for frame in stack:
                if frame.f_code is _Job.run.__code__:
                    job = frame.f_locals.get("self")
                    function = getattr(job, "function", None)
                elif _is_trio(frame) and frame.f_code.co_name == "worker_fn":
                    function = frame.f_locals.get("sync_fn")
                elif frame.f_code.co_filename == _EXECUTOR and frame.f_code.co_name == "run":
                    function = getattr(frame.f_locals.get("self"), "fn", None)
                elif not _is_on_the_way(frame):
                    break
            if job is not None and job.future.done() and not job.future.cancelled():
                continue  # on its way back from there
            code = code_of(function)
            if function is not None and not (code is not None and is_ours(code.co_filename)):
                inside = next((i for i, frame in enumerate(stack) if not _is_on_the_way(frame)), len(stack))
                self._found.append((thread.name, function, stack[inside:], job))

    def describe(self, waiting: dict[Any, int]) -> list[Thread]:
        """The threads, as data. `waiting` has the number of the task that waits for a future, by future."""
        return [
            Thread(
                as_name(name), describe_call(function).function, list(described(stack)), None if job is None else waiting.get(job.future)
            )
            for name, function, stack, job in self._found
        ]


def _is_trio(frame: types.FrameType) -> bool:
    return frame.f_code.co_filename.startswith(TRIO)


def _is_on_the_way(frame: types.FrameType) -> bool:
    """Whether it belongs to a worker thread's way to its job."""
    file = frame.f_code.co_filename
    return file in _ON_THE_WAY or _is_trio(frame) or is_ours(file)
