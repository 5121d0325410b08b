"""What `aio_as_trio(...)` and `trio_as_aio(...)` return, whatever they are given: the part that both directions share.

A *side* (`to_asyncio.py`, `to_trio.py`) knows how to call, to hold a context manager and to iterate over there; this module finds out
which of these is wanted.
"""

from __future__ import annotations

import abc
import asyncio
import contextlib
import functools
import inspect
import sys
import warnings
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any

import outcome
import trio

from .._origins import here
from .._tracebacks import ERRORS, arrived
from .carrier import Subject

if TYPE_CHECKING:
    import types

    from .._loop import TrioEventLoop
    from .cancellation import Outcome
    from .carrier import Block, Carrier

# Its frames are of no interest in a traceback (pytest's convention); see `_tracebacks.py`.
__tracebackhide__ = True

# Makes, on the side where it belongs, the thing that is awaited, entered or iterated there.
Make = Callable[[], Any]


class Side(abc.ABC):
    """The other side of the border, for one adapter."""

    # Of the adapter, for error messages.
    name: str
    # Of an error that comes from there, for its note.
    direction: str

    @abc.abstractmethod
    def function(
        self, function: Callable[..., Coroutine[Any, Any, Any]], loop: TrioEventLoop | None
    ) -> Callable[..., Coroutine[Any, Any, Any]]:
        """Like `function`, a coroutine function, which is then awaited over there."""

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


def cross(side: Side, target: Any, loop: TrioEventLoop | None) -> Any:
    """`target`, which is at home on `side`, for this one."""
    if isinstance(target, (classmethod, staticmethod)):
        return type(target)(cross(side, target.__func__, loop))
    if inspect.isasyncgen(target):
        return Iteration(side, lambda: target, loop)
    if _is_manager(target) or _is_iterable(target):
        return Crossing(side, lambda: target, loop, target, called=False)
    if inspect.isawaitable(target):
        return side.wait(target, loop)
    if not callable(target):
        raise TypeError(
            f"{side.name}() takes an async function, a callable that returns an awaitable, an awaitable, a context manager "
            f"or an async iterator, not {target!r}"
        )
    return _cross_function(side, target, loop)


def close_coroutines(make: Make) -> None:
    """Of a call that cannot be made: the coroutines it was given would complain that they were never awaited."""
    if isinstance(make, functools.partial):
        for argument in [*make.args, *make.keywords.values()]:
            if inspect.iscoroutine(argument):
                argument.close()


def _is_manager(target: Any) -> bool:
    kind = type(target)
    return hasattr(kind, "__aenter__") or (hasattr(kind, "__enter__") and hasattr(kind, "__exit__"))


def _is_iterable(target: Any) -> bool:
    return hasattr(type(target), "__aiter__")


def _cross_function(side: Side, function: Callable[..., Any], loop: TrioEventLoop | None) -> Callable[..., Any]:
    crossed: Callable[..., Any]
    if inspect.iscoroutinefunction(function):
        crossed = side.function(function, loop)
    elif inspect.isasyncgenfunction(function):

        def crossed(*args: Any, **kwargs: Any) -> Any:
            return Iteration(side, functools.partial(function, *args, **kwargs), loop)
    else:

        def crossed(*args: Any, **kwargs: Any) -> Any:
            return Crossing(side, functools.partial(function, *args, **kwargs), loop, function, called=True)

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

    def __init__(self, side: Side, make: Make, loop: TrioEventLoop | None, given: Any, *, called: bool) -> None:
        self._side = side
        self._make = make
        self._loop = loop
        self._given = given
        # What was called to make this; None once it is used, or if nothing was.
        self._unused = given if called else None
        # For the warning, in debug mode.
        self._made_at = here() if called else None
        self._coroutine: Coroutine[Any, Any, Any] | None = None
        # Of each task that is inside.
        self._blocks: list[tuple[object, Block]] = []

    def __repr__(self) -> str:
        return f"<{self._side.name}({self._given!r})>"

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
        here = _current_task()
        # One that several tasks share (a lock) is entered by each of them.
        if any(task is here for task, _ in self._blocks):
            raise RuntimeError(f"{self!r} is entered already by this task")
        block = self._side.block(self._make, self._loop)
        try:
            entered = await block.enter(scoped=not _is_plain_generator(sys._getframe(1)))
        except ERRORS as error:
            arrived(error, self._side.direction)
            raise
        self._blocks.append((here, block))
        return entered

    @trio.lowlevel.enable_ki_protection
    def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: types.TracebackType | None
    ) -> Coroutine[Any, Any, bool | None]:
        if not self._blocks:
            raise RuntimeError(f"{self!r} was not entered")
        here = _current_task()
        index = next((i for i in reversed(range(len(self._blocks))) if self._blocks[i][0] is here), -1)
        _, block = self._blocks.pop(index)
        block.loop._guard.waits_for_checkpoint = True
        return self._leave(block, kind, exc, trace)

    @trio.lowlevel.enable_ki_protection
    async def _leave(
        self, block: Block, kind: type[BaseException] | None, exc: BaseException | None, trace: types.TracebackType | None
    ) -> bool | None:
        block.loop._guard.waits_for_checkpoint = False
        try:
            return await block.exit(kind, exc, trace)
        except ERRORS as error:
            arrived(error, self._side.direction)
            raise
        finally:
            # The exception keeps this frame.
            del block, exc, trace

    def __aiter__(self) -> Iteration:
        self._unused = None
        return Iteration(self._side, self._make, self._loop)

    def __del__(self) -> None:
        if self._unused is not None:
            made = "" if self._made_at is None else f"\nMade at (most recent call last)\n{''.join(self._made_at.format())}".rstrip()
            warnings.warn(
                f"{self._side.name}({self._unused!r})(...) was never awaited, entered or iterated{made}",
                RuntimeWarning,
                stacklevel=2,
                source=self,
            )


def _is_plain_generator(frame: types.FrameType) -> bool:
    """Whether this is an async generator that is iterated over: it may be left, at a `yield`, in the middle of a block. That of an
    `asynccontextmanager` is one task's from its beginning to its end."""
    driver = frame.f_back
    is_generator = bool(frame.f_code.co_flags & inspect.CO_ASYNC_GENERATOR)
    return is_generator and (driver is None or driver.f_code.co_filename != contextlib.__file__)


def _current_task() -> object:
    """The task of either world that this code is in."""
    return trio.lowlevel.current_task() if trio.lowlevel.in_trio_task() else asyncio.current_task()


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
        except ERRORS as error:
            arrived(error, self._side.direction)
            raise
        finally:
            # What is settled already is the result of the next step.
            self._ended = carrier.over and carrier.settled is None

    def __anext__(self) -> Coroutine[Any, Any, Any]:
        return self._step("__anext__")

    def asend(self, value: Any) -> Coroutine[Any, Any, Any]:
        """See `agen.asend`; AttributeError if the iterator has none."""
        return self._step("asend", value)

    def athrow(self, *exc: Any) -> Coroutine[Any, Any, Any]:
        """See `agen.athrow`; AttributeError if the iterator has none."""
        return self._step("athrow", *exc)

    async def aclose(self) -> None:
        """Close the iterator on its own side, and wait for that."""
        if self._carrier is not None and not self._ended:
            # Refused while it is busy: it is then not closed.
            self._ended = not self._carrier.busy
            try:
                await self._carrier.call(self._iterator.abandon, last=True)
            except ERRORS as error:
                arrived(error, self._side.direction)
                raise
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
        # Nothing else that can be closed: to leave an `async for` over a channel does not close that.
        if isinstance(self._iterator, AsyncGenerator):
            await _tell_of_the_end(self._iterator.aclose())

    def ends_with(self, exc: BaseException) -> bool:
        return isinstance(exc, StopAsyncIteration) or inspect.isasyncgen(self._iterator)


class Manager(Subject):
    """A context manager, synchronous or not. What an interruption does to its block is for the `Block` to say."""

    def __init__(self, side: Side, make: Make, interrupt_block: Callable[[BaseException], None]) -> None:
        self._side = side
        self._make = make
        self._interrupt_block = interrupt_block
        self._manager: Any = None
        # What the block was told of, and its manager has not been.
        self._interruption: BaseException | None = None

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
        manager, self._manager, self._interruption = self._manager, None, None
        info = (None, None, None) if exc is None else (type(exc), exc, exc.__traceback__)
        try:
            if hasattr(type(manager), "__aexit__"):
                return bool(await manager.__aexit__(*info))
            return bool(manager.__exit__(*info))
        finally:
            # The exception keeps this frame.
            del exc, info

    async def interrupted(self, exc: BaseException) -> Outcome | None:
        self._interruption = exc
        self._interrupt_block(exc)
        return None

    async def abandon(self) -> None:
        if self._manager is not None:
            exc = self._interruption or GeneratorExit("the block of this context manager was dropped")
            await _tell_of_the_end(self.exit(exc))

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
