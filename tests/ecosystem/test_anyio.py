"""anyio: in one run, its asyncio backend under asyncio tasks and its trio backend under trio tasks, talking to each other."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import pytest
import sniffio
from anyio.abc import SocketAttribute, SocketStream

from tests.support import Run
from trio_asyncio_compat import trio_as_aio

from .support import CUT, MANY, at_once, be_a_peer, cut_off, on_our_loop, peer


async def in_both(body: Callable[[], Coroutine[Any, Any, object]]) -> None:
    """Run `body`, which awaits only anyio, under asyncio and under trio at the same time."""
    async with anyio.create_task_group() as group:
        group.start_soon(body)
        if on_our_loop():
            group.start_soon(trio_as_aio(body))


async def many(body: Callable[[int], Coroutine[Any, Any, object]]) -> None:
    """Run `body` many times at once, under what we are in."""
    async with anyio.create_task_group() as group:
        for number in range(MANY):
            group.start_soon(body, number)


async def echo(stream: SocketStream) -> None:
    async with stream:
        async for data in stream:
            await stream.send(data)


async def listen() -> Any:
    return await anyio.create_tcp_listener(local_host="127.0.0.1")


def port_of(listener: Any) -> int:
    port: int = listener.extra(SocketAttribute.local_port)
    return port


@asynccontextmanager
async def serving() -> AsyncIterator[int]:
    """The port of an echo server."""
    async with await listen() as listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, echo)
        yield port_of(listener)
        group.cancel_scope.cancel()


async def talk(port: int, number: int) -> None:
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        message = bytes([number]) * 200_000
        received = bytearray()
        async with anyio.create_task_group() as group:
            group.start_soon(stream.send, message)
            while len(received) < len(message):
                received += await stream.receive()
        assert received == message


def test_each_side_is_recognised_everywhere(on_loop: Run) -> None:
    async def main() -> None:
        seen: list[str] = []

        async def name() -> str:
            return sniffio.current_async_library()

        async def look(library: str) -> None:
            await anyio.lowlevel.checkpoint()
            assert sniffio.current_async_library() == library
            assert await anyio.to_thread.run_sync(threading.get_ident) != threading.get_ident()
            assert await anyio.to_thread.run_sync(anyio.from_thread.run, name) == library
            seen.append(library)

        async def look_around() -> None:
            library = sniffio.current_async_library()
            await many(lambda number: look(library))

        await in_both(look_around)
        assert sorted(seen) == ["asyncio"] * MANY + ["trio"] * (MANY if on_our_loop() else 0)

    on_loop(main)


def test_many_streams_at_once_between_servers_and_clients_of_both(on_loop: Run) -> None:
    async def main() -> None:
        async with anyio.create_task_group() as group:
            here = await listen()
            group.start_soon(here.serve, echo)
            ports = [port_of(here)]
            if on_our_loop():
                there = await trio_as_aio(listen)()
                group.start_soon(trio_as_aio(there.serve), echo)
                ports.append(port_of(there))

            async def talk_to_both(number: int) -> None:
                for port in ports:
                    await talk(port, number)

            await in_both(lambda: many(talk_to_both))
            group.cancel_scope.cancel()
        await here.aclose()
        if on_our_loop():
            await trio_as_aio(there.aclose)()

    on_loop(main)


def test_cancel_scopes_of_anyio_around_and_inside_of_those_of_both(on_loop: Run) -> None:
    async def main() -> None:
        async def give_up(number: int) -> None:
            with pytest.raises(TimeoutError):
                with anyio.fail_after(CUT):
                    await anyio.sleep_forever()
            with anyio.move_on_after(CUT) as outer:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(2 * CUT)
                await anyio.sleep_forever()
            assert outer.cancelled_caught

        async def clean_up_in_a_shield() -> None:
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(0)
                    cleaned.append(1)

        cleaned: list[int] = []
        await in_both(lambda: many(give_up))
        await at_once(lambda number: cut_off(clean_up_in_a_shield))
        assert len(cleaned) == MANY * (3 if on_our_loop() else 2)

        async def cross(number: int) -> None:
            with anyio.move_on_after(CUT) as scope:
                await trio_as_aio(clean_up_in_a_shield)()
            assert scope.cancelled_caught

        if on_our_loop():
            await many(cross)
            assert len(cleaned) == MANY * 4

    on_loop(main)


def test_processes_die(on_loop: Run) -> None:
    async def main() -> None:
        async def kill(number: int) -> None:
            async with await anyio.open_process(["cat"]) as process:
                assert process.stdin is not None
                assert process.stdout is not None
                await process.stdin.send(b"hello")
                assert await process.stdout.receive() == b"hello"
                process.kill()
                with pytest.raises(anyio.EndOfStream):
                    await process.stdout.receive()
                assert await process.wait() == -9
            result = await anyio.run_process([sys.executable, "-S", "-c", "print(1)"], stderr=subprocess.DEVNULL)
            assert result.stdout == b"1\n"

        await in_both(lambda: many(kill))

    on_loop(main)


def test_server_dies(on_loop: Run) -> None:
    async def main() -> None:
        async def lose() -> None:
            with peer(__name__) as server:
                connected: list[int] = []

                async def connect(number: int) -> None:
                    async with await anyio.connect_tcp("127.0.0.1", int(server.hello)) as stream:
                        await stream.send(b"hello")
                        assert await stream.receive() == b"hello"
                        connected.append(number)
                        if len(connected) == MANY:
                            server.kill()
                        with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                            await stream.receive()

                await many(connect)

        await in_both(lose)

    on_loop(main)


if __name__ == "__main__":
    be_a_peer(serving)
