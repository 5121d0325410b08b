"""A trio call seen from asyncio as a Future: how the loop itself uses trio, and what the border builds on.

Each call is a trio task in the nursery that is open while the loop runs.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class TrioCall(asyncio.Future[Any]):
    """The outcome of a trio task, as a Future that is resolved only when trio has really finished.

    Cancelling it cancels the task's scope; it stays pending until the task is gone, and counts as cancelled only if the task's
    code was. A result or an error that comes late wins.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        # Shielded: what is around the loop (a cancelled open_loop) must not cut the call. It follows the asyncio
        # task that awaits it, which may need it to unwind.
        self._scope = trio.CancelScope(shield=True)
        self._message: Any = None

    def cancel(self, msg: Any | None = None) -> bool:
        """Ask the trio task to stop; False if it has finished already."""
        if self.done():
            return False
        self._message = msg
        self._scope.cancel()
        return True

    async def run(self, async_fn: Callable[..., Awaitable[Any]], args: tuple[Any, ...]) -> None:
        """The body of the trio task."""
        try:
            with self._scope:
                result = await async_fn(*args)
        except BaseException as exc:
            if isinstance(exc, trio.Cancelled):
                # From a scope outside of ours: the nursery is being closed by force.
                self._end_cancelled()
                raise
            if not self.done():
                self.set_exception(_as_settable(exc))
            return
        if self.done():
            return
        if self._scope.cancelled_caught:
            self._end_cancelled()
        else:
            self.set_result(result)

    def _end_cancelled(self) -> None:
        super().cancel(self._message)


def _as_settable(exc: BaseException) -> BaseException:
    """A Future refuses StopIteration, since `await` could not raise it (PEP 479)."""
    if isinstance(exc, StopIteration):
        error = RuntimeError("a trio function called from asyncio raised StopIteration")
        error.__cause__ = exc
        return error
    return exc
