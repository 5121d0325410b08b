"""Whose step it is that a trio task makes: the program's function, also where a task of ours makes calls of it. For `_slowness.py`.

What is called is asked for before the step, since with its last one a call is forgotten by the task that has made it.
"""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, NamedTuple

from ._callers import Caller
from ._calls import made_of, name_of
from ._files import ASYNCIO, TRIO
from .border.carrier import Subject
from .border.trio_carrier import TrioCarrier
from .tasktree.asking import as_name, attribute
from .tasktree.frames import Stacks, await_chain, described, is_ours

if TYPE_CHECKING:
    import trio

_PACKAGE = f"{__package__}."


class Called(NamedTuple):
    """What a task makes a step of."""

    # Tells the name, and where it begins: a function or a coroutine.
    function: Any
    # Tells how far it has come: a coroutine; or the context manager or iterator of trio that the task holds for asyncio code.
    awaits: Any


def called_by(task: trio.lowlevel.Task) -> Called:
    """What `task` is about to make a step of. Not the task itself, which nobody must come to know (`_callers.py`)."""
    coroutine: Any = task.coro
    if getattr(coroutine, "cr_code", None) is not Caller.run.__code__ or (call := coroutine.cr_frame.f_locals["self"].call) is None:
        return Called(coroutine, coroutine)
    given = call._given
    if getattr(given, "cr_code", None) is not made_of.__code__ or given.cr_frame is None:
        return Called(given, given)
    function = given.cr_frame.f_locals["async_fn"]
    carrier = getattr(function, "__self__", None)
    if not isinstance(carrier, TrioCarrier):
        return Called(function, given)
    make = getattr(carrier._subject, "_make", None)
    # What the program has called there, or what it has made itself.
    return Called(make.func if isinstance(make, functools.partial) else make and make(), carrier._subject)


def name_of_step(name: str, called: Called) -> str:
    """The name of the program's function, where `name` is that of the task."""
    if isinstance(called.awaits, Subject):
        function = called.function
        return as_name(name_of(function) if callable(function) else attribute(function, "__qualname__", name))
    if not name.startswith(_PACKAGE):
        # For most there is no need to look further.
        return as_name(name)
    frames = described(await_chain(called.awaits, Stacks()))
    return next((frame.function for frame in frames if not frame.hidden), name.removeprefix(_PACKAGE))


def describe_step(name: str, called: Called) -> str:
    """A step that has just been made: the name, where that begins, and how far it has come."""
    function, awaits = called
    if isinstance(awaits, Subject):
        awaits = getattr(awaits, "_iterator", None) or getattr(getattr(awaits, "_manager", None), "gen", None)
    inside = [frame for frame in described(await_chain(awaits, Stacks())) if not frame.hidden]
    last = next((frame for frame in reversed(inside) if not frame.file.startswith((TRIO, ASYNCIO))), inside[-1] if inside else None)
    function = inspect.unwrap(function) if inspect.isroutine(function) else function
    code = next((found for kind in ("cr_code", "ag_code", "__code__") if (found := attribute(function, kind)) is not None), None)
    begins = [] if code is None or is_ours(code.co_filename) else [f"begins at {code.co_filename}:{code.co_firstlineno}"]
    now = "has ended" if last is None else f"is now at {last.file}:{last.line}, in {last.function}"
    return f"{name_of_step(name, called)} (which {' and '.join([*begins, now])})"
