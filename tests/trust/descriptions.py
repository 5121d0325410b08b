"""Exceptions and messages as plain data that two runs of one program have in common."""

from __future__ import annotations

import asyncio
import re
from typing import Any


class Odd(BaseException):
    """An error that is no Exception."""


def new_error(name: str) -> BaseException:
    """An exception by its name in a program."""
    if name == "Group":
        return BaseExceptionGroup("g", [ValueError("in a group"), asyncio.CancelledError("in a group")])
    kinds: dict[str, type[BaseException]] = {
        "ValueError": ValueError,
        "KeyError": KeyError,
        "CancelledError": asyncio.CancelledError,
        "TimeoutError": TimeoutError,
        "Odd": Odd,
        "Exception": Exception,
        "BaseException": BaseException,
    }
    return kinds[name]("made by the program")


def scrubbed(text: object) -> str:
    """`text` without what differs from run to run."""
    text = re.sub(r"0x[0-9a-f]+", "0x", str(text))
    # Python 3.11 speaks of the one when the other is called.
    text = text.replace("Cannot call writelines()", "Cannot call write()")
    text = re.sub(r"\b(fd|laddr|raddr)=[^ >]+", r"\1=", text)
    # Whose loop it is, and where in the loop's own code something was made.
    return re.sub(r"/\S+/(asyncio|trio_asyncio_compat)/\w+\.py:\d+", "...", text)


def described(exc: BaseException | None, seen: tuple[int, ...] = ()) -> Any:
    """An exception with its chain, as plain data."""
    if exc is None:
        return None
    if id(exc) in seen:
        return "see above"
    seen = (*seen, id(exc))
    children = [described(child, seen) for child in exc.exceptions] if isinstance(exc, BaseExceptionGroup) else []
    return (
        type(exc).__name__,
        scrubbed(exc),
        ("cause", described(exc.__cause__, seen)),
        ("context", described(exc.__context__, seen), exc.__suppress_context__),
        *children,
    )
