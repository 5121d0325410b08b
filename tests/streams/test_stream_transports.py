"""What is special about a transport over a trio stream: errors of streams, TLS of either side, what it tells."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import sys
import tempfile
from typing import Any

import pytest
import trio
import trio.testing

from trio_asyncio_compat import StreamTransport, trio_as_aio, trio_stream_as_aio, trio_stream_as_transport

from ..connections import Recorder
from ..support import Run
from ..test_tls import Contexts
from .support import KeepsOpen

DATA = hashlib.shake_256(b"streams").digest(3_000_000)


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


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="asyncio's sendfile itself waits for the buffer since Python 3.14")
def test_a_protocol_knows_after_sendfile_that_it_is_paused(our_run: Run) -> None:
    async def main() -> None:
        ours, peer = trio.testing.lockstep_stream_pair()
        transport, protocol = trio_stream_as_transport(ours, Recorder)
        transport.set_write_buffer_limits(high=0)
        with tempfile.TemporaryFile() as file:
            file.write(DATA[:1000])
            file.seek(0)
            # All in the buffer, since nobody receives.
            assert await asyncio.get_running_loop().sendfile(transport, file) == 1000
        assert protocol.paused.is_set() and not protocol.resumed.is_set()
        assert await trio_as_aio(peer.receive_some)(1000) == DATA[:1000]
        await protocol.resumed.wait()
        transport.close()
        await protocol.lost
        assert protocol.events == ["made", "pause", "resume", "lost"]
        await trio_as_aio(peer.aclose)()

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
