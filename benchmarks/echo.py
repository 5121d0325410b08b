"""Rows that echo messages over TCP; the other end is the compiled program `load.c`."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any


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


async def serve_protocol() -> tuple[int, object]:
    server = await asyncio.get_running_loop().create_server(EchoProtocol, "127.0.0.1", 0)
    return server.sockets[0].getsockname()[1], server


async def serve_buffered() -> tuple[int, object]:
    server = await asyncio.get_running_loop().create_server(EchoBufferedProtocol, "127.0.0.1", 0)
    return server.sockets[0].getsockname()[1], server


async def serve_streams() -> tuple[int, object]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(256 * 1024):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass  # the load ends with its connections
        finally:
            writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    return server.sockets[0].getsockname()[1], server


async def serve_sock() -> tuple[int, object]:
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
                pass

    async def accept() -> None:
        while True:
            connection, _ = await loop.sock_accept(listener)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setblocking(False)
            tasks.add(asyncio.ensure_future(echo(connection)))

    tasks.add(asyncio.ensure_future(accept()))
    return listener.getsockname()[1], (listener, tasks)


@dataclasses.dataclass(frozen=True)
class Echo:
    """An echo server, how many connections load it, and the length of a message in bytes."""

    serve: Callable[[], Awaitable[tuple[int, object]]]
    connections: int
    size: int = 1024

    async def measure(self, seconds: float) -> float:
        """Messages per second that come back, from a server on the running loop."""
        loop = asyncio.get_running_loop()
        port, server = await self.serve()
        done: asyncio.Future[float] = loop.create_future()

        def load() -> None:
            # Not by the loop's own subprocesses: those of the loops are not equally fast, and not what is measured.
            rate = run_load(port, self.connections, self.size, seconds)
            loop.call_soon_threadsafe(done.set_result, rate)

        threading.Thread(target=load, daemon=True).start()
        rate = await done
        del server
        return rate

    def ceiling(self, seconds: float) -> float:
        """The same from an echo server in C: what the load generator can do."""
        with subprocess.Popen([load_program(), "serve"], stdout=subprocess.PIPE) as server:
            try:
                return run_load(int(server.stdout.readline()), self.connections, self.size, seconds)  # type: ignore[union-attr]
            finally:
                server.kill()


def load_program() -> str:
    """The compiled load generator. Raises SystemExit without a C compiler."""
    source = Path(__file__).with_name("load.c")
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "trio_asyncio_compat")
    program = cache / f"load-{source.stat().st_mtime_ns}"
    if not program.exists():
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if compiler is None:
            raise SystemExit("The echo benchmarks need a C compiler for their load generator: install gcc or clang")
        cache.mkdir(parents=True, exist_ok=True)
        unfinished = program.with_suffix(f".{os.getpid()}")
        subprocess.run([compiler, "-O2", "-o", unfinished, source], check=True)
        unfinished.rename(program)
    return str(program)


def run_load(port: int, connections: int, size: int, seconds: float) -> float:
    """Messages per second through the echo server at `port`."""
    command = [load_program(), str(port), str(connections), str(size), str(seconds)]
    result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    rate: float = result["messages"] / result["seconds"]
    return rate


ROWS = {
    f"echo {label} by {way}, {connections} connection{'s' if connections > 1 else ''}": Echo(serve, connections, size)
    for way, serve, loads in (
        ("protocol", serve_protocol, [(1024, 1), (1024, 10), (1024, 100), (16384, 10), (100_000, 10), (1_000_000, 4)]),
        ("streams", serve_streams, [(1024, 1), (1024, 10), (1024, 100), (100_000, 10)]),
        ("sock_*", serve_sock, [(1024, 1), (1024, 10), (1024, 100)]),
        ("BufferedProtocol", serve_buffered, [(1024, 10), (1024, 100)]),
    )
    for size, connections in loads
    for label in [{1024: "1 KiB", 16384: "16 KiB", 100_000: "100 KB", 1_000_000: "1 MB"}[size]]
}
