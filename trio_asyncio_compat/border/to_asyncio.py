"""Trio code calls asyncio code: `aio_as_trio`."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
from typing import TYPE_CHECKING, Any, overload

import trio

from .._flavour import run_as_asyncio
from .._loop import TrioEventLoop
from .._stdlib import get_running_loop
from .._waiting import wait_for_future

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from typing import ParamSpec, TypeVar

    P = ParamSpec("P")
    T = TypeVar("T")


@overload
def aio_as_trio(function: Callable[P, Awaitable[T]], /) -> Callable[P, Coroutine[Any, Any, T]]: ...
@overload
def aio_as_trio(awaitable: Awaitable[T], /) -> Coroutine[Any, Any, T]: ...
def aio_as_trio(target: Any, /) -> Any:
    """Make asyncio-flavoured code callable from trio.

    Args:
        target: an async function of asyncio, or any callable that returns an awaitable (`asyncio.gather`): returns a
            trio-flavoured async function with the same arguments. Or an awaitable: returns one to be awaited in trio code.

    The call is one asyncio task of the loop that is open here; it sees the caller's context variables, and what it sets is seen
    by the caller. Its result or exception is the call's. If the trio scope around it is cancelled, the task is cancelled once, with
    trio's reason as the message, and waited for: `trio.Cancelled` is raised if it ends in `asyncio.CancelledError`,
    otherwise its result or error counts. A call that finishes without ever waiting is no checkpoint.

    Raises TypeError for a target of another kind. The call raises RuntimeError where no loop is open (use
    `open_loop`), or if the loop stops before the task is done.
    """
    if inspect.isawaitable(target):
        return _await_asyncio(target)
    if not callable(target):
        raise TypeError(f"aio_as_trio() takes an async function, a callable that returns an awaitable, or an awaitable, not {target!r}")
    return _wrap(target)


asyncio_as_trio = aio_as_trio


def _wrap(function: Callable[..., Any]) -> Callable[..., Coroutine[Any, Any, Any]]:
    async def call(*args: Any, **kwargs: Any) -> Any:
        if inspect.iscoroutinefunction(function):
            return await _await_asyncio(function(*args, **kwargs))
        loop = open_loop_here()
        made: list[Any] = []
        run_as_asyncio(loop, lambda: made.append(function(*args, **kwargs)))
        if not inspect.isawaitable(made[0]):
            raise TypeError(f"aio_as_trio() needs something to await, but {function!r} returned {made[0]!r}. Call it without aio_as_trio()")
        return await _await_asyncio(made.pop())

    try:
        functools.update_wrapper(call, function)
    except AttributeError:
        pass
    return call


def open_loop_here() -> TrioEventLoop:
    """The loop that is open for the current trio task; RuntimeError if none is."""
    loop = get_running_loop()
    if not isinstance(loop, TrioEventLoop) or loop._nursery is None or not trio.lowlevel.in_trio_task():
        if trio.lowlevel.in_trio_run() and not trio.lowlevel.in_trio_task():
            raise RuntimeError("aio_as_trio() was called in asyncio code, which can await asyncio's functions directly")
        raise RuntimeError("no asyncio loop is open here: use 'async with trio_asyncio_compat.open_loop()' around this code")
    return loop


@trio.lowlevel.enable_ki_protection
async def _await_asyncio(awaitable: Any) -> Any:
    try:
        loop = open_loop_here()
        loop._check_serving()
    except RuntimeError:
        if inspect.iscoroutine(awaitable):
            awaitable.close()
        raise
    if not inspect.iscoroutine(awaitable):
        if asyncio.isfuture(awaitable):
            if awaitable.get_loop() is not loop:
                raise ValueError(f"{awaitable!r} belongs to a different loop than the one that is open here")
            # Not kept here: what it raises keeps this frame.
            future, awaitable = [awaitable], None
            return await wait_for_future(loop, future.pop())
        awaitable = _as_coroutine(awaitable)
    if loop.get_task_factory() is not None:
        return await _in_copied_context(loop, awaitable)
    return await wait_for_future(loop, loop._start_now(awaitable, trio.lowlevel.current_task().context))


async def _as_coroutine(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


async def _in_copied_context(loop: TrioEventLoop, coroutine: Coroutine[Any, Any, Any]) -> Any:
    """A factory may start its task at once and in the context it is given, which must not be entered twice: it gets a
    copy, and what has changed there is carried back."""
    context = contextvars.copy_context()
    created: list[asyncio.Task[Any]] = []
    run_as_asyncio(loop, lambda: created.append(loop.create_task(coroutine, context=context)))
    try:
        return await wait_for_future(loop, created.pop())
    finally:
        _carry_back(context)


def _carry_back(context: contextvars.Context) -> None:
    ours = contextvars.copy_context()
    for variable, value in context.items():
        if variable not in ours or ours[variable] is not value:
            variable.set(value)
