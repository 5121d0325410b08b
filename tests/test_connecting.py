"""`create_connection`: addresses, happy eyeballs, local addresses, sockets that are given, mistakes."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from typing import Any

import pytest

from .connections import close, connected, echo, inet, no_lookup, serving
from .support import Run


def test_a_protocol_is_connected(run: Run) -> None:
    async def main() -> None:
        async with connected() as (client, peer):
            assert client.transport.get_protocol() is client
            assert client.transport.get_extra_info("peername") == peer.transport.get_extra_info("sockname")
            assert client.transport.get_extra_info("socket").family == socket.AF_INET
            assert client.transport.get_extra_info("nothing", "default") == "default"
            assert client.transport.is_reading()
            client.transport.write(b"question")
            client.transport.write_eof()
            await peer.ended
            assert bytes(peer.data) == b"question"
            await peer.lost
            await client.lost
            assert peer.events == ["made", "data", "eof", "lost"]

    run(main)


def test_a_refused_connection_says_so(run: Run) -> None:
    async def main() -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            address = unused.getsockname()
            with pytest.raises(ConnectionRefusedError) as caught:
                await asyncio.open_connection(*address)
            assert caught.value.errno == errno.ECONNREFUSED

    run(main)


def test_addresses_are_tried_one_after_the_other(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            async with serving(echo) as address:
                infos = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", target) for target in (unused.getsockname(), address)]

                async def getaddrinfo(*args: Any, **options: Any) -> Any:
                    return infos

                loop.getaddrinfo = getaddrinfo  # type: ignore[method-assign]
                for options in ({}, {"happy_eyeballs_delay": 0.01}, {"happy_eyeballs_delay": 0.01, "interleave": 2}):
                    _, writer = await asyncio.open_connection("name.example", 1, **options)  # type: ignore[arg-type]
                    assert writer.get_extra_info("peername") == address
                    await close(writer)
                infos.pop()
                with pytest.raises(ConnectionRefusedError):
                    await asyncio.open_connection("name.example", 1)
                infos *= 2
                with pytest.raises(OSError, match="Multiple exceptions"):
                    infos[1] = (*infos[1][:4], ("127.0.0.2", unused.getsockname()[1]))
                    await asyncio.open_connection("name.example", 1)
                if sys.version_info >= (3, 12):
                    with pytest.raises(ExceptionGroup) as caught:
                        await loop.create_connection(asyncio.Protocol, "name.example", 1, all_errors=True)
                    assert len(caught.value.exceptions) == 2
                del loop.getaddrinfo

    run(main)


def test_a_slow_address_is_overtaken_by_the_next(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        # A listener whose backlog is full answers nothing.
        with socket.socket() as full:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            waiting = [socket.socket() for _ in range(4)]
            for sock in waiting:
                sock.setblocking(False)
                sock.connect_ex(full.getsockname())
            async with serving(echo) as address:
                infos = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", target) for target in (full.getsockname(), address)]

                async def getaddrinfo(*args: Any, **options: Any) -> Any:
                    return infos

                loop.getaddrinfo = getaddrinfo  # type: ignore[method-assign]
                _, writer = await asyncio.open_connection("name.example", 1, happy_eyeballs_delay=0.02)
                assert writer.get_extra_info("peername") == address
                await close(writer)
                del loop.getaddrinfo
            for sock in waiting:
                sock.close()

    run(main)


def test_the_local_address_can_be_chosen(run: Run) -> None:
    async def main() -> None:
        async with serving(echo) as address:
            _, writer = await asyncio.open_connection(*address, local_addr=("127.0.0.3", 0))
            assert writer.get_extra_info("sockname")[0] == "127.0.0.3"
            taken = writer.get_extra_info("sockname")[1]
            with pytest.raises(OSError, match="error while attempting to bind"):
                await asyncio.open_connection(*address, local_addr=("192.0.2.1", taken))
            await close(writer)

    run(main)


def test_a_connected_socket_can_be_given(run: Run) -> None:
    async def main() -> None:
        one, other = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=one)
        other_reader, other_writer = await asyncio.open_connection(sock=other)
        writer.write(b"line\n")
        assert await other_reader.readline() == b"line\n"
        await close(other_writer)
        assert await reader.read() == b""
        await close(writer)

    run(main)


def test_connecting_can_be_cancelled(run: Run) -> None:
    async def main() -> None:
        with socket.socket() as full:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            waiting = [socket.socket() for _ in range(4)]
            for sock in waiting:
                sock.setblocking(False)
                sock.connect_ex(full.getsockname())
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await asyncio.open_connection(*full.getsockname())
            for sock in waiting:
                sock.close()

    run(main)


def test_a_name_without_addresses_is_an_error(run: Run) -> None:
    async def main() -> None:
        no_lookup([])
        with pytest.raises(OSError, match="empty list"):
            await asyncio.open_connection("name.example", 1)

    run(main)


def test_an_error_of_the_lookup_is_passed_on(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def getaddrinfo(*args: Any, **options: Any) -> Any:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")

        loop.getaddrinfo = getaddrinfo  # type: ignore[method-assign]
        with pytest.raises(socket.gaierror):
            await asyncio.open_connection("name.example", 1)

    run(main)


def test_the_lookup_gets_what_was_asked(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        asked: list[Any] = []
        async with serving(echo) as address:

            async def getaddrinfo(*args: Any, **options: Any) -> Any:
                asked.append((args, options))
                return [inet(address)]

            loop.getaddrinfo = getaddrinfo  # type: ignore[method-assign]
            _, writer = await asyncio.open_connection("name.example", 80, family=socket.AF_INET, proto=6, flags=socket.AI_ADDRCONFIG)
            await close(writer)
        [(args, options)] = asked
        assert args == ("name.example", 80)
        assert options == {"family": socket.AF_INET, "type": socket.SOCK_STREAM, "proto": 6, "flags": socket.AI_ADDRCONFIG}

    run(main)


def test_families_are_interleaved(run: Run) -> None:
    """The second family comes before the second address of the first one."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        tried: list[Any] = []
        connect = loop.sock_connect

        async def sock_connect(sock: Any, address: Any) -> None:
            tried.append(address[0])
            if len(tried) < 3:
                raise ConnectionRefusedError
            await connect(sock, address)

        async with serving(echo) as address:
            port = address[1]
            six = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0))
            no_lookup([inet(("127.0.0.5", port)), inet(address), six])
            loop.sock_connect = sock_connect  # type: ignore[method-assign]
            _, writer = await asyncio.open_connection("name.example", 1, interleave=1)
            await close(writer)
        assert tried == ["127.0.0.5", "::1", "127.0.0.1"]

    if not socket.has_ipv6:
        pytest.skip("no IPv6")
    run(main)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="new in Python 3.12")
def test_all_errors_are_a_group_even_if_there_is_one(run: Run) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            with pytest.raises(ExceptionGroup) as caught:
                await loop.create_connection(asyncio.Protocol, *unused.getsockname(), all_errors=True)
            assert [type(error) for error in caught.value.exceptions] == [ConnectionRefusedError]

    run(main)


@pytest.mark.parametrize("delay", [None, 0.01, 60])
def test_all_refused_with_happy_eyeballs_or_without(run: Run, delay: float | None) -> None:
    """A refused address makes room for the next at once, whatever the delay."""

    async def main() -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            no_lookup([inet(unused.getsockname())] * 3)
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("name.example", 1, happy_eyeballs_delay=delay)

    run(main)


def test_arguments_that_contradict_are_refused_as_they_are_documented(run: Run) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        with socket.socket() as sock:
            for options, message in [
                ({}, "host and port was not specified and no sock specified"),
                ({"sock": sock, "host": "127.0.0.1", "port": 1}, "can not be specified at the same time"),
                ({"host": "127.0.0.1", "port": 1, "server_hostname": "x"}, "server_hostname is only meaningful with ssl"),
                ({"ssl": True, "sock": sock}, "You must set server_hostname"),
                ({"host": "127.0.0.1", "port": 1, "ssl_handshake_timeout": 1}, "ssl_handshake_timeout is only meaningful with ssl"),
                ({"host": "127.0.0.1", "port": 1, "ssl_shutdown_timeout": 1}, "ssl_shutdown_timeout is only meaningful with ssl"),
            ]:
                with pytest.raises(ValueError, match=message):
                    await loop.create_connection(asyncio.Protocol, **options)
        with socket.socket(type=socket.SOCK_DGRAM) as datagrams, pytest.raises(ValueError, match="Stream Socket was expected"):
            await loop.create_connection(asyncio.Protocol, sock=datagrams)

    run(main)


def test_a_factory_that_fails_closes_the_socket(run: Run) -> None:
    def factory() -> asyncio.Protocol:
        raise ValueError("of the factory")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        one, other = socket.socketpair()
        with one, other:
            with pytest.raises(ValueError, match="of the factory"):
                await loop.create_connection(factory, sock=one)

    run(main)
