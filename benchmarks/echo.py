"""Rows that echo messages over sockets; the other end is a load generator in a process of its own (`load.py`)."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import socket
import ssl
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from .load import Load, certificate, load_program
from .row import Measure, Row

# Where the server can be reached (see `Load`), and what must be kept alive for as long as it is.
Served = tuple[str, object]


class EchoProtocol(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class EchoBufferedProtocol(asyncio.BufferedProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.buffer = memoryview(bytearray(256 * 1024))

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.transport.write(self.buffer[:nbytes])


class EchoDatagrams(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.transport.sendto(data, addr)


async def serve_tcp(protocol: Callable[[], asyncio.BaseProtocol]) -> Served:
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0, backlog=1024)
    return f"tcp:{_port(server)}", server


async def serve_tls() -> Served:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate())
    server = await asyncio.get_running_loop().create_server(EchoProtocol, "127.0.0.1", 0, backlog=1024, ssl=context)
    return f"tls:{_port(server)}", server


async def serve_unix() -> Served:
    folder = tempfile.TemporaryDirectory()
    path = str(Path(folder.name, "echo"))
    server = await asyncio.get_running_loop().create_unix_server(EchoProtocol, path, backlog=1024)
    return f"unix:{path}", (server, folder)


async def serve_udp() -> Served:
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(EchoDatagrams, ("127.0.0.1", 0))
    return f"udp:{transport.get_extra_info('sockname')[1]}", transport


async def serve_streams() -> Served:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(256 * 1024):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass  # the load ends with its connections
        finally:
            writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0, backlog=1024)
    return f"tcp:{_port(server)}", server


async def serve_sock() -> Served:
    loop = asyncio.get_running_loop()
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    listener.setblocking(False)
    tasks = set()

    async def echo(connection: socket.socket) -> None:
        with connection:
            try:
                while data := await loop.sock_recv(connection, 256 * 1024):
                    await loop.sock_sendall(connection, data)
            except ConnectionError:
                pass  # the load ends with its connections

    async def accept() -> None:
        while True:
            connection, _ = await loop.sock_accept(listener)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setblocking(False)
            tasks.add(asyncio.ensure_future(echo(connection)))

    tasks.add(asyncio.ensure_future(accept()))
    return f"tcp:{listener.getsockname()[1]}", (listener, tasks)


def _port(server: asyncio.Server) -> int:
    port: int = server.sockets[0].getsockname()[1]
    return port


@dataclasses.dataclass(frozen=True)
class Echo:
    """An echo server, how many connections load it, the length of a message in bytes, and whether another connection ends before."""

    serve: Callable[[], Awaitable[Served]]
    connections: int
    size: int
    after_one: bool = False

    @contextlib.asynccontextmanager
    async def ready(self) -> AsyncIterator[Measure]:
        """Messages per second that come back, from a server on the running loop."""
        address, server = await self.serve()
        if self.after_one:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(address.removeprefix("tcp:")))
            writer.write_eof()
            await reader.read()
            writer.close()
        with Load(address, self.connections, self.size) as load:
            yield load.measure
        del server

    @contextlib.asynccontextmanager
    async def ceiling(self) -> AsyncIterator[Measure]:
        """The same from an echo server in C: what the load generator can do."""
        with subprocess.Popen([load_program(), "serve"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            try:
                with Load(f"tcp:{int(server.stdout.readline())}", self.connections, self.size) as load:
                    yield load.measure
            finally:
                server.kill()


SIZES = {1024: "1 KiB", 16 * 1024: "16 KiB", 100_000: "100 KB", 1_000_000: "1 MB"}


def _row(group: str, way: str, serve: Callable[[], Awaitable[Served]], size: int, connections: int, *, ceiling: bool = True) -> Row:
    echo = Echo(serve, connections, size)
    name = f"echo {SIZES[size]} by {way}, {connections:,} connection{'s' if connections > 1 else ''}"
    return Row(group, name, echo.ready, echo.ceiling if ceiling else None, one_core=connections == 1)


protocol = functools.partial(serve_tcp, EchoProtocol)
buffered = functools.partial(serve_tcp, EchoBufferedProtocol)

ROWS = [
    *(_row("echo", "protocol", protocol, 1024, connections) for connections in (1, 10, 100)),
    *(_row("echo", "streams", serve_streams, 1024, connections) for connections in (1, 10, 100)),
    *(_row("echo", "sock_*", serve_sock, 1024, connections) for connections in (1, 10, 100)),
    *(_row("more", "BufferedProtocol", buffered, 1024, connections) for connections in (10, 100)),
    _row("more", "protocol", protocol, 1024, 1000),
    # A read that finds the end gives its whole buffer back, and glibc serves those of that size from the heap from then on (see
    # `keep_read_buffers` in the package): the other loops' figures above are those of a process in which no connection has ended yet.
    Row("more", "echo 1 KiB by protocol, 100 connections, when one has ended", Echo(protocol, 100, 1024, after_one=True).ready),
    _row("more", "protocol", protocol, 16 * 1024, 10),
    _row("more", "protocol", protocol, 100_000, 10),
    _row("more", "protocol", protocol, 1_000_000, 4),
    _row("more", "streams", serve_streams, 100_000, 10),
    # The C server is one of TCP.
    _row("more", "TLS", serve_tls, 1024, 100, ceiling=False),
    _row("more", "UDP", serve_udp, 1024, 10, ceiling=False),
    _row("more", "unix socket", serve_unix, 1024, 10, ceiling=False),
]
