"""Asyncio transports, and readers with writers, as trio streams: trio's own tests of streams pass on them, on every kind of transport."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing

from trio_asyncio_compat import (
    TransportStream,
    aio_as_trio,
    aio_stream_as_trio,
    allow_asyncio,
    open_loop,
    transport_as_trio_stream,
    trio_as_aio,
    trio_stream_as_aio,
    trio_stream_as_transport,
)

from ..connections import Recorder, serving
from ..support import Run
from ..test_tls import Contexts

DATA = hashlib.shake_256(b"connections").digest(3_000_000)

Pair = Callable[[], Awaitable[tuple[Any, Any]]]


async def socket_pair(buffer: int | None = None) -> tuple[TransportStream, TransportStream]:
    """Two streams over asyncio's socket transports."""
    made = []
    for end in socket.socketpair():
        if buffer is not None:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        made.append(aio_stream_as_trio(*await aio_as_trio(asyncio.open_connection)(sock=end)))
    return made[0], made[1]


async def small_socket_pair() -> tuple[TransportStream, TransportStream]:
    return await socket_pair(4096)


async def protocol_pair() -> tuple[TransportStream, TransportStream]:
    """Taken over from protocols."""
    loop = asyncio.get_running_loop()
    made = []
    for end in socket.socketpair():
        transport, _ = await aio_as_trio(loop.create_connection)(asyncio.Protocol, sock=end)
        made.append(transport_as_trio_stream(transport))
    return made[0], made[1]


async def double_pair() -> tuple[TransportStream, TransportStream]:
    """Over transports that are themselves over streams, which have no buffer at all."""
    first, second = (aio_stream_as_trio(*trio_stream_as_aio(end)) for end in trio.testing.lockstep_stream_pair())
    return first, second


def clogged(make: Pair) -> Pair:
    """Both directions are full."""

    async def made() -> tuple[Any, Any]:
        pair = await make()
        async with trio.open_nursery() as nursery:

            async def fill(stream: trio.abc.Stream) -> None:
                while True:
                    await stream.send_all(DATA[:100_000])

            for stream in pair:
                nursery.start_soon(fill, stream)
            await trio.testing.wait_all_tasks_blocked(0.01)
            nursery.cancel_scope.cancel()
        return pair

    return made


@pytest.mark.parametrize(("make", "full"), [(socket_pair, small_socket_pair), (double_pair, double_pair), (protocol_pair, None)])
def test_trios_own_tests_of_streams_pass(hosted_run: Run, make: Pair, full: Pair | None) -> None:
    async def main() -> None:
        await trio.testing.check_half_closeable_stream(make, clogged(full) if full else None)

    hosted_run.trio_run(main)


@pytest.fixture(scope="module")
def tls() -> Contexts:
    return Contexts()


async def tls_pair(tls: Contexts) -> tuple[TransportStream, TransportStream]:
    """Over asyncio's TLS transports."""

    async def connect() -> tuple[asyncio.Transport, asyncio.Transport]:
        loop = asyncio.get_running_loop()
        ours, peer = socket.socketpair()
        (server, _), (client, _) = await asyncio.gather(
            loop.connect_accepted_socket(asyncio.Protocol, ours, ssl=tls.server),
            loop.create_connection(asyncio.Protocol, sock=peer, ssl=tls.client, server_hostname="localhost"),
        )
        return server, client

    server, client = await aio_as_trio(connect)()
    return transport_as_trio_stream(server), transport_as_trio_stream(client)


def test_a_stream_over_asyncios_tls(hosted_run: Run, tls: Contexts) -> None:
    async def main() -> None:
        server, client = await tls_pair(tls)
        # TLS of asyncio has no half-close.
        assert not isinstance(server, trio.abc.HalfCloseableStream)
        assert server.get_extra_info("ssl_object").version() == "TLSv1.3"
        received = bytearray()

        async def receive() -> None:
            async for piece in client:
                received.extend(piece)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            with memoryview(bytearray(DATA)) as view:
                await server.send_all(view)
            await server.aclose()
        assert received == DATA
        with pytest.raises(trio.BrokenResourceError):
            await client.send_all(b"x")
        with pytest.raises(TypeError, match="cannot be taken apart"):
            await client.unwrap()
        await client.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await client.receive_some(1)

    hosted_run.trio_run(main)


def test_trios_tests_of_two_way_streams_pass_over_tls(hosted_run: Run, tls: Contexts) -> None:
    async def main() -> None:
        await trio.testing.check_two_way_stream(lambda: tls_pair(tls), None)

    hosted_run.trio_run(main)


def test_a_reader_over_tls_is_handed_over_while_it_is_paused(our_run: Run, tls: Contexts) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        handed: asyncio.Future[bytes] = loop.create_future()

        async def receive(stream: trio.abc.Stream) -> bytes:
            async with stream:
                await stream.send_all(b"go on")
                return b"".join([bytes(piece) async for piece in stream])

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            assert await reader.readline() == b"line\n"
            handed.set_result(await trio_as_aio(receive)(aio_stream_as_trio(reader, writer)))

        async with serving(handle, ssl=tls.server, limit=100) as address:
            reader, writer = await asyncio.open_connection(*address, ssl=tls.client, server_hostname="localhost")
            writer.write(b"line\n" + DATA[:1_000_000])
            assert await reader.readexactly(5) == b"go on"
            writer.write(DATA[1_000_000:])
            await writer.drain()
            writer.close()
            assert await handed == DATA
            await writer.wait_closed()

    our_run(main)


def test_tls_that_a_writer_has_started_is_handed_over(our_run: Run, tls: Contexts) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        end, peer = trio.testing.memory_stream_pair()
        transport, protocol = trio_stream_as_transport(end, Recorder)
        reader, writer = trio_stream_as_aio(peer)
        await protocol.made
        server, _ = await asyncio.gather(
            loop.start_tls(transport, protocol, tls.server, server_side=True),
            writer.start_tls(tls.client, server_hostname="localhost"),
        )
        assert server is not None
        streams = transport_as_trio_stream(server), aio_stream_as_trio(reader, writer)

        async def talk() -> None:
            ours, theirs = streams
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ours.send_all, DATA)
                got = bytearray()
                while len(got) < len(DATA):
                    got += await theirs.receive_some(100_000)
            assert got == DATA
            async with trio.open_nursery() as nursery:
                nursery.start_soon(theirs.aclose)
                assert await ours.receive_some() == b""
                nursery.start_soon(ours.aclose)

        await trio_as_aio(talk)()

    our_run(main)


def test_a_writer_of_the_servers_side_starts_tls_as_the_server(our_run: Run, tls: Contexts) -> None:
    async def main() -> None:
        end, peer = trio.testing.memory_stream_pair()
        server = trio_stream_as_aio(end, server_side=True)
        client = trio_stream_as_aio(peer)
        server[1].write(b"ready for TLS")
        assert await client[0].readexactly(13) == b"ready for TLS"
        await asyncio.gather(
            server[1].start_tls(tls.server),
            client[1].start_tls(tls.client, server_hostname="localhost"),
        )
        for (_, writer), (reader, _) in ((server, client), (client, server)):
            writer.write(b"encrypted")
            assert await reader.readexactly(9) == b"encrypted"
        for _, writer in (client, server):
            writer.close()
        for _, writer in (client, server):
            await writer.wait_closed()

    our_run(main)


def test_trios_tls_over_an_asyncio_transport(hosted_run: Run, tls: Contexts) -> None:
    async def main() -> None:
        ours, peer = await socket_pair()
        server = trio.SSLStream(ours, tls.server, server_side=True)
        client = trio.SSLStream(peer, tls.client, server_hostname="localhost")
        received = bytearray()
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                await server.send_all(DATA)
                await server.aclose()

            nursery.start_soon(send)
            async for piece in client:
                received += piece
        assert received == DATA
        await client.aclose()

    hosted_run.trio_run(main)


def test_a_send_that_asyncio_has_cut_off_does_not_hold_up_the_close(hosted_run: Run) -> None:
    async def main() -> None:
        ours, peer = socket.socketpair()
        with peer:
            transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
            stream = transport_as_trio_stream(transport)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await stream.send_all(bytes(10_000_000))
            await stream.aclose()

    hosted_run.trio_run(lambda: allow_asyncio(main))


def test_an_unwrap_that_asyncio_has_cut_off_may_be_tried_again(hosted_run: Run) -> None:
    async def main() -> None:
        end, peer = trio.testing.lockstep_stream_pair()
        transport, protocol = trio_stream_as_transport(end, Recorder)
        await protocol.made
        transport.write(b"x" * 100)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await transport.unwrap()
        assert not transport.is_closing()
        async with trio.open_nursery() as nursery:

            async def receive() -> None:
                got = b""
                while len(got) < 100:
                    got += await peer.receive_some()

            nursery.start_soon(receive)
            stream, _ = await transport.unwrap()
        assert stream is end

    hosted_run.trio_run(lambda: allow_asyncio(main))


def test_a_stream_that_is_full_holds_the_sender_up(our_run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, peer = socket.socketpair()
        peer.setblocking(False)
        with peer:
            transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
            stream = transport_as_trio_stream(transport)
            sending = asyncio.ensure_future(loop.sock_sendall(peer, DATA))
            done, _ = await asyncio.wait([sending], timeout=0.02)
            assert not done and not transport.is_reading()
            got = bytearray()
            while len(got) < len(DATA):
                got += await trio_as_aio(stream.receive_some)(50_000)
            assert got == DATA
            await sending
            await trio_as_aio(stream.aclose)()

    our_run(main)


def test_closing_after_a_cancelled_send_does_not_wait_for_the_other_side(hosted_run: Run) -> None:
    async def main() -> None:
        stream, peer = await socket_pair()
        with trio.move_on_after(0.01) as scope:
            await stream.send_all(DATA)
        assert scope.cancelled_caught
        with trio.fail_after(5):
            await stream.aclose()
        await trio.aclose_forcefully(peer)

    hosted_run.trio_run(main)


def test_a_cancelled_receive_loses_nothing(hosted_run: Run) -> None:
    async def main() -> None:
        stream, peer = await socket_pair()
        got = bytearray()
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                for start in range(0, 300_000, 1000):
                    await peer.send_all(DATA[start : start + 1000])
                await peer.aclose()

            nursery.start_soon(send)
            while True:
                with trio.CancelScope() as scope:
                    nursery.start_soon(cancel_soon, scope)
                    data = await stream.receive_some(700)
                    if not data:
                        break
                    got += data
        assert got == DATA[:300_000]
        await stream.aclose()

    async def cancel_soon(scope: trio.CancelScope) -> None:
        await trio.lowlevel.checkpoint()
        scope.cancel()

    hosted_run.trio_run(main)


def test_a_stream_outlives_its_loop_as_a_broken_one(hosted_run: Run) -> None:
    async def main() -> None:
        async with open_loop(poller=hosted_run.poller):
            stream, peer = await socket_pair()
        for use in (stream.receive_some, lambda: stream.send_all(b"x"), lambda: stream.send_eof()):  # type: ignore[attr-defined]
            # Not b"", which would say that the other side had nothing more to send.
            with pytest.raises(trio.BrokenResourceError):
                await use()
        await stream.aclose()
        await peer.aclose()

    trio.run(main)


def test_a_stopped_loop_leaves_nobody_waiting(hosted_run: Run) -> None:
    async def main() -> None:
        async with open_loop(poller=hosted_run.poller) as loop:
            stream, peer = await socket_pair()
            async with trio.open_nursery() as nursery:

                async def wait() -> None:
                    with pytest.raises(RuntimeError, match="stopped"):
                        await stream.receive_some()

                nursery.start_soon(wait)
                await trio.testing.wait_all_tasks_blocked()
                loop.stop()
        await stream.aclose()
        await peer.aclose()

    trio.run(main)


def test_a_stream_that_is_dropped_complains_and_closes_the_connection(hosted_run: Run) -> None:
    async def main() -> None:
        stream: Any
        stream, peer = await socket_pair()
        with pytest.warns(ResourceWarning, match="unclosed <HalfCloseableTransportStream"):
            del stream
            gc.collect()
        assert await peer.receive_some() == b""
        await peer.aclose()

    hosted_run.trio_run(main)


def test_two_tasks_may_send_and_receive_at_once(our_run: Run) -> None:
    async def main() -> None:
        async def echo(stream: trio.abc.HalfCloseableStream) -> None:
            async for piece in stream:
                await stream.send_all(piece)
            await stream.send_eof()

        async def ask(stream: trio.abc.HalfCloseableStream) -> bytes:
            async def send() -> None:
                await stream.send_all(DATA)
                await stream.send_eof()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(send)
                return b"".join([bytes(piece) async for piece in stream])
            return b""

        async def both() -> None:
            ends: Any = [aio_stream_as_trio(*trio_stream_as_aio(end)) for end in trio.testing.memory_stream_pair()]
            ours, peer = ends
            async with trio.open_nursery() as nursery:
                nursery.start_soon(echo, peer)
                assert await ask(ours) == DATA
            await ours.aclose()
            await peer.aclose()

        await trio_as_aio(both)()

    our_run(main)
