"""Printing a task tree: now, or whenever a signal comes."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, TextIO

from .formatting import format_task_tree

if TYPE_CHECKING:
    from types import FrameType

# The lines of the tree, for a file that cannot take them.
_LINES = "│├└─"
_IN_ASCII = str.maketrans(_LINES, "||`-")
_STDERR = 2


def print_task_tree(file: TextIO | None = None, *, color: bool | None = None) -> None:
    """Print the task tree of this moment.

    Args:
        file: where to; by default `sys.stderr`. Characters that its encoding does not have are escaped.
        color: whether with the colours of a terminal; by default if `file` is one and the environment does not say NO_COLOR.
    """
    out = sys.stderr if file is None else file
    if color is None:
        color = out.isatty() and not os.environ.get("NO_COLOR")
    # In one piece, so that what other threads print does not come between.
    out.write(_encodable(format_task_tree(color=color), getattr(out, "encoding", None) or "utf-8"))
    out.flush()


def _encodable(text: str, encoding: str) -> str:
    try:
        _LINES.encode(encoding)
    except UnicodeError:
        text = text.translate(_IN_ASCII)
    return text.encode(encoding, "backslashreplace").decode(encoding)


def print_on_signal(signum: int, file: TextIO | None = None) -> None:
    """From now on, print the task tree whenever the process gets signal `signum`, and go on.

    It also works while the program hangs, in an endless loop or a blocking call. Main thread only, else ValueError.
    """
    if threading.current_thread() is not threading.main_thread():
        raise ValueError("print_on_signal() works only in the main thread, as all of signal's functions")

    asked = 0

    def handle(signum: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked += 1
        # A signal that interrupts this is answered afterwards; many at a time would not end.
        while asked == 1:
            _print_and_go_on(file)
            asked = 1 if asked > 1 else 0

    signal.signal(signum, handle)


def _print_and_go_on(file: TextIO | None) -> None:
    try:
        print_task_tree(file)
    except Exception as exc:
        # There is no stderr, it is closed, or it is written to just now, which Python's files do not let a handler do that has interrupted
        # that. Or a file of the program cannot be written to, which is worth a word.
        _print_past_python("" if file is None or isinstance(exc, RuntimeError) else f"the task tree could not be printed: {exc!r}\n")


def _print_past_python(why: str) -> None:
    try:
        tree = format_task_tree()
    except Exception as exc:
        tree = f"there is no task tree: {exc!r}\n"
    with contextlib.suppress(OSError):
        os.write(_STDERR, f"{why}{tree}".encode("utf-8", "replace"))
