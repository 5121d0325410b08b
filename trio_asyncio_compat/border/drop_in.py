"""The remaining functions of trio-asyncio 0.16, so that `import trio_asyncio_compat as trio_asyncio` is the whole migration."""

from __future__ import annotations

import concurrent.futures
import functools
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

import trio

from .._loop import TrioEventLoop
from .._stdlib import get_running_loop
from .._tracebacks import ERRORS, TO_TRIO, arrived
from .._waiting import wait_for_future
from .task import wait_here
from .to_asyncio import aio_as_trio

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable

    from .._trio_asyncio import TrioTaskHandle

# Its frames are of no interest in a traceback (pytest's convention); see `_tracebacks.py`.
__tracebackhide__ = True

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class TrioAsyncioDeprecationWarning(FutureWarning):
    """trio-asyncio's category of warnings, so that a filter for it still names something. Never issued here."""


def _running_loop() -> TrioEventLoop:
    loop = get_running_loop()
    if not isinstance(loop, TrioEventLoop):
        raise RuntimeError("no asyncio loop on trio is open here: use 'async with trio_asyncio_compat.open_loop()' around this code")
    return loop


class _CurrentLoop:
    """`current_loop.get()`, as trio-asyncio's context variable has it. `asyncio.get_running_loop()` is the standard way."""

    def get(self, default: TrioEventLoop | None = None) -> TrioEventLoop | None:
        """The loop that is open here, or else `default`."""
        loop = get_running_loop()
        return loop if isinstance(loop, TrioEventLoop) else default


current_loop = _CurrentLoop()


async def run_aio_future(future: asyncio.Future[T]) -> T:
    """Wait for an asyncio future; return its result or raise its exception. Trio-flavoured.

    If the trio scope around is cancelled, the future is, and waited for: `trio.Cancelled` is raised if it then ends in
    `asyncio.CancelledError`. A CancelledError that trio did not ask for is passed on. Raises TypeError for a future of another loop
    than ours, RuntimeError if its loop stops before it is done.
    """
    loop = future.get_loop()
    if not isinstance(loop, TrioEventLoop):
        raise TypeError(f"run_aio_future() waits for futures of loops that run on trio, and {future!r} belongs to {loop!r}")
    try:
        return await wait_for_future(loop, future, wait_here)
    except ERRORS as exc:
        arrived(exc, TO_TRIO)
        raise


async def run_aio_coroutine(coro: Awaitable[T]) -> T:
    """Run an asyncio coroutine as a task of the loop that is open here: `await aio_as_trio(coro)`. Trio-flavoured."""
    return await aio_as_trio(coro)


def run_aio_generator(loop: TrioEventLoop, async_generator: AsyncIterable[T]) -> AsyncIterator[T]:
    """Iterate in trio code over an iterator of asyncio: `aio_as_trio(async_generator)`, on `loop`."""
    iterable: AsyncIterable[T] = aio_as_trio(async_generator, loop=loop)
    return aiter(iterable)


def run_trio(proc: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> asyncio.Future[T]:
    """Start a trio task that runs `await proc(*args)`; return an asyncio Future for it. See `TrioEventLoop.trio_as_future`."""
    return _running_loop().trio_as_future(proc, *args)


def run_trio_task(proc: Callable[[*Ts], Awaitable[object]], *args: *Ts) -> TrioTaskHandle:
    """Start a trio task in the background, whose exception ends the loop; return a handle with `cancel()`.

    See `TrioEventLoop.run_trio_task`.
    """
    return _running_loop().run_trio_task(proc, *args)


class TrioExecutor(concurrent.futures.ThreadPoolExecutor):
    """An executor whose jobs run in trio's worker threads, so that `trio.from_thread` works in them.

    So they do in a loop's default executor; this is for a limit of one's own.

    Args:
        limiter: how many jobs may run at the same time; by default trio's limiter for threads.
        thread_name_prefix: of the threads' names while they run a job.
        max_workers: if there is no `limiter`: the number of tokens of a new one.
    """

    def __init__(
        self, limiter: trio.CapacityLimiter | None = None, thread_name_prefix: str | None = None, max_workers: int | None = None
    ) -> None:
        super().__init__(max_workers, thread_name_prefix or "")
        if limiter is None and max_workers is not None:
            limiter = trio.CapacityLimiter(max_workers)
        self._limiter = limiter
        self._prefix = thread_name_prefix
        self._count = 0
        self._open = True

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[T]:
        """Call `fn(*args, **kwargs)` in a thread. Only in the thread of a running loop of ours, else RuntimeError."""
        if not self._open:
            raise RuntimeError("cannot schedule new futures after shutdown")
        future: concurrent.futures.Future[T] = concurrent.futures.Future()
        _running_loop()._call_trio(self._run, future, functools.partial(fn, *args, **kwargs))
        return future

    async def _run(self, future: concurrent.futures.Future[Any], job: Callable[[], Any]) -> None:
        name = None
        if self._prefix is not None:
            name, self._count = f"{self._prefix}_{self._count}", self._count + 1
        with trio.CancelScope(shield=True):
            # Together with the job: a thread once waited for is not given up.
            limiter = self._limiter or trio.to_thread.current_default_thread_limiter()
            async with limiter:
                if not future.set_running_or_notify_cancel():
                    return
                try:
                    result = await trio.to_thread.run_sync(job, thread_name=name, limiter=trio.CapacityLimiter(1))
                except BaseException as exc:
                    future.set_exception(exc)
                else:
                    future.set_result(result)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more jobs. Those that were submitted are waited for by the loop that they were submitted in."""
        self._open = False
