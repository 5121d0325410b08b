"""Taking over a live connection of asyncio: nothing that its reader, its protocol or its transport has is lost."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

from trio_asyncio_compat import (
    HalfCloseableTransportStream,
    aio_stream_as_trio,
    transport_as_trio_stream,
    trio_as_aio,
    trio_stream_as_transport,
)

from ..connections import Recorder
from ..support import Run
from .support import KeepsOpen

DATA = hashlib.shake_256(b"connections").digest(3_000_000)


def test_what_the_reader_has_buffered_comes_first(our_run: Run) -> None:
    async def main() -> None:
        ours, peer = socket.socketpair()
        with peer:
            reader, writer = await asyncio.open_connection(sock=ours, limit=100)
            peer.sendall(b"first line\n" + DATA[:100_000])
            # The reader has paused the transport, which has still more.
            assert await reader.readline() == b"first line\n"
            stream = aio_stream_as_trio(reader, writer)
            peer.sendall(b"the end")
            peer.shutdown(socket.SHUT_WR)

            async def receive() -> bytes:
                async with stream:
                    return b"".join([bytes(piece) async for piece in stream])

            assert await trio_as_aio(receive)() == DATA[:100_000] + b"the end"

    our_run(main)


def test_the_old_reader_and_writer_say_that_they_are_handed_over(our_run: Run) -> None:
    async def main() -> None:
        ours, peer = socket.socketpair()
        with peer:
            reader, writer = await asyncio.open_connection(sock=ours)
            waiting = asyncio.ensure_future(reader.read(1))
            await asyncio.sleep(0)
            with pytest.raises(trio.BusyResourceError):
                aio_stream_as_trio(reader, writer)
            peer.send(b"x")
            assert await waiting == b"x"
            stream = aio_stream_as_trio(reader, writer)
            for use in (
                lambda: reader.read(1),
                lambda: reader.readexactly(1),
                writer.drain,
            ):
                with pytest.raises(RuntimeError, match="handed over"):
                    await use()
            writes: list[Callable[[], None]] = [lambda: writer.write(b"x"), lambda: writer.writelines([b"x"]), writer.write_eof]
            for write in writes:
                with pytest.raises(RuntimeError, match="handed over"):
                    write()
            assert writer.is_closing() and not writer.can_write_eof()
            writer.close()
            await writer.wait_closed()
            writer.transport.abort()
            with pytest.raises(trio.ClosedResourceError):
                aio_stream_as_trio(reader, writer)
            # The connection is still there.
            await trio_as_aio(stream.send_all)(b"alive")
            assert peer.recv(10) == b"alive"
            await trio_as_aio(stream.aclose)()

    our_run(main)


def test_a_reader_at_its_end_is_a_stream_at_its_end(our_run: Run) -> None:
    async def main() -> None:
        ours, peer = socket.socketpair()
        with peer:
            reader, writer = await asyncio.open_connection(sock=ours)
            peer.sendall(b"all")
            peer.shutdown(socket.SHUT_WR)
            assert await reader.read() == b"all"
            stream = aio_stream_as_trio(reader, writer)
            assert await trio_as_aio(stream.receive_some)() == b""
            await trio_as_aio(stream.send_all)(b"one more")
            assert peer.recv(100) == b"one more"
            await trio_as_aio(stream.aclose)()

    our_run(main)


def test_a_lost_connection_gives_what_was_buffered_and_then_says_so(our_run: Run) -> None:
    async def main() -> None:
        ours, peer = socket.socketpair()
        with peer:
            reader, writer = await asyncio.open_connection(sock=ours)
            peer.sendall(b"rest")
            assert await reader.readexactly(1) == b"r"
            writer.transport.abort()
            stream = aio_stream_as_trio(reader, writer)
            assert await trio_as_aio(stream.receive_some)(2) == b"es"
            assert await trio_as_aio(stream.receive_some)() == b"t"
            for use in (stream.receive_some, lambda: stream.send_all(b"x"), stream.wait_send_all_might_not_block):
                with pytest.raises(trio.BrokenResourceError):
                    await trio_as_aio(use)()
            await trio_as_aio(stream.aclose)()

    our_run(main)


def test_what_a_protocol_has_written_is_sent_before_the_streams(our_run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, peer = socket.socketpair()
        peer.setblocking(False)
        with peer:
            transport, protocol = await loop.create_connection(Recorder, sock=ours)
            transport.write(DATA)
            assert protocol.paused.is_set()
            stream = transport_as_trio_stream(transport)
            sending = asyncio.ensure_future(trio_as_aio(stream.send_all)(b"and then this"))
            # Nothing is read yet. Later the system may have taken what was not read.
            await trio_as_aio(trio.testing.wait_all_tasks_blocked)()
            assert not sending.done()
            got = bytearray()
            while len(got) < len(DATA) + 13:
                got += await loop.sock_recv(peer, 100_000)
            assert got == DATA + b"and then this"
            await sending
            assert protocol.events == ["made", "pause"]
            await trio_as_aio(stream.aclose)()

    our_run(main)


def test_the_end_of_input_that_a_protocol_has_seen_is_seen_by_the_stream(our_run: Run) -> None:
    async def main() -> None:
        for over_a_stream in (False, True):
            ours, peer = socket.socketpair()
            with peer:
                if over_a_stream:
                    made: Any = trio_stream_as_transport(trio.SocketStream(trio.socket.from_stdlib_socket(ours)), KeepsOpen)
                else:
                    made = await asyncio.get_running_loop().create_connection(KeepsOpen, sock=ours)
                transport, protocol = made
                peer.shutdown(socket.SHUT_WR)
                await protocol.ended
                stream = transport_as_trio_stream(transport)
                assert await trio_as_aio(stream.receive_some)() == b""
                await trio_as_aio(stream.send_all)(b"x")
                assert peer.recv(1) == b"x"
                await trio_as_aio(stream.aclose)()

    our_run(main)


def test_other_things_are_refused(our_run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, peer = socket.socketpair()
        with peer:
            reader, writer = await asyncio.open_connection(sock=ours)
            with pytest.raises(ValueError, match="aio_stream_as_trio"):
                transport_as_trio_stream(writer.transport)
            with pytest.raises(TypeError, match="StreamReader"):
                aio_stream_as_trio(writer, reader)  # type: ignore[arg-type]
            stream = aio_stream_as_trio(reader, writer)
            assert isinstance(stream, HalfCloseableTransportStream)
            with pytest.raises(ValueError):
                await trio_as_aio(stream.receive_some)(0)
            with pytest.raises(TypeError):
                await trio_as_aio(stream.receive_some)(1.5)  # type: ignore[arg-type]
            await trio_as_aio(stream.aclose)()
            with pytest.raises(trio.ClosedResourceError):
                transport_as_trio_stream(stream.transport)
        reads, writes = os.pipe()
        for connect, descriptor, mode in ((loop.connect_read_pipe, reads, "rb"), (loop.connect_write_pipe, writes, "wb")):
            pipe, protocol = await connect(Recorder, open(descriptor, mode, 0))
            with pytest.raises(TypeError, match="both directions"):
                transport_as_trio_stream(pipe)
            pipe.close()
            await protocol.lost

    our_run(main)
