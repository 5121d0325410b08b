"""A live connection changes hands in the middle of a conversation, in both directions, and no byte is lost."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import socket
import weakref
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_asyncio_compat import (
    TransportStream,
    aio_stream_as_trio,
    transport_as_trio_stream,
    trio_as_aio,
    trio_stream_as_aio,
    trio_stream_as_transport,
)

from ..connections import Recorder, serving
from ..support import Run

DATA = hashlib.shake_256(b"hand over").digest(1_000_000)


async def exactly(stream: trio.abc.ReceiveStream, size: int) -> bytes:
    got = bytearray()
    while len(got) < size and (piece := await stream.receive_some(size - len(got))):
        got += piece
    return bytes(got)


def test_an_asyncio_server_hands_a_connection_to_trio_and_takes_it_back(our_run: Run) -> None:
    async def in_trio(stream: trio.abc.Stream) -> None:
        assert await exactly(stream, 5) == b"trio?"
        await stream.send_all(b"trio!")

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(8) == b"asyncio?"
        writer.write(b"asyncio!")
        stream = aio_stream_as_trio(reader, writer)
        await trio_as_aio(in_trio)(stream)
        reader, writer = trio_stream_as_aio(stream)
        writer.write((await reader.read()).upper())
        writer.close()
        await writer.wait_closed()

    async def main() -> None:
        # It closes the writer that it has made when the handler is done, which is not the connection's any more.
        async with serving(handle) as address:
            reader, writer = await asyncio.open_connection(*address)
            # All at once: whoever reads, reads too much.
            writer.write(b"asyncio?trio?" + b"and again asyncio")
            writer.write_eof()
            assert await reader.read() == b"asyncio!trio!AND AGAIN ASYNCIO"
            writer.close()
            await writer.wait_closed()

    our_run(main)


def test_a_servers_task_that_waits_for_what_it_has_taken_back_is_not_collected(our_run: Run) -> None:
    # The protocol, which has held it, has lost the connection; what it waits for is held by nobody else.
    tasks: weakref.WeakSet[Any] = weakref.WeakSet()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        reader, writer = trio_stream_as_aio(aio_stream_as_trio(reader, writer))
        writer.write(b"ready")
        writer.write((await reader.readexactly(4)).upper())
        writer.close()
        await writer.wait_closed()

    async def main() -> None:
        async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            assert await reader.readexactly(5) == b"ready"
            gc.collect()
            writer.write(b"more")
            assert await reader.read() == b"MORE"
            writer.close()
            await writer.wait_closed()
            while not all(task.done() for task in tasks):
                await asyncio.sleep(0)
            # Where it was held hears of it by a callback.
            await asyncio.sleep(0)
            gc.collect()
            assert not tasks

    our_run(main)


def test_a_socket_transport_becomes_trios_socket_stream(our_run: Run) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = socket.create_connection(listener.getsockname())
            accepted, _ = listener.accept()
        with client:
            transport, protocol = await asyncio.get_running_loop().connect_accepted_socket(Recorder, accepted)
            stream = transport_as_trio_stream(transport)
            client.sendall(b"head" + b"rest")
            assert await trio_as_aio(stream.receive_some)(4) == b"head"
            await trio_as_aio(stream.send_all)(b"1")
            below, trailing = await trio_as_aio(stream.unwrap)()
            assert type(below) is trio.SocketStream and trailing == b"rest"
            assert below.socket.getpeername() == client.getsockname()
            with pytest.raises(trio.ClosedResourceError):
                await trio_as_aio(stream.receive_some)()
            await trio_as_aio(stream.aclose)()
            client.sendall(b"more")
            assert await trio_as_aio(below.receive_some)(10) == b"more"
            await trio_as_aio(below.send_all)(b"2")
            await trio_as_aio(below.aclose)()
            assert client.recv(2, socket.MSG_WAITALL) == b"12"
            assert client.recv(1) == b""
            # The protocol that had it before is not concerned.
            assert protocol.events == ["made"]

    our_run(main)


def test_a_half_closed_connection_stays_half_closed_when_it_is_unwrapped(our_run: Run) -> None:
    async def main() -> None:
        ours, peer = socket.socketpair()
        with peer:
            stream: Any = aio_stream_as_trio(*await asyncio.open_connection(sock=ours))
            await trio_as_aio(stream.send_eof)()
            below, _ = await trio_as_aio(stream.unwrap)()
            assert peer.recv(1) == b""
            with pytest.raises(trio.ClosedResourceError):
                await trio_as_aio(below.send_all)(b"x")
            peer.sendall(b"answer")
            assert await trio_as_aio(below.receive_some)() == b"answer"
            await trio_as_aio(below.aclose)()

    our_run(main)


def test_a_trio_stream_comes_back_with_what_asyncio_had_buffered(our_run: Run) -> None:
    async def main() -> None:
        ours, peer = trio.testing.memory_stream_pair()
        reader, writer = trio_stream_as_aio(ours, limit=100)
        await trio_as_aio(peer.send_all)(b"line\n" + DATA)
        assert await reader.readline() == b"line\n"
        writer.write(DATA)
        # Before it is drained.
        stream, trailing = await trio_as_aio(aio_stream_as_trio(reader, writer).unwrap)()
        assert stream is ours
        assert await trio_as_aio(exactly)(peer, len(DATA)) == DATA
        rest = await trio_as_aio(exactly)(ours, len(DATA) - len(trailing))
        assert trailing + rest == DATA
        for end in (ours, peer):
            await trio_as_aio(end.aclose)()

    our_run(main)


def test_taking_it_back_is_the_end_for_the_protocol(our_run: Run) -> None:
    async def main() -> None:
        ours, peer = trio.testing.memory_stream_pair()
        transport, protocol = trio_stream_as_transport(ours, Recorder)
        await protocol.made
        transport.pause_reading()
        await trio_as_aio(peer.send_all)(b"unheard")
        transport.write(b"heard")
        stream, trailing = await trio_as_aio(transport.unwrap)()
        assert stream is ours
        assert trailing + await trio_as_aio(exactly)(ours, 7 - len(trailing)) == b"unheard"
        assert transport.is_closing()
        assert await protocol.lost is None
        assert protocol.events == ["made", "lost"]
        assert await trio_as_aio(peer.receive_some)() == b"heard"
        with pytest.raises(trio.ClosedResourceError):
            await trio_as_aio(transport.unwrap)()
        for end in (ours, peer):
            await trio_as_aio(end.aclose)()

    our_run(main)


def test_taking_it_back_can_be_cancelled_while_something_is_not_sent(hosted_run: Run) -> None:
    async def main() -> None:
        ours, peer = trio.testing.lockstep_stream_pair()
        transport, _ = trio_stream_as_transport(ours, Recorder)
        stream = transport_as_trio_stream(transport)
        # A lockstep stream sends when the other side receives.
        transport.write(b"slow")
        for unwrap in (transport.unwrap, stream.unwrap):
            with trio.move_on_after(0.01) as scope:
                await unwrap()
            assert scope.cancelled_caught
        assert await peer.receive_some(4) == b"slow"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.send_all, b"goes on")
            assert await exactly(stream, 7) == b"goes on"
        assert await stream.unwrap() == (ours, b"")
        await ours.aclose()
        await peer.aclose()

    hosted_run.trio_run(main)


def test_taking_it_back_can_be_cancelled_at_any_moment(hosted_run: Run) -> None:
    async def main() -> None:
        for moments in range(12):
            ours, peer = trio.testing.memory_stream_pair()
            transport, _ = trio_stream_as_transport(ours, Recorder)
            await peer.send_all(b"kept")
            transport.write(b"sent")
            taken: Any = None
            async with trio.open_nursery() as nursery:

                async def take() -> None:
                    nonlocal taken
                    taken = await transport.unwrap()

                nursery.start_soon(take)
                for _ in range(moments):
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
            assert (taken is not None) == transport.is_closing()
            if taken is None:
                protocol: Any = transport.get_protocol()
                while len(protocol.data) < 4:
                    await trio.lowlevel.checkpoint()
                transport.write(b", and more")
                taken = await transport.unwrap()
                assert bytes(protocol.data) + taken[1] == b"kept"
                assert await exactly(peer, 14) == b"sent, and more"
            await ours.aclose()
            await peer.aclose()

    hosted_run.trio_run(main)


def test_a_connection_that_breaks_cannot_be_taken_back(hosted_run: Run) -> None:
    async def main() -> None:
        ours, peer = trio.testing.lockstep_stream_pair()
        transport, _ = trio_stream_as_transport(ours, Recorder)
        transport.write(b"never sent")
        async with trio.open_nursery() as nursery:

            async def take() -> None:
                with pytest.raises(trio.BrokenResourceError):
                    await transport.unwrap()

            nursery.start_soon(take)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError):
                await transport.unwrap()
            await peer.aclose()

    hosted_run.trio_run(main)


class End:
    """One end of a connection, which changes hands. Whoever has it receives at least as much as is asked for."""

    def __init__(self, stream: trio.abc.HalfCloseableStream) -> None:
        self.stream: Any = stream
        self.pair: Any = None
        self.received = bytearray()

    def to_trio(self) -> None:
        if self.pair is not None:
            self.stream, self.pair = aio_stream_as_trio(*self.pair), None

    async def asyncio(self, send: bytes, until: int) -> None:
        if self.pair is None:
            self.pair = trio_stream_as_aio(self.stream, limit=1000)
        reader, writer = self.pair
        writer.write(send)
        while len(self.received) < until and (data := await reader.read(700)):
            self.received += data

    async def protocol(self, send: bytes, until: int) -> None:
        self.to_trio()
        transport, protocol = trio_stream_as_transport(self.stream, lambda: Collector(self.received, until))
        transport.write(send)
        await protocol.complete
        self.stream = transport_as_trio_stream(transport)

    async def trio(self, send: bytes, until: int) -> None:
        self.to_trio()

        async def talk() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.stream.send_all, send)
                while len(self.received) < until and (data := await self.stream.receive_some(700)):
                    self.received += data

        await trio_as_aio(talk)()

    async def unwrap(self, send: bytes, until: int) -> None:
        self.to_trio()
        if isinstance(self.stream, TransportStream):
            self.stream, trailing = await trio_as_aio(self.stream.unwrap)()
            self.received += trailing
        await self.trio(send, until)


class Collector(Recorder):
    def __init__(self, received: bytearray, until: int) -> None:
        super().__init__()
        self.complete: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.data = received
        self.until = until

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.check(False)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.check(False)

    def eof_received(self) -> bool:  # type: ignore[override]
        self.check(True)
        return True

    def check(self, at_end: bool) -> None:
        if (at_end or len(self.data) >= self.until) and not self.complete.done():
            self.complete.set_result(None)


HOLDERS = st.sampled_from([End.asyncio, End.protocol, End.trio, End.unwrap])
ROUNDS = st.lists(st.tuples(HOLDERS, st.integers(0, 90_000), st.integers(0, 90_000)), max_size=8)


def memory_streams() -> tuple[Any, Any]:
    return trio.testing.memory_stream_pair()


def lockstep_streams() -> tuple[Any, Any]:
    return trio.testing.lockstep_stream_pair()


def socket_streams() -> tuple[Any, Any]:
    ours, peer = (trio.SocketStream(trio.socket.from_stdlib_socket(end)) for end in socket.socketpair())
    return ours, peer


@pytest.mark.parametrize("streams", [memory_streams, lockstep_streams, socket_streams])
def test_no_order_of_hand_overs_loses_a_byte(our_run: Run, streams: Any) -> None:
    async def converse(rounds: list[tuple[Any, int, int]], extra: int) -> None:
        ours, peer = streams()
        end = End(ours)
        to_us = DATA[: sum(size for _, _, size in rounds) + extra]
        heard = bytearray()

        async def other_side() -> None:
            async def send() -> None:
                await peer.send_all(to_us)
                await peer.send_eof()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(send)
                async for piece in peer:
                    heard.extend(piece)
            await peer.aclose()

        other = asyncio.ensure_future(trio_as_aio(other_side)())
        sent = until = 0
        for holder, sends, receives in rounds:
            until += receives
            await holder(end, DATA[sent : sent + sends], until)
            sent += sends
        await end.trio(b"", len(DATA))
        await trio_as_aio(end.stream.send_eof)()
        await other
        await trio_as_aio(end.stream.aclose)()
        assert hashlib.sha256(end.received).digest() == hashlib.sha256(to_us).digest()
        assert hashlib.sha256(heard).digest() == hashlib.sha256(DATA[:sent]).digest()

    @settings(max_examples=25, deadline=None)
    @given(rounds=ROUNDS, extra=st.integers(0, 200_000))
    def check(rounds: list[tuple[Any, int, int]], extra: int) -> None:
        our_run(converse, rounds, extra)

    check()
