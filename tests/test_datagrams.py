"""Datagram endpoints."""

from __future__ import annotations

import asyncio
import errno
import socket
from pathlib import Path
from typing import Any

import pytest

from .support import Run


class Datagrams(asyncio.DatagramProtocol):
    """Puts what comes into queues."""

    def __init__(self) -> None:
        self.received: asyncio.Queue[tuple[bytes, Any]] = asyncio.Queue()
        self.errors: asyncio.Queue[Exception] = asyncio.Queue()
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.events: list[str] = []

    def connection_made(self, transport: Any) -> None:
        self.events.append("made")

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.received.put_nowait((data, addr))

    def error_received(self, exc: Exception) -> None:
        self.errors.put_nowait(exc)

    def pause_writing(self) -> None:
        self.events.append("pause")

    def resume_writing(self) -> None:
        self.events.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.events.append("lost")
        self.lost.set_result(exc)


async def endpoint(**options: Any) -> tuple[Any, Datagrams]:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(Datagrams, **options)
    return transport, protocol


async def close(*ends: tuple[Any, Datagrams]) -> None:
    for transport, protocol in ends:
        transport.close()
        assert transport.is_closing()
        assert await protocol.lost is None


def test_datagrams_go_there_and_back(run: Run) -> None:
    async def main() -> None:
        server = await endpoint(local_addr=("127.0.0.1", 0))
        address = server[0].get_extra_info("sockname")
        client = await endpoint(remote_addr=address)
        assert client[0].get_extra_info("peername") == address
        for number in range(100):
            client[0].sendto(b"%d" % number)
        for number in range(100):
            data, sender = await server[1].received.get()
            assert data == b"%d" % number
            assert sender == client[0].get_extra_info("sockname")
            server[0].sendto(b"answer", sender)
            assert await client[1].received.get() == (b"answer", address)
        client[0].sendto(b"addressed", address)
        assert (await server[1].received.get())[0] == b"addressed"
        with pytest.raises(ValueError, match="Invalid address"):
            client[0].sendto(b"x", ("127.0.0.1", 1))
        for mistake in ("text", 5, None):
            with pytest.raises(TypeError):
                server[0].sendto(mistake, address)
        await close(client, server)
        assert client[1].events == ["made", "lost"]

    run(main)


def test_both_addresses_can_be_given(run: Run) -> None:
    async def main() -> None:
        server = await endpoint(local_addr=("127.0.0.1", 0))
        address = server[0].get_extra_info("sockname")
        client = await endpoint(local_addr=("127.0.0.1", 0), remote_addr=address)
        client[0].sendto(b"x")
        assert await server[1].received.get() == (b"x", client[0].get_extra_info("sockname"))
        unbound = await endpoint(family=socket.AF_INET)
        unbound[0].sendto(b"y", address)
        assert (await server[1].received.get())[0] == b"y"
        await close(server, client, unbound)

    run(main)


def test_a_socket_can_be_given(run: Run) -> None:
    async def main() -> None:
        sock = socket.socket(type=socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        server = await endpoint(sock=sock)
        client = await endpoint(remote_addr=sock.getsockname())
        client[0].sendto(b"x")
        assert (await server[1].received.get())[0] == b"x"
        await close(server, client)
        assert sock.fileno() == -1

    run(main)


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="this system has no unix sockets")
def test_unix_datagrams(run: Run, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")

    async def main() -> None:
        server = await endpoint(local_addr=path, family=socket.AF_UNIX)
        client = await endpoint(local_addr=path + "2", remote_addr=path, family=socket.AF_UNIX)
        client[0].sendto(b"x")
        assert await server[1].received.get() == (b"x", path + "2")
        await close(server, client)

    run(main)


def test_options(run: Run) -> None:
    async def main() -> None:
        options: dict[str, Any] = {"allow_broadcast": True}
        if hasattr(socket, "SO_REUSEPORT"):
            options["reuse_port"] = True
        first = await endpoint(local_addr=("127.0.0.1", 0), **options)
        sock = first[0].get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST)
        if "reuse_port" in options:
            second = await endpoint(local_addr=sock.getsockname(), reuse_port=True)
            await close(second)
        with pytest.raises(OSError, match="in use") as caught:
            await endpoint(local_addr=sock.getsockname())
        assert caught.value.errno == errno.EADDRINUSE
        await close(first)

    run(main)


def test_contradictions_are_refused(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="unexpected address family"):
            await endpoint()
        with pytest.raises(ValueError, match="socket modifier keyword arguments can not be used"):
            with socket.socket(type=socket.SOCK_DGRAM) as sock:
                await endpoint(sock=sock, local_addr=("127.0.0.1", 0))
        with socket.socket() as stream, pytest.raises(ValueError, match="(datagram|UDP) [Ss]ocket was expected"):
            await endpoint(sock=stream)
        with pytest.raises((ValueError, TypeError)):
            await endpoint(local_addr=("127.0.0.1", 0), reuse_address=True)

    run(main)


def test_a_closed_port_is_told_to_a_connected_endpoint(run: Run) -> None:
    async def main() -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as unused:
            unused.bind(("127.0.0.1", 0))
            address = unused.getsockname()
        client = await endpoint(remote_addr=address)
        client[0].sendto(b"x")
        assert isinstance(await client[1].errors.get(), ConnectionRefusedError)
        await close(client)

    run(main)


def test_a_datagram_that_is_too_large_is_an_error_of_its_own(run: Run) -> None:
    async def main() -> None:
        server = await endpoint(local_addr=("127.0.0.1", 0))
        client = await endpoint(remote_addr=server[0].get_extra_info("sockname"))
        client[0].sendto(b"x" * 100_000)
        error = await client[1].errors.get()
        assert isinstance(error, OSError)
        assert error.errno == errno.EMSGSIZE
        client[0].sendto(b"y" * 60_000)
        assert (await server[1].received.get())[0] == b"y" * 60_000
        await close(server, client)

    run(main)


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="this system has no unix sockets")
def test_a_full_peer_pauses_the_writer(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        other = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        other.bind(str(tmp_path / "socket"))
        other.setblocking(False)
        sender = await endpoint(remote_addr=str(tmp_path / "socket"), family=socket.AF_UNIX)
        sender[0].set_write_buffer_limits(high=5000)
        count = 0
        while sender[0].get_write_buffer_size() <= 5000:
            sender[0].sendto(b"%6d" % count + b"x" * 1000)
            count += 1
        assert sender[1].events == ["made", "pause"]
        receiver = await endpoint(sock=other)
        for number in range(count):
            data, _ = await receiver[1].received.get()
            assert data[:6] == b"%6d" % number
        await close(sender, receiver)
        assert sender[1].events == ["made", "pause", "resume", "lost"]

    run(main)


def test_abort_drops_what_waits(run: Run) -> None:
    async def main() -> None:
        server = await endpoint(local_addr=("127.0.0.1", 0))
        server[0].abort()
        assert await server[1].lost is None
        server[0].close()

    run(main)
