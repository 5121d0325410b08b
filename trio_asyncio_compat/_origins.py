"""Where tasks, futures and handles were made, in debug mode: asyncio writes it down, and this takes the machinery's frames out of it.

Called by `_debug_mode.py`, by what reports errors, by the task tree, and at the end of a loop.
"""

from __future__ import annotations

import asyncio
import sys
import traceback
from pathlib import Path
from typing import Any

from ._ages import task_of
from ._files import ASYNCIO, OURS, TRIO, TRIO_RUN
from ._instruments import LoopInstrument
from ._stdlib import awaited_by_task, logger

_LIBRARIES = (OURS, ASYNCIO, TRIO)
# The standard library, and what is installed beside trio.
_NOT_THE_PROGRAMS = (OURS, *(str(Path(library).parent) for library in (ASYNCIO, TRIO)))
# What steps the tasks of either world.
_MACHINERY = (OURS, TRIO_RUN, str(Path(ASYNCIO, "events.py")))


class Origins(LoopInstrument):
    """Has a task that an adapter has made say that it was made by who has called the adapter."""

    def before_callback(self, handle: asyncio.Handle) -> None:
        task = task_of(handle)
        if task is not None:
            forget_machinery(getattr(task, "_source_traceback", None))


def forget_machinery(made: Any) -> None:
    """Take the frames below the program's out of a source traceback, if this is one."""
    if isinstance(made, traceback.StackSummary):
        made[:] = [frame for frame in made if not frame.filename.startswith(_MACHINERY)]


def here() -> traceback.StackSummary | None:
    """In debug mode, where the program is now."""
    depth = sys.get_coroutine_origin_tracking_depth()
    if not depth:
        return None
    stack = traceback.StackSummary.extract(traceback.walk_stack(sys._getframe(1)), limit=depth, lookup_lines=False)
    stack.reverse()
    forget_machinery(stack)
    return stack


def origin(future: Any) -> traceback.FrameSummary | None:
    """Where the program has made a future or task, as far as that is known; what called it in asyncio or trio is left out."""
    made: list[traceback.FrameSummary] = getattr(future, "_source_traceback", None) or []
    return next((frame for frame in reversed(made) if not frame.filename.startswith(_LIBRARIES)), None)


def described_origin(future: Any) -> str:
    """The same in words, to be appended to a message; empty if it is not known."""
    frame = origin(future)
    return "" if frame is None else f" It was made in {frame.name} ({frame.filename}:{frame.lineno})."


def report_unresolved(loop: asyncio.AbstractEventLoop) -> None:
    """The loop is about to end, and to cancel its tasks: log which of them wait for a future that the program itself has made.

    Of one that a library has made, for a timer or a queue, it says nothing that a task in the background still waits for it.
    """
    for task in asyncio.all_tasks(loop):
        future = awaited_by_task(task)
        if future is not None and not future.done() and not isinstance(future, asyncio.Task) and _is_the_programs(future):
            logger.warning(
                "%r still waits, at the end of its loop, for a future that nobody has resolved.%s", task, described_origin(future)
            )


def _is_the_programs(future: Any) -> bool:
    made: list[traceback.FrameSummary] = list(getattr(future, "_source_traceback", None) or [])
    if made and made[-1].name == "create_future":
        made.pop()
    return bool(made) and not made[-1].filename.startswith(_NOT_THE_PROGRAMS)
