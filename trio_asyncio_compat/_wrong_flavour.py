"""What to say when code awaits the library that it is not running on.

trio and asyncio each notice it, with an error of their own that knows nothing of the other. Where such an error leaves one world (an
adapter, the loop's exception handler, the end of a loop), `explain` adds a note that names the function and the call to use.
"""

from __future__ import annotations

import contextlib
import inspect
import types
from typing import TYPE_CHECKING

import trio

from ._notes import add_note

if TYPE_CHECKING:
    from collections.abc import Iterator

_PUBLIC = (trio, trio.lowlevel, trio.socket, trio.to_thread, trio.from_thread)
# What asyncio says if there is no current task. An async function that is not in an asyncio task is in one of trio's.
_NO_TASK = ("should be used inside a task", "cannot determine the parent task")
_ENTERING = ("__enter__", "__aenter__")
# What the two raise. Not a class derived from one of these: that is the program's.
_KINDS = (RuntimeError, TypeError)


def explain(error: BaseException) -> None:
    """Add a note to `error`, and to those in it if it is a group, if it comes from awaiting the wrong library. Never raises."""
    seen: set[int] = set()
    left = [error]
    while left:
        one = left.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        # Looking at it may run code of the program's, which fails in its own ways: that must not take the place of the error.
        with contextlib.suppress(Exception):
            if isinstance(one, BaseExceptionGroup):
                left += one.exceptions
            elif type(one) in _KINDS and not getattr(one, "__notes__", None):
                note = _note(one)
                if note is not None:
                    add_note(one, note)


def _note(error: BaseException) -> str | None:
    text = str(error)
    if text == "must be called from async context" or (
        text.startswith("Task got bad yield") and ("trio." in text or "WaitTaskRescheduled(" in text)
    ):
        caller, callee = _border_in(error.__traceback__, "trio")
        return _trio_in_asyncio(caller, callee)
    if text.startswith("trio.run received unrecognized yield message") or text.endswith(_NO_TASK):
        caller, callee = _border_in(error.__traceback__, "asyncio")
        return _asyncio_in_trio(caller, callee)
    return None


def _border_in(trace: types.TracebackType | None, library: str) -> tuple[types.CodeType | None, types.FrameType | None]:
    """The innermost code outside of `library`, and the frame inside of it that it has called."""
    caller: types.CodeType | None = None
    callee: types.FrameType | None = None
    for frame in _frames(trace):
        # Code that `exec` runs may have anything for a name.
        package = str(frame.f_globals.get("__name__")).partition(".")[0]
        if package == __package__:
            # Called by one of the two, and no more the user's than these.
            continue
        if package == library:
            callee = callee or frame
        else:
            caller, callee = frame.f_code, None
    return caller, callee


def _frames(trace: types.TracebackType | None) -> Iterator[types.FrameType]:
    while trace is not None:
        yield trace.tb_frame
        trace = trace.tb_next


def _trio_in_asyncio(caller: types.CodeType | None, callee: types.FrameType | None) -> str:
    name = _public_name(callee) if callee is not None else "a function of trio"
    if callee is not None and callee.f_code.co_name in _ENTERING:
        instead = f"async with trio_as_aio({name}(...))"
    elif callee is not None and not callee.f_code.co_flags & (inspect.CO_COROUTINE | inspect.CO_ITERABLE_COROUTINE):
        return f"{name}() works in trio code only, and {_place(caller)} runs in an asyncio task. Call it in a function of trio's"
    else:
        instead = f"await trio_as_aio({name})(...)"
    if caller is None:
        return f"{name}() is trio-flavoured, and asyncio itself was given it. Await it directly in trio code; in asyncio code '{instead}'"
    return (
        f"{name}() is trio-flavoured, and {_place(caller)} runs in an asyncio task. "
        f"Write '{instead}' there, or make the task flavour-free: by run(main) instead of run(main()), by allow_asyncio(), "
        "or by flavour_free_task_factory for those that asyncio.gather() and create_task() make"
    )


def _asyncio_in_trio(caller: types.CodeType | None, callee: types.FrameType | None) -> str:
    if callee is not None and callee.f_code.co_name in _ENTERING:
        # The class of `asyncio.timeout()` takes another argument than that.
        name = "asyncio." + callee.f_code.co_qualname.rpartition(".")[0].replace("Timeout", "timeout")
        instead = f"async with aio_as_trio({name}(...))"
    elif callee is not None:
        name = f"asyncio.{callee.f_code.co_qualname}"
        instead = f"await aio_as_trio({name})(...)"
    else:
        name = "a Future of asyncio"
        instead = "await aio_as_trio(future)"
    what = name if callee is None else f"{name}()"
    if caller is None:
        return (
            f"{what} is asyncio-flavoured, and was given to trio itself. In asyncio code await it directly; in trio code write '{instead}'"
        )
    return (
        f"{what} is asyncio-flavoured, and {_place(caller)} runs in a trio task. "
        f"Write '{instead}' there, or make the function flavour-free: call it by allow_asyncio()"
    )


def _place(code: types.CodeType | None) -> str:
    return "the caller" if code is None else f"{code.co_qualname}() ({code.co_filename}:{code.co_firstlineno})"


def _public_name(frame: types.FrameType) -> str:
    """As users call the function of trio that runs in `frame`; of a method, with the class in place of the object."""
    code = frame.f_code
    for module in _PUBLIC:
        for name, value in vars(module).items():
            if getattr(value, "__code__", None) is code:
                return f"{module.__name__}.{name}"
    kind, _, method = code.co_qualname.partition(".")
    if kind == "NurseryManager":
        return "trio.open_nursery"
    for module in _PUBLIC:
        if hasattr(module, kind):
            return f"{module.__name__}.{kind}" if method in ("", *_ENTERING) else f"{module.__name__}.{kind}.{method}"
    # Deep inside: the name would be none that a user could write.
    return "a_function_of_trio"
