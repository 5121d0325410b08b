"""System calls that fail, one after the other: what the program sees is what it sees on asyncio's own loop.

Each fault is run on both, in virtual time, beside a connection that it does not touch and that must lose nothing.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import select
import socket
from typing import Any
from unittest import mock

import pytest
import trio

from ..support import Records, Run
from .descriptions import described, scrubbed
from .faulty import ACCEPT_FAULTS, FAULTS, FaultySocket
from .faulty_poller import EVERYTHING, HANG_UP, NOTHING, ORDINARY, STRANGERS, TWICE, faulty_pollers
from .worlds import OURS, on_asyncio

DATA = hashlib.shake_256(b"faults").digest(400_000)


class Recorder(asyncio.Protocol):
    """Keeps what happens, with what is read in one piece."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.data = b""
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.events.append("made")
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.data += data

    def eof_received(self) -> bool:
        self.events.append("eof")
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.events.append(("lost", described(exc)))
        self.lost.set_result(None)


def outcomes(log: Records, main: Any, *args: Any) -> dict[str, Any]:
    """What `main(note, ...)` notes, and what is logged and reported, by world."""
    seen: dict[str, Any] = {}
    for world, run in {"asyncio": on_asyncio, **OURS}.items():
        notes: list[Any] = []

        def report(loop: asyncio.AbstractEventLoop, context: dict[str, Any], notes: list[Any] = notes) -> None:
            # The transport's name is its class's.
            notes.append(("report", context["message"], described(context.get("exception"))))

        async def in_loop(notes: list[Any] = notes, report: Any = report) -> None:
            asyncio.get_running_loop().set_exception_handler(report)
            await main(notes.append, *args)

        run(in_loop, False)
        seen[world] = notes, [scrubbed(line) for line in log.take()]
    return seen


def all_equal(seen: dict[str, Any]) -> None:
    for world, outcome in seen.items():
        assert (world, outcome) == (world, seen["asyncio"])


async def exchange(note: Any, script: dict[str, Any], end: str) -> None:
    loop = asyncio.get_running_loop()
    ends: list[tuple[asyncio.Transport, Recorder]] = []
    for left, right in (socket.socketpair(), socket.socketpair()):
        ends.append(await loop.create_connection(Recorder, sock=FaultySocket.over(left, **(script if not ends else {}))))
        ends.append(await loop.create_connection(Recorder, sock=right))
    for transport, _ in ends:
        for start in range(0, len(DATA), 150_000):
            transport.write(DATA[start : start + 150_000])
    for transport, _ in ends[2:]:
        transport.write_eof()
    await asyncio.sleep(10)
    if end == "eof" and not ends[0][0].is_closing():
        ends[0][0].write_eof()
    await asyncio.sleep(10)
    for transport, _ in ends:
        getattr(transport, end if end != "eof" else "close")()
    for _, protocol in ends:
        await protocol.lost
    for _, protocol in ends[2:]:
        assert protocol.data == DATA
    # Whether the peer's write or its read meets the end first, the system decides.
    ends[1][1].events[:] = [("lost", "a connection error") if "Errno" in str(event) else event for event in ends[1][1].events]
    for _, protocol in ends[:2]:
        assert DATA.startswith(protocol.data)
        note(list(protocol.events))
    # Who was hit may have got more or less by then; who was not, everything.
    note(len(ends[0][1].data) if "recv" not in script and "send" not in script else None)


@pytest.mark.parametrize("end", ["close", "abort", "eof"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_connection_meets_a_fault(clean: Records, fault: str, end: str) -> None:
    all_equal(outcomes(clean, exchange, FAULTS[fault], end))


async def accepts(note: Any, script: list[int]) -> None:
    loop = asyncio.get_running_loop()
    listener = FaultySocket.over(socket.create_server(("127.0.0.1", 0)), accept=script)
    protocols: list[Recorder] = []

    def factory() -> Recorder:
        protocols.append(Recorder())
        return protocols[-1]

    server = await loop.create_server(factory, sock=listener)
    clients = [socket.create_connection(listener.getsockname()) for _ in range(3)]
    for client in clients:
        client.sendall(b"hello")
        client.close()
    start = loop.time()
    # The retry after a second, if there is one, and then some.
    await asyncio.sleep(5)
    note([(protocol.data, list(protocol.events)) for protocol in protocols])
    note(loop.time() - start)
    for protocol in protocols:
        protocol.transport.close()
    server.close()
    await asyncio.sleep(1)


@pytest.mark.parametrize("fault", ACCEPT_FAULTS)
def test_accept_meets_a_fault(clean: Records, fault: str) -> None:
    seen = outcomes(clean, accepts, ACCEPT_FAULTS[fault])
    all_equal(seen)
    served, _ = seen["asyncio"][0][-2:]
    assert [data for data, _ in served] == [b"hello"] * 3


async def datagrams(note: Any, script: dict[str, Any]) -> None:
    loop = asyncio.get_running_loop()

    class Datagrams(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            note(("received", data))

        def error_received(self, exc: Exception) -> None:
            note(("error", described(exc)))

        def connection_lost(self, exc: Exception | None) -> None:
            note(("lost", described(exc)))

    peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    peer.bind(("127.0.0.1", 0))
    ours = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ours.bind(("127.0.0.1", 0))
    transport, _ = await loop.create_datagram_endpoint(Datagrams, sock=FaultySocket.over(ours, **script))
    address = transport.get_extra_info("sockname")
    for number in range(3):
        transport.sendto(b"%d" % number, peer.getsockname())
        peer.sendto(b"%d" % number, address)
        await asyncio.sleep(1)
    peer.setblocking(False)
    try:
        while True:
            note(("sent", peer.recv(10)))
    except BlockingIOError:
        peer.close()
    transport.close()
    await asyncio.sleep(1)


DATAGRAM_FAULTS: dict[str, dict[str, Any]] = {
    "a storm at reading": {"recv": [errno.EAGAIN, errno.EINTR] * 5},
    "a storm at sending": {"send": [errno.EAGAIN, errno.EINTR] * 2},
    "reading meets ECONNREFUSED": {"recv": [errno.ECONNREFUSED]},
    "sending meets ECONNREFUSED": {"send": [errno.ECONNREFUSED]},
    "sending meets ENOBUFS": {"send": [0, errno.ENOBUFS]},
    "sending meets EMSGSIZE": {"send": [errno.EMSGSIZE]},
}


@pytest.mark.parametrize("fault", DATAGRAM_FAULTS)
def test_a_datagram_endpoint_meets_a_fault(clean: Records, fault: str) -> None:
    all_equal(outcomes(clean, datagrams, DATAGRAM_FAULTS[fault]))


POLLER_FAULTS: dict[str, dict[str, Any]] = {
    "a storm of EINTR": {"polls": [errno.EINTR, ORDINARY] * 50},
    "nothing is found": {"polls": [NOTHING, ORDINARY] * 50},
    "everything is said to be ready": {"polls": [EVERYTHING] * 50},
    "events of descriptors that nobody knows": {"polls": [STRANGERS] * 50},
    "each event twice": {"polls": [TWICE] * 50},
    "a hang-up is said of everything": {"polls": [HANG_UP] * 20},
    "all of it": {"polls": [EVERYTHING, errno.EINTR, HANG_UP, NOTHING, STRANGERS, TWICE] * 10},
}


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="epoll is Linux's")
@pytest.mark.parametrize("end", ["close", "abort", "eof"])
@pytest.mark.parametrize("fault", POLLER_FAULTS)
def test_the_poller_meets_a_fault(clean: Records, fault: str, end: str) -> None:
    with faulty_pollers(**POLLER_FAULTS[fault]):
        all_equal(outcomes(clean, exchange, {}, end))


async def refused(note: Any) -> None:
    loop = asyncio.get_running_loop()
    left, right = socket.socketpair()
    for _ in range(3):
        try:
            loop.add_reader(left, lambda: note(left.recv(10)))
        except OSError as exc:
            # Not its context, in which asyncio's selectors have looked something up in vain.
            note(repr(exc))
    right.send(b"x")
    await asyncio.sleep(1)
    note(loop.remove_reader(left))
    left.close()
    right.close()


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="epoll is Linux's")
def test_the_poller_refuses_a_descriptor(clean: Records) -> None:
    with faulty_pollers(registrations=[errno.ENOSPC, errno.ENOMEM]):
        seen = outcomes(clean, refused)
    del seen["driven-task"], seen["hosted-task"]
    all_equal(seen)
    assert seen["asyncio"][0][-2:] == [b"x", True]


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="epoll is Linux's")
@pytest.mark.parametrize("number", [errno.ENOBUFS, errno.EBADF, errno.ENOMEM])
def test_a_poller_that_is_broken_ends_the_run_with_its_error(clean: Records, number: int) -> None:
    async def main() -> None:
        left, right = socket.socketpair()
        with left, right:
            asyncio.get_running_loop().add_reader(left, print)
            try:
                await asyncio.sleep(3600)
            finally:
                asyncio.get_running_loop().remove_reader(left)

    for world, run in {"asyncio": on_asyncio, **OURS}.items():
        if not world.endswith("task"):
            with faulty_pollers(polls=[number]), pytest.raises(OSError) as caught:
                run(main, False)
            assert (world, caught.value.errno) == (world, number)


@pytest.mark.parametrize("end", ["close", "abort", "eof"])
def test_trio_says_of_everything_that_it_is_ready(clean: Records, end: str) -> None:
    """The pollers of ours wait by trio's means, which may be mistaken as well."""
    spurious = 200

    async def ready(fd: Any) -> None:
        nonlocal spurious
        if spurious:
            spurious -= 1
            await trio.lowlevel.checkpoint()
        else:
            await wait_readable(fd)

    wait_readable = trio.lowlevel.wait_readable
    with mock.patch.object(trio.lowlevel, "wait_readable", ready):
        all_equal(outcomes(clean, exchange, {}, end))
    assert spurious == 0


def set_once(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def test_a_descriptor_is_closed_and_its_number_given_out_again(our_run: Run) -> None:
    """Without our being told. asyncio's own selector loses the new descriptor here."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        steady, other = socket.socketpair()
        got: list[bytes] = []
        loop.add_reader(steady, lambda: got.append(steady.recv(100)))
        for number in range(20):
            left, right = socket.socketpair()
            seen: asyncio.Future[None] = loop.create_future()
            loop.add_reader(left.fileno(), seen.cancel)
            fd = left.fileno()
            left.close()  # without removing the reader
            right.close()
            again, writer = socket.socketpair()
            if again.fileno() != fd:
                os.dup2(again.fileno(), fd)
            ready: asyncio.Future[None] = loop.create_future()
            loop.add_reader(fd, set_once, ready)
            writer.send(b"x")
            other.send(b"%d," % number)
            await ready
            assert not seen.cancelled()
            assert loop.remove_reader(fd)
            if again.fileno() != fd:
                os.close(fd)
            again.close()
            writer.close()
        while b"".join(got) != b"".join(b"%d," % number for number in range(20)):
            await asyncio.sleep(0)
        assert loop.remove_reader(steady)
        steady.close()
        other.close()

    our_run(main)
