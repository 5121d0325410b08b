"""A trio stream as an asyncio transport: what a protocol sees is what it sees over asyncio's own socket transport.

The tests with `connect` run over both.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing

from trio_asyncio_compat import trio_stream_as_transport

from ..connections import Recorder
from ..support import Run
from .support import KeepsOpen

DATA = hashlib.shake_256(b"streams").digest(3_000_000)

Connect = Callable[[Callable[[], Any]], Awaitable[tuple[Any, Any, socket.socket]]]


async def over_socket(factory: Callable[[], Any]) -> tuple[asyncio.Transport, Any, socket.socket]:
    ours, peer = socket.socketpair()
    peer.setblocking(False)
    transport, protocol = await asyncio.get_running_loop().create_connection(factory, sock=ours)
    return transport, protocol, peer


async def over_stream(factory: Callable[[], Any]) -> tuple[asyncio.Transport, Any, socket.socket]:
    ours, peer = socket.socketpair()
    peer.setblocking(False)
    transport, protocol = trio_stream_as_transport(trio.SocketStream(trio.socket.from_stdlib_socket(ours)), factory)
    await protocol.made
    return transport, protocol, peer


@pytest.fixture(params=[over_socket, over_stream])
def connect(request: pytest.FixtureRequest) -> Connect:
    made: Connect = request.param
    return made


async def receive(peer: socket.socket, size: int) -> bytes:
    """`size` bytes, or what comes before the end."""
    loop = asyncio.get_running_loop()
    got = bytearray()
    while len(got) < size and (data := await loop.sock_recv(peer, size - len(got))):
        got += data
    return bytes(got)


class Buffered(asyncio.BufferedProtocol):
    """Reads into a buffer of seven bytes."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.made: asyncio.Future[None] = loop.create_future()
        self.lost: asyncio.Future[Exception | None] = loop.create_future()
        self.buffer = bytearray(7)
        self.data = bytearray()

    def connection_made(self, transport: Any) -> None:
        self.made.set_result(None)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        assert 0 < nbytes <= 7
        self.data += self.buffer[:nbytes]

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


def test_what_is_written_before_close_arrives(our_run: Run, connect: Connect) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        with peer:
            transport.writelines([b"head", bytearray(b" and "), memoryview(b"neck "), b""])
            transport.write(DATA)
            transport.close()
            transport.close()
            assert transport.is_closing() and not transport.is_reading()
            assert await receive(peer, 4_000_000) == b"head and neck " + DATA
            assert await protocol.lost is None
            assert [event for event in protocol.events if event not in ("pause", "resume")] == ["made", "lost"]

    our_run(main)


def test_what_is_written_after_close_joins_what_is_not_sent_yet(our_run: Run, connect: Connect) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        with peer:
            transport.write(DATA)
            assert transport.get_write_buffer_size() > 0
            transport.close()
            transport.write(b"late")
            assert await receive(peer, 4_000_000) == DATA + b"late"
            assert await protocol.lost is None

    our_run(main)


def test_what_is_written_after_close_when_all_is_sent_is_dropped(our_run: Run, connect: Connect) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        with peer:
            transport.close()
            for _ in range(4):
                transport.write(b"late")
            transport.writelines([b"late", b"later"])
            assert transport.get_write_buffer_size() == 0
            assert await receive(peer, 10) == b""
            assert await protocol.lost is None

    our_run(main)
    # Not the first few, as in asyncio.
    assert len(our_run.log.take()) == 1


def test_the_end_of_input_closes_the_transport_unless_the_protocol_keeps_it_open(our_run: Run, connect: Connect) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        with peer:
            await asyncio.get_running_loop().sock_sendall(peer, b"bye")
            peer.shutdown(socket.SHUT_WR)
            assert await protocol.lost is None
            assert (bytes(protocol.data), protocol.events) == (b"bye", ["made", "data", "eof", "lost"])
        transport, protocol, peer = await connect(KeepsOpen)
        with peer:
            peer.shutdown(socket.SHUT_WR)
            await protocol.ended
            transport.write(b"still here")
            assert not transport.is_closing()
            assert await receive(peer, 10) == b"still here"
            transport.close()
            assert await protocol.lost is None
            assert protocol.events == ["made", "eof", "lost"]

    our_run(main)


def test_write_eof_closes_one_direction(our_run: Run, connect: Connect) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        with peer:
            assert transport.can_write_eof()
            transport.write(DATA)
            transport.write_eof()
            transport.write_eof()
            with pytest.raises(RuntimeError, match="after write_eof"):
                transport.write(b"more")
            with pytest.raises(RuntimeError, match="after write_eof"):
                transport.writelines([b"more"])
            assert await receive(peer, 4_000_000) == DATA
            await asyncio.get_running_loop().sock_sendall(peer, b"answer")
            peer.shutdown(socket.SHUT_WR)
            assert await protocol.lost is None
            assert protocol.data == b"answer"

    our_run(main)


def test_a_paused_protocol_gets_nothing(our_run: Run, connect: Connect) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        transport, protocol, peer = await connect(Recorder)
        with peer:
            assert transport.is_reading()
            transport.pause_reading()
            transport.pause_reading()
            assert not transport.is_reading()
            sending = asyncio.ensure_future(loop.sock_sendall(peer, DATA))
            done, _ = await asyncio.wait([sending], timeout=0.02)
            # It stops receiving, so the sender has to wait.
            assert not done and protocol.data == b""
            transport.resume_reading()
            await sending
            peer.shutdown(socket.SHUT_WR)
            assert await protocol.lost is None
            assert protocol.data == DATA

    our_run(main)


def test_pausing_inside_of_data_received_keeps_the_rest(our_run: Run, connect: Connect) -> None:
    class Sips(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.pause_reading()
            asyncio.get_running_loop().call_soon(self.transport.resume_reading)

    async def main() -> None:
        _, protocol, peer = await connect(Sips)
        with peer:
            await asyncio.get_running_loop().sock_sendall(peer, DATA)
            peer.shutdown(socket.SHUT_WR)
            assert await protocol.lost is None
            assert protocol.data == DATA

    our_run(main)


def test_writing_pauses_and_resumes_by_the_bytes_in_the_buffer(our_run: Run, connect: Connect) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        with peer:
            assert transport.get_write_buffer_limits() == (16 * 1024, 64 * 1024)
            assert transport.get_write_buffer_size() == 0
            transport.set_write_buffer_limits(high=200_000, low=1000)
            transport.write(DATA)
            assert protocol.paused.is_set()
            assert transport.get_write_buffer_size() > 200_000
            assert await receive(peer, len(DATA)) == DATA
            await protocol.resumed.wait()
            assert transport.get_write_buffer_size() <= 1000
            assert protocol.events == ["made", "pause", "resume"]
            with pytest.raises(ValueError):
                transport.set_write_buffer_limits(high=1, low=2)
            transport.close()
            await protocol.lost

    our_run(main)


def test_abort_drops_what_is_not_sent(our_run: Run, connect: Connect) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        with peer:
            transport.write(DATA)
            transport.abort()
            transport.abort()
            transport.close()
            assert transport.is_closing() and transport.get_write_buffer_size() == 0
            assert await protocol.lost is None
            assert len(await receive(peer, len(DATA))) < len(DATA)
            assert protocol.events == ["made", "pause", "lost"]
            # Dropped, with a line in the log from the fifth on.
            for _ in range(6):
                transport.write(b"too late")
            assert len(our_run.log.take()) == 2

    our_run(main)


def test_abort_cuts_a_close_that_waits(our_run: Run, connect: Connect) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        with peer:
            transport.write(DATA)
            transport.close()
            await asyncio.sleep(0)
            transport.abort()
            assert await protocol.lost is None

    our_run(main)


def test_a_reset_is_told_to_connection_lost(our_run: Run) -> None:
    async def main(over_a_stream: bool) -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = socket.create_connection(listener.getsockname())
            accepted, _ = listener.accept()
        if over_a_stream:
            _, protocol = trio_stream_as_transport(trio.SocketStream(trio.socket.from_stdlib_socket(accepted)), Recorder)
        else:
            _, protocol = await loop.connect_accepted_socket(Recorder, accepted)
        await protocol.made
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        assert type(await protocol.lost) is ConnectionResetError
        assert protocol.events == ["made", "lost"]

    our_run(main, True)
    our_run(main, False)


def test_an_error_of_the_protocol_closes_the_connection(our_run: Run, connect: Connect) -> None:
    class Broken(Recorder):
        def data_received(self, data: bytes) -> None:
            raise ZeroDivisionError

    async def main() -> None:
        told: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
        transport, protocol, peer = await connect(Broken)
        with peer:
            await asyncio.get_running_loop().sock_sendall(peer, b"x")
            assert type(await protocol.lost) is ZeroDivisionError
            assert await receive(peer, 1) == b""
        assert [(context["message"], context["transport"], context["protocol"]) for context in told] == [
            ("Fatal error: protocol.data_received() call failed.", transport, protocol)
        ]

    our_run(main)


def test_a_buffer_of_no_size_is_an_error(our_run: Run, connect: Connect) -> None:
    class Empty(Buffered):
        def get_buffer(self, sizehint: int) -> bytearray:
            return bytearray()

    async def main() -> None:
        told: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
        _, protocol, peer = await connect(Empty)
        with peer:
            await asyncio.get_running_loop().sock_sendall(peer, b"x")
            assert type(await protocol.lost) is RuntimeError
        assert [context["message"] for context in told] == ["Fatal error: protocol.get_buffer() call failed."]

    our_run(main)


def test_only_bytes_can_be_written(our_run: Run, connect: Connect) -> None:
    async def main() -> None:
        transport, protocol, peer = await connect(Recorder)
        with peer:
            for wrong in ("text", [b"list"], None):
                with pytest.raises(TypeError, match="bytes-like"):
                    transport.write(wrong)
            transport.close()
            assert await protocol.lost is None

    our_run(main)


def test_a_buffered_protocol_reads_into_its_own_buffer(our_run: Run, connect: Connect) -> None:
    async def main() -> None:
        _, protocol, peer = await connect(Buffered)
        with peer:
            await asyncio.get_running_loop().sock_sendall(peer, DATA[:10_000])
            peer.shutdown(socket.SHUT_WR)
            assert await protocol.lost is None
            assert protocol.data == DATA[:10_000]

    our_run(main)


def test_a_protocol_that_is_set_in_data_received_gets_what_follows(our_run: Run, connect: Connect) -> None:
    class First(Buffered):
        def buffer_updated(self, nbytes: int) -> None:
            super().buffer_updated(nbytes)
            transport.set_protocol(second)

    transport: Any
    second: Any

    async def main() -> None:
        nonlocal transport, second
        second = Recorder()
        transport, protocol, peer = await connect(First)
        with peer:
            await asyncio.get_running_loop().sock_sendall(peer, DATA[:1000])
            peer.shutdown(socket.SHUT_WR)
            assert await second.lost is None
            assert protocol.data == DATA[:7]
            assert second.data == DATA[7:1000]
            assert not protocol.lost.done()

    our_run(main)
