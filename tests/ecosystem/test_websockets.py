"""websockets: server and client in one loop, and each of them losing the other."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed, ConnectionClosedError

from tests.support import Run

from .support import MANY, at_once, be_a_peer, cut_off, peer


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


@asynccontextmanager
async def echoing() -> AsyncIterator[str]:
    async with serve(echo, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"ws://127.0.0.1:{port}"


@asynccontextmanager
async def talking_to_the_server() -> AsyncIterator[str]:
    """The peer as a client: connected to the server whose address is its argument."""
    async with connect(sys.argv[2]) as connection:
        await connection.send("hello")
        yield "connected"


def test_many_connections_at_once_with_large_messages(on_loop: Run) -> None:
    async def main() -> None:
        async with echoing() as url:

            async def talk(number: int) -> None:
                async with connect(url, compression="deflate" if number % 3 else None) as connection:
                    for size in (0, 10, 1_000, 500_000):
                        message = bytes([number]) * size
                        await connection.send(message)
                        assert await connection.recv() == message

            await at_once(talk)

    on_loop(main)


def test_broadcast(on_loop: Run) -> None:
    async def main() -> None:
        connected: set[ServerConnection] = set()
        everybody = asyncio.Event()

        async def join(connection: ServerConnection) -> None:
            connected.add(connection)
            if len(connected) == MANY:
                everybody.set()
            await connection.wait_closed()

        async with serve(join, "127.0.0.1", 0) as server:
            url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"

            async def listen(number: int) -> list[object]:
                async with connect(url) as connection:
                    return [await connection.recv() for _ in range(10)]

            async with asyncio.TaskGroup() as group:
                listeners = group.create_task(at_once(listen))
                await everybody.wait()
                for number in range(10):
                    broadcast(connected, f"news {number}")
            assert listeners.result() == [[f"news {number}" for number in range(10)]] * MANY

    on_loop(main)


def test_cut_off_receives_lose_no_message(on_loop: Run) -> None:
    async def main() -> None:
        async with echoing() as url:

            async def talk(number: int) -> object:
                async with connect(url) as connection:
                    await cut_off(connection.recv)
                    await connection.send(f"still here, {number}")
                    return await connection.recv()

            assert await at_once(talk) == [f"still here, {number}" for number in range(MANY)]

    on_loop(main)


def test_server_dies(on_loop: Run) -> None:
    async def main() -> None:
        with peer(__name__, "server") as server:
            connected = asyncio.Barrier(MANY)

            async def talk(number: int) -> None:
                async with connect(server.hello) as connection:
                    if await connected.wait() == 0:
                        server.kill()
                    with pytest.raises(ConnectionClosedError):
                        await connection.recv()

            await at_once(talk)
            with pytest.raises(ConnectionRefusedError):
                await connect(server.hello)

    on_loop(main)


def test_client_dies(on_loop: Run) -> None:
    async def main() -> None:
        ends: asyncio.Queue[ConnectionClosed] = asyncio.Queue()

        async def hold(connection: ServerConnection) -> None:
            assert await connection.recv() == "hello"
            try:
                await connection.recv()
            except ConnectionClosed as exc:
                ends.put_nowait(exc)

        async with serve(hold, "127.0.0.1", 0) as server:
            url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"

            def die() -> None:
                with peer(__name__, "client", url) as client:
                    assert client.hello == "connected"
                    client.kill()

            await asyncio.to_thread(die)
            assert isinstance(await ends.get(), ConnectionClosedError)

    on_loop(main)


if __name__ == "__main__":
    be_a_peer({"server": echoing, "client": talking_to_the_server}[sys.argv[1]])
