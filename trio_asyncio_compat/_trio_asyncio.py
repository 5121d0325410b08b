"""What a loop of trio-asyncio 0.16 can do beyond asyncio's: methods of ours under the same names, with the same meaning.

A base of `TrioEventLoop`. The functions of these names, at the top of the package, are in `border/drop_in.py`.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

from ._calls import TrioCall
from ._tracebacks import ERRORS, TO_TRIO, arrived
from ._waiting import wait_for_future

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

# Its frames are of no interest in a traceback (pytest's convention); see `_tracebacks.py`.
__tracebackhide__ = True

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class TrioTaskHandle:
    """A trio task that `run_trio_task` has started."""

    def __init__(self, call: TrioCall) -> None:
        self._call = call

    def cancel(self) -> None:
        """Cancel the task; one that has ended stays as it is."""
        self._call.cancel("cancelled by its handle")

    def cancelled(self) -> bool:
        """Whether `cancel` was called, in time."""
        return self._call.asked is not None


class TrioAsyncioMethods:
    """See the module. `self` is the `TrioEventLoop`."""

    def trio_as_future(self: Any, proc: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> asyncio.Future[T]:
        """Start a trio task that runs `await proc(*args)`; return an asyncio Future for its outcome.

        May be called from trio code, asyncio code and callbacks of the loop. Cancelling the Future cancels the task; it is resolved
        once the task has ended. Raises RuntimeError if the loop does not run.
        """
        future: asyncio.Future[T] = self._call_trio(proc, *args)
        return future

    def run_trio_task(self: Any, proc: Callable[[*Ts], Awaitable[object]], *args: *Ts) -> TrioTaskHandle:
        """Start a trio task that runs `await proc(*args)` in the background; return a handle with `cancel()`.

        An exception of it ends the loop: it leaves `open_loop`, whose block is cancelled, or the `run_forever` of a driven loop.
        Raises RuntimeError if the loop does not run.
        """
        call = self._call_trio(proc, *args)
        call.add_done_callback(self._fail_with)
        return TrioTaskHandle(call)

    def _fail_with(self: Any, call: asyncio.Future[Any]) -> None:
        if not call.cancelled() and (error := call.exception()) is not None:
            self._pump.fail(error)

    async def run_aio_future(self: Any, future: asyncio.Future[T]) -> T:
        """`run_aio_future(future)`. Trio-flavoured."""
        try:
            return await wait_for_future(self, future)
        except ERRORS as exc:
            arrived(exc, TO_TRIO)
            raise

    async def run_aio_coroutine(self: Any, coro: Awaitable[T]) -> T:
        """`await aio_as_trio(coro)` on this loop. Trio-flavoured."""
        from .border.to_asyncio import aio_as_trio

        result: T = await aio_as_trio(coro, loop=self)
        return result

    async def synchronize(self: Any) -> None:
        """Return when the callbacks that are queued now have run. Trio-flavoured. Raises RuntimeError if the loop is stopped."""
        self._check_serving()
        done = self.create_future()
        self.call_soon(_resolve, done)
        await wait_for_future(self, done)

    async def wait_stopped(self: Any) -> None:
        """Return when the loop has stopped: at once if it does not run. Trio-flavoured; a trio checkpoint.

        Inside of an `open_loop` block that nobody stops, this waits for ever.
        """
        await self._pump.announce_stop(None).wait()

    def autoclose(self: Any, fd: Any) -> None:
        """Close this descriptor, a number or an object with `fileno()`, together with the loop. A second time it has no effect."""
        self._autoclose.add(_number(fd))

    def no_autoclose(self: Any, fd: Any) -> None:
        """Take `autoclose` back, which is needed before the descriptor is closed otherwise. Raises KeyError if it was not given."""
        self._autoclose.remove(_number(fd))

    def _close_files(self: Any) -> None:
        for fd in self._autoclose:
            try:
                os.close(fd)
            except OSError as exc:
                self.call_exception_handler({"message": f"descriptor {fd}, given to autoclose(), could not be closed", "exception": exc})
        self._autoclose.clear()


def _number(fd: Any) -> int:
    return int(fd.fileno() if hasattr(fd, "fileno") else fd)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
