"""A trio stream as an asyncio transport: what a protocol sees is what it sees over asyncio's own socket transport.

The tests with `connect` run over both.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import struct
import tempfile
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

import trio_asyncio_compat
from trio_asyncio_compat import StreamTransport, open_loop, trio_as_aio, trio_stream_as_aio, trio_stream_as_transport

from ..connections import Recorder
from ..support import Run
from ..test_tls import Contexts

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


class KeepsOpen(Recorder):
    def eof_received(self) -> bool:  # type: ignore[override]
        super().eof_received()
        return True


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


def test_the_reader_and_writer_have_flow_control(our_run: Run) -> None:
    async def main() -> None:
        ends = trio.testing.lockstep_stream_pair()
        (reader, writer), (peer_reader, peer_writer) = (trio_stream_as_aio(end, limit=1000) for end in ends)

        async def send() -> None:
            for start in range(0, len(DATA), 50_000):
                writer.write(DATA[start : start + 50_000])
                await writer.drain()
                assert writer.transport.get_write_buffer_size() <= 64 * 1024
            writer.write_eof()

        sending = asyncio.ensure_future(send())
        assert await peer_reader.read() == DATA
        await sending
        peer_writer.write(b"answer\n")
        assert await reader.readline() == b"answer\n"
        for closed in (writer, peer_writer):
            closed.close()
            await closed.wait_closed()

    our_run(main)


def test_a_protocol_that_has_lost_its_connection_is_not_resumed(our_run: Run) -> None:
    async def main(turns: int) -> None:
        ours, peer = trio.testing.lockstep_stream_pair()
        transport, protocol = trio_stream_as_transport(ours, Recorder)
        transport.write(DATA[:100_000])
        receiving = asyncio.ensure_future(trio_as_aio(peer.receive_some)(100_000))
        for _ in range(turns):
            await asyncio.sleep(0)
        transport.abort()
        await protocol.lost
        await trio_as_aio(peer.aclose)()
        await asyncio.wait([receiving])
        receiving.exception()
        assert protocol.events[-1] == "lost"

    # Wherever the abort falls between sending and the news of it.
    for turns in range(12):
        our_run(main, turns)


def test_a_stream_that_breaks_is_a_connection_error(our_run: Run) -> None:
    async def main() -> None:
        ours, peer = trio.testing.memory_stream_pair()
        transport, protocol = trio_stream_as_transport(ours, KeepsOpen)
        await protocol.made
        await trio_as_aio(peer.aclose)()
        await protocol.ended
        transport.write(b"x")
        assert type(await protocol.lost) is BrokenPipeError

        ours, peer = trio.testing.memory_stream_pair()
        _, second = trio_stream_as_transport(ours, Recorder)
        await second.made
        await trio_as_aio(ours.aclose)()
        assert type(await second.lost) is ConnectionAbortedError
        await trio_as_aio(peer.aclose)()

    our_run(main)


def test_any_other_error_of_the_stream_is_reported_too(our_run: Run) -> None:
    async def main() -> None:
        told: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
        ours, _ = trio.testing.memory_stream_pair()

        async def fail() -> None:
            raise ZeroDivisionError

        ours.send_stream.send_all_hook = fail
        transport, protocol = trio_stream_as_transport(ours, Recorder)
        transport.write(b"x")
        assert type(await protocol.lost) is ZeroDivisionError
        assert [context["message"] for context in told] == ["Fatal write error on trio stream"]

    our_run(main)


class Plain(trio.abc.Stream):
    """A stream that cannot close one direction."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self.stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self.stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self.stream.aclose()


def test_a_stream_that_does_not_close_is_cut_after_a_while(virtual_run: Run) -> None:
    class Slow(Plain):
        async def aclose(self) -> None:
            try:
                await trio.sleep_forever()
            finally:
                await trio.aclose_forcefully(self.stream)

    async def main() -> None:
        ours, peer = trio.testing.memory_stream_pair()
        start = asyncio.get_running_loop().time()
        transport, protocol = trio_stream_as_transport(Slow(ours), Recorder)
        transport.close()
        assert type(await protocol.lost) is TimeoutError
        assert asyncio.get_running_loop().time() - start == 30
        assert await trio_as_aio(peer.receive_some)(1) == b""

    virtual_run(main)


def test_a_stream_that_fails_to_close(our_run: Run) -> None:
    class Fails(Plain):
        async def aclose(self) -> None:
            try:
                await self.stream.aclose()
            finally:
                raise trio.BrokenResourceError("closed badly")

    async def main() -> None:
        told: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
        for end in ("close", "abort"):
            ours, peer = trio.testing.memory_stream_pair()
            transport, protocol = trio_stream_as_transport(Fails(ours), Recorder)
            await protocol.made
            getattr(transport, end)()
            assert type(await protocol.lost) is (ConnectionResetError if end == "close" else type(None))
            assert await trio_as_aio(peer.receive_some)(1) == b""
            while asyncio.get_running_loop()._streams:  # type: ignore[attr-defined]
                await asyncio.sleep(0)
        # Of the one that has raised already, the second error is of no interest.
        assert [context["message"] for context in told] == ["error while closing a trio stream"]

    our_run(main)


def test_a_stream_of_both_directions_only_cannot_write_eof(our_run: Run) -> None:
    async def main() -> None:
        ours, peer = trio.testing.memory_stream_pair()
        transport, protocol = trio_stream_as_transport(Plain(ours), Recorder)
        assert not transport.can_write_eof()
        with pytest.raises(NotImplementedError):
            transport.write_eof()
        transport.write(b"x")
        assert await trio_as_aio(peer.receive_some)(10) == b"x"
        transport.close()
        assert await protocol.lost is None

    our_run(main)


def test_extra_info_is_that_of_the_socket(our_run: Run) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = socket.create_connection(listener.getsockname())
            accepted, _ = listener.accept()
        with client:
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(accepted))
            transport, protocol = trio_stream_as_transport(stream, Recorder)
            assert transport.get_extra_info("peername") == client.getsockname()
            assert transport.get_extra_info("sockname") == client.getpeername()
            assert transport.get_extra_info("socket").fileno() == accepted.fileno() or stream.socket.fileno() > 0
            assert transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert transport.get_extra_info("sslcontext") is None
            assert transport.get_extra_info("nothing", "default") == "default"
            transport.abort()
            await protocol.lost

    our_run(main)


@pytest.fixture(scope="module")
def tls() -> Contexts:
    return Contexts()


def test_a_protocol_over_trios_tls(our_run: Run, tls: Contexts) -> None:
    async def handshake(*streams: Any) -> None:
        async with trio.open_nursery() as nursery:
            for stream in streams:
                nursery.start_soon(stream.do_handshake)

    async def main() -> None:
        ours, peer = trio.testing.memory_stream_pair()
        server = trio.SSLStream(ours, tls.server, server_side=True)
        client = trio.SSLStream(peer, tls.client, server_hostname="localhost")
        with pytest.raises(ValueError, match="do_handshake"):
            trio_stream_as_transport(server, Recorder)
        await trio_as_aio(handshake)(server, client)
        transport, protocol = trio_stream_as_transport(server, Recorder)
        assert transport.get_extra_info("sslcontext") is tls.server
        assert transport.get_extra_info("ssl_object").version() == "TLSv1.3"
        assert transport.get_extra_info("cipher") == client.cipher()
        assert not transport.can_write_eof()
        reader, writer = trio_stream_as_aio(client)
        writer.write(DATA)
        transport.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        writer.close()
        await writer.wait_closed()
        assert await protocol.lost is None
        assert protocol.data == DATA

    our_run(main)


class Until(Recorder):
    def __init__(self) -> None:
        super().__init__()
        self.complete: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if len(self.data) == len(DATA):
            self.complete.set_result(None)


def test_tls_started_by_asyncio(our_run: Run, tls: Contexts) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, peer = (trio_stream_as_transport(end, Until) for end in trio.testing.memory_stream_pair())
        await asyncio.gather(ours[1].made, peer[1].made)
        server, client = await asyncio.gather(
            loop.start_tls(*ours, tls.server, server_side=True),
            loop.start_tls(*peer, tls.client, server_hostname="localhost"),
        )
        assert server is not None and client is not None
        server.write(DATA)
        client.write(b"from the client")
        await peer[1].complete
        assert peer[1].data == DATA
        client.close()
        assert await ours[1].lost is None
        assert await peer[1].lost is None
        assert ours[1].data == b"from the client"

    our_run(main)


def test_sendfile_over_a_stream(our_run: Run) -> None:
    async def main() -> None:
        ours, peer = trio.testing.memory_stream_pair()
        transport, protocol = trio_stream_as_transport(ours, Recorder)
        reader, writer = trio_stream_as_aio(peer)
        with tempfile.TemporaryFile() as file:
            file.write(DATA)
            file.seek(0)
            reading = asyncio.ensure_future(reader.readexactly(len(DATA)))
            assert await asyncio.get_running_loop().sendfile(transport, file) == len(DATA)
            assert await reading == DATA
        for each in (transport, writer):
            each.close()
        await protocol.lost
        await writer.wait_closed()

    our_run(main)


def test_a_loop_that_shuts_down_closes_its_streams(hosted_run: Run) -> None:
    ours, peer = trio.testing.memory_stream_pair()

    class Late(Recorder):
        def connection_lost(self, exc: Exception | None) -> None:
            self.events.append(f"lost: {exc}")

    protocols: list[Late] = []
    written: list[bytes] = []

    async def main() -> None:
        async def writes_when_cancelled() -> None:
            try:
                await asyncio.sleep(3600)
            finally:
                transport.write(b"farewell")
                written.append(bytes(await trio_as_aio(peer.receive_some)(100)))

        transport, protocol = trio_stream_as_transport(ours, Late)
        protocols.append(protocol)
        asyncio.ensure_future(writes_when_cancelled())
        await protocol.made

    hosted_run(main)
    # As over a socket: it goes on while tasks unwind.
    assert written == [b"farewell"]
    assert protocols[0].events == ["made", "lost: None"]

    async def closed() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await ours.receive_some(1)

    trio.run(closed)


@pytest.mark.parametrize("end", ["cancelled", "stopped", "SystemExit"])
def test_a_loop_that_ends_otherwise_closes_its_streams_too(hosted_run: Run, end: str) -> None:
    ours, peer = trio.testing.lockstep_stream_pair()
    protocols: list[Recorder] = []

    def leave() -> None:
        raise SystemExit(3)

    async def hosted() -> None:
        async with open_loop(poller=hosted_run.poller) as loop:
            transport, protocol = trio_stream_as_transport(ours, Recorder)
            protocols.append(protocol)
            # Nobody receives it.
            transport.write(DATA)
            await trio.testing.wait_all_tasks_blocked()
            if end == "SystemExit":
                loop.call_soon(leave)
            if end == "stopped":
                loop.stop()
            else:
                await trio.sleep_forever()

    async def main() -> None:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(hosted)
                await trio.testing.wait_all_tasks_blocked(0.01)
                if end == "cancelled":
                    scope.cancel()
        with pytest.raises(trio.ClosedResourceError):
            await ours.send_all(b"x")
        assert len(b"".join([bytes(piece) async for piece in peer])) < len(DATA)

    try:
        trio.run(main)
    except* SystemExit:
        assert end == "SystemExit"
    assert protocols[0].events == ["pause", "made", "lost"]


@pytest.mark.parametrize("poller", ["nested", "task"])
def test_a_stream_ends_with_the_drive_that_it_was_made_in(poller: Any, clean: Any) -> None:
    loop = trio_asyncio_compat.TrioEventLoop(poller=poller)
    ours, peer = socket.socketpair()

    async def first() -> Recorder:
        _, protocol = trio_stream_as_transport(trio.SocketStream(trio.socket.from_stdlib_socket(ours)), Recorder)
        await protocol.made
        return protocol

    with peer:
        protocol = loop.run_until_complete(first())
        assert peer.recv(1) == b""
        assert not protocol.lost.done()
        assert type(loop.run_until_complete(asyncio.wait_for(protocol.lost, 5))) is ConnectionAbortedError
    assert not loop._streams and not loop._carried
    loop.close()


def test_a_stream_needs_an_open_loop() -> None:
    with pytest.raises(RuntimeError, match="open_loop"):
        trio_stream_as_transport(trio.testing.memory_stream_pair()[0], asyncio.Protocol)


SIZES = st.integers(0, 150_000)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), SIZES),
        st.tuples(st.just("writelines"), SIZES),
        st.tuples(st.just("limit"), st.sampled_from([0, 1, 1000, 100_000])),
        st.tuples(st.sampled_from(["turn", "drain", "pause", "resume"]), st.just(0)),
    ),
    max_size=12,
)


@pytest.mark.parametrize("pair", [trio.testing.memory_stream_pair, trio.testing.lockstep_stream_pair])
@pytest.mark.parametrize("end", ["close", "write_eof"])
def test_any_order_of_writes_and_pauses_keeps_the_bytes(hosted_run: Run, pair: Any, end: str) -> None:
    async def talk(steps: list[tuple[str, int]], back: int) -> None:
        ours, peer = pair()
        transport, protocol = trio_stream_as_transport(ours, KeepsOpen)
        reader, writer = trio_stream_as_aio(peer)
        # To write to somebody who has closed would be an error.
        writer.write(DATA[: back if end == "write_eof" else 0])
        writer.write_eof()
        reading = asyncio.ensure_future(reader.read())
        expected = hashlib.sha256()
        for step, size in steps:
            if step == "write":
                transport.write(DATA[:size])
                expected.update(DATA[:size])
            elif step == "writelines":
                changed = bytearray(DATA[size // 2 : size])
                transport.writelines([DATA[: size // 2], changed])
                expected.update(DATA[:size])
                changed[:] = bytes(len(changed))
            elif step == "limit":
                transport.set_write_buffer_limits(high=size)
            elif step == "turn":
                await asyncio.sleep(0)
            elif step == "drain" and protocol.events.count("pause") > protocol.events.count("resume"):
                protocol.resumed.clear()
                await protocol.resumed.wait()
            elif step == "pause":
                transport.pause_reading()
            elif step == "resume":
                transport.resume_reading()
        if end == "write_eof":
            transport.write_eof()
            transport.resume_reading()
            await protocol.ended
            assert protocol.data == DATA[:back]
        transport.close()
        assert hashlib.sha256(await reading).digest() == expected.digest()
        assert await protocol.lost is None
        flow = [event for event in protocol.events if event in ("pause", "resume")]
        assert flow == ["pause", "resume"] * (len(flow) // 2) + ["pause"] * (len(flow) % 2)
        writer.close()
        await writer.wait_closed()

    @settings(max_examples=25, deadline=None)
    @given(steps=STEPS, back=SIZES)
    def check(steps: list[tuple[str, int]], back: int) -> None:
        hosted_run(talk, steps, back)

    check()


def test_the_transport_says_what_it_is(our_run: Run) -> None:
    async def main() -> None:
        ours, _ = trio.testing.memory_stream_pair()
        transport, protocol = trio_stream_as_transport(ours, Recorder)
        assert isinstance(transport, StreamTransport) and transport.get_protocol() is protocol
        assert repr(transport) == f"<StreamTransport open over {ours!r}>"
        transport.close()
        assert repr(transport) == f"<StreamTransport closing over {ours!r}>"
        await protocol.lost
        assert repr(transport) == f"<StreamTransport closed over {ours!r}>"

    our_run(main)
