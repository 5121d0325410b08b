"""Connecting, and the stream transports that come out of it."""

from __future__ import annotations

import array
import asyncio
import errno
import hashlib
import socket
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from .support import Run

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


# Connecting


def test_a_protocol_is_connected(run: Run) -> None:
    async def main() -> None:
        async with connected() as (client, peer):
            assert client.transport.get_protocol() is client
            assert client.transport.get_extra_info("peername") == peer.transport.get_extra_info("sockname")
            assert client.transport.get_extra_info("socket").family == socket.AF_INET
            assert client.transport.get_extra_info("nothing", "default") == "default"
            assert client.transport.is_reading()
            client.transport.write(b"question")
            client.transport.write_eof()
            await peer.ended
            assert bytes(peer.data) == b"question"
            await peer.lost
            await client.lost
            assert peer.events == ["made", "data", "eof", "lost"]

    run(main)


def test_a_refused_connection_says_so(run: Run) -> None:
    async def main() -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            address = unused.getsockname()
            with pytest.raises(ConnectionRefusedError) as caught:
                await asyncio.open_connection(*address)
            assert caught.value.errno == errno.ECONNREFUSED

    run(main)


def test_addresses_are_tried_one_after_the_other(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            async with serving(echo) as address:
                infos = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", target) for target in (unused.getsockname(), address)]

                async def getaddrinfo(*args: Any, **options: Any) -> Any:
                    return infos

                loop.getaddrinfo = getaddrinfo  # type: ignore[method-assign]
                for options in ({}, {"happy_eyeballs_delay": 0.01}, {"happy_eyeballs_delay": 0.01, "interleave": 2}):
                    _, writer = await asyncio.open_connection("name.example", 1, **options)  # type: ignore[arg-type]
                    assert writer.get_extra_info("peername") == address
                    await close(writer)
                infos.pop()
                with pytest.raises(ConnectionRefusedError):
                    await asyncio.open_connection("name.example", 1)
                infos *= 2
                with pytest.raises(OSError, match="Multiple exceptions"):
                    infos[1] = (*infos[1][:4], ("127.0.0.2", unused.getsockname()[1]))
                    await asyncio.open_connection("name.example", 1)
                if sys.version_info >= (3, 12):
                    with pytest.raises(ExceptionGroup) as caught:
                        await loop.create_connection(asyncio.Protocol, "name.example", 1, all_errors=True)
                    assert len(caught.value.exceptions) == 2
                del loop.getaddrinfo

    run(main)


def test_a_slow_address_is_overtaken_by_the_next(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        # A listener whose backlog is full answers nothing.
        with socket.socket() as full:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            waiting = [socket.socket() for _ in range(4)]
            for sock in waiting:
                sock.setblocking(False)
                sock.connect_ex(full.getsockname())
            async with serving(echo) as address:
                infos = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", target) for target in (full.getsockname(), address)]

                async def getaddrinfo(*args: Any, **options: Any) -> Any:
                    return infos

                loop.getaddrinfo = getaddrinfo  # type: ignore[method-assign]
                _, writer = await asyncio.open_connection("name.example", 1, happy_eyeballs_delay=0.02)
                assert writer.get_extra_info("peername") == address
                await close(writer)
                del loop.getaddrinfo
            for sock in waiting:
                sock.close()

    run(main)


def test_the_local_address_can_be_chosen(run: Run) -> None:
    async def main() -> None:
        async with serving(echo) as address:
            _, writer = await asyncio.open_connection(*address, local_addr=("127.0.0.3", 0))
            assert writer.get_extra_info("sockname")[0] == "127.0.0.3"
            taken = writer.get_extra_info("sockname")[1]
            with pytest.raises(OSError, match="error while attempting to bind"):
                await asyncio.open_connection(*address, local_addr=("192.0.2.1", taken))
            await close(writer)

    run(main)


def test_a_connected_socket_can_be_given(run: Run) -> None:
    async def main() -> None:
        one, other = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=one)
        other_reader, other_writer = await asyncio.open_connection(sock=other)
        writer.write(b"line\n")
        assert await other_reader.readline() == b"line\n"
        await close(other_writer)
        assert await reader.read() == b""
        await close(writer)

    run(main)


def test_contradictions_are_refused(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        mistakes: list[dict[str, Any]] = [
            {},
            {"host": "127.0.0.1", "port": 1, "sock": object()},
            {"host": "127.0.0.1", "port": 1, "server_hostname": "x"},
            {"ssl": True},
            {"host": "127.0.0.1", "port": 1, "ssl_handshake_timeout": 1},
        ]
        for options in mistakes:
            with pytest.raises((ValueError, AttributeError)):
                await loop.create_connection(asyncio.Protocol, **options)
        with socket.socket(type=socket.SOCK_DGRAM) as datagrams, pytest.raises(ValueError, match="Stream Socket was expected"):
            await loop.create_connection(asyncio.Protocol, sock=datagrams)

    run(main)


def test_connecting_can_be_cancelled(run: Run) -> None:
    async def main() -> None:
        with socket.socket() as full:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            waiting = [socket.socket() for _ in range(4)]
            for sock in waiting:
                sock.setblocking(False)
                sock.connect_ex(full.getsockname())
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await asyncio.open_connection(*full.getsockname())
            for sock in waiting:
                sock.close()

    run(main)


# Streams


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
    data = hashlib.shake_256(b"seed").digest(5_000_001)

    async def main() -> None:
        async with serving(echo) as address:
            reader, writer = await asyncio.open_connection(*address)

            async def send() -> None:
                position = 0
                for size in [1, 100, 65535, 65536, 65537, 1_000_000, 262144, 4_000_000]:
                    writer.write(data[position : position + size])
                    position += size
                    await writer.drain()
                writer.write_eof()

            sending = asyncio.ensure_future(send())
            assert await reader.read() == data[:5_000_001]
            await sending
            await close(writer)

    run(main)


# Writing


class Chunks(asyncio.Protocol):
    """Counts what comes, and says when it has ended."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self.data += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(None)


async def what_arrives(write: Callable[[asyncio.WriteTransport], None]) -> bytes:
    """What the other side gets from `write`, with a full system buffer before it."""
    loop = asyncio.get_running_loop()
    one, other = socket.socketpair()
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=one)
    filling = b"f" * 1_000_000
    transport.write(filling)
    assert transport.get_write_buffer_size() > 0
    write(transport)
    transport.close()
    _, protocol = await loop.create_connection(Chunks, sock=other)
    await protocol.lost
    assert protocol.data.startswith(filling)
    return bytes(protocol.data[len(filling) :])


def test_what_is_written_may_be_changed_afterwards(run: Run) -> None:
    def write(transport: asyncio.WriteTransport) -> None:
        data = bytearray(b"as it was")
        transport.write(data)
        data[:] = b"changed!!"
        view = bytearray(b", a view")
        transport.write(memoryview(view))
        view[:] = b"xxxxxxxx"
        line = bytearray(b", line")
        transport.writelines([line, b"", memoryview(b"s")])
        line[:] = b"______"

    async def main() -> None:
        assert await what_arrives(write) == b"as it was, a view, lines"

    # The standard library keeps views of what it was given since Python 3.12.
    if run.ours:
        run(main)


def test_views_of_larger_items_are_written_by_bytes(run: Run) -> None:
    numbers = array.array("I", range(1000))

    def write(transport: asyncio.WriteTransport) -> None:
        transport.write(memoryview(numbers))

    async def main() -> None:
        assert await what_arrives(write) == numbers.tobytes()

    # The standard library counts items instead of bytes, and loses the rest.
    if run.ours:
        run(main)


def test_what_is_no_bytes_is_refused(run: Run) -> None:
    async def main() -> None:
        async with connected() as (client, _):
            for mistake in ("text", None, 5):
                with pytest.raises(TypeError):
                    client.transport.write(mistake)
            client.transport.write(b"")
            client.transport.write_eof()
            with pytest.raises(RuntimeError, match="Cannot call write"):
                client.transport.write(b"more")

    run(main)


def test_the_protocol_is_paused_and_resumed(run: Run) -> None:
    async def main() -> None:
        async with connected() as (client, peer):
            transport = client.transport
            transport.set_write_buffer_limits(high=1000, low=100)
            assert transport.get_write_buffer_limits() == (100, 1000)
            peer.transport.pause_reading()
            assert not peer.transport.is_reading()
            total = 0
            while not client.paused.is_set():
                transport.write(b"x" * 65536)
                total += 65536
            assert transport.get_write_buffer_size() > 1000
            for _ in range(5):
                await asyncio.sleep(0)
            assert not client.resumed.is_set()
            peer.transport.resume_reading()
            await client.resumed.wait()
            assert transport.get_write_buffer_size() <= 100
            transport.close()
            await peer.lost
            assert len(peer.data) == total
            assert client.events == ["made", "pause", "resume", "lost"]
            with pytest.raises(ValueError, match="high"):
                transport.set_write_buffer_limits(high=1, low=2)

    run(main)


def test_a_paused_transport_delivers_nothing(run: Run) -> None:
    async def main() -> None:
        async with connected() as (client, peer):
            client.transport.pause_reading()
            peer.transport.write(b"x" * 100_000)
            for _ in range(20):
                await asyncio.sleep(0)
            assert not client.data
            client.transport.pause_reading()
            client.transport.resume_reading()
            client.transport.resume_reading()
            peer.transport.write_eof()
            await client.ended
            assert len(client.data) == 100_000

    run(main)


def test_close_sends_what_is_left_and_abort_does_not(run: Run) -> None:
    async def main() -> None:
        async with connected() as (client, peer):
            client.transport.write(b"x" * 3_000_000)
            assert not client.transport.is_closing()
            client.transport.close()
            client.transport.close()
            assert client.transport.is_closing()
            assert await client.lost is None
            await peer.lost
            assert len(peer.data) == 3_000_000
        async with connected() as (client, peer):
            peer.transport.pause_reading()
            client.transport.write(b"x" * 30_000_000)
            client.transport.abort()
            assert await client.lost is None

    run(main)


def test_writes_to_a_lost_connection_are_counted_and_logged(run: Run) -> None:
    async def main() -> None:
        async with connected() as (client, _peer):
            client.transport.abort()
            for _ in range(10):
                client.transport.write(b"x")
            await client.lost

    run(main)
    assert set(run.log.take()) == {"socket.send() raised exception."}


def test_a_reset_by_the_peer_is_told(run: Run) -> None:
    async def main() -> None:
        async with connected() as (client, peer):
            peer.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.transport.abort()
            assert isinstance(await client.lost, ConnectionResetError)
            assert client.events == ["made", "lost"]

    run(main)


# Protocols


def test_an_error_of_the_protocol_ends_its_connection_only(run: Run) -> None:
    class Failing(Recorder):
        def data_received(self, data: bytes) -> None:
            raise ValueError("of the protocol")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        seen: list[Any] = []
        loop.set_exception_handler(lambda _, context: seen.append(context["exception"]))
        async with serving(echo) as address:
            failing_transport, failing = await loop.create_connection(Failing, *address)
            _, other = await loop.create_connection(Recorder, *address)
            failing_transport.write(b"x")
            assert isinstance(await failing.lost, ValueError)
            other.transport.write(b"y")
            other.transport.write_eof()
            await other.lost
            assert bytes(other.data) == b"y"
        assert [type(error) for error in seen] == [ValueError]

    run(main)


def test_a_buffered_protocol_fills_its_own_buffer(run: Run) -> None:
    class Buffered(asyncio.BufferedProtocol):
        def __init__(self) -> None:
            self.buffer = bytearray(10)
            self.data = bytearray()
            self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def get_buffer(self, sizehint: int) -> bytearray:
            return self.buffer

        def buffer_updated(self, nbytes: int) -> None:
            self.data += self.buffer[:nbytes]

        def connection_lost(self, exc: Exception | None) -> None:
            self.lost.set_result(None)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        data = bytes(range(256)) * 40
        async with serving(echo) as address:
            transport, protocol = await loop.create_connection(Buffered, *address)
            transport.write(data)
            transport.write_eof()
            await protocol.lost
            assert bytes(protocol.data) == data

    run(main)


def test_the_protocol_can_be_changed_in_the_middle(run: Run) -> None:
    class Buffered(asyncio.BufferedProtocol):
        def __init__(self) -> None:
            self.buffer = bytearray(100)
            self.got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def get_buffer(self, sizehint: int) -> bytearray:
            return self.buffer

        def buffer_updated(self, nbytes: int) -> None:
            self.got.set_result(bytes(self.buffer[:nbytes]))

    async def main() -> None:
        async with connected() as (client, peer):
            buffered = Buffered()
            client.transport.set_protocol(buffered)
            assert client.transport.get_protocol() is buffered
            peer.transport.write(b"for the second")
            assert await buffered.got == b"for the second"
            client.transport.set_protocol(client)
            peer.transport.write(b"for the first")
            peer.transport.write_eof()
            await client.ended
            assert bytes(client.data) == b"for the first"

    run(main)


def test_writing_in_connection_made_reaches_the_peer(run: Run) -> None:
    class Greeter(Recorder):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            transport.write(b"hello")
            transport.write_eof()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with serving(echo) as address:
            _, greeter = await loop.create_connection(Greeter, *address)
            await greeter.lost
            assert bytes(greeter.data) == b"hello"

    run(main)


def test_eof_received_may_keep_the_transport_open(run: Run) -> None:
    class HalfOpen(Recorder):
        def eof_received(self) -> bool:  # type: ignore[override]
            super().eof_received()
            return True

    async def main() -> None:
        loop = asyncio.get_running_loop()
        one, other = socket.socketpair()
        _, half = await loop.create_connection(HalfOpen, sock=one)
        reader, writer = await asyncio.open_connection(sock=other)
        writer.write_eof()
        await half.ended
        half.transport.write(b"still here")
        half.transport.close()
        assert await reader.read() == b"still here"
        await half.lost
        await close(writer)

    run(main)
