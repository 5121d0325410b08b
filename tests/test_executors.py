"""Threads, processes and names: run_in_executor, the default executor, getaddrinfo and getnameinfo."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import functools
import multiprocessing
import os
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from trio_asyncio_compat import aio_as_trio, open_loop

from .support import Run

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="default")


class Odd(Exception):
    """An error of the user's."""


def fail() -> None:
    raise Odd("boom")


def test_a_function_runs_in_a_thread_named_as_asyncio_names_them(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        thread = await loop.run_in_executor(None, threading.current_thread)
        assert thread is not threading.current_thread()
        assert thread.name == "asyncio_0"
        assert await loop.run_in_executor(None, max, 1, 2) == 2
        with pytest.raises(Odd, match="boom"):
            await loop.run_in_executor(None, fail)

    run(main)


def test_calls_run_at_the_same_time(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        barrier = threading.Barrier(5)
        await asyncio.gather(*[loop.run_in_executor(None, barrier.wait, 20) for _ in range(5)])

    run(main)


def test_more_calls_than_threads_all_run(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        results = await asyncio.gather(*[loop.run_in_executor(None, abs, -number) for number in range(300)])
        assert results == list(range(300))

    run(main)


def test_to_thread_brings_the_callers_context(run: Run) -> None:
    async def main() -> None:
        variable.set("caller's")
        assert await asyncio.to_thread(variable.get) == "caller's"
        # As with concurrent.futures, nothing comes along by itself.
        assert await asyncio.get_running_loop().run_in_executor(None, variable.get) == "default"

    run(main)


def test_stop_iteration_cannot_come_out_of_await(run: Run) -> None:
    def stop() -> None:
        raise StopIteration

    async def main() -> None:
        loop = asyncio.get_running_loop()
        if run.ours:
            with pytest.raises(RuntimeError, match="StopIteration"):
                await loop.run_in_executor(None, stop)

    run(main)


def test_a_call_that_was_cancelled_before_it_began_is_not_made(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        gate = threading.Event()
        made: list[int] = []
        count = 64
        busy = [loop.run_in_executor(None, gate.wait, 20) for _ in range(count)]
        future = loop.run_in_executor(None, made.append, 1)
        future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await future
        await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(*busy)
        assert made == []

    run(main)


def test_cancelling_does_not_wait_for_a_call_that_has_begun(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        begun, gate = threading.Event(), threading.Event()

        def work() -> None:
            begun.set()
            gate.wait(20)

        future = loop.run_in_executor(None, work)
        while not begun.is_set():
            await asyncio.sleep(0)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await future
        assert future.cancelled()
        gate.set()

    run(main)


def test_trio_can_be_called_from_a_worker(our_run: Run) -> None:
    async def trio_function(argument: str) -> str:
        await trio.sleep(0)
        return argument

    def work() -> tuple[str, str]:
        assert trio.from_thread.run_sync(trio.lowlevel.in_trio_task)
        return trio.from_thread.run(trio_function, "awaited"), trio.from_thread.run_sync(str, "called")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(None, work) == ("awaited", "called")
        assert await asyncio.to_thread(work) == ("awaited", "called")

    our_run(main)


def test_a_worker_that_waits_in_trio_does_not_keep_the_loop_from_ending(hosted_run: Run) -> None:
    begun = trio.Event()

    async def wait() -> None:
        begun.set()
        await trio.sleep_forever()

    async def main() -> asyncio.Future[None]:
        future = asyncio.get_running_loop().run_in_executor(None, trio.from_thread.run, wait)
        await begun.wait()
        return future

    assert hosted_run.trio_run(main).cancelled()


def test_trio_can_be_called_from_a_worker_that_began_while_the_loop_was_blocked(our_run: Run) -> None:
    def work() -> int:
        begun.set()
        return trio.from_thread.run_sync(abs, -5)

    async def main() -> None:
        future = asyncio.get_running_loop().run_in_executor(None, work)
        assert begun.wait(20)
        assert await future == 5

    begun = threading.Event()
    our_run(main)


def test_a_worker_that_calls_trio_finds_its_own_loop(hosted_run: Run) -> None:
    async def which() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    async def main() -> None:
        async with open_loop() as outer, open_loop() as inner:
            for loop in (outer, inner):
                future = loop.run_in_executor(None, trio.from_thread.run, which)
                assert await aio_as_trio(future, loop=loop) is loop

    hosted_run.trio_run(main)


def test_asyncio_can_be_called_from_a_worker(run: Run) -> None:
    async def function(number: int) -> int:
        await asyncio.sleep(0)
        return number + 1

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def work() -> int:
            return asyncio.run_coroutine_threadsafe(function(1), loop).result(20)

        assert await loop.run_in_executor(None, work) == 2

    run(main)


def test_an_executor_that_is_given_is_used_as_it_is(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="mine") as pool:
            name = (await loop.run_in_executor(pool, threading.current_thread)).name
            assert name.startswith("mine")

    run(main)


@pytest.mark.parametrize("method", ["spawn"])
def test_a_process_pool_can_be_given(run: Run, method: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        context = multiprocessing.get_context(method)
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
            assert await loop.run_in_executor(pool, os.getpid) != os.getpid()

    if run.kind in ("asyncio", "hosted-nested", "driven-nested"):
        run(main)
    # The resource tracker of multiprocessing stays, as it is meant to.
    from multiprocessing import resource_tracker

    resource_tracker._resource_tracker._stop()  # type: ignore[attr-defined]


def test_the_default_executor_can_be_set(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="mine") as pool:
            loop.set_default_executor(pool)
            assert (await asyncio.to_thread(threading.current_thread)).name.startswith("mine")
            with pytest.raises(TypeError, match="ThreadPoolExecutor"):
                loop.set_default_executor(object())  # type: ignore[arg-type]
            await loop.shutdown_default_executor()

    run(main)


def test_after_its_shutdown_the_default_executor_refuses_calls(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        finished = loop.run_in_executor(None, abs, -1)
        thread = await loop.run_in_executor(None, threading.current_thread)
        await loop.shutdown_default_executor()
        assert await finished == 1
        if not run.ours:
            assert not thread.is_alive()
        with pytest.raises(RuntimeError, match="shutdown"):
            loop.run_in_executor(None, print)
        await loop.shutdown_default_executor()

    run(main)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the timeout is new in Python 3.12")
def test_the_shutdown_of_the_default_executor_ends_after_its_timeout(run: Run) -> None:
    if not run.ours and sys.version_info < (3, 13):
        return  # there it waits for the threads first, and for its timeout then

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        gate = threading.Event()
        future = loop.run_in_executor(None, gate.wait, 20)
        with pytest.warns(RuntimeWarning, match="did not finishing joining its threads within 0.01 seconds"):
            await loop.shutdown_default_executor(0.01)
        gate.set()
        await future

    run(main)


def test_a_coroutine_function_is_not_for_a_thread(run: Run) -> None:
    async def function() -> None: ...

    async def main() -> None:
        with pytest.raises(TypeError, match="coroutines cannot be used with run_in_executor"):
            asyncio.get_running_loop().run_in_executor(None, function)

    run(main, debug=True)


def test_calls_made_between_two_drives_begin_at_once(sync_run: Run) -> None:
    loop = sync_run.new_loop()
    begun = threading.Event()
    try:
        loop.run_in_executor(None, begun.set)
        assert begun.wait(20)
        future = loop.run_in_executor(None, abs, -3)

        async def wait() -> int:
            return await future

        assert loop.run_until_complete(wait()) == 3
        assert loop.run_until_complete(asyncio.wait_for(_abs(loop), 20)) == 4
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()


async def _abs(loop: asyncio.AbstractEventLoop) -> int:
    return await loop.run_in_executor(None, abs, -4)


def test_calls_that_no_thread_has_begun_when_the_drive_ends_are_made_all_the_same(sync_run: Run) -> None:
    gate, made = threading.Event(), threading.Semaphore(0)

    def work() -> None:
        gate.wait(20)
        made.release()

    async def main() -> None:
        for _ in range(100):
            asyncio.get_running_loop().run_in_executor(None, work)

    loop = sync_run.new_loop()
    try:
        loop.run_until_complete(main())
        loop.close()
        gate.set()
        for _ in range(100):
            assert made.acquire(timeout=20)
    finally:
        loop.close()


def test_the_shutdown_waits_for_calls_made_between_two_drives(sync_run: Run) -> None:
    gate, made = threading.Event(), threading.Semaphore(0)

    def work() -> None:
        gate.wait(20)
        made.release()

    loop = sync_run.new_loop()
    try:
        loop.run_in_executor(None, work)
        loop.call_soon(gate.set)
        loop.run_until_complete(loop.shutdown_default_executor())
        assert made.acquire(blocking=False)
        with pytest.raises(RuntimeError, match="shutdown"):
            loop.run_in_executor(None, work)
    finally:
        loop.close()


def test_a_callback_may_block_until_a_thread_has_begun(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        gate = threading.Event()
        futures = []
        for _ in range(3):
            begun = threading.Event()

            def work(begun: threading.Event = begun) -> None:
                begun.set()
                gate.wait(20)

            futures.append(loop.run_in_executor(None, work))
            assert begun.wait(20)
            # Each thread but the first wants a turn of trio since the one before.
            await asyncio.sleep(0.001)
        gate.set()
        await asyncio.gather(*futures)

    run(main)


def test_a_call_may_be_made_from_another_thread(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        made = threading.Event()
        thread = threading.Thread(target=loop.run_in_executor, args=(None, made.set))
        thread.start()
        thread.join()
        while not made.is_set():
            await asyncio.sleep(0)

    run(main)


def test_a_call_fails_where_the_system_has_no_thread_for_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            with pytest.raises(RuntimeError, match="can't start"):
                while True:  # until trio has none in reserve
                    trio.lowlevel.start_thread_soon(gate.wait, lambda result: None)
            with pytest.raises(RuntimeError, match="can't start"):
                await loop.run_in_executor(None, abs, -1)
        assert await loop.run_in_executor(None, abs, -2) == 2

    try:
        run(main)
    finally:
        gate.set()


# Names


def test_names_are_resolved(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)
        assert found == socket.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)
        named = await loop.getaddrinfo("localhost", 443, family=socket.AF_INET, type=socket.SOCK_STREAM)
        assert ("127.0.0.1", 443) in [info[4] for info in named]
        assert await loop.getnameinfo(("127.0.0.1", 80), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV) == ("127.0.0.1", "80")
        with pytest.raises(socket.gaierror):
            await loop.getaddrinfo("127.0.0.1", "no such service", flags=socket.AI_NUMERICSERV)

    run(main)


async def connect(loop: asyncio.AbstractEventLoop) -> str:
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "localhost", 0, family=socket.AF_INET)
    _, writer = await asyncio.open_connection("localhost", server.sockets[0].getsockname()[1], family=socket.AF_INET)
    peer: str = writer.get_extra_info("peername")[0]
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()
    return peer


async def look_up_address(loop: asyncio.AbstractEventLoop) -> str:
    infos = await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)
    return str(infos[0][4][0])


async def look_up_name(loop: asyncio.AbstractEventLoop) -> str:
    return (await loop.getnameinfo(("127.0.0.1", 80), socket.NI_NUMERICHOST))[0]


@pytest.mark.parametrize("look_up", [connect, look_up_address, look_up_name])
def test_a_look_up_that_a_drive_has_not_seen_the_end_of_ends_in_the_next(
    sync_run: Run, monkeypatch: pytest.MonkeyPatch, look_up: Callable[[asyncio.AbstractEventLoop], Awaitable[str]]
) -> None:
    begun, gate = threading.Event(), threading.Event()

    def wait_and_call(function: Callable[..., Any], *args: Any) -> Any:
        begun.set()
        gate.wait()
        return function(*args)

    async def begin() -> asyncio.Future[str]:
        task = asyncio.ensure_future(look_up(loop))
        while not begun.is_set():
            await asyncio.sleep(0)
        return task

    async def end(task: asyncio.Future[str]) -> str:
        gate.set()
        return await task

    for name in ("getaddrinfo", "getnameinfo"):
        monkeypatch.setattr(socket, name, functools.partial(wait_and_call, getattr(socket, name)))
    try:
        with asyncio.Runner(loop_factory=sync_run.new_loop) as runner:
            loop = runner.get_loop()
            task = runner.run(begin())
            assert not task.done()
            assert runner.run(end(task)) == "127.0.0.1"
    finally:
        gate.set()


def test_a_custom_resolver_of_trio_is_used(our_run: Run) -> None:
    class Resolver(trio.abc.HostnameResolver):
        async def getaddrinfo(self, host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> Any:
            await trio.sleep(0)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 7))]

        async def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:
            return ("name.example", "service")

    async def main() -> None:
        trio.socket.set_custom_hostname_resolver(Resolver())
        loop = asyncio.get_running_loop()
        assert (await loop.getaddrinfo("name.example", 7))[0][4] == ("192.0.2.1", 7)
        assert await loop.getnameinfo(("192.0.2.1", 7)) == ("name.example", "service")

    our_run(main)


def test_cancelling_a_resolution_returns_at_once(hosted_run: Run) -> None:
    class Resolver(trio.abc.HostnameResolver):
        async def getaddrinfo(self, host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> Any:
            await trio.sleep_forever()

        async def getnameinfo(self, sockaddr: Any, flags: int) -> Any:
            await trio.sleep_forever()

    async def main() -> None:
        trio.socket.set_custom_hostname_resolver(Resolver())
        loop = asyncio.get_running_loop()
        with trio.move_on_after(0.01) as scope:
            await aio_as_trio(loop.getaddrinfo)("name.example", 7)
        assert scope.cancelled_caught

        async def timed() -> None:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await loop.getnameinfo(("192.0.2.1", 7))

        await aio_as_trio(timed)()

    hosted_run.trio_run(main)


def test_slow_names_are_logged_in_debug_mode(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.slow_callback_duration = 10
        begin = time.perf_counter()
        await loop.getaddrinfo("127.0.0.1", 80)
        assert time.perf_counter() - begin < 10

    run(main, debug=True)
