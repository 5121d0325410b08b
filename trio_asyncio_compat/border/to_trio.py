"""Asyncio code calls trio code: `trio_as_aio`."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, overload

from .._calls import name_of
from .._tracebacks import ERRORS, TO_ASYNCIO, arrived
from .crossing import Side, close_coroutines, cross
from .here import loop_of_asyncio_code
from .trio_carrier import TrioBlock, TrioCarrier

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine
    from contextlib import AbstractAsyncContextManager, AbstractContextManager
    from typing import ParamSpec, TypeVar

    from .._calls import TrioCall
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
def trio_as_aio(function: Callable[P, Awaitable[T]], /) -> Callable[P, Coroutine[Any, Any, T]]: ...
@overload
def trio_as_aio(
    function: Callable[P, AbstractAsyncContextManager[T] | AbstractContextManager[T]], /
) -> Callable[P, AbstractAsyncContextManager[T]]: ...
@overload
def trio_as_aio(function: Callable[P, AsyncGenerator[T, S]], /) -> Callable[P, AsyncGenerator[T, S]]: ...
@overload
def trio_as_aio(function: Callable[P, AsyncIterable[T]], /) -> Callable[P, AsyncIterator[T]]: ...
@overload
def trio_as_aio(manager: AwaitableManager[T, U], /) -> CrossedAwaitableManager[T, U]: ...
@overload
def trio_as_aio(manager: IterableManager[T, U], /) -> CrossedIterableManager[T, U]: ...
@overload
def trio_as_aio(awaitable: Awaitable[T], /) -> Coroutine[Any, Any, T]: ...
@overload
def trio_as_aio(manager: AbstractAsyncContextManager[T] | AbstractContextManager[T], /) -> AbstractAsyncContextManager[T]: ...
@overload
def trio_as_aio(generator: AsyncGenerator[T, S], /) -> AsyncGenerator[T, S]: ...
@overload
def trio_as_aio(iterable: AsyncIterable[T], /) -> AsyncIterator[T]: ...
@overload
def trio_as_aio(target: Any, /, *, loop: TrioEventLoop) -> Any: ...
def trio_as_aio(target: Any, /, *, loop: TrioEventLoop | None = None) -> Any:
    """Make trio-flavoured code usable from asyncio.

    Args:
        target: an async function of trio, or any callable that returns something to await, to enter or to iterate
            (`trio.open_nursery`, `trio.move_on_after`, an async generator function): returns a function with the same arguments,
            also as a decorator, of methods too. Or such a thing itself: an awaitable, to be awaited in asyncio code; a context
            manager, for `async with` (one of `with` as well, as trio's scopes are); an async iterator, for `async for`.
        loop: the loop whose nursery is to be used; by default the running one.

    A call is one trio task in the loop's nursery, in a copy of the caller's context; so is a context manager from its entry to its exit,
    and an iterator for its whole life: what these set in their context variables, and the caller in its own, is seen by both. If the
    asyncio task that awaits a call is cancelled, the trio task's scope is, with a reason that has asyncio's message, and waited for:
    `asyncio.CancelledError` is raised only if trio's code ended cancelled; a result or an error that came late counts. If trio
    cancels the task of a context manager (a scope's time is over, a task of a nursery has crashed), the block is cancelled, and the
    manager decides what comes of it; if asyncio cancels the block, CancelledError comes out of it, not a nursery's group. An
    iterator that is dropped is closed in its own task at once.

    Raises TypeError for a target of another kind. What is returned raises RuntimeError in code that runs on no loop of ours, and in
    trio code.
    """
    return cross(SIDE, target, loop)


trio_as_asyncio = trio_as_aio


class _ToTrio(Side):
    name = "trio_as_aio"
    direction = TO_ASYNCIO

    def function(
        self, function: Callable[..., Coroutine[Any, Any, Any]], loop: TrioEventLoop | None
    ) -> Callable[..., Coroutine[Any, Any, Any]]:
        name = name_of(function)

        # One coroutine, and no more: each that is around a call makes all of its waits dearer.
        async def crossed(*args: Any, **kwargs: Any) -> Any:
            try:
                return await _begin(function(*args, **kwargs), name, loop)
            except ERRORS as exc:
                arrived(exc, TO_ASYNCIO)
                raise

        return crossed

    async def wait(self, awaitable: Any, loop: TrioEventLoop | None) -> Any:
        coroutine = awaitable if inspect.iscoroutine(awaitable) else _as_coroutine(awaitable)
        try:
            return await _begin(coroutine, getattr(awaitable, "__qualname__", None) or repr(awaitable), loop)
        except ERRORS as exc:
            arrived(exc, TO_ASYNCIO)
            raise

    async def call(self, make: Make, loop: TrioEventLoop | None) -> Any:
        async def call() -> Any:
            made = make()
            if not inspect.isawaitable(made):
                raise TypeError(f"trio_as_aio() was given {made!r}, which cannot be awaited. If it is a result, call without trio_as_aio()")
            return await made

        try:
            loop = _serving(loop)
        except RuntimeError:
            close_coroutines(make)
            raise
        try:
            return await loop._call_trio_now(call(), name_of(make))
        except ERRORS as exc:
            arrived(exc, TO_ASYNCIO)
            raise

    def block(self, make: Make, loop: TrioEventLoop | None) -> TrioBlock:
        return TrioBlock(self, make, loop or loop_of_asyncio_code("trio_as_aio()"))

    def carrier(self, subject: Subject, loop: TrioEventLoop | None) -> TrioCarrier:
        return TrioCarrier(loop or loop_of_asyncio_code("trio_as_aio()"), subject)


SIDE = _ToTrio()


def _begin(coroutine: Coroutine[Any, Any, Any], name: str, loop: TrioEventLoop | None) -> TrioCall:
    """Have `coroutine` run by a trio task."""
    try:
        loop = _serving(loop)
    except RuntimeError:
        coroutine.close()
        raise
    return loop._call_trio_now(coroutine, name)


def _serving(loop: TrioEventLoop | None) -> TrioEventLoop:
    """The loop to use: `loop`, or the running one. RuntimeError unless it serves."""
    loop = loop or loop_of_asyncio_code("trio_as_aio()")
    loop._check_serving()
    return loop


async def _as_coroutine(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
