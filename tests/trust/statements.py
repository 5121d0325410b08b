"""What each statement of a program does. `call_...` needs no waiting, so plain callbacks can do it too; `do_...` waits."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

from .descriptions import described, new_error, scrubbed
from .programs import Block

_variable: contextvars.ContextVar[int] = contextvars.ContextVar("_variable", default=0)


class Statements:
    """What a program works with, and all that it can do. Where it has a number of something, it names one of those there are."""

    _loop: asyncio.AbstractEventLoop
    _start: float
    _events: list[asyncio.Event]
    _futures: list[asyncio.Future[Any]]
    _queues: list[asyncio.Queue[int]]
    _lock: asyncio.Lock
    _semaphore: asyncio.Semaphore
    _condition: asyncio.Condition
    _streams: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]

    def __init__(self) -> None:
        self.trace: list[Any] = []
        self._tasks: list[Any] = []
        self._timers: list[asyncio.TimerHandle] = []
        self._sockets: list[socket.socket] = []
        # A thread has called into the loop.
        self._reported = threading.Event()

    def note(self, *what: Any) -> None:
        """One line of the trace."""
        current = asyncio.current_task()
        self.trace.append((self._loop.time() - self._start, getattr(current, "number", None), *what))

    async def _body(self, block: Block) -> int:
        self.note("starts", _variable.get())
        try:
            await self.block(block)
        except BaseException as exc:
            self.note("ends", described(exc))
            raise
        self.note("returns")
        number: int = asyncio.current_task().number  # type: ignore[union-attr]
        return number

    def spawn(self, block: Block) -> asyncio.Task[int]:
        """A task for a block."""
        return self._loop.create_task(self._body(block))

    async def block(self, block: Block) -> None:
        """Execute the statements in order."""
        for word, *args in block:
            call: Callable[..., object] | None = getattr(self, f"call_{word}", None)
            if call is not None:
                call(*args)
            else:
                await getattr(self, f"do_{word}")(*args)

    def calls(self, block: Block) -> None:
        """A plain callback's statements."""
        for word, *args in block:
            getattr(self, f"call_{word}")(*args)

    # What needs no waiting

    def call_mark(self) -> None:
        self.note("mark", _variable.get())

    def call_set(self, k: int) -> None:
        self._events[k % 2].set()

    def call_clear(self, k: int) -> None:
        self._events[k % 2].clear()

    def call_cancel(self, k: int) -> None:
        if self._tasks:
            task = self._tasks[-1 - k % len(self._tasks)]
            self.note("cancel", task.number, task.cancel(f"cancelled by the program {k}"))

    def call_cancel_timer(self, k: int) -> None:
        if self._timers:
            self._timers[-1 - k % len(self._timers)].cancel()

    def call_cancel_future(self, k: int) -> None:
        self.note("cancel_future", self._futures[k % 2].cancel(k))

    def call_resolve(self, k: int) -> None:
        self._attempt("resolve", self._futures[k % 2].set_result, k)

    def call_fail(self, k: int, error: str) -> None:
        self._attempt("fail", self._futures[k % 2].set_exception, new_error(error))

    def call_put_nowait(self, k: int) -> None:
        self._attempt("put_nowait", self._queues[k % 2].put_nowait, k)

    def call_get_nowait(self, k: int) -> None:
        self._attempt("get_nowait", self._queues[k % 2].get_nowait)

    def call_release(self, k: int) -> None:
        self._attempt("release", self._lock.release if k % 2 else self._semaphore.release)

    def _attempt(self, name: str, function: Callable[..., object], *args: object) -> None:
        try:
            self.note(name, function(*args))
        except Exception as exc:
            self.note(name, described(exc))

    def call_raise(self, error: str) -> None:
        raise new_error(error)

    def call_from_thread(self) -> None:
        thread = threading.Thread(target=lambda: self._loop.call_soon_threadsafe(self.note, "from a thread"))
        thread.start()
        thread.join()

    def call_call_soon(self, calls: Block) -> None:
        self._loop.call_soon(self.calls, calls)

    def call_call_later(self, delay: float, calls: Block) -> None:
        self._timers.append(self._loop.call_later(delay, self.calls, calls))

    def call_call_at(self, delay: float, calls: Block) -> None:
        self._timers.append(self._loop.call_at(self._start + delay, self.calls, calls))

    def call_when_done(self, k: int, calls: Block) -> None:
        if self._tasks:
            self._tasks[-1 - k % len(self._tasks)].add_done_callback(lambda task: self.calls(calls))

    def call_when_resolved(self, k: int, calls: Block) -> None:
        self._futures[k % 2].add_done_callback(lambda future: self.calls(calls))

    def call_spawn(self, block: Block) -> None:
        self.spawn(block)

    def call_set_variable(self, k: int) -> None:
        _variable.set(k)

    def call_uncancel(self) -> None:
        self.note("uncancel", asyncio.current_task().uncancel())  # type: ignore[union-attr]

    # What waits

    async def _value(self, name: str, awaitable: Awaitable[Any]) -> None:
        self.note(name, scrubbed(await awaitable))

    async def do_yield(self, times: int) -> None:
        for _ in range(times):
            await asyncio.sleep(0)

    async def do_sleep(self, delay: float) -> None:
        await self._value("sleep", asyncio.sleep(delay, delay))

    async def do_join(self, k: int) -> None:
        task = self._tasks[-1 - k % len(self._tasks)]
        # Waiting only for younger ones closes no circle, in which a cancellation would go round for ever.
        if task.number > asyncio.current_task().number:  # type: ignore[union-attr]
            await self._value("join", task)

    async def do_await_future(self, k: int) -> None:
        await self._value("future", self._futures[k % 2])

    async def do_await_event(self, k: int) -> None:
        await self._value("event", self._events[k % 2].wait())

    async def do_put(self, k: int) -> None:
        await self._value("put", self._queues[k % 2].put(k))

    async def do_get(self, k: int) -> None:
        await self._value("get", self._queues[k % 2].get())

    async def do_join_queue(self, k: int) -> None:
        with contextlib.suppress(ValueError):
            self._queues[k % 2].task_done()
        await self._value("join_queue", self._queues[k % 2].join())

    async def do_acquire(self, k: int) -> None:
        await self._value("acquire", self._lock.acquire() if k % 2 else self._semaphore.acquire())

    async def do_notify(self, k: int) -> None:
        async with self._condition:
            self._condition.notify(k)

    async def do_await_condition(self) -> None:
        async with self._condition:
            await self._value("condition", self._condition.wait())

    async def do_thread(self, what: str) -> None:
        def job() -> str:
            if what == "value":
                return threading.current_thread().name.split("_")[0]
            raise {"error": ValueError, "cancelled": asyncio.CancelledError}[what]("in a thread")

        self._reported.clear()
        future = self._loop.run_in_executor(None, job)
        # The thread's answer then stands at the same place in the queue on every loop.
        self._reported.wait(10)
        await self._value("thread", future)

    async def do_generator(self, taken: int, end: str) -> None:
        async def numbers() -> AsyncIterator[int]:
            try:
                for number in range(2):
                    yield number
                    await asyncio.sleep(0)
            finally:
                self.note("generator closes")
                await asyncio.sleep(0)
                self.note("generator has closed")

        generator: Any = numbers()
        for _ in range(taken):
            await self._value("generated", anext(generator))
        if end == "close":
            await generator.aclose()
        elif end == "exhaust":
            async for number in generator:
                self.note("generated", number)

    async def do_write(self, k: int, size: int) -> None:
        writer = self._streams[k % 2][1]
        writer.write(bytes([97 + k]) * size)
        await self._value("drained", writer.drain())

    async def do_write_lines(self, k: int) -> None:
        writer = self._streams[k % 2][1]
        # On a closed one asyncio itself fails by an accident of its own in some versions.
        if not writer.is_closing():
            writer.writelines([b"one\n", bytearray(b"two"), memoryview(b"\n")])

    async def do_read(self, k: int, size: int) -> None:
        reader = self._streams[k % 2][0]
        await self._value("read", reader.read(size) if k > 1 else reader.readexactly(size))

    async def do_read_line(self, k: int) -> None:
        await self._value("line", self._streams[k % 2][0].readline())

    async def do_write_eof(self, k: int) -> None:
        self._attempt("write_eof", self._streams[k % 2][1].write_eof)

    async def do_close(self, k: int) -> None:
        writer = self._streams[k % 2][1]
        writer.close()
        await self._value("closed", writer.wait_closed())

    async def do_abort(self, k: int) -> None:
        self._streams[k % 2][1].transport.abort()

    async def do_sock_send(self, k: int) -> None:
        await self._value("sent", self._loop.sock_sendall(self._sockets[k % 2], b"x" * (k + 1)))

    async def do_sock_recv(self, k: int) -> None:
        await self._value("received", self._loop.sock_recv(self._sockets[k % 2], 2))

    # What has blocks in it

    async def do_try(self, block: Block, caught: str, reaction: str, handler: Block) -> None:
        try:
            await self.block(block)
        except type(new_error(caught)) as exc:
            self.note("caught", described(exc))
            if reaction == "uncancel" and isinstance(exc, asyncio.CancelledError):
                self.call_uncancel()
            await self.block(handler)
            if reaction == "reraise":
                raise
            if reaction == "replace":
                raise KeyError("instead")
            if reaction == "chain":
                raise KeyError("because of it") from exc

    async def do_finally(self, block: Block, cleanup: Block) -> None:
        try:
            await self.block(block)
        finally:
            self.note("finally")
            await self.block(cleanup)

    async def _timeout(self, timeout: asyncio.Timeout, block: Block) -> None:
        try:
            async with timeout:
                await self.block(block)
        except TimeoutError as exc:
            self.note("timeout", timeout.expired(), asyncio.current_task().cancelling(), described(exc))  # type: ignore[union-attr]

    async def do_timeout(self, delay: float, block: Block) -> None:
        await self._timeout(asyncio.timeout(delay), block)

    async def do_reschedule(self, delay: float, then: float, block: Block) -> None:
        timeout = asyncio.timeout(delay)

        async def inner() -> None:
            async with timeout:
                timeout.reschedule(self._loop.time() + then)
                await self.block(block)

        try:
            await inner()
        except TimeoutError as exc:
            self.note("timeout", timeout.expired(), described(exc))

    async def do_wait_for(self, delay: float, block: Block) -> None:
        await self._value("wait_for", asyncio.wait_for(self._body(block), delay))

    async def do_shield(self, block: Block) -> None:
        await self._value("shield", asyncio.shield(self.spawn(block)))

    async def do_gather(self, blocks: tuple[Block, ...], return_exceptions: bool) -> None:
        children = [self._body(block) for block in blocks]
        await self._value("gather", asyncio.gather(*children, return_exceptions=return_exceptions))

    async def do_wait(self, blocks: tuple[Block, ...], return_when: str, delay: float) -> None:
        children = [self.spawn(block) for block in blocks]
        done, pending = await asyncio.wait(children, timeout=delay, return_when=return_when)
        numbers: Callable[[Any], list[int]] = lambda tasks: sorted(task.number for task in tasks)  # noqa: E731
        self.note("wait", numbers(done), numbers(pending))

    async def do_as_completed(self, blocks: tuple[Block, ...], delay: float) -> None:
        for next_one in asyncio.as_completed([self.spawn(block) for block in blocks], timeout=delay):
            await self._value("completed", next_one)

    async def do_group(self, blocks: tuple[Block, ...], body: Block) -> None:
        async with asyncio.TaskGroup() as group:
            for block in blocks:
                self._create_in(group, self._body(block))
            await self.block(body)
        self.note("group ends")

    def _create_in(self, group: asyncio.TaskGroup, coro: Coroutine[Any, Any, Any]) -> None:
        try:
            group.create_task(coro)
        except RuntimeError as exc:
            coro.close()
            self.note("group refuses", described(exc))

    async def do_lock(self, block: Block) -> None:
        async with self._lock:
            await self.block(block)

    async def do_semaphore(self, block: Block) -> None:
        async with self._semaphore:
            await self.block(block)

    async def do_repeat(self, times: int, block: Block) -> None:
        for _ in range(times):
            await self.block(block)

    async def do_context(self, block: Block) -> None:
        context = contextvars.copy_context()
        context.run(_variable.set, 7)
        await self._value("in a context", self._loop.create_task(self._body(block), context=context))

    async def do_run_coroutine_threadsafe(self, block: Block) -> None:
        future = asyncio.run_coroutine_threadsafe(self._body(block), self._loop)
        await self._value("from outside", asyncio.wrap_future(future))
