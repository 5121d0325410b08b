"""What the tests of connections share: protocols that write down what happens to them, and servers and pairs to connect them to."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(serve: Serve, **options: Any) -> AsyncIterator[tuple[str, int]]:
    """A server by streams; waits for its handlers at the end."""
    handlers: list[asyncio.Task[None]] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.append(asyncio.current_task())  # type: ignore[arg-type]
        try:
            await serve(reader, writer)
        finally:
            writer.close()
            try:
                await writer.wait_closed()
            except ConnectionError:
                pass

    server = await asyncio.start_server(handle, "127.0.0.1", 0, **options)
    try:
        yield server.sockets[0].getsockname()[:2]
    finally:
        server.close()
        for handler in handlers:
            await handler
        await server.wait_closed()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    await writer.wait_closed()


class Recorder(asyncio.Protocol):
    """Writes down what happens to it."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.events: list[str] = []
        self.data = bytearray()
        self.made: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self.lost: asyncio.Future[Exception | None] = loop.create_future()
        self.paused = asyncio.Event()
        self.resumed = asyncio.Event()
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.events.append("made")
        self.made.set_result(None)

    def data_received(self, data: bytes) -> None:
        self.events.append("data")
        self.data += data

    def eof_received(self) -> None:
        self.events.append("eof")
        self.ended.set_result(None)

    def pause_writing(self) -> None:
        self.events.append("pause")
        self.paused.set()

    def resume_writing(self) -> None:
        self.events.append("resume")
        self.resumed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.events.append("lost")
        self.lost.set_result(exc)


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Recorder, Recorder]]:
    """Two protocols with a connection between them. Both are closed at the end."""
    loop = asyncio.get_running_loop()
    accepted: asyncio.Future[Recorder] = loop.create_future()

    def factory() -> Recorder:
        accepted.set_result(Recorder())
        return accepted.result()

    server = await loop.create_server(factory, "127.0.0.1", 0)
    _, client = await loop.create_connection(Recorder, *server.sockets[0].getsockname())
    peer = await accepted
    await peer.made
    server.close()
    try:
        yield client, peer
    finally:
        for protocol in (client, peer):
            protocol.transport.abort()
            await protocol.lost
        await server.wait_closed()


class Chunks(asyncio.Protocol):
    """Counts what comes, and says when it has ended."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self.data += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(None)


async def pair(factory: Any) -> tuple[Any, socket.socket]:
    """A protocol from `factory`, connected, and the plain socket at its other end."""
    one, other = socket.socketpair()
    other.setblocking(False)
    _, protocol = await asyncio.get_running_loop().create_connection(factory, sock=one)
    return protocol, other


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def collect_errors() -> list[BaseException]:
    """What the running loop's exception handler gets from now on."""
    errors: list[BaseException] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context["exception"]))
    return errors


def no_lookup(infos: list[Any]) -> None:
    """Have the running loop resolve every name to `infos`."""

    async def getaddrinfo(*args: Any, **options: Any) -> list[Any]:
        return infos

    asyncio.get_running_loop().getaddrinfo = getaddrinfo  # type: ignore[method-assign]


def inet(address: tuple[str, int]) -> tuple[Any, ...]:
    return (socket.AF_INET, socket.SOCK_STREAM, 6, "", address)


class Buffered(asyncio.BufferedProtocol):
    """A buffered protocol that can fail in each of its callbacks."""

    def __init__(self, failing: str = "") -> None:
        self.failing = failing
        self.buffer = bytearray(65536)
        self.data = bytearray()
        self.sizehints: list[int] = []
        self.transport: Any = None
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def get_buffer(self, sizehint: int) -> bytearray:
        self.sizehints.append(sizehint)
        if self.failing == "get_buffer":
            raise ValueError("get_buffer")
        if self.failing == "empty":
            return bytearray()
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self.failing == "buffer_updated":
            raise ValueError("buffer_updated")
        self.data += self.buffer[:nbytes]

    def eof_received(self) -> None:
        if self.failing == "eof_received":
            raise ValueError("eof_received")

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)
