"""What an attacker at the other end, or a careless neighbour on the machine, can not do."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import ssl
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ..support import Run, descriptors
from .states import tls_contexts


async def tls_server(handler: Any, **options: Any) -> asyncio.Server:
    return await asyncio.start_server(handler, "127.0.0.1", 0, ssl=tls_contexts()[0], **options)


async def ignore(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        await reader.read()
    except (ConnectionError, ssl.SSLError):
        pass
    writer.close()


def address_of(server: asyncio.Server) -> tuple[str, int]:
    address: tuple[str, int] = server.sockets[0].getsockname()
    return address


def test_verification_is_on_by_default(run: Run) -> None:
    async def main() -> None:
        reports: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: reports.append(context))
        server = await tls_server(ignore)
        # ssl=True: the system's authorities, which know nothing of ours.
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_connection(*address_of(server), ssl=True, server_hostname="localhost")
        # The right authority, the wrong name.
        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            await asyncio.open_connection(*address_of(server), ssl=tls_contexts()[1], server_hostname="example.com")
        server.close()
        await server.wait_closed()

    run(main)


def test_a_context_is_used_as_it_is_given(run: Run) -> None:
    async def main() -> None:
        server = await tls_server(ignore)
        context = tls_contexts()[1]
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        _, writer = await asyncio.open_connection(*address_of(server), ssl=context, server_hostname="localhost")
        tls = writer.get_extra_info("ssl_object")
        assert tls.context is context
        assert tls.version() == "TLSv1.3"
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    run(main)


async def silent(client: socket.socket) -> None:
    """A peer that never speaks."""
    await asyncio.sleep(3600)


async def one_byte_at_a_time(client: socket.socket) -> None:
    """A valid record header that promises much, and then trickles."""
    loop = asyncio.get_running_loop()
    for byte in b"\x16\x03\x01\x3f\xff" + bytes(10_000):
        await loop.sock_sendall(client, bytes([byte]))
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("attack", [silent, one_byte_at_a_time])
def test_a_handshake_that_does_not_get_on_is_cut_off(run: Run, attack: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        made: list[object] = []
        server = await tls_server(lambda reader, writer: made.append(writer), ssl_handshake_timeout=0.2)
        client = socket.socket()
        client.setblocking(False)
        start = time.monotonic()
        await loop.sock_connect(client, address_of(server))
        attacker = asyncio.create_task(attack(client))
        with pytest.raises(ConnectionError):
            # The server resets or closes; the latter reads as nothing.
            if await loop.sock_recv(client, 1) == b"":
                raise ConnectionResetError
        assert 0.1 < time.monotonic() - start < 10
        attacker.cancel()
        await asyncio.wait([attacker])
        if not attacker.cancelled():
            attacker.exception()
        assert made == []
        client.close()
        server.close()
        await server.wait_closed()

    run(main)


@pytest.mark.parametrize("garbage", [b"\x16\x03\x01\xff\xff" + bytes(70_000), b"GET / HTTP/1.0\r\n\r\n", bytes(100)])
def test_garbage_instead_of_tls_ends_that_connection_only(run: Run, garbage: bytes) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await tls_server(ignore)
        _, steady = await asyncio.open_connection(*address_of(server), ssl=tls_contexts()[1], server_hostname="localhost")
        client = socket.socket()
        client.setblocking(False)
        await loop.sock_connect(client, address_of(server))
        try:
            await loop.sock_sendall(client, garbage)
            async with asyncio.timeout(10):
                while await loop.sock_recv(client, 10_000):
                    continue
        except ConnectionError:
            pass
        client.close()
        steady.write(b"still here")
        await steady.drain()
        assert not steady.is_closing()
        steady.close()
        await steady.wait_closed()
        server.close()
        await server.wait_closed()

    run(main)


class RawPeer:
    """TLS by hand over a socket: a peer that can be made to misbehave."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, **options: Any) -> None:
        self.sock = sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, **options)

    async def handshake(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                if self.outgoing.pending:
                    await loop.sock_sendall(self.sock, self.outgoing.read())
                self.incoming.write(await loop.sock_recv(self.sock, 100_000))
        await loop.sock_sendall(self.sock, self.outgoing.read())


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(100_000):
            writer.write(data)
            await writer.drain()
    except (ConnectionError, ssl.SSLError):
        pass
    writer.close()


@pytest.mark.parametrize("length", [16_384 + 2048 + 1, 65_535])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_giant_record_ends_that_connection_only(run: Run, version: ssl.TLSVersion, length: int) -> None:
    """A record longer than TLS allows, on a connection that stands: cut off before it has arrived as a whole."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await tls_server(echo)
        reader, steady = await asyncio.open_connection(*address_of(server), ssl=tls_contexts()[1], server_hostname="localhost")
        client = socket.socket()
        client.setblocking(False)
        await loop.sock_connect(client, address_of(server))
        context = tls_contexts()[1]
        context.maximum_version = version
        await RawPeer(client, context, server_hostname="localhost").handshake()
        async with asyncio.timeout(10):
            try:
                await loop.sock_sendall(client, b"\x17\x03\x03" + length.to_bytes(2, "big") + bytes(1000))
                while await loop.sock_recv(client, 10_000):
                    continue
            except ConnectionError:
                pass
        client.close()
        steady.write(b"still here")
        assert await reader.readexactly(10) == b"still here"
        steady.close()
        await steady.wait_closed()
        server.close()
        await server.wait_closed()

    run(main)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="only the openssl command can ask for it; Python's ssl module cannot")
def test_renegotiation_again_and_again_disturbs_nobody(run: Run) -> None:
    """TLS 1.2 lets a client ask for another handshake, which costs the server more than the client. OpenSSL 3 refuses that by default."""

    async def main() -> None:
        context = tls_contexts()[0]
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=context)
        host, port = address_of(server)
        reader, steady = await asyncio.open_connection(host, port, ssl=tls_contexts()[1], server_hostname="localhost")
        pipe = asyncio.subprocess.PIPE
        attacker = await asyncio.create_subprocess_exec(
            "openssl", "s_client", "-connect", f"{host}:{port}", "-tls1_2", stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.STDOUT
        )
        assert attacker.stdin is not None
        assert attacker.stdout is not None
        asked = 0
        async with asyncio.timeout(20):
            # An answer to the question before, then the next one, until the connection is given up.
            while asked < 100 and not attacker.stdout.at_eof():
                attacker.stdin.write(b"R\n")
                while line := await attacker.stdout.readline():
                    if b"RENEGOTIATING" in line:
                        asked += 1
                        break
        assert asked
        await attacker.communicate(b"Q\n")
        for number in range(100):
            steady.write(b"%03d" % number)
            assert await reader.readexactly(3) == b"%03d" % number
        steady.close()
        await steady.wait_closed()
        server.close()
        await server.wait_closed()

    run(main)


def test_a_peer_that_does_not_say_goodbye_is_not_waited_for(run: Run) -> None:
    async def main() -> None:
        for_server, for_client = tls_contexts()
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        connecting = asyncio.create_task(
            asyncio.open_connection(sock=ours, ssl=for_client, server_hostname="localhost", ssl_shutdown_timeout=0.2)
        )
        await RawPeer(theirs, for_server, server_side=True).handshake()
        _, writer = await connecting
        start = time.monotonic()
        writer.close()
        # Version by version the end is silent or says that it was cut.
        try:
            await writer.wait_closed()
        except (TimeoutError, ConnectionError):
            pass
        assert time.monotonic() - start < 5
        theirs.close()

    run(main)


def test_reuse_address_is_refused_for_datagrams(run: Run) -> None:
    async def main() -> None:
        with pytest.raises((ValueError, TypeError), match="reuse_address"):
            await asyncio.get_running_loop().create_datagram_endpoint(  # type: ignore[call-overload, unused-ignore]
                asyncio.DatagramProtocol, ("127.0.0.1", 0), reuse_address=True
            )

    run(main)


def test_two_servers_cannot_share_a_port_by_accident(run: Run) -> None:
    async def main() -> None:
        server = await asyncio.start_server(ignore, "127.0.0.1", 0)
        with pytest.raises(OSError, match="in use"):
            await asyncio.start_server(ignore, *address_of(server))
        server.close()
        await server.wait_closed()

    run(main)


def test_the_clean_up_of_unix_sockets_does_not_follow_links(run: Run, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("data")

    async def main() -> None:
        path = tmp_path / f"socket-{run.kind}"
        server = await asyncio.start_unix_server(ignore, path)
        # Somebody puts a link in the place of the socket.
        path.unlink()
        path.symlink_to(precious)
        server.close()
        await server.wait_closed()
        assert precious.read_text() == "data"
        path.unlink()
        # And a link in the way is no stale socket that could be replaced.
        path.symlink_to(precious)
        with pytest.raises(OSError, match="in use"):
            await asyncio.start_unix_server(ignore, path)
        assert precious.read_text() == "data"
        path.unlink()

    run(main)


# The targets of the descriptors that a child has, but for its own three and that of the listing.
LISTING = """
import os
for fd in os.listdir("/proc/self/fd"):
    if int(fd) > 2 and os.path.islink(f"/proc/self/fd/{fd}"):
        print(os.readlink(f"/proc/self/fd/{fd}"))
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_children_inherit_no_descriptor(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await asyncio.start_server(ignore, "127.0.0.1", 0)
        _, writer = await asyncio.open_connection(*address_of(server))
        endpoint, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, ("127.0.0.1", 0))
        options: dict[str, Any] = {"stdout": asyncio.subprocess.PIPE, "close_fds": False}
        # One lives while the other starts.
        first = await asyncio.create_subprocess_exec(sys.executable, "-S", "-c", "input()", stdin=asyncio.subprocess.PIPE, **options)
        second = await asyncio.create_subprocess_exec(sys.executable, "-S", "-c", LISTING, **options)
        listing, _ = await second.communicate()
        inherited = set(listing.decode().split()) & {target for fd, target in descriptors().items() if fd not in before}
        await first.communicate(b"\n")
        endpoint.close()
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
        assert inherited == set()

    before = descriptors()
    run(main)


def test_the_buffer_of_a_peer_that_never_reads_stops_at_the_high_water_mark(run: Run) -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        _, writer = await asyncio.open_connection(sock=ours)
        writer.transport.set_write_buffer_limits(high=50_000)
        written = 0
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                while True:
                    writer.write(bytes(1000))
                    written += 1000
                    await writer.drain()
        assert 50_000 < writer.transport.get_write_buffer_size() <= 51_000
        stuck = written
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await writer.drain()
        assert written == stuck
        theirs.close()
        writer.close()
        try:
            await writer.wait_closed()
        except ConnectionError:
            pass

    run(main)
