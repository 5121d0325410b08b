"""Where tasks, futures and handles were made, in debug mode: asyncio writes it down, and this takes our own frames out of it.

Called by `_debug_mode.py`, by what reports errors and by the task tree.
"""

from __future__ import annotations

import asyncio
import sys
import traceback
from pathlib import Path
from typing import Any

import trio

from ._ages import task_of
from ._instruments import LoopInstrument

_OURS = str(Path(__file__).resolve().parent)
_LIBRARIES = (_OURS, str(Path(asyncio.__file__).resolve().parent), str(Path(trio.__file__).resolve().parent))


class Origins(LoopInstrument):
    """Has a task that an adapter has made say that it was made by who has called the adapter."""

    def before_callback(self, handle: asyncio.Handle) -> None:
        task = task_of(handle)
        if task is not None:
            forget_machinery(getattr(task, "_source_traceback", None))


def forget_machinery(made: Any) -> None:
    """Take our own frames out of a source traceback, if this is one."""
    if isinstance(made, traceback.StackSummary):
        made[:] = [frame for frame in made if not frame.filename.startswith(_OURS)]


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
