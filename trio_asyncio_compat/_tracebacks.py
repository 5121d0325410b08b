"""One readable traceback for an error that crosses the border.

The frames between the two halves are always the same. Where an error leaves a crossing, `arrived` takes out those of that crossing, and
a note says where it is: each adapter calls it (`border/`), so also an error that the program itself catches and logs can be read. Where
errors leave a loop for good (`_lifetime.py`, `_loop.py`), `tidy` takes out what is left, also from the errors behind. For pytest, these
frames are marked by `__tracebackhide__` in the globals of their modules besides.

No exception is ever replaced or lost by this, whatever it makes of it.
"""

from __future__ import annotations

import inspect
import os
import sys
from typing import TYPE_CHECKING

import trio

from ._files import OURS, OUTCOME, TRIO_RUN
from ._notes import add_note
from ._wrong_flavour import explain

if TYPE_CHECKING:
    import types

TO_TRIO = "from asyncio to trio"
TO_ASYNCIO = "from trio to asyncio"
# Where an error passes from one world into the other. By name, since the loop itself uses this module.
_CROSSINGS = {
    os.path.join(OURS, "border", "to_asyncio.py"): TO_TRIO,
    os.path.join(OURS, "_waiting.py"): TO_TRIO,
    os.path.join(OURS, "border", "asyncio_carrier.py"): TO_TRIO,
    os.path.join(OURS, "_callers.py"): TO_ASYNCIO,
    os.path.join(OURS, "border", "trio_carrier.py"): TO_ASYNCIO,
}
# What `arrived` is for. Cancellations are many, and nobody reads them.
ERRORS = (Exception, BaseExceptionGroup)


def arrived(error: BaseException, direction: str) -> None:
    """To be called by the outermost frame of a crossing, which then raises `error` on. In the traceback, the frame that awaits the crossing
    and the one that it has called over there are then next to each other.

    No entry of the traceback is changed: who holds it already, as a future does, keeps it as it was.
    """
    if isinstance(error, StopAsyncIteration):
        return
    explain(error)
    try:
        trace = _from_program_on(error.__traceback__)
        # Else it has come up here, and crossed nothing.
        if trace is not error.__traceback__:
            BaseException.with_traceback(error, trace)
            add_note(error, _crossing(direction, sys._getframe(1).f_back))
    except Exception:
        pass


def _crossing(direction: str, frame: types.FrameType | None) -> str:
    """What to say of a crossing that `frame` awaits: where the program does."""
    while frame is not None and frame.f_code.co_flags & inspect.CO_COROUTINE and frame.f_code.co_filename.startswith(OURS):
        frame = frame.f_back
    if frame is None or _is_machinery(frame.f_code):
        # `nursery.start_soon(aio_as_trio(function))`.
        return f"It crossed {direction} at the beginning of a task."
    return _note(direction, frame.f_code, frame.f_lineno)


def _note(direction: str, code: types.CodeType, line: int | None) -> str:
    return f"It crossed {direction} in {code.co_qualname} ({code.co_filename}:{line})."


def _from_program_on(trace: types.TracebackType | None) -> types.TracebackType | None:
    """`trace` without the machinery's frames at its beginning. But what the machinery itself has raised shows where."""
    first = last = trace
    while first is not None and _is_machinery(first.tb_frame.f_code):
        first, last = first.tb_next, first
    if first is None and last is not None and not last.tb_frame.f_code.co_filename.startswith(OURS):
        # trio's own, of a nursery.
        return last
    return first or trace


def tidy(error: BaseException, *, reported: bool = False) -> None:
    """Take the machinery's frames out of the traceback of `error` and of the errors behind it, and note where these have crossed.

    The first entry of `error` stays, unless it is only `reported`: it may be the frame that raises it. Cancellations are left as they are.
    """
    try:
        _tidy(error, reported)
    except Exception:
        pass


def _tidy(error: BaseException, reported: bool) -> None:
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        exc = left.pop()
        if exc is None or id(exc) in seen or isinstance(exc, trio.Cancelled):
            continue
        seen.add(id(exc))
        if reported or exc is not error:
            BaseException.with_traceback(exc, _from_program_on(exc.__traceback__))
        for note in reversed(_tidy_one(exc.__traceback__)):
            add_note(exc, note)
        left += [exc.__cause__, exc.__context__]
        if isinstance(exc, BaseExceptionGroup):
            left += exc.exceptions


def _tidy_one(trace: types.TracebackType | None) -> list[str]:
    """Link the entries of the program to each other; return where it has crossed, from the outermost in.

    In place, since whoever holds the traceback already (contextlib gives an error back the one it came with) holds the old entries.
    """
    crossings: list[str] = []
    if trace is None:
        return crossings
    # The first entry is where the error is now. It stays, whatever it is.
    before, visible = trace, not _is_machinery(trace.tb_frame.f_code)
    where = None
    while (trace := trace.tb_next) is not None:
        code = trace.tb_frame.f_code
        if _is_machinery(code):
            where = _CROSSINGS.get(code.co_filename, where)
            continue
        if where is not None and visible:
            crossings.append(_note(where, before.tb_frame.f_code, before.tb_lineno))
        before.tb_next = trace
        before, visible, where = trace, True, None
    # Our own frames at the end stay: there the error has come up.
    return crossings


def _is_machinery(code: types.CodeType) -> bool:
    file = code.co_filename
    return file.startswith(OURS) or file in (OUTCOME, TRIO_RUN)
