"""A connection that has something to read in every turn: what it must not do to others, and what it may rely on.

Messages that bring the next one with them keep one descriptor readable, and no other, until a test ends it. Reading it without a poll was
tried (decisions.md, "Each turn polls"); these are what it would break.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import os
import select
import socket
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from trio_asyncio_compat import aio_as_trio

from .support import Run

MESSAGES = 200
KINDS = ["socket", "buffer", "pipe"]


class Source:
    """What a protocol gets, and the other end from which it gets it."""

    def __init__(self, send: Callable[[bytes], object]) -> None:
        self.numbers: list[int] = []
        self.ended = asyncio.Event()
        self.transport: Any = None
        # Called with the number of each message.
        self.then: Callable[[int], object] = self.next_one
        self._send = send
        self._buffer = bytearray(4)

    def send(self, number: int) -> None:
        self._send(number.to_bytes(4, "big"))

    def next_one(self, number: int) -> None:
        """Send the next message."""
        self.send(number + 1)

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        for start in range(0, len(data), 4):
            number = int.from_bytes(data[start : start + 4], "big")
            self.numbers.append(number)
            self.then(number)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        Source.data_received(self, bytes(self._buffer[:nbytes]))

    def eof_received(self) -> None:
        self.ended.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()


class ByData(Source, asyncio.Protocol):
    pass


class ByBuffer(Source, asyncio.BufferedProtocol):
    pass


@asynccontextmanager
async def source(kind: str) -> AsyncIterator[Source]:
    """A connection of this kind, its other end in hand."""
    loop = asyncio.get_running_loop()
    transport: asyncio.BaseTransport
    protocol: Any
    if kind == "pipe":
        read, write = os.pipe()
        with open(write, "wb", 0) as end:
            transport, protocol = await loop.connect_read_pipe(lambda: ByData(end.write), open(read, "rb", 0))
            yield protocol
            transport.close()
    else:
        one, other = socket.socketpair()
        with other:
            factory = ByBuffer if kind == "buffer" else ByData
            transport, protocol = await loop.create_connection(lambda: factory(other.send), sock=one)
            yield protocol
            transport.close()
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def until(source: Source, count: int, also: Callable[[int], object] = int) -> None:
    """Go on until so many messages have come."""
    enough = asyncio.get_running_loop().create_future()

    def then(number: int) -> None:
        also(number)
        if number + 1 < count:
            source.next_one(number)
        else:
            enough.set_result(None)

    source.then = then
    source.send(0)
    await enough


@pytest.mark.parametrize("kind", KINDS)
def test_another_descriptor_waits_for_one_read_at_most(run: Run, kind: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        one, other = socket.socketpair()
        heard: list[int] = []
        with one, other:
            async with source(kind) as it:

                def readable() -> None:
                    one.recv(1)
                    heard.append(len(it.numbers))

                loop.add_reader(one, readable)
                await until(it, MESSAGES, lambda number: number == 100 and other.send(b"x"))
                loop.remove_reader(one)
        # One more read, if the poll has found that one first.
        assert 101 <= heard[0] <= 102

    run(main)


@pytest.mark.parametrize("kind", KINDS)
def test_timers_and_callbacks_come_in_between_as_ever(run: Run, kind: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        seen: list[tuple[str, int]] = []

        def also(number: int) -> None:
            if number == 100:
                loop.call_soon(lambda: seen.append(("soon", len(it.numbers))))
                loop.call_later(0, lambda: seen.append(("timer", len(it.numbers))))

        async with source(kind) as it:
            await until(it, MESSAGES, also)
        # A turn runs what was queued, then what it found to read, then what is due.
        assert seen == [("soon", 101), ("timer", 102)]

    run(main)


# A pipe's reading end has no `abort`.
@pytest.mark.parametrize(
    ("kind", "stop"), [(kind, stop) for kind in KINDS for stop in ("pause_reading", "close", "abort") if (kind, stop) != ("pipe", "abort")]
)
def test_nothing_is_read_once_the_transport_has_been_told(run: Run, kind: str, stop: str) -> None:
    async def main() -> None:
        async with source(kind) as it:

            def then(number: int) -> None:
                it.send(number + 1)
                if number == 100:
                    getattr(it.transport, stop)()

            it.then = then
            it.send(0)
            while len(it.numbers) < 101:
                await asyncio.sleep(0)
            for _ in range(20):
                await asyncio.sleep(0)
            assert it.numbers == list(range(101))
            if stop == "pause_reading":
                it.then = int
                it.transport.resume_reading()
                while len(it.numbers) < 102:
                    await asyncio.sleep(0)
            else:
                await it.ended.wait()

    run(main)


@pytest.mark.parametrize("kind", KINDS)
def test_the_end_is_seen(run: Run, kind: str) -> None:
    async def main() -> None:
        async with source(kind) as it:
            await until(it, 100)
            it._send.__self__.close()  # type: ignore[attr-defined]
            await it.ended.wait()
            assert it.numbers == list(range(100))

    run(main)


@pytest.mark.parametrize("kind", KINDS)
def test_a_peer_that_stops_answering_at_once_is_waited_for(run: Run, kind: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with source(kind) as it:
            await until(it, 100)
            it.then = int
            # Each comes when the loop has had the time to find nothing.
            for number in range(100, 120):
                loop.call_later(0.001, it.send, number)
                while len(it.numbers) <= number:
                    await asyncio.sleep(0)
            assert it.numbers == list(range(120))

    run(main)


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_of_the_protocol_is_reported_and_closes_the_connection(run: Run, kind: str) -> None:
    async def main() -> None:
        errors: list[Any] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: errors.append(context["exception"]))
        async with source(kind) as it:

            def then(number: int) -> None:
                it.send(number + 1)
                if number == 100:
                    raise ZeroDivisionError

            it.then = then
            it.send(0)
            while not errors:
                await asyncio.sleep(0)
            assert it.numbers == list(range(101))
            assert type(errors[0]) is ZeroDivisionError
            it.then = int

    run(main)


@pytest.mark.parametrize("kind", KINDS)
def test_a_trio_task_waits_for_two_slices_at_most(hosted_run: Run, kind: str) -> None:
    async def busy() -> None:
        async with source(kind) as it:
            await until(it, 5000)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        slices: list[int] = []
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def observe() -> None:
                while True:
                    slices.append(loop.statistics().slices)  # type: ignore[attr-defined]
                    await trio.lowlevel.checkpoint()

            await aio_as_trio(busy)()
            nursery.cancel_scope.cancel()
        # A step of trio lies between two, and the tasks of a step come in any order.
        assert max(after - before for before, after in itertools.pairwise(slices)) <= 2
        assert len(slices) > 3

    hosted_run.trio_run(main)


def test_a_reader_of_the_program_is_called_only_when_there_is_something_to_read(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        one, other = socket.socketpair()
        enough = loop.create_future()
        calls = 0

        def readable() -> None:
            nonlocal calls
            # Such a callback may block.
            assert select.select([one], [], [], 0)[0]
            one.recv(1)
            calls += 1
            if calls % 10:
                other.send(b"x")
            elif calls == 100:
                enough.set_result(None)
            else:
                loop.call_later(0.001, other.send, b"x")

        with one, other:
            loop.add_reader(one, readable)
            other.send(b"x")
            await enough
            loop.remove_reader(one)

    run(main)


@pytest.mark.parametrize("kind", KINDS)
def test_a_descriptor_that_somebody_makes_blocking_does_not_block_the_loop(run: Run, kind: str) -> None:
    async def main() -> None:
        async with source(kind) as it:
            await until(it, 100)
            file = it.transport.get_extra_info("pipe" if kind == "pipe" else "socket")
            # As a child process does that has the same open file.
            os.set_blocking(file.fileno(), True)
            await until(it, 200)
            await asyncio.sleep(0.01)
            assert len(it.numbers) == 300

    run(main)


def test_a_socket_that_waits_for_so_many_bytes_delivers_so_many(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        pieces: list[int] = []
        enough = asyncio.Event()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            one = socket.create_connection(listener.getsockname())
            other, _ = listener.accept()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 100)

        class Pieces(asyncio.Protocol):
            def data_received(self, data: bytes) -> None:
                pieces.append(len(data))
                if len(pieces) < 50:
                    other.send(bytes(60))
                    loop.call_soon(other.send, bytes(40))
                else:
                    enough.set()

        with other:
            other.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            transport, _ = await loop.create_connection(Pieces, sock=one)
            other.send(bytes(100))
            await enough.wait()
            transport.close()
        assert min(pieces) >= 100

    run(main)


def test_a_socket_of_another_class_is_called_as_ever(run: Run) -> None:
    class Socket(socket.socket):
        def recv(self, size: int) -> bytes:  # type: ignore[override]
            return super().recv(size)

    async def main() -> None:
        one, other = socket.socketpair()
        one = Socket(fileno=one.detach())
        with other:
            transport, protocol = await asyncio.get_running_loop().create_connection(lambda: ByData(other.send), sock=one)
            await until(protocol, MESSAGES)
            transport.close()

    run(main)


def test_a_transport_that_is_closed_is_not_kept_alive(run: Run) -> None:
    async def main() -> None:
        async with source("socket") as it:
            await until(it, MESSAGES)
            transport = weakref.ref(it.transport)
            it.transport.close()
            await it.ended.wait()
            it.transport = None
            await asyncio.sleep(0)
        gc.collect()
        assert transport() is None

    run(main)


def test_a_closed_loop_keeps_no_transport_alive(sync_run: Run) -> None:
    loop = sync_run.new_loop()

    async def main() -> None:
        one, other = socket.socketpair()
        one.setblocking(False)
        with other:
            _, protocol = await loop.create_connection(lambda: ByData(other.send), sock=one)
            await until(protocol, 100)
        one.close()

    loop.run_until_complete(main())
    with pytest.warns(ResourceWarning, match="unclosed transport"):
        # The collector may come at once.
        loop.close()
        gc.collect()


def test_a_buffer_is_asked_for_only_when_there_is_something_to_put_into_it(run: Run) -> None:
    async def main() -> None:
        async with source("buffer") as it:
            asked = 0
            get_buffer = it.get_buffer

            def counted(sizehint: int) -> bytearray:
                nonlocal asked
                asked += 1
                return get_buffer(sizehint)

            it.get_buffer = counted  # type: ignore[method-assign]
            await until(it, 100)
            await asyncio.sleep(0.01)
            assert asked == 100

    run(main)


def test_all_that_are_ready_belong_to_the_next_turn(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        if run.poller == "nested":
            # As if there were hundreds.
            loop._poller._max_events = 4  # type: ignore[attr-defined]
        with contextlib.ExitStack() as stack:
            got: list[socket.socket] = []
            others = []
            for _ in range(20):
                one, other = map(stack.enter_context, socket.socketpair())
                loop.add_reader(one, lambda one=one: got.append(one.recv(1)))  # type: ignore[misc]
                stack.callback(loop.remove_reader, one)
                others.append(other)
            for other in others:
                other.send(b"x")
            await asyncio.sleep(0)
            if run.poller == "task":
                await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert len(got) == 20

    run(main)
