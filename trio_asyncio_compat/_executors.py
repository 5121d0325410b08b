"""Threads and names: `run_in_executor`, `getaddrinfo` and `getnameinfo`, by trio's means.

A base of `TrioEventLoop`. The default executor itself is in `_threads.py`.
"""

from __future__ import annotations

import asyncio
import sys
import time
import warnings
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

import trio

from ._crossings import Crossings
from ._stdlib import logger
from ._threads import WorkerPool

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Callable

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Executors(Crossings):
    """See the module. `_workers` is made with the first job for the default executor, unless the program has set one."""

    _workers: WorkerPool | None
    _hosted: bool

    def run_in_executor(self, executor: concurrent.futures.Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """Call `func(*args)` in `executor`; the Future is resolved with what it returns or raises.

        None means the default: the one given to `set_default_executor`, else trio's worker threads, in which
        `trio.from_thread.run` works. Cancelling the Future prevents a call that has not begun and does not stop one that has.
        """
        self._check_closed()
        if executor is not None or self._default_executor is not None:
            return super().run_in_executor(executor, func, *args)
        if self._debug:
            self._check_callback(func, "run_in_executor")
        self._check_default_executor()
        if self._workers is None:
            self._workers = WorkerPool(self)
            if self._callers is not None:
                self._workers.start(self._callers, abandon=not self._hosted)
        return self._workers.submit(func, args)

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # type: ignore[override, unused-ignore]
        """Let the default executor finish what it has, and end its threads; nothing more can be submitted to it.

        After `timeout` seconds a RuntimeWarning is given, and the threads are left to end by themselves.
        """
        if self._default_executor is not None:
            if sys.version_info >= (3, 12):
                await super().shutdown_default_executor(timeout)
            else:
                await super().shutdown_default_executor()
        self._executor_shutdown_called = True
        if self._workers is None:
            return
        try:
            async with asyncio.timeout(timeout):
                await self._workers.shut_down()
        except TimeoutError:
            warnings.warn(f"The executor did not finishing joining its threads within {timeout} seconds.", RuntimeWarning, stacklevel=2)

    async def getaddrinfo(self, host: Any, port: Any, *, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> list[Any]:
        """As `socket.getaddrinfo`, in another thread; cancellation returns at once. See `_asks_trio`."""
        if not self._asks_trio():
            return await super().getaddrinfo(host, port, family=family, type=type, proto=proto, flags=flags)
        if not self._debug:
            infos: list[Any] = await self._call_trio(trio.socket.getaddrinfo, host, port, family, type, proto, flags)
            return infos
        logger.debug("Get address info %r:%r, family=%r, type=%r, proto=%r, flags=%r", host, port, family, type, proto, flags)
        start = time.perf_counter()
        infos = await self._call_trio(trio.socket.getaddrinfo, host, port, family, type, proto, flags)
        seconds = time.perf_counter() - start
        level = logger.info if seconds >= self.slow_callback_duration else logger.debug
        level("Getting address info %r:%r took %.3fms: %r", host, port, seconds * 1e3, infos)
        return infos

    async def getnameinfo(self, sockaddr: Any, flags: int = 0) -> Any:
        """As `socket.getnameinfo`, in another thread. See `_asks_trio`."""
        if not self._asks_trio():
            return await super().getnameinfo(sockaddr, flags)
        return await self._call_trio(trio.socket.getnameinfo, sockaddr, flags)

    def _asks_trio(self) -> bool:
        """Whether names are looked up by trio: in a hosted loop, or where trio has a resolver of the program's. In a driven one it is
        asyncio's way: a call of trio ends with the drive, and who waits for a name may wait until the next."""
        return self._hosted or _has_resolver()


def _has_resolver() -> bool:
    """Whether the program has set one for this run of trio, which tells it only to who sets another."""
    if not trio.lowlevel.in_trio_run():
        return False
    resolver = trio.socket.set_custom_hostname_resolver(None)
    trio.socket.set_custom_hostname_resolver(resolver)
    return resolver is not None
