"""The loop's sock_* methods."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from .support import Run

DATA = hashlib.shake_256(b"sock").digest(3_000_000)


@contextmanager
def pair(kind: int = socket.SOCK_STREAM) -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair(type=kind)
    with one, other:
        one.setblocking(False)
        other.setblocking(False)
        yield one, other


@contextmanager
def udp() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.socket(type=socket.SOCK_DGRAM) as one, socket.socket(type=socket.SOCK_DGRAM) as other:
        for sock in (one, other):
            sock.bind(("127.0.0.1", 0))
            sock.setblocking(False)
        yield one, other


async def receive(sock: socket.socket, count: int) -> bytes:
    loop = asyncio.get_running_loop()
    data = b""
    while len(data) < count:
        data += await loop.sock_recv(sock, 65536)
    return data


def test_stream_sockets(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pair() as (one, other):
            await loop.sock_sendall(one, b"at once")
            assert await loop.sock_recv(other, 100) == b"at once"
            waiting = asyncio.ensure_future(loop.sock_recv(other, 100))
            await asyncio.sleep(0)
            await loop.sock_sendall(one, b"later")
            assert await waiting == b"later"
            buffer = bytearray(10)
            into = asyncio.ensure_future(loop.sock_recv_into(other, buffer))
            await asyncio.sleep(0)
            await loop.sock_sendall(one, memoryview(b"into"))
            assert await into == 4
            assert buffer[:4] == b"into"
            one.close()
            assert await loop.sock_recv(other, 1) == b""

    run(main)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_more_than_the_buffers_hold_is_sent_whole(run: Run, kind: Callable[[bytes], bytes]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pair() as (one, other):
            _, data = await asyncio.gather(loop.sock_sendall(one, kind(DATA)), receive(other, len(DATA)))
            assert data == DATA
            await loop.sock_sendall(one, b"")

    run(main)


def test_datagram_sockets(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with udp() as (one, other):
            waiting = asyncio.ensure_future(loop.sock_recvfrom(other, 100))
            await asyncio.sleep(0)
            assert await loop.sock_sendto(one, b"there", other.getsockname()) == 5
            assert await waiting == (b"there", one.getsockname())
            buffer = bytearray(10)
            into = asyncio.ensure_future(loop.sock_recvfrom_into(one, buffer))
            await asyncio.sleep(0)
            await loop.sock_sendto(other, b"back", one.getsockname())
            assert await into == (4, other.getsockname())
            assert buffer[:4] == b"back"

    run(main)


def test_connecting_and_accepting(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            accepting = asyncio.ensure_future(loop.sock_accept(listener))
            await asyncio.sleep(0)
            with socket.socket() as client:
                client.setblocking(False)
                await loop.sock_connect(client, ("localhost", listener.getsockname()[1]))
                accepted, address = await accepting
                with accepted:
                    assert address == client.getsockname()
                    assert not accepted.getblocking()
                    await loop.sock_sendall(accepted, b"hello")
                    assert await loop.sock_recv(client, 100) == b"hello"
            address = listener.getsockname()
        with socket.socket() as client:
            client.setblocking(False)
            with pytest.raises(ConnectionRefusedError):
                await loop.sock_connect(client, address)

    run(main)


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="this system has no unix sockets")
def test_connecting_a_unix_socket(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
            listener.bind(str(tmp_path / "socket"))
            listener.listen()
            listener.setblocking(False)
            client.setblocking(False)
            await loop.sock_connect(client, str(tmp_path / "socket"))
            accepted, _ = await loop.sock_accept(listener)
            accepted.close()
            assert await loop.sock_recv(client, 1) == b""

    run(main)


WAITS: dict[str, Callable[[Any, socket.socket], Awaitable[Any]]] = {
    "sock_recv": lambda loop, sock: loop.sock_recv(sock, 10),
    "sock_recv_into": lambda loop, sock: loop.sock_recv_into(sock, bytearray(10)),
    "sock_recvfrom": lambda loop, sock: loop.sock_recvfrom(sock, 10),
    "sock_recvfrom_into": lambda loop, sock: loop.sock_recvfrom_into(sock, bytearray(10)),
    "sock_sendall": lambda loop, sock: loop.sock_sendall(sock, DATA),
}


@pytest.mark.parametrize("method", WAITS)
def test_a_wait_that_is_cancelled_leaves_the_socket_usable(run: Run, method: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pair() as (one, other):
            for _ in range(3):
                task = asyncio.ensure_future(WAITS[method](loop, one))
                for _ in range(3):
                    await asyncio.sleep(0)
                assert not task.done()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                await asyncio.sleep(0)
                assert not loop.remove_reader(one)
                assert not loop.remove_writer(one)
            await loop.sock_sendall(other, b"x")
            assert await loop.sock_recv(one, 1) == b"x"

    run(main)


def test_a_wait_that_has_received_watches_no_longer(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pair() as (one, other):
            for data in (b"first", b"second"):
                task = asyncio.ensure_future(loop.sock_recv(one, 10))
                await asyncio.sleep(0)
                await loop.sock_sendall(other, data)
                assert await task == data
                assert not loop.remove_reader(one)

    run(main)


def test_an_error_met_while_waiting_comes_out(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = socket.create_connection(listener.getsockname())
            accepted, _ = listener.accept()
            accepted.setblocking(False)
            with client, accepted:
                task = asyncio.ensure_future(loop.sock_recv(accepted, 10))
                await asyncio.sleep(0)
                # Closed like this, it is reset.
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()
                with pytest.raises(ConnectionResetError):
                    await task
                assert not loop.remove_reader(accepted)

    run(main)


def test_a_cancelled_accept_loses_no_connection(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await loop.sock_accept(listener)
            with socket.create_connection(listener.getsockname()):
                accepted, _ = await loop.sock_accept(listener)
                accepted.close()

    run(main)


def test_mistakes_are_refused(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        # Loading certificates takes long on a busy machine.
        loop.slow_callback_duration = 60
        with pair() as (one, _):
            one.setblocking(True)
            others: list[Callable[[Any, socket.socket], Awaitable[Any]]] = [
                lambda loop, sock: loop.sock_accept(sock),
                lambda loop, sock: loop.sock_connect(sock, "x"),
            ]
            for wait in [*WAITS.values(), *others]:
                with pytest.raises(ValueError, match="the socket must be non-blocking"):
                    await wait(loop, one)
        context = ssl.create_default_context()
        with socket.socket() as plain, context.wrap_socket(plain, server_hostname="x", do_handshake_on_connect=False) as wrapped:
            for wait in WAITS.values():
                with pytest.raises(TypeError, match="Socket cannot be of type SSLSocket"):
                    await wait(loop, wrapped)

    run(main, debug=True)


def test_a_socket_of_a_transport_is_not_the_callers(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pair() as (one, _):
            transport, _protocol = await loop.create_connection(asyncio.Protocol, sock=one)
            with pytest.raises(RuntimeError, match="is used by transport"):
                await loop.sock_recv(one, 1)
            transport.abort()
            await asyncio.sleep(0)

    run(main)


def test_many_sockets_at_once(run: Run) -> None:
    async def echo(sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(sock, 1000):
            await loop.sock_sendall(sock, data)

    async def ask(sock: socket.socket, number: int) -> None:
        loop = asyncio.get_running_loop()
        for step in range(20):
            await loop.sock_sendall(sock, b"%4d%4d" % (number, step))
            assert await loop.sock_recv(sock, 8) == b"%4d%4d" % (number, step)

    async def main() -> None:
        pairs = [socket.socketpair() for _ in range(50)]
        for sock in (sock for both in pairs for sock in both):
            sock.setblocking(False)
        echoes = [asyncio.ensure_future(echo(other)) for _, other in pairs]
        await asyncio.gather(*[ask(one, number) for number, (one, _) in enumerate(pairs)])
        for one, _ in pairs:
            one.close()
        await asyncio.gather(*echoes)
        for _, other in pairs:
            other.close()

    run(main)
