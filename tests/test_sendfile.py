"""loop.sendfile and loop.sock_sendfile."""

from __future__ import annotations

import asyncio
import hashlib
import io
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from .connections import Chunks, connected
from .support import Run
from .test_tls import Contexts

CONTENT = hashlib.shake_256(b"file").digest(2_000_003)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[BinaryIO]:
    path = tmp_path / "content"
    path.write_bytes(CONTENT)
    with path.open("rb") as opened:
        yield opened


@pytest.fixture(scope="module")
def tls() -> Contexts:
    return Contexts()


@pytest.mark.parametrize(("offset", "count"), [(0, None), (1000, None), (0, 100_000), (1_999_000, 50_000), (3_000_000, None)])
def test_a_file_is_sent_over_a_transport(run: Run, file: BinaryIO, offset: int, count: int | None) -> None:
    expected = CONTENT[offset:][:count]

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with connected() as (client, peer):
            client.transport.write(b"before ")
            assert await loop.sendfile(client.transport, file, offset, count) == len(expected)
            assert file.tell() == min(offset + len(expected), max(offset, len(CONTENT))) or not expected
            client.transport.write(b" after")
            client.transport.write_eof()
            await peer.ended
            assert bytes(peer.data) == b"before " + expected + b" after"

    run(main)


def test_no_other_writing_while_a_file_is_sent(run: Run, file: BinaryIO) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with connected() as (client, peer):
            peer.transport.pause_reading()
            client.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
            client.transport.write(b"x" * 3_000_000)
            sending = asyncio.ensure_future(loop.sendfile(client.transport, file))
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="sendfile is in progress"):
                client.transport.write(b"y")
            with pytest.raises(RuntimeError, match="sendfile is in progress"):
                client.transport.writelines([b"y"])
            peer.transport.resume_reading()
            assert await sending == len(CONTENT)
            client.transport.write_eof()
            await peer.ended
            assert bytes(peer.data[3_000_000:]) == CONTENT

    run(main)


def test_what_is_no_real_file_is_sent_by_the_fallback(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with connected() as (client, peer):
            with pytest.raises(RuntimeError):
                await loop.sendfile(client.transport, io.BytesIO(CONTENT), fallback=False)
            assert await loop.sendfile(client.transport, io.BytesIO(CONTENT), 3, 500_000) == 500_000
            client.transport.write_eof()
            await peer.ended
            assert bytes(peer.data) == CONTENT[3:500_003]

    run(main)


def test_over_tls_a_file_is_sent_by_the_fallback(run: Run, tls: Contexts, file: BinaryIO) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        received: asyncio.Future[Chunks] = loop.create_future()

        def factory() -> Chunks:
            received.set_result(Chunks())
            return received.result()

        server = await loop.create_server(factory, "127.0.0.1", 0, ssl=tls.server)
        port = server.sockets[0].getsockname()[1]
        transport, protocol = await loop.create_connection(Chunks, "127.0.0.1", port, ssl=tls.client, server_hostname="localhost")
        with pytest.raises(RuntimeError, match="fallback is disabled"):
            await loop.sendfile(transport, file, fallback=False)
        assert await loop.sendfile(transport, file) == len(CONTENT)
        transport.close()
        peer = await received
        await peer.lost
        await protocol.lost
        assert bytes(peer.data) == CONTENT
        server.close()
        await server.wait_closed()

    run(main)


def test_a_closing_transport_sends_no_file(run: Run, file: BinaryIO) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with connected() as (client, _):
            client.transport.close()
            with pytest.raises(RuntimeError, match="Transport is closing"):
                await loop.sendfile(client.transport, file)

    run(main)


def test_a_peer_that_leaves_ends_the_sending(run: Run, file: BinaryIO) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with connected() as (client, peer):
            peer.transport.pause_reading()
            sending = asyncio.ensure_future(loop.sendfile(client.transport, file))
            for _ in range(5):
                await asyncio.sleep(0)
            peer.transport.abort()
            with pytest.raises(ConnectionError):
                await sending

    # Small enough for the buffers of the system, it would be sent before the peer leaves.
    big = io.BytesIO(CONTENT * 10)
    file = big
    run(main)


# Sockets


async def sock_pair_received(send: Any) -> bytes:
    """What arrives of what `send` puts into one end of a pair."""
    loop = asyncio.get_running_loop()
    one, other = socket.socketpair()
    one.setblocking(False)
    _, protocol = await loop.create_connection(Chunks, sock=other)
    with one:
        await send(one)
    await protocol.lost
    return bytes(protocol.data)


@pytest.mark.parametrize("fallback", [True, False])
def test_a_file_is_sent_over_a_socket(run: Run, file: BinaryIO, fallback: bool) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def send(sock: socket.socket) -> None:
            assert await loop.sock_sendfile(sock, file, fallback=fallback) == len(CONTENT)
            assert file.tell() == len(CONTENT)
            assert await loop.sock_sendfile(sock, file, 10, 20, fallback=fallback) == 20
            assert file.tell() == 30

        assert await sock_pair_received(send) == CONTENT + CONTENT[10:30]

    run(main)


def test_what_is_no_real_file_is_sent_over_a_socket_by_the_fallback(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def send(sock: socket.socket) -> None:
            with pytest.raises(RuntimeError, match="not a regular file"):
                await loop.sock_sendfile(sock, io.BytesIO(CONTENT), fallback=False)
            assert await loop.sock_sendfile(sock, io.BytesIO(CONTENT), 7, 300_000) == 300_000

        assert await sock_pair_received(send) == CONTENT[7:300_007]

    run(main)


def test_mistakes_with_sock_sendfile_are_refused(run: Run, file: BinaryIO, tmp_path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def send(sock: socket.socket) -> None:
            with pytest.raises(ValueError, match="binary mode"), (tmp_path / "content").open("r", encoding="latin-1") as text:
                await loop.sock_sendfile(sock, text)  # type: ignore[arg-type]
            with pytest.raises(ValueError, match="count must be a positive integer"):
                await loop.sock_sendfile(sock, file, 0, -1)
            with pytest.raises(TypeError, match="count must be a positive integer"):
                await loop.sock_sendfile(sock, file, 0, "1")  # type: ignore[arg-type]
            with pytest.raises(ValueError, match="offset must be a non-negative integer"):
                await loop.sock_sendfile(sock, file, -1)
            sock.setblocking(True)
            with pytest.raises(ValueError, match="non-blocking"):
                await loop.sock_sendfile(sock, file)

        assert await sock_pair_received(send) == b""
        with socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            datagrams.setblocking(False)
            with pytest.raises(ValueError, match="only SOCK_STREAM type sockets"):
                await loop.sock_sendfile(datagrams, file)

    run(main, debug=True)
