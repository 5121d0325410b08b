"""Trio code calls asyncio code: `aio_as_trio`, and `gather`."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
from typing import TYPE_CHECKING, Any, overload

import trio

from .._flavour import run_as_asyncio
from .._stdlib import get_running_loop
from .._tracebacks import ERRORS, TO_TRIO, arrived
from .._trio_private import is_cancelled
from .._waiting import wait_for_future
from .asyncio_carrier import AsyncioBlock, AsyncioCarrier
from .contexts import carry
from .crossing import Side, close_coroutines, cross
from .here import loop_of_trio_code
from .task import wait_here

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine
    from contextlib import AbstractAsyncContextManager, AbstractContextManager
    from typing import ParamSpec, TypeVar

    from .._loop import TrioEventLoop
    from .carrier import Subject
    from .crossing import Make
    from .kinds import AwaitableManager, CrossedAwaitableManager, CrossedIterableManager, IterableManager

    P = ParamSpec("P")
    S = TypeVar("S")
    T = TypeVar("T")
    U = TypeVar("U")

# Its frames are of no interest in a traceback (pytest's convention); see `_tracebacks.py`.
__tracebackhide__ = True


@overload
def aio_as_trio(function: Callable[P, Awaitable[T]], /) -> Callable[P, Coroutine[Any, Any, T]]: ...
@overload
def aio_as_trio(
    function: Callable[P, AbstractAsyncContextManager[T] | AbstractContextManager[T]], /
) -> Callable[P, AbstractAsyncContextManager[T]]: ...
@overload
def aio_as_trio(function: Callable[P, AsyncGenerator[T, S]], /) -> Callable[P, AsyncGenerator[T, S]]: ...
@overload
def aio_as_trio(function: Callable[P, AsyncIterable[T]], /) -> Callable[P, AsyncIterator[T]]: ...
@overload
def aio_as_trio(manager: AwaitableManager[T, U], /) -> CrossedAwaitableManager[T, U]: ...
@overload
def aio_as_trio(manager: IterableManager[T, U], /) -> CrossedIterableManager[T, U]: ...
@overload
def aio_as_trio(awaitable: Awaitable[T], /) -> Coroutine[Any, Any, T]: ...
@overload
def aio_as_trio(manager: AbstractAsyncContextManager[T] | AbstractContextManager[T], /) -> AbstractAsyncContextManager[T]: ...
@overload
def aio_as_trio(generator: AsyncGenerator[T, S], /) -> AsyncGenerator[T, S]: ...
@overload
def aio_as_trio(iterable: AsyncIterable[T], /) -> AsyncIterator[T]: ...
@overload
def aio_as_trio(target: Any, /, *, loop: TrioEventLoop) -> Any: ...
def aio_as_trio(target: Any, /, *, loop: TrioEventLoop | None = None) -> Any:
    """Make asyncio-flavoured code usable from trio.

    Args:
        target: an async function of asyncio, or any callable that returns something to await, to enter or to iterate
            (`asyncio.gather`, `asyncio.timeout`, an async generator function): returns a function with the same arguments, also as a
            decorator, of methods too. Or such a thing itself: an awaitable, to be awaited in trio code; a context manager, for
            `async with` (one of `with` as well); an async iterator, for `async for`.
        loop: the loop to use; by default the one that is open where the call is made.

    A call is one asyncio task; so is a context manager from its entry to its exit, and an iterator for its whole life. They see the
    caller's context variables, and what they set is seen by the caller. A result or an exception is the call's. If the trio scope around a
    call is cancelled, its task is cancelled once, with trio's reason as the message, and waited for: `trio.Cancelled` is raised if
    it ends in `asyncio.CancelledError`, otherwise its result or error counts. If asyncio cancels the task of a context manager (a
    timeout expires, a task of a TaskGroup fails), the block is cancelled as by a trio scope. An iterator that is dropped is closed
    in its own task at once. A call that finishes without ever waiting is no checkpoint.

    Raises TypeError for a target of another kind. What is returned raises RuntimeError where no loop is open (use
    `open_loop`), or if the loop stops before the task is done.
    """
    return cross(SIDE, target, loop)


asyncio_as_trio = aio_as_trio


class _ToAsyncio(Side):
    name = "aio_as_trio"
    direction = TO_TRIO

    def function(
        self, function: Callable[..., Coroutine[Any, Any, Any]], loop: TrioEventLoop | None
    ) -> Callable[..., Coroutine[Any, Any, Any]]:
        # See `to_trio.py`: as few coroutines as can be.
        @trio.lowlevel.enable_ki_protection
        async def crossed(*args: Any, **kwargs: Any) -> Any:
            try:
                return await _run_task(function(*args, **kwargs), loop)
            except ERRORS as exc:
                arrived(exc, TO_TRIO)
                raise

        return crossed

    @trio.lowlevel.enable_ki_protection
    async def wait(self, awaitable: Any, loop: TrioEventLoop | None) -> Any:
        if asyncio.isfuture(awaitable):
            loop = _serving(loop)
            if awaitable.get_loop() is not loop:
                raise ValueError(f"{awaitable!r} belongs to a different loop than the one that is open here")
            loop._calls_to_asyncio += 1
            # Not kept here: what it raises keeps this frame.
            future, awaitable = [awaitable], None
            try:
                return await wait_for_future(loop, future.pop(), wait_here)
            except ERRORS as exc:
                arrived(exc, TO_TRIO)
                raise
        coroutine = [awaitable if inspect.iscoroutine(awaitable) else _as_coroutine(awaitable)]
        del awaitable
        try:
            return await _run_task(coroutine.pop(), loop)
        except ERRORS as exc:
            arrived(exc, TO_TRIO)
            raise

    @trio.lowlevel.enable_ki_protection
    async def call(self, make: Make, loop: TrioEventLoop | None) -> Any:
        try:
            loop = _serving(loop)
        except RuntimeError:
            close_coroutines(make)
            raise
        made = [run_as_asyncio(loop, make)]
        if not inspect.isawaitable(made[0]):
            raise TypeError(f"aio_as_trio() was given {made[0]!r}, which cannot be awaited. If it is a result, call without aio_as_trio()")
        try:
            return await self.wait(made.pop(), loop)
        except ERRORS as exc:
            arrived(exc, TO_TRIO)
            raise

    def block(self, make: Make, loop: TrioEventLoop | None) -> AsyncioBlock:
        return AsyncioBlock(self, make, loop or loop_of_trio_code("aio_as_trio()"))

    def carrier(self, subject: Subject, loop: TrioEventLoop | None) -> AsyncioCarrier:
        return AsyncioCarrier(loop or loop_of_trio_code("aio_as_trio()"), subject)


SIDE = _ToAsyncio()


async def _as_coroutine(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


@trio.lowlevel.enable_ki_protection
async def _run_task(coroutine: Coroutine[Any, Any, Any], loop: TrioEventLoop | None) -> Any:
    """Await `coroutine` as a task of the loop.

    It gets a copy of the context, and what has changed there is carried back: the context of a trio task is entered while
    that runs, so that no asyncio callback could run in it meanwhile.
    """
    try:
        loop = _serving(loop)
    except RuntimeError:
        coroutine.close()
        raise
    loop._calls_to_asyncio += 1
    context = contextvars.copy_context()
    pump = loop._pump
    held = pump.hold()
    served = False
    try:
        if loop._task_factory is not None:
            task = run_as_asyncio(loop, functools.partial(loop.create_task, coroutine, context=context))
        # Where trio has cancelled already, the task must hear of it before it goes on.
        elif pump.may_serve_here(held) and not is_cancelled(trio.lowlevel.current_task()):
            task, served = loop._start_now_and_serve(coroutine, context)
        else:
            task = loop._start_now(coroutine, context)
    except BaseException:
        pump.release(held)
        raise
    try:
        if not served:
            return await wait_for_future(loop, task, wait_here, held=held)
        if not task.done():
            return await wait_for_future(loop, task, wait_here)
        # It has waited.
        await trio.lowlevel.cancel_shielded_checkpoint()
        return task.result()
    finally:
        # What it raised keeps this frame.
        task = None  # type: ignore[assignment]
        carry(context)


def _serving(loop: TrioEventLoop | None) -> TrioEventLoop:
    """The loop to use: `loop`, or the one that is open here. RuntimeError unless it serves."""
    loop = loop or loop_of_trio_code("aio_as_trio()")
    loop._check_serving()
    return loop


async def gather(*aws: Awaitable[Any], return_exceptions: bool = False) -> list[Any]:
    """`asyncio.gather` for trio code: run asyncio's awaitables concurrently, return their results in the order given.

    Args:
        aws: coroutines, futures and tasks of asyncio. A coroutine that is given twice is run once.
        return_exceptions: return exceptions among the results, instead of raising the first one at once. The others go on in any case.

    Works in trio code with a loop open, in flavour-free code, and in asyncio code. If it is cancelled (by a trio scope, or by asyncio) all
    children that have not finished are; a child that is cancelled by itself counts as one that raised `asyncio.CancelledError`.
    Raises RuntimeError where no loop is open.
    """
    if trio.lowlevel.in_trio_task() or get_running_loop() is None:
        try:
            results: list[Any] = await SIDE.call(functools.partial(asyncio.gather, *aws, return_exceptions=return_exceptions), None)
        except ERRORS as exc:
            arrived(exc, TO_TRIO)
            raise
        return results
    return await asyncio.gather(*aws, return_exceptions=return_exceptions)
