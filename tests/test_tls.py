"""TLS: connections, servers, and the upgrade of a live connection."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from .connections import Recorder, close, echo
from .support import Run

DATA = hashlib.shake_256(b"tls").digest(3_000_000)


class Contexts:
    """An authority, a server that it certifies as "localhost", a client that trusts it, and one that does not."""

    def __init__(self) -> None:
        authority = trustme.CA()
        self.server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("localhost").configure_cert(self.server)
        self.client = ssl.create_default_context()
        authority.configure_trust(self.client)
        self.stranger = ssl.create_default_context()


@pytest.fixture(scope="module")
def tls() -> Contexts:
    return Contexts()


async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        await echo(reader, writer)
        await close(writer)
    except (ConnectionError, ssl.SSLError):
        writer.transport.abort()


async def asks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes = b"question") -> None:
    """An echo server is at the other end."""

    async def send() -> None:
        for start in range(0, len(data), 100_000):
            writer.write(data[start : start + 100_000])
            await writer.drain()

    sending = asyncio.ensure_future(send())
    assert await reader.readexactly(len(data)) == data
    await sending


def test_a_connection_is_encrypted(run: Run, tls: Contexts) -> None:
    async def main() -> None:
        async with await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls.server) as server:
            port = server.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls.client, server_hostname="localhost")
            assert writer.get_extra_info("ssl_object").version().startswith("TLSv1")
            assert writer.get_extra_info("peercert")["subjectAltName"] == (("DNS", "localhost"),)
            assert writer.get_extra_info("sslcontext") is tls.client
            assert writer.get_extra_info("cipher")
            await asks(reader, writer)
            await close(writer)

    run(main)


def test_the_host_is_the_name_that_is_verified(run: Run, tls: Contexts) -> None:
    async def main() -> None:
        async with await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls.server) as server:
            port = server.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection("localhost", port, ssl=tls.client, family=socket.AF_INET)
            await asks(reader, writer)
            await close(writer)

    run(main)


@pytest.mark.parametrize("size", [0, 1, 16 * 1024, 16 * 1024 + 1, 200_000])
def test_what_is_sent_right_before_the_end_arrives(run: Run, tls: Contexts, size: int) -> None:
    """The last record and the end may be read at once; a record has at most 16 KiB."""

    async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(DATA[:size])
        await close(writer)

    async def main() -> None:
        async with await asyncio.start_server(tell, "127.0.0.1", 0, ssl=tls.server) as server:
            port = server.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls.client, server_hostname="localhost")
            assert await reader.read() == DATA[:size]
            await close(writer)

    run(main)


def test_megabytes_arrive_whole_through_tls(run: Run, tls: Contexts) -> None:
    async def main() -> None:
        async with await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls.server) as server:
            port = server.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls.client, server_hostname="localhost")
            await asks(reader, writer, DATA)
            await close(writer)

    run(main)


@pytest.mark.parametrize("mistake", ["stranger", "other name"])
def test_a_certificate_that_does_not_fit_is_refused(run: Run, tls: Contexts, mistake: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda *_: None)
        async with await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls.server) as server:
            port = server.sockets[0].getsockname()[1]
            context, name = (tls.stranger, "localhost") if mistake == "stranger" else (tls.client, "other.example")
            with pytest.raises(ssl.SSLCertVerificationError):
                await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
            # The server goes on.
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls.client, server_hostname="localhost")
            await asks(reader, writer)
            await close(writer)

    run(main)


def test_mistakes_with_tls_are_refused(run: Run, tls: Contexts) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        one, other = socket.socketpair()
        with one, other:
            with pytest.raises(ValueError, match="server_hostname"):
                await loop.create_connection(asyncio.Protocol, sock=one, ssl=tls.client)
            with pytest.raises(ValueError, match="ssl_handshake_timeout"):
                await loop.create_connection(asyncio.Protocol, sock=one, ssl_handshake_timeout=1)

    run(main)


def test_a_peer_that_never_speaks_runs_into_the_handshake_timeout(run: Run, tls: Contexts) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            with pytest.raises(ConnectionAbortedError, match="handshake is taking longer than 0.02 seconds"):
                await asyncio.open_connection(
                    *silent.getsockname(), ssl=tls.client, server_hostname="localhost", ssl_handshake_timeout=0.02
                )

    run(main)


def test_a_peer_that_leaves_in_the_handshake_is_told(run: Run, tls: Contexts) -> None:
    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        await close(writer)

    async def main() -> None:
        async with await asyncio.start_server(leave, "127.0.0.1", 0) as server:
            with pytest.raises((ConnectionError, ssl.SSLError)):
                await asyncio.open_connection(*server.sockets[0].getsockname(), ssl=tls.client, server_hostname="localhost")

    run(main)


def test_a_live_connection_is_upgraded_on_both_sides(run: Run, tls: Contexts) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readline() == b"STARTTLS\n"
        writer.write(b"go\n")
        await writer.start_tls(tls.server)
        assert writer.get_extra_info("ssl_object") is not None
        await handle(reader, writer)

    async def main() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"STARTTLS\n")
            assert await reader.readline() == b"go\n"
            await writer.start_tls(tls.client, server_hostname="localhost")
            assert writer.get_extra_info("ssl_object") is not None
            await asks(reader, writer, DATA[:300_000])
            await close(writer)

    run(main)


def test_transports_are_upgraded(run: Run, tls: Contexts) -> None:
    class Upgrading(Recorder):
        def __init__(self, sure: Callable[[asyncio.Transport, asyncio.Protocol], Any] | None = None) -> None:
            super().__init__()
            self.got = asyncio.Event()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.got.set()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        one, other = socket.socketpair()
        plain_client, client = await loop.create_connection(Upgrading, sock=one)
        plain_server, server = await loop.create_connection(Upgrading, sock=other)
        upgraded = await asyncio.gather(
            loop.start_tls(plain_client, client, tls.client, server_hostname="localhost"),
            loop.start_tls(plain_server, server, tls.server, server_side=True),
        )
        for transport in upgraded:
            assert transport is not None
            transport.write(b"secret")
        await client.got.wait()
        await server.got.wait()
        assert bytes(client.data) == bytes(server.data) == b"secret"
        for transport in upgraded:
            assert transport is not None
            transport.close()
        await client.lost
        await server.lost

    run(main)


def test_mistakes_with_an_upgrade_are_refused(run: Run, tls: Contexts) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        one, other = socket.socketpair()
        transport, protocol = await loop.create_connection(Recorder, sock=one)
        with pytest.raises(TypeError, match="SSLContext"):
            await loop.start_tls(transport, protocol, None)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="is not supported by start_tls"):
            await loop.start_tls(asyncio.Transport(), protocol, tls.client)
        transport.close()
        await protocol.lost
        other.close()

    run(main)


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="this system has no unix sockets")
def test_tls_over_unix_sockets(run: Run, tls: Contexts, tmp_path: Path) -> None:
    async def main() -> None:
        async with await asyncio.start_unix_server(handle, tmp_path / "socket", ssl=tls.server):
            reader, writer = await asyncio.open_unix_connection(tmp_path / "socket", ssl=tls.client, server_hostname="localhost")
            await asks(reader, writer)
            await close(writer)

    run(main)


def test_many_tls_clients_at_once(run: Run, tls: Contexts) -> None:
    async def main() -> None:
        async with await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls.server) as server:
            port = server.sockets[0].getsockname()[1]

            async def client() -> None:
                reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls.client, server_hostname="localhost")
                await asks(reader, writer, DATA[:50_000])
                await close(writer)

            await asyncio.gather(*[client() for _ in range(20)])

    run(main)
