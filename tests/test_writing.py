"""Writing to a stream transport: what arrives, flow control, mistakes, the end."""

from __future__ import annotations

import array
import asyncio
import hashlib
import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest

from .connections import Chunks, Recorder, close, collect_errors, connected, pair, turns
from .support import Run

DATA = hashlib.shake_256(b"seed").digest(4_000_003)


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


def test_small_pieces_that_wait_are_joined(run: Run) -> None:
    pieces = [b"%d," % number for number in range(20_000)]
    whole = b"".join(pieces)

    def write(transport: asyncio.WriteTransport) -> None:
        before = transport.get_write_buffer_size()
        for piece in pieces:
            transport.write(piece)
        assert transport.get_write_buffer_size() == before + len(whole)
        if run.ours:
            # Each piece by itself takes forty times its length.
            assert len(transport._buffer) < len(whole) / 1024 + 2  # type: ignore[attr-defined]

    async def main() -> None:
        assert await what_arrives(write) == whole

    run(main)


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


def test_pieces_arrive_in_order_however_they_are_written(run: Run) -> None:
    async def main() -> None:
        one, other = socket.socketpair()
        reader, other_writer = await asyncio.open_connection(sock=other)
        receiving: Any = other_writer.transport
        receiving.pause_reading()
        _, writer = await asyncio.open_connection(sock=one)
        expected = bytearray()
        for number in range(3000):
            piece = bytes([number % 256]) * (number % 700 + 1)
            if number % 3:
                writer.write(piece)
                expected += piece
            else:
                writer.writelines([piece, b"|", bytearray(piece), memoryview(piece)])
                expected += piece + b"|" + piece + piece
        writer.write_eof()
        receiving.resume_reading()
        assert await reader.read() == expected
        await close(writer)
        await close(other_writer)

    run(main)


def test_more_pieces_than_one_system_call_takes(run: Run) -> None:
    async def main() -> None:
        one, other = socket.socketpair()
        reader, other_writer = await asyncio.open_connection(sock=other)
        _, writer = await asyncio.open_connection(sock=one)
        pieces = [b"%d," % number for number in range(10_000)]
        writer.writelines(pieces)
        writer.write_eof()
        assert await reader.read() == b"".join(pieces)
        await close(writer)
        await close(other_writer)

    run(main)


def test_a_view_with_gaps_ends_the_connection(run: Run) -> None:
    async def main() -> None:
        errors = collect_errors()
        protocol, other = await pair(Recorder)
        protocol.transport.write(memoryview(b"abcdef")[::2])
        assert isinstance(await protocol.lost, BufferError)
        assert [type(error) for error in errors] == [BufferError]
        other.close()

    run(main)


@pytest.mark.parametrize("wrong", ["text", 5, None])
@pytest.mark.parametrize("method", ["close", "write_eof"])
def test_a_list_with_a_mistake_in_it_leaves_the_transport_usable(our_run: Run, wrong: Any, method: str) -> None:
    """The refused list sends nothing, and the connection ends when it is asked to. Python 3.15's own keeps the list's beginning."""
    wrong = wrong or 7  # falsy pieces may be skipped

    async def main() -> None:
        protocol, other = await pair(Recorder)
        with other:
            with pytest.raises(TypeError):
                protocol.transport.writelines([b"begun", wrong])
            assert protocol.transport.get_write_buffer_size() == 0
            getattr(protocol.transport, method)()
            async with asyncio.timeout(5):
                assert await asyncio.get_running_loop().sock_recv(other, 100) == b""
            protocol.transport.abort()
            await protocol.lost

    our_run(main)


def test_a_view_with_gaps_in_a_list_does_not_keep_the_connection_open(run: Run) -> None:
    """The standard library raises (3.11) or ends the connection (later); either way `close` comes to its end."""

    async def main() -> None:
        collect_errors()
        protocol, other = await pair(Recorder)
        with other:
            try:
                protocol.transport.writelines([b"begun", memoryview(b"abcdef")[::2]])
            except (BufferError, TypeError):
                pass
            protocol.transport.close()
            async with asyncio.timeout(5):
                await protocol.lost

    run(main)


def test_a_mistake_behind_waiting_data_does_not_lose_it(run: Run) -> None:
    async def main() -> None:
        protocol, other = await pair(Recorder)
        protocol.transport.write(DATA)
        with pytest.raises(TypeError):
            protocol.transport.write("text")
        assert protocol.transport.get_write_buffer_size() > 0
        protocol.transport.close()
        reader, writer = await asyncio.open_connection(sock=other)
        assert await reader.read() == DATA
        await protocol.lost
        await close(writer)

    run(main)


def test_empty_writes_do_nothing(run: Run) -> None:
    async def main() -> None:
        protocol, other = await pair(Recorder)
        for empty in (b"", bytearray(), memoryview(b"")):
            protocol.transport.write(empty)
        # The standard library of 3.12 and 3.13 fails on an empty last piece.
        protocol.transport.writelines([b"", b"x", *([b""] if run.ours else [])])
        assert protocol.transport.get_write_buffer_size() == 0
        protocol.transport.close()
        await protocol.lost
        assert await asyncio.get_running_loop().sock_recv(other, 100) == b"x"
        other.close()

    run(main)


def test_the_end_is_sent_behind_what_waits(run: Run) -> None:
    async def main() -> None:
        protocol, other = await pair(Recorder)
        assert protocol.transport.can_write_eof()
        protocol.transport.write(DATA)
        protocol.transport.write_eof()
        protocol.transport.write_eof()
        with pytest.raises(RuntimeError, match="after write_eof"):
            protocol.transport.writelines([b"x"])
        reader, writer = await asyncio.open_connection(sock=other)
        assert await reader.read() == DATA
        assert not protocol.lost.done()
        writer.write(b"answer")
        await close(writer)
        await protocol.lost
        assert bytes(protocol.data) == b"answer"

    run(main)


@pytest.mark.parametrize("method", ["write", "close", "abort"])
def test_resume_writing_may_act_on_the_transport(our_run: Run, method: str) -> None:
    """The standard library then calls `connection_lost` twice."""

    class Acting(Recorder):
        def resume_writing(self) -> None:
            super().resume_writing()
            if method == "write":
                self.transport.write(b"from resume")
                self.transport.close()
            else:
                getattr(self.transport, method)()

    async def main() -> None:
        protocol, other = await pair(Acting)
        protocol.transport.write(DATA)
        assert protocol.events == ["made", "pause"]
        reader, writer = await asyncio.open_connection(sock=other)
        received = await reader.read()
        assert await protocol.lost is None
        assert protocol.events == ["made", "pause", "resume", "lost"]
        if method == "write":
            assert received == DATA + b"from resume"
        elif method == "close":
            assert received == DATA
        await close(writer)

    our_run(main)


@pytest.mark.parametrize("method", ["pause_writing", "resume_writing"])
def test_an_error_of_flow_control_is_reported_and_the_data_arrives(run: Run, method: str) -> None:
    def fail(self: Any) -> None:
        raise ValueError(method)

    failing = type("Failing", (Recorder,), {method: fail})

    async def main() -> None:
        errors = collect_errors()
        protocol, other = await pair(failing)
        protocol.transport.write(DATA)
        protocol.transport.close()
        reader, writer = await asyncio.open_connection(sock=other)
        assert await reader.read() == DATA
        await protocol.lost
        assert [str(error) for error in errors] == [method]
        await close(writer)

    run(main)


def test_limits_can_be_lowered_while_data_waits(run: Run) -> None:
    async def main() -> None:
        protocol, other = await pair(Recorder)
        transport = protocol.transport
        transport.set_write_buffer_limits(high=len(DATA) * 2)
        assert transport.get_write_buffer_limits() == (len(DATA) // 2, len(DATA) * 2)
        transport.write(DATA)
        assert protocol.events == ["made"]
        transport.set_write_buffer_limits(high=0)
        assert transport.get_write_buffer_limits() == (0, 0)
        await turns(2)
        assert protocol.events == ["made", "pause"]
        transport.abort()
        await protocol.lost
        other.close()

    run(main)


def test_bytes_of_a_subclass_whose_length_is_wrong(our_run: Run) -> None:
    class Short(bytes):
        def __len__(self) -> int:
            return 3

    async def main() -> None:
        protocol, other = await pair(Recorder)
        protocol.transport.write(Short(b"abcdef"))
        assert protocol.transport.get_write_buffer_size() == 0
        protocol.transport.close()
        await protocol.lost
        reader, writer = await asyncio.open_connection(sock=other)
        assert await reader.read() == b"abcdef"
        await close(writer)

    our_run(main)
