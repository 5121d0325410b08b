"""A trio call seen from asyncio as a Future: how the loop itself uses trio, and what the border builds on.

Each call is a trio task in the nursery that is open while the loop runs. What asyncio sees of its end is a table in
`border/cancellation.py`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import outcome
import trio

from .border.cancellation import seen_by_asyncio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .border.cancellation import Outcome

# Its frames are of no interest in a traceback (pytest's convention); see `_tracebacks.py`.
__tracebackhide__ = True


class TrioFuture(asyncio.Future[Any]):
    """The outcome of trio code, as a Future that is resolved only when that has really finished.

    Cancelling it cancels the scope that the code runs in; it stays pending until the code has ended, and counts as cancelled only if
    the code was. A result or an error that comes late wins.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, scope: trio.CancelScope) -> None:
        super().__init__(loop=loop)
        self.scope = scope
        # What asyncio sees if the code ends cancelled, once cancellation was asked for.
        self.asked: asyncio.CancelledError | None = None

    def cancel(self, msg: Any | None = None) -> bool:
        """Ask the trio code to stop; False if it has finished already."""
        if self.done():
            return False
        self.asked = asyncio.CancelledError() if msg is None else asyncio.CancelledError(msg)
        self.scope.cancel(None if msg is None else str(msg))
        return True

    def resolve(self, result: Outcome) -> None:
        """The code has ended."""
        if self.done():
            return
        if isinstance(result, outcome.Value):
            self.set_result(result.value)
        elif isinstance(result.error, asyncio.CancelledError):
            super().cancel(*result.error.args[:1])
        else:
            self.set_exception(_as_settable(result.error))


class TrioCall(TrioFuture):
    """A trio function in a trio task of its own."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # Shielded: what is around the loop (a cancelled open_loop) must not cut the call. It follows the asyncio
        # task that awaits it, which may need it to unwind.
        super().__init__(loop, trio.CancelScope(shield=True))

    async def run(self, async_fn: Callable[..., Awaitable[Any]], args: tuple[Any, ...]) -> None:
        """The body of the trio task."""
        cut: trio.Cancelled | None = None
        result: Outcome
        try:
            with self.scope:
                result = outcome.Value(await async_fn(*args))
            if self.scope.cancelled_caught:
                result = outcome.Error(self.asked or asyncio.CancelledError())
        except BaseException as exc:
            result = outcome.Error(exc)
            if isinstance(exc, trio.Cancelled):
                # From a scope outside of ours: the nursery is being closed by force, and has to see it.
                cut = exc
        self.resolve(seen_by_asyncio(result, self.asked))
        if cut is not None:
            raise cut


def _as_settable(exc: BaseException) -> BaseException:
    """A Future refuses StopIteration, since `await` could not raise it (PEP 479)."""
    if isinstance(exc, StopIteration):
        error = RuntimeError("a trio function called from asyncio raised StopIteration")
        error.__cause__ = exc
        return error
    return exc
