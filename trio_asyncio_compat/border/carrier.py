"""What the carriers of both directions have in common, and what they carry: see `asyncio_carrier.py` and `trio_carrier.py`."""

from __future__ import annotations

import abc
import asyncio
from typing import TYPE_CHECKING, Any

import outcome
import trio

if TYPE_CHECKING:
    import types
    from collections.abc import Callable, Coroutine

    from .._loop import TrioEventLoop
    from .cancellation import Outcome


class Block(abc.ABC):
    """The block of one context manager."""

    loop: TrioEventLoop

    @abc.abstractmethod
    async def enter(self, *, scoped: bool) -> Any:
        """Enter the manager. `scoped` is whether the code that does so can have a cancel scope around the block."""

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
    # The result of the next call, if an interruption has settled that already.
    settled: Outcome | None = None
    _ending = False

    @property
    @abc.abstractmethod
    def future(self) -> asyncio.Future[Any] | None:
        """The task, as asyncio sees it; None before the first call."""

    @abc.abstractmethod
    async def call(self, function: Callable[[], Coroutine[Any, Any, Any]], *, last: bool = False) -> Any:
        """Await `function()` over there. The carrier ends with the `last` call, or when its subject has ended."""

    @abc.abstractmethod
    def end_soon(self) -> None:
        """End without another call. Any thread, any moment; a second time does nothing."""

    @abc.abstractmethod
    def _wake(self) -> None:
        """Have the task look for what there is to do."""

    def end(self, loop: TrioEventLoop) -> None:
        """`end_soon`, in the loop. An error that nobody has asked for is reported."""
        error = self.unseen_error()
        if error is not None:
            message = "error of an iterator that was dropped before it could be raised"
            loop.call_exception_handler({"message": message, "exception": error})
        loop._blocks.discard(self)
        self._ending = True
        self._wake()

    def take_settled(self, *, last: bool) -> Outcome | None:
        """The result of a call, if an interruption has settled that, so that it need not be made."""
        if not last:
            settled, self.settled = self.settled, None
            return settled
        if self.settled is None or not self._ending:
            # An item that was to come next: it is closed instead.
            self.settled = None
            return None
        error = self.unseen_error()
        return outcome.Value(None) if error is None else outcome.Error(error)

    def unseen_error(self) -> BaseException | None:
        """The error that is settled and that no call has raised, unless it is a cancellation; not again."""
        settled, self.settled = self.settled, None
        if not isinstance(settled, outcome.Error) or isinstance(settled.error, _NO_ERRORS):
            return None
        return settled.error

    @property
    def ended(self) -> bool:
        """Whether the task has ended, with a last call or because of what is around it."""
        return self.future is not None and self.future.done()


# What ends an iterator, or comes of ending one, is no error of it.
_NO_ERRORS = (StopAsyncIteration, GeneratorExit, asyncio.CancelledError, trio.Cancelled)
