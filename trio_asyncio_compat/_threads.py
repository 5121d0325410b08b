"""The default executor: worker threads that trio started, so that `trio.from_thread` works in them.

A thread that trio starts costs a trip through trio's scheduler for each call. Here a worker is one such call that lasts as long as
the loop runs, and takes jobs from a queue; a job's result comes back by `call_soon_threadsafe`. Measured, `asyncio.to_thread` of a
function that does nothing, on one core: 18 us, with the standard library's loop and executor 26, with trio-asyncio's 115.

No job is lost: while the loop does not run, threads of the standard library take what there is; and the program's end waits, as it
does for theirs.
"""

from __future__ import annotations

import asyncio
import atexit
import collections
import concurrent.futures
import contextvars
import functools
import os
import queue
import threading
import weakref
from typing import TYPE_CHECKING, Any, cast

import trio

from .border.reasons import reason_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._callers import Callers
    from ._calls import TrioCall
    from ._stdlib import SelectorLoop

# As many as `concurrent.futures.ThreadPoolExecutor` starts by default.
MAX_WORKERS = min(32, (os.cpu_count() or 1) + 4)
# The name of the trio tasks that have one.
WORKER = "a trio task that has a worker thread for asyncio"

# The pools of this process, and their threads that have begun and not ended, each by an object of its own. Threads of trio's are daemons:
# Python does not wait for them.
_pools: weakref.WeakSet[WorkerPool] = weakref.WeakSet()
_working: set[object] = set()
# Told of each thread that ends, once the program has.
_at_exit: queue.SimpleQueue[None] | None = None


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

    def fail(self, error: BaseException) -> None:
        """In the loop: it cannot be run."""
        _set_exception(self.future, error)

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
        # PEP 479: `await` could not raise it. In the words of asyncio's futures, which say so since Python 3.12.
        error = RuntimeError("StopIteration interacts badly with generators and cannot be raised into a Future")
        error.__cause__ = error.__context__ = exc
        exc = error
    elif isinstance(exc, trio.Cancelled):
        # It waited in trio, and the loop has ended: for asyncio a cancellation, too.
        future.cancel(reason_of(exc))
        return
    elif type(exc) is concurrent.futures.CancelledError:
        # The function waited for a concurrent future; asyncio hands its cancellation on as its own kind.
        exc = asyncio.CancelledError(*exc.args)
    future.set_exception(exc)


@functools.cache
def _wait_at_exit() -> None:
    """Have the end of the program wait for what the workers are doing, as it does for the standard library's."""
    atexit.register(_wait_for_workers)


def _wait_for_workers() -> None:
    global _at_exit
    _at_exit = queue.SimpleQueue()
    # Loops that still run in a thread; those that have stopped have done it.
    for pool in list(_pools):
        pool.dismiss()
    while _working:
        _at_exit.get()


def forget_workers() -> None:
    """For the child of a fork, where the threads do not go on."""
    _pools.clear()
    _working.clear()


class _NoLimit:
    """A limiter, as `trio.to_thread.run_sync` takes one, that never waits: the pool counts its workers itself."""

    async def acquire_on_behalf_of(self, borrower: object) -> None:
        """At once."""

    def release_on_behalf_of(self, borrower: object) -> None:
        """Nothing to give back."""


_NO_LIMIT = cast("trio.CapacityLimiter", _NoLimit())


class WorkerPool:
    """Worker threads of one loop, started as jobs come and ended with the run of the loop.

    Invariants: `_callers` is set while the loop runs. `_idle` is as long as there are workers that wait for a job and have not been
    promised one, so a job is put either for an idle worker or with a new one, up to `MAX_WORKERS`. Jobs that find the loop not running, or
    that no worker has taken when it stops, are done by `_meanwhile`. `_lock` is held where one of these changes hands; a finaliser may
    submit a job at any moment, so it can be taken again by who has it.
    """

    def __init__(self, loop: SelectorLoop) -> None:
        self._loop = loop
        self._lock = threading.RLock()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        # A semaphore, whose class in `threading` takes several calls and a lock: a deque is changed atomically.
        self._idle: collections.deque[None] = collections.deque()
        self._workers = 0
        self._started = 0
        self._callers: Callers | None = None
        self._calls: list[TrioCall] = []
        self._abandon = False
        self._shut = False
        self._meanwhile: concurrent.futures.ThreadPoolExecutor | None = None
        self._ended = asyncio.Event()
        self._ended.set()
        _pools.add(self)
        _wait_at_exit()

    @trio.lowlevel.enable_ki_protection
    def submit(self, function: Callable[..., Any], args: tuple[Any, ...]) -> asyncio.Future[Any]:
        """Call `function(*args)` in a worker; the future is resolved in the loop."""
        future: asyncio.Future[Any] = self._loop.create_future()
        job = _Job(self._loop, future, function, args)
        with self._lock:
            if self._callers is None:
                self._do_meanwhile(job)
                return future
            self._jobs.put(job)
            try:
                self._idle.pop()
            except IndexError:
                self._start_worker()
        return future

    def start(self, callers: Callers, *, abandon: bool) -> None:
        """The loop begins to run. `abandon` says what becomes of a busy thread when it stops: it is left alone to
        finish (a driven loop), or waited for."""
        self._callers = callers
        self._abandon = abandon

    def stop(self) -> None:
        """The loop stops: idle workers go, busy ones after their job; jobs that nobody has taken are done elsewhere."""
        with self._lock:
            self._callers = None
            kept = self._take_waiting()
            self.dismiss()
            # A new generation: what the dismissed workers still read must not be what the next run puts.
            self._jobs = queue.SimpleQueue()
            self._idle = collections.deque()
            self._workers = 0
            self._ended.set()
            calls, self._calls = self._calls, []
            if self._abandon:
                for call in calls:
                    call.cancel("the drive of the event loop that started this has ended")
            for job in kept:
                try:
                    self._do_meanwhile(job)
                except RuntimeError as exc:
                    job.fail(exc)

    async def shut_down(self) -> None:
        """Finish the jobs that were submitted, then end all workers. Asyncio-flavoured."""
        with self._lock:
            meanwhile, self._meanwhile = self._meanwhile, None
        if meanwhile is not None:
            await self.submit(meanwhile.shutdown, ())
        with self._lock:
            self._shut = True
            self.dismiss()
        await self._ended.wait()

    def cancel(self) -> None:
        """The loop ends: what its jobs are waiting for in trio (`trio.from_thread.run`) is cancelled, as its other trio tasks are."""
        for call in self._calls:
            call.cancel("the event loop is shutting down")

    def close(self) -> None:
        """The loop is closed; what is being done goes on."""
        with self._lock:
            meanwhile, self._meanwhile = self._meanwhile, None
        if meanwhile is not None:
            meanwhile.shutdown(wait=False)

    def _do_meanwhile(self, job: _Job) -> None:
        """Begin a job while there is no trio that the thread could call, rather than let it wait for a run that may never come."""
        if self._meanwhile is None:
            self._meanwhile = concurrent.futures.ThreadPoolExecutor(MAX_WORKERS, thread_name_prefix="asyncio")
        self._meanwhile.submit(job.run)

    def dismiss(self) -> None:
        """Have each worker end when it has done what was submitted before."""
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

    def _give_up(self, error: RuntimeError) -> None:
        """The system has no thread for us: if there is none at all, the jobs fail."""
        if self._workers == 1:
            for job in self._take_waiting():
                job.fail(error)

    def _start_worker(self) -> None:
        if self._callers is None or self._workers >= MAX_WORKERS:
            return
        if threading.get_ident() != self._loop._thread_id:
            self._loop.call_soon_threadsafe(self._start_soon)
        elif self._callers.waiting:
            self._start_now(self._callers)
        else:
            self._loop.call_soon(self._start_soon)

    @trio.lowlevel.enable_ki_protection
    def _start_soon(self) -> None:
        """A callback of the loop, where a trio task can be started."""
        with self._lock:
            if self._callers is not None and self._workers < MAX_WORKERS:
                self._start_now(self._callers)

    def _start_now(self, callers: Callers) -> None:
        self._workers += 1
        if self._shut:
            # Submitted by another thread, which did not know yet: nobody else would dismiss this one.
            self._jobs.put(None)
        name = f"asyncio_{self._started}"
        self._started += 1
        self._ended.clear()
        # A thread has a context of its own, as in concurrent.futures; a job brings the one it needs (asyncio.to_thread).
        worker = self._run_worker(name, self._jobs, self._idle)
        call = contextvars.Context().run(functools.partial(callers.start_now, worker, WORKER, protected=True))
        # None of those that the loop's end cancels.
        callers.loop._calls.discard(call)
        self._calls.append(call)
        self._loop.call_soon(callers.prepare)

    @trio.lowlevel.enable_ki_protection
    async def _run_worker(self, name: str, jobs: queue.SimpleQueue[_Job | None], idle: collections.deque[None]) -> None:
        def work() -> None:
            # Before it has taken a job: the end of the program, which may come between any two steps, must not miss it.
            me = object()
            _working.add(me)
            try:
                do_jobs()
            finally:
                _working.discard(me)
                if _at_exit is not None:
                    _at_exit.put(None)

        def do_jobs() -> None:
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

        try:
            await trio.to_thread.run_sync(work, thread_name=name, limiter=_NO_LIMIT, abandon_on_cancel=self._abandon)
        except RuntimeError as exc:
            if jobs is self._jobs:
                self._give_up(exc)
        finally:
            if jobs is self._jobs:
                self._workers -= 1
                if not self._workers:
                    self._loop.call_soon_threadsafe(self._ended.set)
