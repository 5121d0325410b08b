"""Every primitive of both worlds does its work in one flavour-free body; what it is like to cancel them is in `test_flavour_free.py`."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias

import pytest
import trio

from trio_asyncio_compat import allow_asyncio, gather

from .support import Border, balanced, forever

Body: TypeAlias = "Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any]"


@pytest.fixture(params=["allow_asyncio", "task factory"])
def real_body(request: pytest.FixtureRequest, real_border: Border) -> Body:
    """`body`, in real time."""
    return real_border.both if request.param == "allow_asyncio" else real_border.task


# Trio's


def test_trio_sleeps_and_events(body: Body) -> None:
    async def main() -> None:
        await trio.sleep(1)
        await trio.sleep_until(trio.current_time() + 1)
        event = trio.Event()
        asyncio.get_running_loop().call_later(1, event.set)
        await event.wait()
        assert trio.current_time() == asyncio.get_running_loop().time() == 3

    body(main)


def test_trio_nurseries(body: Body) -> None:
    async def child(seconds: float, task_status: trio.TaskStatus[float] = trio.TASK_STATUS_IGNORED) -> None:
        await trio.sleep(seconds)
        task_status.started(seconds)
        await trio.sleep(seconds)
        # A child of a nursery is trio's, until it says otherwise.
        await allow_asyncio(asyncio.sleep, seconds)
        done.append(seconds)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child, 1)
            assert await nursery.start(child, 2) == 2
            await asyncio.sleep(1.5)
            assert done == [1]
        assert done == [1, 2]
        balanced()

    done: list[float] = []
    body(main)


def test_trio_channels_between_both_worlds(body: Body) -> None:
    async def main() -> None:
        send, receive = trio.open_memory_channel[int](1)

        async def produce() -> None:
            async with send:
                for number in range(3):
                    await asyncio.sleep(1)
                    await send.send(number)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(allow_asyncio, produce)
            async with receive:
                assert [number async for number in receive] == [0, 1, 2]

    body(main)


def test_trio_locks(body: Body) -> None:
    order: list[str] = []

    async def hold(lock: AbstractAsyncContextManager[object], name: str) -> None:
        async with lock:
            await asyncio.sleep(1)
            order.append(name)

    async def main() -> None:
        locks: list[AbstractAsyncContextManager[object]] = [trio.Lock(), trio.StrictFIFOLock(), trio.Semaphore(1), trio.CapacityLimiter(1)]
        for lock in locks:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(allow_asyncio, hold, lock, "child")
                await hold(lock, "body")
        assert sorted(order) == ["body"] * 4 + ["child"] * 4
        async with (condition := trio.Condition()):
            asyncio.get_running_loop().call_later(1, _notify_soon, condition)
            await condition.wait()

    body(main)


def _notify_soon(condition: trio.Condition) -> None:
    async def notify() -> None:
        async with condition:
            condition.notify_all()

    trio.lowlevel.spawn_system_task(notify)


def test_trio_sockets_and_streams(real_body: Body) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        async for chunk in stream:
            await asyncio.sleep(0.001)
            await stream.send_all(chunk)

    async def flavour_free_serve(stream: trio.SocketStream) -> None:
        await allow_asyncio(serve, stream)

    async def main() -> None:
        one, other = trio.socket.socketpair()
        with one, other:
            await one.send(b"x")
            assert await other.recv(1) == b"x"
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(
                lambda task_status: trio.serve_tcp(flavour_free_serve, 0, host="127.0.0.1", task_status=task_status)
            )
            port = listeners[0].socket.getsockname()[1]
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(b"through trio")
                assert await stream.receive_some() == b"through trio"
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"through asyncio\n")
            assert await reader.readline() == b"through asyncio\n"
            writer.close()
            await writer.wait_closed()
            nursery.cancel_scope.cancel()
        balanced()

    real_body(main)


def test_trio_threads_and_processes(real_body: Body) -> None:
    async def main() -> None:
        assert await trio.to_thread.run_sync(lambda: trio.from_thread.run(_both)) == "both"
        done = await trio.run_process(["cat"], stdin=b"x", capture_stdout=True)
        assert done.stdout == b"x"

    async def _both() -> str:
        await trio.sleep(0)
        return "both"

    real_body(main)


def test_trio_checkpoints(body: Body) -> None:
    async def main() -> None:
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.cancel_shielded_checkpoint()
        await trio.lowlevel.checkpoint_if_cancelled()
        with trio.CancelScope() as scope:
            scope.cancel()
            await trio.lowlevel.cancel_shielded_checkpoint()
            await trio.lowlevel.checkpoint_if_cancelled()
        assert scope.cancelled_caught
        with pytest.raises(trio.TooSlowError):
            with trio.fail_after(1):
                await forever()

    body(main)


# asyncio's


def test_asyncio_sleep_and_timeouts(body: Body) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert await asyncio.sleep(1, "result") == "result"
        async with asyncio.timeout(2) as timeout:
            await trio.sleep(1)
        assert not timeout.expired()
        async with asyncio.timeout_at(loop.time() + 2):
            await trio.sleep(1)
        async with asyncio.timeout(1) as timeout:
            timeout.reschedule(loop.time() + 3)
            await trio.sleep(2)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(None) as timeout:
                timeout.reschedule(loop.time() + 1)
                await trio.sleep_forever()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await trio.sleep(1)
        assert loop.time() == 6
        balanced()

    body(main)


def test_asyncio_wait_for_wait_and_as_completed(body: Body) -> None:
    async def child(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    async def main() -> None:
        assert await asyncio.wait_for(child(1), 2) == 1
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(child(2), 1)
        tasks = [asyncio.create_task(child(seconds)) for seconds in (2, 1)]
        done, pending = await asyncio.wait(tasks, timeout=1.5)
        assert done == {tasks[1]} and pending == {tasks[0]}
        assert [await each for each in asyncio.as_completed(tasks)] == [1, 2]
        with pytest.raises(TimeoutError):
            for each in asyncio.as_completed([child(2)], timeout=1):
                await each
        await trio.sleep(2)
        balanced()

    body(main)


def test_asyncio_gather_and_task_groups(body: Body) -> None:
    async def child(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    async def main() -> None:
        assert list(await asyncio.gather(child(2), child(1))) == [2, 1]
        assert await gather(child(2), child(1)) == [2, 1]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(child(seconds)) for seconds in (1, 2)]
            await trio.sleep(0.5)
            async with asyncio.TaskGroup() as inner:
                inner.create_task(child(0.1))
        assert [task.result() for task in tasks] == [1, 2]
        balanced()

    body(main)


def test_asyncio_shield(body: Body) -> None:
    async def child() -> str:
        await asyncio.sleep(2)
        return "result"

    async def main() -> None:
        task = asyncio.create_task(child())
        with trio.move_on_after(1) as scope:
            await asyncio.shield(task)
        assert scope.cancelled_caught
        assert not task.done()
        assert await asyncio.shield(task) == "result"

    body(main)


def test_asyncio_queues_and_locks(body: Body) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for queue in (asyncio.Queue[int](1), asyncio.PriorityQueue[int](1), asyncio.LifoQueue[int](1)):
            loop.call_later(1, queue.put_nowait, 1)
            assert await queue.get() == 1
            queue.task_done()
            await queue.join()
            await queue.put(2)
            with trio.move_on_after(1) as scope:
                await queue.put(3)
            assert scope.cancelled_caught
            assert queue.qsize() == 1
        event = asyncio.Event()
        loop.call_later(1, event.set)
        await event.wait()
        lock = asyncio.Lock()
        async with lock, asyncio.Semaphore(1), asyncio.BoundedSemaphore(1):
            await trio.sleep(1)
            assert lock.locked()
            with trio.move_on_after(1):
                await lock.acquire()
        assert not lock.locked()
        async with (condition := asyncio.Condition()):
            task = asyncio.create_task(_notify(condition))
            await condition.wait()
        await task
        barrier = asyncio.Barrier(2)
        task = asyncio.create_task(_wait(barrier))
        await barrier.wait()
        await task

    body(main)


async def _notify(condition: asyncio.Condition) -> None:
    async with condition:
        condition.notify_all()


async def _wait(barrier: asyncio.Barrier) -> None:
    await barrier.wait()


def test_asyncio_streams(real_body: Body) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
            await writer.drain()
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            for number in range(3):
                writer.write(b"%d\n" % number)
                await writer.drain()
                await trio.sleep(0)
                assert await reader.readline() == b"%d\n" % number
            with trio.move_on_after(0.01) as scope:
                await reader.readline()
            assert scope.cancelled_caught
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()

    real_body(main)


def test_asyncio_threads(real_body: Body) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert await asyncio.to_thread(lambda: trio.from_thread.run(_both)) == "both"
        assert await loop.run_in_executor(None, threading.get_ident) != threading.get_ident()
        go_on = threading.Event()
        with trio.move_on_after(0.01) as scope:
            await asyncio.to_thread(go_on.wait, 10)
        assert scope.cancelled_caught
        go_on.set()

    async def _both() -> str:
        await trio.sleep(0)
        return "both"

    real_body(main)


def test_asyncio_subprocesses(real_body: Body) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec("cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
        output, _ = await process.communicate(b"x")
        assert output == b"x"
        process = await asyncio.create_subprocess_exec("sleep", "60")
        with trio.move_on_after(0.01) as scope:
            await process.wait()
        assert scope.cancelled_caught
        process.kill()
        await process.wait()

    real_body(main)


def test_bare_yields_of_asyncio_and_trio_take_turns(body: Body) -> None:
    """Neither world starves the other: `sleep(0)` of each lets all that is ready run."""
    counts = {"asyncio": 0, "trio": 0}

    async def asyncio_side() -> None:
        while counts["asyncio"] < 100:
            counts["asyncio"] += 1
            await asyncio.sleep(0)

    async def trio_side() -> None:
        while counts["trio"] < 100:
            counts["trio"] += 1
            await trio.sleep(0)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio_side)
            task = asyncio.create_task(asyncio_side())
            for _ in range(500):
                await asyncio.sleep(0)
                await trio.sleep(0)
            assert counts == {"asyncio": 100, "trio": 100}
            await task

    body(main)


def test_async_generators_of_both_worlds_in_one_body(body: Body) -> None:
    async def numbers() -> Any:
        for number in range(3):
            await asyncio.sleep(1)
            yield number
            await trio.sleep(1)

    async def main() -> None:
        assert [number async for number in numbers()] == [0, 1, 2]
        async with contextlib.aclosing(numbers()) as values:
            async for _ in values:
                break

    body(main)
