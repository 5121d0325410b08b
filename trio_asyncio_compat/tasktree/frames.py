"""Where a task is: the await chain of one that waits, the stack of one that runs. Called by `collecting.py`."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import os
import sys
import types
from typing import TYPE_CHECKING, Any

import trio

from .. import _driven
from .._callers import Caller
from .._files import ASYNCIO, OURS, OUTCOME, TRIO, TRIO_RUN
from .._flavour import run_as_asyncio
from .._processes import Children
from .._sock_recv import SockRecv
from ..border.crossing import Crossing
from ..border.task import FlavourFreeTask
from .asking import as_name, ask, attribute, in_words, is_a, result
from .model import Call, Frame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_HERE = os.path.join(OURS, "tasktree", "")
# The last steps on the way to trio's scheduler are much the same for every task that waits; but for those of nurseries.
_CORE = os.path.join(TRIO, "_core", "")
# The wrappers that stand between a coroutine and what it awaits. They do not tell what they wrap, but the collector knows.
_WRAPPERS = {"coroutine_wrapper", "async_generator_asend", "async_generator_athrow", "anext_awaitable", "FutureIter"}
_WRAPPED = (types.CoroutineType, types.GeneratorType, types.AsyncGeneratorType)
_DRIVERS = {FlavourFreeTask._drive.__code__, Caller._make_calls.__code__}
# A chain that is longer leads round in a circle: to make a step of it would need as deep a stack.
_LONGEST_CHAIN = 20_000
# What callbacks of the machinery are there for.
_SERVES = {SockRecv._receive.__code__: "sock_recv()", Children._reap.__code__: "the end of a child process"}
_NOT_THERE = object()


class Stacks:
    """What each thread is running at this moment, but for the code of this package that looks at it."""

    def __init__(self) -> None:
        self._of_thread: dict[int, list[types.FrameType]] = {}
        self._thread_of: dict[types.FrameType, int] = {}
        for ident, innermost in sys._current_frames().items():
            stack: list[types.FrameType] = []
            frame: types.FrameType | None = innermost
            while frame is not None:
                stack.append(frame)
                frame = frame.f_back
            stack.reverse()
            # A signal handler of ours, or a call by the program: what is behind it is what the program does.
            looks = next((i for i, each in enumerate(stack) if each.f_code.co_filename.startswith(_HERE)), len(stack))
            self._of_thread[ident] = stack[:looks]
            self._thread_of.update(dict.fromkeys(stack[:looks], ident))

    def of_thread(self, ident: int | None) -> list[types.FrameType]:
        """The frames of a thread, outermost first."""
        return self._of_thread.get(ident, []) if ident is not None else []

    def from_frame(self, frame: types.FrameType) -> list[types.FrameType]:
        """`frame` and what it has called, if it is running; nothing of one that is suspended."""
        stack = self.of_thread(self._thread_of.get(frame))
        return stack[stack.index(frame) :] if stack else []


def await_chain(awaitable: Any, stacks: Stacks) -> list[types.FrameType]:
    """The frames from that of a coroutine down to where it waits; or down to where it is, if it runs."""
    frames: list[types.FrameType] = []
    for _ in range(_LONGEST_CHAIN):
        if awaitable is None:
            break
        frame, following = _step(awaitable)
        if frame is not None and (running := stacks.from_frame(frame)):
            return frames + _of_one_task(running)
        if frame is not None:
            frames.append(frame)
            # These two step something by hand, so no chain leads there.
            driver = frame.f_locals.get("self") if frame.f_code in _DRIVERS else None
            if isinstance(driver, FlavourFreeTask):
                following = driver.get_coro()
            elif isinstance(driver, Caller) and driver.call is not None:
                following = driver.call.coroutine
        awaitable = following
    return frames


def _step(awaitable: Any) -> tuple[types.FrameType | None, Any]:
    """One link of an await chain, as its frame, and the next link."""
    if is_a(awaitable, Crossing):
        return None, awaitable._coroutine
    for frame, following in (("cr_frame", "cr_await"), ("gi_frame", "gi_yieldfrom"), ("ag_frame", "ag_await")):
        # Something else may have an attribute of that name, or claim to have any.
        found = attribute(awaitable, frame, _NOT_THERE)
        if found is None or is_a(found, types.FrameType):
            return found, attribute(awaitable, following)
    if _kind_of(awaitable) in _WRAPPERS:
        for wrapped in gc.get_referents(awaitable):
            # One wrapper may hold another: anext() with a default does.
            if issubclass(type(wrapped), _WRAPPED) or _kind_of(wrapped) in _WRAPPERS:
                return None, wrapped
    return None, None


def _kind_of(owner: object) -> str:
    return as_name(attribute(type(owner), "__name__"))


def _of_one_task(stack: list[types.FrameType]) -> list[types.FrameType]:
    """The part of a stack that is one task's: asyncio code that was started from there, as a first step, is another's."""
    for i, frame in enumerate(stack):
        if frame.f_code is run_as_asyncio.__code__:
            return stack[:i]
    return stack


def describe_frame(frame: types.FrameType) -> Frame:
    """`frame`, as data."""
    code = frame.f_code
    file = code.co_filename
    hidden = is_ours(file) or file == OUTCOME or (file.startswith(_CORE) and file != TRIO_RUN)
    return Frame(as_name(code.co_qualname), file, frame.f_lineno or code.co_firstlineno, hidden, None if hidden else _called_on(frame))


def is_ours(file: str) -> bool:
    """Whether this is a file of this package."""
    return file.startswith(OURS)


def _called_on(frame: types.FrameType) -> str | None:
    """The object whose method this is, if it is one of trio's or asyncio's that things wait for, each other, so to speak."""
    if not frame.f_code.co_filename.startswith((TRIO, ASYNCIO)):
        return None
    owner = frame.f_locals.get("self")
    if owner is None or not _says_something(owner):
        return None
    if is_a(owner, asyncio.Queue) and (items := ask(0, owner.qsize)):
        # Its repr has those of its items, which are the program's, and all of them.
        return (
            f"<{type(owner).__name__} at {id(owner):#x} maxsize={in_words(owner.maxsize)} with {items:,} item{'' if items == 1 else 's'}>"
        )
    return in_words(owner)


def _says_something(owner: object) -> bool:
    # Not the reprs of user's classes, which may do anything, nor of trio's and asyncio's that only give an address.
    module = as_name(attribute(type(owner), "__module__"))
    return module.partition(".")[0] in ("trio", "asyncio") and type(owner).__repr__ is not object.__repr__


def describe_call(callback: Callable[..., object] | None, **more: Any) -> Call:
    """A callback, as data: its name, and where it is defined."""
    while is_a(callback, functools.partial):
        # `asyncio.to_thread` makes partial(context.run, function).
        in_context = is_a(attribute(callback.func, "__self__"), contextvars.Context) and callback.args
        callback = callback.args[0] if in_context else callback.func
    owner = attribute(callback, "__self__")
    if is_a(owner, asyncio.Task):
        begins = attribute(result(owner, "get_coro", None), "__qualname__")
        return Call(f"step of {name_of_task(owner)}" + (f" ({as_name(begins)})" if is_a(begins, str) else ""), **more)
    name = attribute(callback, "__qualname__")
    name = as_name(name if is_a(name, str) else callback)
    code = code_of(callback)
    if code is None or code in _SERVES:
        return Call(name if code is None else _SERVES[code], **more)
    return Call(name, code.co_filename, code.co_firstlineno, **more)


def code_of(function: object) -> types.CodeType | None:
    """The code of a function or method of Python."""
    code = attribute(function, "__code__")
    return code if is_a(code, types.CodeType) else None


def name_of_task(task: asyncio.Task[Any]) -> str:
    """The name of a task of asyncio."""
    return as_name(result(task, "get_name", "a task without a name"))


def describe_handle(handle: Any) -> str:
    """What a handle of asyncio calls, in words."""
    call = describe_call(handle._callback)
    return call.function if call.file is None else f"{call.function} ({call.file}:{call.line})"


def name_of_trio_task(task: trio.lowlevel.Task, frames: list[Frame]) -> str:
    """A trio task's name; that of the program's function, if it is a function of ours that the task begins with."""
    package, name = f"{__package__.partition('.')[0]}.", as_name(task.name)
    if not name.startswith(package):
        return name
    if name.startswith(f"{_driven.__name__}."):
        return "that drives a loop"
    return next((frame.function for frame in frames if not frame.hidden), name.removeprefix(package))


def described(frames: list[types.FrameType]) -> Iterator[Frame]:
    """Frames, as data."""
    return map(describe_frame, frames)
