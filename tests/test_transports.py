"""Stream transports and their protocols: reading, closing, changing the protocol, protocols that fail."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from typing import Any

import pytest

from .connections import Buffered, Chunks, Recorder, close, collect_errors, connected, echo, pair, serving, turns
from .support import Run

DATA = hashlib.shake_256(b"seed").digest(4_000_003)


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


def test_a_transport_says_what_it_is(run: Run) -> None:
    async def main() -> None:
        async with connected() as (client, _):
            transport = client.transport
            assert transport.get_extra_info("sockname") == transport.get_extra_info("socket").getsockname()
            assert "polling" in repr(transport)
            assert transport.get_extra_info("ssl_object") is None
            transport.close()
            assert "clos" in repr(transport)
            assert not transport.is_reading()
            await client.lost
            transport.pause_reading()
            transport.resume_reading()
            assert not transport.is_reading()
            assert "closed" in repr(transport)

    run(main)


def test_closing_a_paused_transport_ends_it(run: Run) -> None:
    async def main() -> None:
        async with connected() as (client, peer):
            client.transport.pause_reading()
            peer.transport.write(b"never read")
            client.transport.close()
            assert await client.lost is None
            assert not client.data

    run(main)


def test_pausing_inside_data_received_holds_back_the_rest(run: Run) -> None:
    class Pausing(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.pause_reading()

    async def main() -> None:
        protocol, other = await pair(Pausing)
        other.send(b"one")
        while not protocol.data:
            await asyncio.sleep(0)
        other.send(b"two")
        await turns()
        assert bytes(protocol.data) == b"one"
        protocol.transport.resume_reading()
        while len(protocol.data) < 6:
            await asyncio.sleep(0)
        assert bytes(protocol.data) == b"onetwo"
        protocol.transport.abort()
        await protocol.lost
        other.close()

    run(main)


def test_closing_in_data_received_delivers_nothing_more(run: Run) -> None:
    class Closing(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.close()

    async def main() -> None:
        protocol, other = await pair(Closing)
        other.send(b"one")
        await protocol.lost
        assert protocol.events == ["made", "data", "lost"]
        other.close()

    run(main)


def test_an_error_in_connection_made_is_reported(run: Run) -> None:
    class Failing(Recorder):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            raise ValueError("of the protocol")

    async def main() -> None:
        errors = collect_errors()
        protocol, other = await pair(Failing)
        assert [str(error) for error in errors] == ["of the protocol"]
        protocol.transport.close()
        await protocol.lost
        other.close()

    run(main)


def test_an_error_in_connection_lost_is_reported_and_the_socket_closed(run: Run) -> None:
    class Failing(Recorder):
        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            raise ValueError("of the protocol")

    async def main() -> None:
        errors = collect_errors()
        protocol, other = await pair(Failing)
        protocol.transport.close()
        await protocol.lost
        assert await asyncio.get_running_loop().sock_recv(other, 1) == b""
        assert [str(error) for error in errors] == ["of the protocol"]
        other.close()

    run(main)


def test_an_error_in_eof_received_ends_the_connection(run: Run) -> None:
    class Failing(Recorder):
        def eof_received(self) -> None:
            raise ValueError("of the protocol")

    async def main() -> None:
        errors = collect_errors()
        protocol, other = await pair(Failing)
        other.close()
        assert str(await protocol.lost) == "of the protocol"
        assert [str(error) for error in errors] == ["of the protocol"]

    run(main)


@pytest.mark.parametrize("failing", ["get_buffer", "buffer_updated", "eof_received"])
def test_an_error_of_a_buffered_protocol_ends_the_connection(run: Run, failing: str) -> None:
    async def main() -> None:
        errors = collect_errors()
        protocol, other = await pair(lambda: Buffered(failing))
        other.send(b"x")
        if failing == "eof_received":
            other.shutdown(socket.SHUT_WR)
        assert str(await protocol.lost) == failing
        assert [str(error) for error in errors] == [failing]
        other.close()

    run(main)


def test_an_empty_buffer_is_an_error(run: Run) -> None:
    async def main() -> None:
        errors = collect_errors()
        protocol, other = await pair(lambda: Buffered("empty"))
        other.send(b"x")
        assert isinstance(await protocol.lost, RuntimeError)
        assert ["empty buffer" in str(error) for error in errors] == [True]
        other.close()

    run(main)


def test_megabytes_into_a_buffered_protocol(run: Run) -> None:
    async def main() -> None:
        protocol, other = await pair(Buffered)
        _, writer = await asyncio.open_connection(sock=other)
        writer.write(DATA)
        await close(writer)
        assert await protocol.lost is None
        assert protocol.data == DATA
        assert set(protocol.sizehints) == {-1}

    run(main)


def test_the_protocol_is_changed_while_reading_is_paused(run: Run) -> None:
    async def main() -> None:
        protocol, other = await pair(Recorder)
        transport = protocol.transport
        transport.pause_reading()
        buffered = Buffered()
        transport.set_protocol(buffered)
        other.send(b"first")
        await turns()
        assert not buffered.data and not protocol.data
        transport.resume_reading()
        while not buffered.data:
            await asyncio.sleep(0)
        transport.set_protocol(protocol)
        other.close()
        await protocol.lost
        assert bytes(buffered.data) == b"first"
        assert protocol.events == ["made", "eof", "lost"]

    run(main)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_ends_a_program_is_not_taken_for_an_error_of_the_protocol(sync_run: Run, error: type[BaseException]) -> None:
    class Ending(Recorder):
        def data_received(self, data: bytes) -> None:
            raise error

        def connection_lost(self, exc: Exception | None) -> None:
            pass  # `lost` has been cancelled by then

    async def main() -> None:
        protocol, other = await pair(Ending)
        protocols.append((protocol, other))
        other.send(b"x")
        await protocol.lost

    protocols: list[Any] = []
    with pytest.raises(error):
        with asyncio.Runner(loop_factory=sync_run.new_loop) as runner:
            try:
                runner.get_loop().run_until_complete(main())
            finally:
                for protocol, other in protocols:
                    protocol.transport.abort()
                    other.close()


def test_a_read_takes_no_more_than_the_transport_is_told(run: Run) -> None:
    async def main() -> None:
        pieces: list[int] = []

        class Pieces(Chunks):
            def data_received(self, data: bytes) -> None:
                super().data_received(data)
                pieces.append(len(data))

            def connection_made(self, transport: Any) -> None:
                transport.max_size = 1024

        protocol, other = await pair(Pieces)
        with other:
            other.send(bytes(50_000))
        await protocol.lost
        assert sum(pieces) == 50_000
        assert max(pieces) == 1024

    run(main)
