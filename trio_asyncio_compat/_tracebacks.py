"""One readable traceback for an error that has crossed the border: `tidy`, called where errors leave a loop for good (`_lifetime.py`).

The frames between the two halves are always the same, and the error says in a note where it crossed. Done once, at the end, from what the
traceback says by itself, so an error that is dealt with inside of the loop costs nothing more. Until then, and in pytest, these frames are
marked by `__tracebackhide__` in the globals of their modules.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import outcome
import trio

from ._notes import add_note

if TYPE_CHECKING:
    from types import TracebackType

_HERE = Path(__file__).parent
_OURS = str(_HERE)
_OUTCOME = outcome.capture.__code__.co_filename
_RUN = trio.run.__code__.co_filename
# Where an error passes from one world into the other. By name, since the loop itself uses this module.
_CROSSINGS = {
    str(_HERE / "border" / "to_asyncio.py"): "from asyncio to trio",
    str(_HERE / "_waiting.py"): "from asyncio to trio",
    str(_HERE / "border" / "asyncio_carrier.py"): "from asyncio to trio",
    str(_HERE / "_callers.py"): "from trio to asyncio",
    str(_HERE / "border" / "trio_carrier.py"): "from trio to asyncio",
}


def tidy(error: BaseException) -> None:
    """Take the machinery's frames out of the traceback of `error` and of the errors behind it, and note where these have crossed.

    Cancellations are left as they are: they are many, and nobody reads them.
    """
    try:
        _tidy(error)
    except Exception:
        # An exception of the program that does not let itself be looked at. It is not to be replaced by another.
        pass


def _tidy(error: BaseException) -> None:
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        exc = left.pop()
        if exc is None or id(exc) in seen or isinstance(exc, trio.Cancelled):
            continue
        seen.add(id(exc))
        crossings = _tidy_one(exc.__traceback__)
        if crossings:
            add_note(exc, f"It crossed {', then '.join(reversed(crossings))}.")
        left += [exc.__cause__, exc.__context__]
        if isinstance(exc, BaseExceptionGroup):
            left += exc.exceptions


def _tidy_one(trace: TracebackType | None) -> list[str]:
    """Link the entries of the program to each other; return where it has crossed, from the outermost in.

    In place, since whoever holds the traceback already (contextlib gives an error back the one it came with) holds the old entries.
    """
    crossings: list[str] = []
    if trace is None:
        return crossings
    # The first entry is where the error is now. It stays, whatever it is.
    before, visible = trace, not _is_machinery(trace)
    where = None
    while (trace := trace.tb_next) is not None:
        if _is_machinery(trace):
            where = _CROSSINGS.get(trace.tb_frame.f_code.co_filename, where)
            continue
        if where is not None and visible:
            code = before.tb_frame.f_code
            crossings.append(f"{where} in {code.co_qualname} ({code.co_filename}:{before.tb_lineno})")
        before.tb_next = trace
        before, visible, where = trace, True, None
    # Our own frames at the end stay: there the error has come up.
    return crossings


def _is_machinery(trace: TracebackType) -> bool:
    file = trace.tb_frame.f_code.co_filename
    return file.startswith(_OURS) or file in (_OUTCOME, _RUN)
