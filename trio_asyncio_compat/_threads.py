"""The default executor: worker threads that trio started, so that `trio.from_thread` works in them.

A thread that trio starts costs a trip through trio's scheduler for each call. Here a worker is one such call that lasts as long as
the loop runs, and takes jobs from a queue; a job's result comes back by `call_soon_threadsafe`. Measured, `asyncio.to_thread` of a
function that does nothing, on one core: 18 us, with the standard library's loop and executor 26, with trio-asyncio's 115.
"""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import contextvars
import os
import queue
from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

# As many as `concurrent.futures.ThreadPoolExecutor` starts by default.
MAX_WORKERS = min(32, (os.cpu_count() or 1) + 4)


class _Job:
    """One call: runs in a worker, resolves its future in the loop."""

    __slots__ = ("args", "function", "future", "loop")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any], function: Callable[..., Any], args: tuple[Any, ...]
    ) -> None:
        self.loop = loop
        self.future = future
        self.function = function
        self.args = args

    def run(self) -> None:
        # Reading the state of an asyncio future is the one thing another thread may do with it. A call that was
        # cancelled before a worker came to it is not made.
        if self.future.cancelled():
            return
        try:
            result = self.function(*self.args)
        except BaseException as exc:
            self._report(_set_exception, exc)
        else:
            self._report(_set_result, result)

    def _report(self, resolve: Callable[[asyncio.Future[Any], Any], None], value: object) -> None:
        try:
            self.loop.call_soon_threadsafe(resolve, self.future, value)
        except RuntimeError:
            if not self.loop.is_closed():
                raise
            # Nobody can wait for a future of a closed loop any more.


def _set_result(future: asyncio.Future[Any], result: object) -> None:
    if not future.done():
        future.set_result(result)


def _set_exception(future: asyncio.Future[Any], exc: BaseException) -> None:
    if future.done():
        return
    if isinstance(exc, StopIteration):
        # PEP 479: `await` could not raise it.
        error = RuntimeError("a function run in an executor raised StopIteration")
        error.__cause__ = exc
        exc = error
    elif type(exc) is concurrent.futures.CancelledError:
        # The function waited for a concurrent future; asyncio hands its cancellation on as its own kind.
        exc = asyncio.CancelledError(*exc.args)
    future.set_exception(exc)


class WorkerPool:
    """Worker threads of one loop, started as jobs come and ended with the run of the loop.

    Invariants: `_idle` is as long as there are workers that wait for a job and have not been promised one, so a job is put
    either for an idle worker or with a new one, up to `MAX_WORKERS`. Jobs that find the loop not running, or that no
    worker has taken when it stops, wait in the queue for its next run.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        # A semaphore, whose class in `threading` takes several calls and a lock: a deque is changed atomically.
        self._idle: collections.deque[None] = collections.deque()
        self._workers = 0
        self._started = 0
        self._nursery: trio.Nursery | None = None
        self._abandon = False
        self._ended = asyncio.Event()
        self._ended.set()

    def submit(self, function: Callable[..., Any], args: tuple[Any, ...]) -> asyncio.Future[Any]:
        """Call `function(*args)` in a worker; the future is resolved in the loop."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self._jobs.put(_Job(self._loop, future, function, args))
        try:
            self._idle.pop()
        except IndexError:
            self._start_worker()
        return future

    def start(self, nursery: trio.Nursery, *, abandon: bool) -> None:
        """The loop begins to run. `abandon` says what becomes of a busy thread when it stops: it is left alone to
        finish (a driven loop), or waited for."""
        self._nursery = nursery
        self._abandon = abandon
        # A limiter belongs to one trio run: a thread that outlives it can no longer give its token back.
        self._limiter = trio.CapacityLimiter(MAX_WORKERS)
        for _ in range(min(self._jobs.qsize(), MAX_WORKERS)):
            self._start_worker()

    def stop(self) -> None:
        """The loop stops: idle workers go, busy ones after their job; jobs that nobody has taken stay."""
        self._nursery = None
        kept = self._take_waiting()
        self._dismiss()
        # A new generation: what the dismissed workers still read must not be what the next run puts.
        self._jobs = queue.SimpleQueue()
        self._idle = collections.deque()
        self._workers = 0
        self._ended.set()
        for job in kept:
            self._jobs.put(job)

    async def shut_down(self) -> None:
        """Finish the jobs that were submitted, then end all workers. Asyncio-flavoured."""
        self._dismiss()
        await self._ended.wait()

    def _dismiss(self) -> None:
        for _ in range(self._workers):
            self._jobs.put(None)

    def _take_waiting(self) -> list[_Job]:
        jobs: list[_Job] = []
        while True:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return jobs
            if job is not None:
                jobs.append(job)

    def _start_worker(self) -> None:
        if self._nursery is None or self._workers >= MAX_WORKERS:
            return
        self._workers += 1
        name = f"asyncio_{self._started}"
        self._started += 1
        self._ended.clear()
        # A thread has a context of its own, as in concurrent.futures; a job brings the one it needs (asyncio.to_thread).
        contextvars.Context().run(self._nursery.start_soon, self._run_worker, name, self._jobs, self._idle)

    @trio.lowlevel.enable_ki_protection
    async def _run_worker(self, name: str, jobs: queue.SimpleQueue[_Job | None], idle: collections.deque[None]) -> None:
        def work() -> None:
            job: _Job | None = jobs.get()
            while job is not None:
                job.run()
                # Not kept while waiting for the next: it holds the caller's objects.
                job = None
                try:
                    job = jobs.get_nowait()
                except queue.Empty:
                    idle.append(None)
                    job = jobs.get()

        # Shielded from what is around the loop. The threads of a driven loop are abandoned when its nursery is cancelled.
        with trio.CancelScope(shield=not self._abandon):
            try:
                await trio.to_thread.run_sync(work, thread_name=name, limiter=self._limiter, abandon_on_cancel=self._abandon)
            finally:
                if jobs is self._jobs:
                    self._workers -= 1
                    if not self._workers:
                        self._loop.call_soon_threadsafe(self._ended.set)
