"""Servers on TCP and unix sockets."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from .connections import Recorder, close, echo
from .support import Run

needs_python_3_13 = pytest.mark.skipif(sys.version_info < (3, 13), reason="new in Python 3.13")


async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await echo(reader, writer)
    await close(writer)


async def asks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An echo server is at the other end."""
    writer.write(b"question")
    writer.write_eof()
    assert await reader.read() == b"question"
    await close(writer)


def test_a_server_listens_on_several_hosts(run: Run) -> None:
    async def main() -> None:
        server = await asyncio.start_server(handle, ["127.0.0.1", "127.0.0.2"], 0)
        async with server:
            assert server.is_serving()
            assert server.get_loop() is asyncio.get_running_loop()
            addresses = [sock.getsockname() for sock in server.sockets]
            assert sorted(host for host, _ in addresses) == ["127.0.0.1", "127.0.0.2"]
            for address in addresses:
                await asks(*await asyncio.open_connection(*address))
        assert not server.is_serving()
        assert server.sockets == ()

    run(main)


def test_a_server_can_be_started_later(run: Run) -> None:
    async def main() -> None:
        server = await asyncio.start_server(handle, "127.0.0.1", 0, start_serving=False)
        assert not server.is_serving()
        address = server.sockets[0].getsockname()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*address)
        await server.start_serving()
        await server.start_serving()
        assert server.is_serving()
        await asks(*await asyncio.open_connection(*address))
        server.close()
        server.close()
        await server.wait_closed()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*address)

    run(main)


def test_serve_forever_ends_when_it_is_cancelled(run: Run) -> None:
    async def main() -> None:
        server = await asyncio.start_server(handle, "127.0.0.1", 0, start_serving=False)
        task = asyncio.ensure_future(server.serve_forever())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="already being awaited"):
            await server.serve_forever()
        await asks(*await asyncio.open_connection(*server.sockets[0].getsockname()))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not server.is_serving()
        with pytest.raises(RuntimeError, match="is closed"):
            await server.serve_forever()

    run(main)


def test_an_address_in_use_says_so(run: Run) -> None:
    async def main() -> None:
        async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
            with pytest.raises(OSError, match="error while attempting to bind on address") as caught:
                await asyncio.start_server(handle, *server.sockets[0].getsockname())
            assert caught.value.errno == errno.EADDRINUSE

    run(main)


@pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="this system has no SO_REUSEPORT")
def test_a_port_can_be_shared(run: Run) -> None:
    async def main() -> None:
        async with await asyncio.start_server(handle, "127.0.0.1", 0, reuse_port=True) as first:
            address = first.sockets[0].getsockname()
            async with await asyncio.start_server(handle, *address, reuse_port=True):
                for _ in range(10):
                    await asks(*await asyncio.open_connection(*address))

    run(main)


def test_a_listening_socket_can_be_given(run: Run) -> None:
    async def main() -> None:
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        async with await asyncio.start_server(handle, sock=sock) as server:
            assert server.sockets[0].fileno() == sock.fileno()
            await asks(*await asyncio.open_connection(*sock.getsockname()))
        assert sock.fileno() == -1

    run(main)


def test_mistakes_are_refused(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(TypeError, match="ssl argument"):
            await loop.create_server(asyncio.Protocol, "127.0.0.1", 0, ssl=True)
        with pytest.raises(ValueError, match="Neither host/port nor sock"):
            await loop.create_server(asyncio.Protocol)  # type: ignore[call-overload]
        with socket.socket() as sock, pytest.raises(ValueError, match="can not be specified at the same time"):
            await loop.create_server(asyncio.Protocol, "127.0.0.1", 0, sock=sock)  # type: ignore[call-overload]
        with socket.socket(type=socket.SOCK_DGRAM) as sock, pytest.raises(ValueError, match="Stream Socket was expected"):
            await loop.create_server(asyncio.Protocol, sock=sock)
        with pytest.raises(ValueError, match="ssl_handshake_timeout"):
            await loop.create_server(asyncio.Protocol, "127.0.0.1", 0, ssl_handshake_timeout=1)

    run(main)


def test_many_clients_at_once(run: Run) -> None:
    async def main() -> None:
        async with await asyncio.start_server(handle, "127.0.0.1", 0, backlog=200) as server:
            address = server.sockets[0].getsockname()
            connections = await asyncio.gather(*[asyncio.open_connection(*address) for _ in range(100)])
            await asyncio.gather(*[asks(*connection) for connection in connections])

    run(main)


@needs_python_3_13
@pytest.mark.parametrize("method", ["close_clients", "abort_clients"])
def test_clients_can_be_closed(run: Run, method: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        peers: list[Recorder] = []

        def factory() -> Recorder:
            peers.append(Recorder())
            return peers[-1]

        server: Any = await loop.create_server(factory, "127.0.0.1", 0)
        clients = [(await loop.create_connection(Recorder, *server.sockets[0].getsockname()))[1] for _ in range(3)]
        while len(peers) < 3:
            await asyncio.sleep(0)
        for peer in peers:
            await peer.made
        server.close()
        getattr(server, method)()
        for protocol in [*clients, *peers]:
            await protocol.lost
        await server.wait_closed()

    run(main)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="wait_closed waits since Python 3.12")
def test_wait_closed_waits_for_the_connections(run: Run) -> None:
    async def main() -> None:
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        server.close()
        waiting = asyncio.ensure_future(server.wait_closed())
        for _ in range(10):
            await asyncio.sleep(0)
        assert not waiting.done()
        await close(writer)
        await waiting

    run(main)


def test_an_accepted_socket_can_be_given(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            sock, _ = listener.accept()
            _, protocol = await loop.connect_accepted_socket(Recorder, sock)
            writer.write(b"x")
            writer.write_eof()
            await protocol.ended
            assert bytes(protocol.data) == b"x"
            assert await reader.read() == b""
            await close(writer)
            await protocol.lost

    run(main)


# Unix sockets

unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="this system has no unix sockets")


@unix
def test_unix_sockets(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "socket"

    async def main() -> None:
        async with await asyncio.start_unix_server(handle, path) as server:
            assert server.sockets[0].family == socket.AF_UNIX
            await asks(*await asyncio.open_unix_connection(path))
            await asks(*await asyncio.open_unix_connection(str(path)))
            one = socket.socket(socket.AF_UNIX)
            one.connect(str(path))
            one.setblocking(False)
            await asks(*await asyncio.open_unix_connection(sock=one))
        # Removed by the server since Python 3.13; otherwise it stays, and is replaced by the next one.
        assert path.exists() == (sys.version_info < (3, 13))
        async with await asyncio.start_unix_server(handle, path):
            await asks(*await asyncio.open_unix_connection(path))

    run(main)


@unix
def test_mistakes_with_unix_sockets_are_refused(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(FileNotFoundError):
            await asyncio.open_unix_connection(tmp_path / "missing")
        (tmp_path / "file").write_text("not a socket")
        with pytest.raises(OSError, match="already in use") as caught:
            await asyncio.start_unix_server(handle, tmp_path / "file")
        assert caught.value.errno == errno.EADDRINUSE
        for options in ({}, {"path": "x", "sock": socket}, {"path": "x", "ssl_handshake_timeout": 1}):
            with pytest.raises(ValueError, match=r"path|ssl"):
                await loop.create_unix_server(asyncio.Protocol, **options)  # type: ignore[arg-type]
            with pytest.raises(ValueError, match=r"path|ssl"):
                await loop.create_unix_connection(asyncio.Protocol, **options)  # type: ignore[arg-type]
        with socket.socket() as sock, pytest.raises(ValueError, match="UNIX Domain Stream Socket was expected"):
            await loop.create_unix_connection(asyncio.Protocol, sock=sock)

    run(main)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has abstract addresses")
def test_abstract_addresses(run: Run) -> None:
    async def main() -> None:
        name = f"\0trio_asyncio_compat.{os.getpid()}.{run.kind}"
        async with await asyncio.start_unix_server(handle, name):
            await asks(*await asyncio.open_unix_connection(name))

    run(main)
