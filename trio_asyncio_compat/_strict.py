"""`open_loop(strict=True)`, `--strict`: what asyncio would only log leaves the block, or ends the program, as an ExceptionGroup.

asyncio reports most of it when the task or future is collected, which a cycle may put off; so what is still there is
collected once when the loop has closed. What comes later (a task that the error's own traceback has kept, a thread that outlives the
program) is logged, as without `strict`; so is what a forked child reports.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import traceback
from typing import TYPE_CHECKING, Any

from ._notes import add_note

if TYPE_CHECKING:
    from ._loop import TrioEventLoop


class UnhandledError(Exception):
    """What reached the exception handler of a strict loop without an exception of its own."""


class StrictReports:
    """The exception handler of strict loops, and what has reached it.

    A handler that the program sets takes the place of this one, as it takes the place of the log.
    """

    def __init__(self) -> None:
        # By identity: errors that are equal are still two.
        self._errors: dict[int, BaseException] = {}
        self._process = os.getpid()
        self._joined = False

    def watch(self, loop: TrioEventLoop) -> None:
        """Be the exception handler of `loop`."""
        loop.set_exception_handler(self._report)

    def joined(self, error: BaseException | None) -> BaseException | None:
        """What is to leave the block, or the program, that ended with `error`, now that its loops are closed."""
        gc.collect()
        reported, self._errors = self._errors, {}
        self._joined = True
        if not reported:
            return error
        errors = list(reported.values())
        if error is not None and id(error) not in reported:
            errors.insert(0, error)
        return BaseExceptionGroup("unhandled errors in a strict asyncio loop", errors)

    def _report(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if self._joined or os.getpid() != self._process:
            loop.default_exception_handler(context)
            return
        message = context.get("message") or "Unhandled exception in event loop"
        error = context.get("exception")
        if not isinstance(error, BaseException):
            error = UnhandledError(message)
        self._errors[id(error)] = error
        add_note(error, "\n".join([str(message), *_described(context)]))


def _described(context: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    # What is the program's may fail to say what it is.
    with contextlib.suppress(Exception):
        future = context.get("task") or context.get("future")
        if isinstance(future, asyncio.Task):
            lines.append(f"task: {future.get_name()}, of {future.get_coro()!r}")
        elif "handle" in context:
            lines.append(f"callback: {context['handle']!r}")
        # Known in debug mode.
        made = context.get("source_traceback") or getattr(future, "_source_traceback", None)
        if made:
            lines.append("made at (most recent call last):\n" + "".join(traceback.format_list(made)).rstrip())
    return lines
