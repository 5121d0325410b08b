"""`asyncio.open_connection` and `start_server`: readers and writers."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import struct
from typing import Any

import pytest

from .connections import close, echo, serving, turns
from .support import Run

DATA = hashlib.shake_256(b"seed").digest(4_000_003)


def test_streams_read_in_every_way(run: Run) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.writelines([b"line\n", b"", b"until;", b"12345678", b"rest"])
        await writer.drain()
        writer.write_eof()
        assert await reader.read() == b"answer"

    async def main() -> None:
        async with serving(serve) as address:
            reader, writer = await asyncio.open_connection(*address)
            assert await reader.readline() == b"line\n"
            assert await reader.readuntil(b";") == b"until;"
            assert await reader.readexactly(8) == b"12345678"
            with pytest.raises(asyncio.IncompleteReadError) as caught:
                await reader.readexactly(5)
            assert caught.value.partial == b"rest"
            assert reader.at_eof()
            writer.write(b"answer")
            writer.write_eof()
            await close(writer)

    run(main)


def test_a_line_beyond_the_limit_is_refused(run: Run) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x" * 1000 + b"\n")
        await writer.drain()
        await reader.read()

    async def main() -> None:
        async with serving(serve) as address:
            reader, writer = await asyncio.open_connection(*address, limit=100)
            with pytest.raises(ValueError, match="limit"):
                await reader.readline()
            await close(writer)

    run(main)


def test_megabytes_arrive_whole_in_both_directions(run: Run) -> None:
    async def main() -> None:
        async with serving(echo) as address:
            reader, writer = await asyncio.open_connection(*address)

            async def send() -> None:
                position = 0
                for size in [1, 100, 65535, 65536, 65537, 1_000_000, 262144, 3_000_000]:
                    writer.write(DATA[position : position + size])
                    position += size
                    await writer.drain()
                writer.write_eof()

            sending = asyncio.ensure_future(send())
            assert await reader.read() == DATA
            await sending
            await close(writer)

    run(main)


def test_a_separator_beyond_the_limit_is_refused_and_nothing_is_lost(run: Run) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x" * 150 + b";")
        writer.write_eof()
        await reader.read()

    async def main() -> None:
        async with serving(serve) as address:
            reader, writer = await asyncio.open_connection(*address, limit=100)
            with pytest.raises(asyncio.LimitOverrunError) as caught:
                await reader.readuntil(b";")
            assert await reader.readexactly(caught.value.consumed) == b"x" * caught.value.consumed
            rest = await reader.read()
            assert len(rest) + caught.value.consumed == 151
            with pytest.raises(asyncio.IncompleteReadError) as incomplete:
                await reader.readuntil(b";")
            assert incomplete.value.partial == b""
            assert await reader.readline() == b""
            assert reader.at_eof()
            await close(writer)

    run(main)


def test_drain_waits_until_the_peer_reads(run: Run) -> None:
    async def main() -> None:
        one, other = socket.socketpair()
        _, writer = await asyncio.open_connection(sock=one)
        reader, other_writer = await asyncio.open_connection(sock=other)
        receiving: Any = other_writer.transport
        receiving.pause_reading()
        writer.write(DATA)
        draining = asyncio.ensure_future(writer.drain())
        await turns()
        assert not draining.done()
        writer.write_eof()
        receiving.resume_reading()
        received = await reader.read()
        await draining
        assert hashlib.sha256(received).digest() == hashlib.sha256(DATA).digest()
        await close(other_writer)
        await close(writer)

    run(main)


def test_megabytes_in_both_directions_at_once(run: Run) -> None:
    async def side(sock: socket.socket, data: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(sock=sock)
        writer.write(data)
        writer.write_eof()
        received = await reader.read()
        await close(writer)
        return received

    async def main() -> None:
        one, other = socket.socketpair()
        first, second = await asyncio.gather(side(one, DATA), side(other, DATA[::-1]))
        assert (first, second) == (DATA[::-1], DATA)

    run(main)


def test_drain_and_wait_closed_tell_of_a_reset(run: Run) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            peer, _ = listener.accept()
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.close()
            with pytest.raises(ConnectionResetError):
                await reader.read()
            with pytest.raises(ConnectionResetError):
                await writer.drain()
            writer.close()
            with pytest.raises(ConnectionResetError):
                await writer.wait_closed()

    run(main)
