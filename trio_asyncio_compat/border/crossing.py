"""What `aio_as_trio(...)` and `trio_as_aio(...)` return, whatever they are given: the part that both directions share.

A *side* (`to_asyncio.py`, `to_trio.py`) knows how to call, to hold a context manager and to iterate over there; this module finds out
which of these is wanted.
"""

from __future__ import annotations

import abc
import functools
import inspect
import warnings
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any

import outcome
import trio

if TYPE_CHECKING:
    import types

    from .._loop import TrioEventLoop
    from .cancellation import Outcome

# Its frames are of no interest in a traceback (pytest's convention); see `_tracebacks.py`.
__tracebackhide__ = True

# Makes, on the side where it belongs, the thing that is awaited, entered or iterated there.
Make = Callable[[], Any]


class Side(abc.ABC):
    """The other side of the border, for one adapter."""

    # Of the adapter, for error messages.
    name: str

    @abc.abstractmethod
    def wait(self, awaitable: Any, loop: TrioEventLoop | None) -> Coroutine[Any, Any, Any]:
        """Await `awaitable` over there."""

    @abc.abstractmethod
    def call(self, make: Make, loop: TrioEventLoop | None) -> Coroutine[Any, Any, Any]:
        """Await what `make` returns, over there."""

    @abc.abstractmethod
    def block(self, make: Make, loop: TrioEventLoop | None) -> Block:
        """Hold the context manager that `make` returns, over there."""

    @abc.abstractmethod
    def carrier(self, subject: Subject, loop: TrioEventLoop | None) -> Carrier:
        """A task over there that makes several calls for `subject`."""


class Block(abc.ABC):
    """The block of one context manager."""

    loop: TrioEventLoop

    @abc.abstractmethod
    async def enter(self) -> Any:
        """Enter the manager."""

    @abc.abstractmethod
    async def exit(self, kind: type[BaseException] | None, exc: BaseException | None, trace: types.TracebackType | None) -> bool:
        """Leave it; tell whether the exception is dealt with."""


class Subject(abc.ABC):
    """What a carrier makes its calls for: a context manager or an iterator, as its own side sees it.

    Separate from what the caller holds (`Block`, `Iteration`), which must be free to be dropped.
    """

    @abc.abstractmethod
    async def interrupted(self, exc: BaseException) -> Outcome | None:
        """The carrier's task was cancelled between two calls. Return what is to be the result of the next call, if that is settled
        by this; otherwise the cancellation is kept for it."""

    @abc.abstractmethod
    async def abandon(self) -> None:
        """There will be no other call: clean up."""

    @abc.abstractmethod
    def ends_with(self, exc: BaseException) -> bool:
        """Whether no call can follow one that has raised `exc`."""


class Carrier(abc.ABC):
    """A task of the other side that makes calls for this one, one after the other, from the first one until it is told to end.

    So a context manager is entered and left in one task, and an iterator lives in one.
    """

    # No other call can be made.
    over = False
    # A call is being made.
    busy = False

    @abc.abstractmethod
    async def call(self, function: Callable[[], Coroutine[Any, Any, Any]], *, last: bool = False) -> Any:
        """Await `function()` over there. The carrier ends with the `last` call, or when its subject has ended."""

    @abc.abstractmethod
    def end_soon(self) -> None:
        """End without another call. Any thread, any moment; a second time does nothing."""


def cross(side: Side, target: Any, loop: TrioEventLoop | None) -> Any:
    """`target`, which is at home on `side`, for this one."""
    if isinstance(target, (classmethod, staticmethod)):
        return type(target)(cross(side, target.__func__, loop))
    if inspect.isasyncgen(target):
        return Iteration(side, lambda: target, loop)
    if _is_manager(target) or _is_iterable(target):
        return Crossing(side, lambda: target, loop)
    if inspect.isawaitable(target):
        return side.wait(target, loop)
    if not callable(target):
        raise TypeError(
            f"{side.name}() takes an async function, a callable that returns an awaitable, an awaitable, a context manager "
            f"or an async iterator, not {target!r}"
        )
    return _cross_function(side, target, loop)


def _is_manager(target: Any) -> bool:
    kind = type(target)
    return hasattr(kind, "__aenter__") or (hasattr(kind, "__enter__") and hasattr(kind, "__exit__"))


def _is_iterable(target: Any) -> bool:
    return hasattr(type(target), "__aiter__")


def _cross_function(side: Side, function: Callable[..., Any], loop: TrioEventLoop | None) -> Callable[..., Any]:
    crossed: Callable[..., Any]
    if inspect.iscoroutinefunction(function):

        async def crossed(*args: Any, **kwargs: Any) -> Any:
            return await side.wait(function(*args, **kwargs), loop)
    elif inspect.isasyncgenfunction(function):

        def crossed(*args: Any, **kwargs: Any) -> Any:
            return Iteration(side, functools.partial(function, *args, **kwargs), loop)
    else:

        def crossed(*args: Any, **kwargs: Any) -> Any:
            return Crossing(side, functools.partial(function, *args, **kwargs), loop, function)

    try:
        functools.update_wrapper(crossed, function)
    except AttributeError:
        pass
    return crossed


class Crossing(Coroutine[Any, Any, Any]):
    """To be awaited, entered with `async with`, or iterated with `async for`: it is then done on the other side.

    The function that was called is called there, too. Each use is a new one; one that was called and never used is warned of, as
    a coroutine is.
    """

    def __init__(self, side: Side, make: Make, loop: TrioEventLoop | None, function: Callable[..., Any] | None = None) -> None:
        self._side = side
        self._make = make
        self._loop = loop
        # What was called to make this; None once it is used, or if nothing was.
        self._unused = function
        self._coroutine: Coroutine[Any, Any, Any] | None = None
        self._block: Block | None = None

    def __repr__(self) -> str:
        return f"<{self._side.name}({self._make!r})>"

    def __await__(self) -> Generator[Any, Any, Any]:
        self._unused = None
        return self._side.call(self._make, self._loop).__await__()

    # The interface of a coroutine, for `nursery.start_soon` and `create_task`.

    def send(self, value: Any) -> Any:
        """See `types.CoroutineType`."""
        return self._started().send(value)

    def throw(self, *exc: Any) -> Any:
        """See `types.CoroutineType`."""
        return self._started().throw(*exc)

    def close(self) -> None:
        """See `types.CoroutineType`."""
        self._unused = None
        if self._coroutine is not None:
            self._coroutine.close()

    def _started(self) -> Coroutine[Any, Any, Any]:
        self._unused = None
        if self._coroutine is None:
            self._coroutine = self._side.call(self._make, self._loop)
        return self._coroutine

    # A scope that Ctrl-C leaves open in a trio task takes the whole run down: so neither way is interrupted, and nor is what Python does
    # between `__aexit__` and its first step (see `_lifetime.py`).
    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> Any:
        self._unused = None
        if self._block is not None:
            raise RuntimeError(f"{self!r} is entered already")
        self._block = self._side.block(self._make, self._loop)
        try:
            return await self._block.enter()
        except BaseException:
            self._block = None
            raise

    @trio.lowlevel.enable_ki_protection
    def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: types.TracebackType | None
    ) -> Coroutine[Any, Any, bool | None]:
        block, self._block = self._block, None
        if block is None:
            raise RuntimeError(f"{self!r} was not entered")
        block.loop._guard.waits_for_checkpoint = True
        return self._leave(block, kind, exc, trace)

    @trio.lowlevel.enable_ki_protection
    async def _leave(
        self, block: Block, kind: type[BaseException] | None, exc: BaseException | None, trace: types.TracebackType | None
    ) -> bool | None:
        block.loop._guard.waits_for_checkpoint = False
        try:
            return await block.exit(kind, exc, trace)
        finally:
            # The exception keeps this frame.
            del block, exc, trace

    def __aiter__(self) -> Iteration:
        self._unused = None
        return Iteration(self._side, self._make, self._loop)

    def __del__(self) -> None:
        if self._unused is not None:
            warnings.warn(
                f"{self._side.name}({self._unused!r})(...) was never awaited, entered or iterated",
                RuntimeWarning,
                stacklevel=2,
                source=self,
            )


class Iteration(AsyncGenerator[Any, Any]):
    """An iterator of the other side, which lives in one task there.

    When it is dropped or closed, so is the other one, at once: when the iteration is left early, a generator's clean-up does not
    wait for the end of the loop.
    """

    def __init__(self, side: Side, make: Make, loop: TrioEventLoop | None) -> None:
        self._side = side
        self._iterator = _Iterator(side, make)
        self._loop = loop
        self._carrier: Carrier | None = None
        self._ended = False

    async def _step(self, method: str, *args: Any) -> Any:
        if self._ended:
            raise StopAsyncIteration
        if self._carrier is None:
            self._carrier = self._side.carrier(self._iterator, self._loop)
        carrier, iterator = self._carrier, self._iterator
        try:
            return await carrier.call(lambda: iterator.step(method, args))
        finally:
            self._ended = carrier.over

    async def __anext__(self) -> Any:
        return await self._step("__anext__")

    async def asend(self, value: Any) -> Any:
        """See `agen.asend`; AttributeError if the iterator has none."""
        return await self._step("asend", value)

    async def athrow(self, *exc: Any) -> Any:
        """See `agen.athrow`; AttributeError if the iterator has none."""
        return await self._step("athrow", *exc)

    async def aclose(self) -> None:
        """Close the iterator on its own side, and wait for that."""
        if self._carrier is not None and not self._ended:
            # Refused while it is busy: it is then not closed.
            self._ended = not self._carrier.busy
            await self._carrier.call(self._iterator.abandon, last=True)
        self._ended = True

    def __del__(self) -> None:
        if self._carrier is not None and not self._ended:
            self._carrier.end_soon()


class _Iterator(Subject):
    def __init__(self, side: Side, make: Make) -> None:
        self._side = side
        self._make = make
        self._iterator: Any = None

    async def step(self, method: str, args: tuple[Any, ...]) -> Any:
        """Call one method of the iterator."""
        if self._iterator is None:
            made = self._make()
            if not _is_iterable(made):
                raise TypeError(f"'async for' needs an async iterator, and {self._side.name}() was given {made!r}")
            self._iterator = made.__aiter__()
        return await getattr(self._iterator, method)(*args)

    async def interrupted(self, exc: BaseException) -> Outcome | None:
        # Thrown where the iterator stands, which is what it may have had in mind (a timeout around a yield). Kept for the next step,
        # it would keep a loop waiting that is about to end.
        if not hasattr(self._iterator, "athrow"):
            return outcome.Error(exc)
        settled: Outcome = await outcome.acapture(self._iterator.athrow, exc)
        return settled

    async def abandon(self) -> None:
        close = getattr(self._iterator, "aclose", None)
        if close is not None:
            await _tell_of_the_end(close())

    def ends_with(self, exc: BaseException) -> bool:
        return isinstance(exc, StopAsyncIteration) or inspect.isasyncgen(self._iterator)


class Manager(Subject):
    """A context manager, synchronous or not. What an interruption does to its block is for the `Block` to say."""

    def __init__(self, side: Side, make: Make, interrupt_block: Callable[[BaseException], None]) -> None:
        self._side = side
        self._make = make
        self._interrupt_block = interrupt_block
        self._manager: Any = None

    @property
    def entered(self) -> bool:
        """Whether it is entered now."""
        return self._manager is not None

    async def enter(self) -> Any:
        """`__aenter__`, or `__enter__`."""
        manager = self._make()
        if not _is_manager(manager):
            raise TypeError(f"'async with' needs a context manager, and {self._side.name}() was given {manager!r}")
        if hasattr(type(manager), "__aenter__"):
            entered = await manager.__aenter__()
        else:
            entered = manager.__enter__()
        self._manager = manager
        return entered

    async def exit(self, exc: BaseException | None) -> bool:
        """`__aexit__`, or `__exit__`."""
        manager, self._manager = self._manager, None
        info = (None, None, None) if exc is None else (type(exc), exc, exc.__traceback__)
        try:
            if hasattr(type(manager), "__aexit__"):
                return bool(await manager.__aexit__(*info))
            return bool(manager.__exit__(*info))
        finally:
            # The exception keeps this frame.
            del exc, info

    async def interrupted(self, exc: BaseException) -> Outcome | None:
        self._interrupt_block(exc)
        return None

    async def abandon(self) -> None:
        if self._manager is not None:
            await _tell_of_the_end(self.exit(GeneratorExit("the block of this context manager was dropped")))

    def ends_with(self, exc: BaseException) -> bool:
        return True


async def _tell_of_the_end(clean_up: Awaitable[object]) -> None:
    """Await `clean_up`, which has GeneratorExit thrown into the other side's code. That may come back, also in the group of a nursery,
    there beside the cancellations of its children."""
    try:
        await clean_up
    except GeneratorExit:
        pass
    except BaseExceptionGroup as group:
        if group.split((GeneratorExit, trio.Cancelled))[1] is not None:
            raise
