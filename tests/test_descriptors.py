"""add_reader, add_writer and their removal."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .support import Run


@contextlib.contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    with one, other:
        one.setblocking(False)
        other.setblocking(False)
        yield one, other


def once(remove: Callable[[Any], object], fileobj: Any, future: asyncio.Future[None]) -> None:
    """A callback: not again, and the future is resolved."""
    remove(fileobj)
    future.set_result(None)


async def settle() -> None:
    """Long enough for every poller to find what is ready."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_a_reader_runs_while_there_is_something_to_read(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pair() as (ours, theirs):
            done = loop.create_future()
            got: list[bytes] = []

            def readable(tag: str) -> None:
                assert tag == "tag"
                got.append(ours.recv(1))
                if len(got) == 3:
                    done.set_result(None)

            loop.add_reader(ours, readable, "tag")
            theirs.send(b"abc")
            await done
            assert got == [b"a", b"b", b"c"]
            await settle()
            assert len(got) == 3
            assert loop.remove_reader(ours)
            theirs.send(b"d")
            await settle()
            assert len(got) == 3
            assert not loop.remove_reader(ours)

    run(main)


def test_a_writer_runs_while_there_is_room(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pair() as (ours, theirs):
            full = loop.create_future()
            sent = 0

            def writable() -> None:
                nonlocal sent
                try:
                    while True:
                        sent += ours.send(b"x" * 65536)
                except BlockingIOError:
                    loop.remove_writer(ours)
                    full.set_result(None)

            loop.add_writer(ours, writable)
            await full
            assert sent > 0
            again = loop.create_future()
            loop.add_writer(ours, again.set_result, None)
            await settle()
            assert not again.done()
            left = sent
            while left:
                left -= len(theirs.recv(1 << 20))
            await again
            assert loop.remove_writer(ours)
            assert not loop.remove_writer(ours)

    run(main)


def test_the_last_callback_replaces_the_one_before(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pair() as (ours, theirs):
            loop.add_reader(ours, pytest.fail)
            done = loop.create_future()
            loop.add_reader(ours.fileno(), once, loop.remove_reader, ours, done)
            theirs.send(b"x")
            await done

    run(main)


def test_one_descriptor_may_have_a_reader_and_a_writer(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pair() as (ours, theirs):
            readable, writable = loop.create_future(), loop.create_future()
            loop.add_reader(ours, once, loop.remove_reader, ours, readable)
            loop.add_writer(ours, once, loop.remove_writer, ours, writable)
            await writable
            assert not readable.done()
            theirs.send(b"x")
            await readable

    run(main)


def test_a_callback_may_remove_another_that_is_ready(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pair() as (a, to_a), pair() as (b, to_b):
            ran: list[str] = []

            def callback(name: str) -> None:
                ran.append(name)
                loop.remove_reader(a)
                loop.remove_reader(b)

            to_a.send(b"x")
            to_b.send(b"x")
            loop.add_reader(a, callback, "a")
            loop.add_reader(b, callback, "b")
            while not ran:
                await asyncio.sleep(0)
            await settle()
            assert len(ran) == 1

    run(main)


@pytest.mark.parametrize("method", ["add_reader", "add_writer"])
def test_what_cannot_be_waited_for_is_refused_at_the_call(run: Run, method: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        add: Callable[..., object] = getattr(loop, method)
        remove: Callable[..., object] = getattr(loop, method.replace("add", "remove"))
        with pair() as (ours, _):
            number = ours.fileno()
        with pytest.raises(OSError, match="Bad file descriptor"):
            add(number, print)
        with pytest.raises(ValueError, match="Invalid file"):
            add(ours, print)
        with tempfile.TemporaryFile() as file:
            with pytest.raises(PermissionError):
                add(file, print)
            with pytest.raises(PermissionError):
                add(file.fileno(), print)
        for mistake in (-1, "text", object(), None, 1.5):
            with pytest.raises(ValueError, match="Invalid file"):
                add(mistake, print)
            with pytest.raises(ValueError, match="Invalid file"):
                remove(mistake)
        assert remove(1_000_000) is False
        await settle()

    run(main)


def test_a_descriptor_closed_before_it_is_removed_can_be_removed(our_run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pair() as (ours, _):
            number = ours.fileno()
            loop.add_reader(ours, print)
            loop.add_writer(number, print)
            ours.close()
            assert loop.remove_writer(number)
            assert loop.remove_reader(ours)
            assert not loop.remove_reader(number)

    our_run(main)


def test_a_number_that_is_closed_and_given_out_again_is_watched(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for _ in range(3):
            with pair() as (ours, theirs):
                done = loop.create_future()
                number = os.dup(ours.fileno())
                loop.add_reader(number, pytest.fail)
                await settle()
                os.close(number)
                again = os.dup(ours.fileno())
                assert again == number
                loop.add_reader(again, once, loop.remove_reader, again, done)
                theirs.send(b"x")
                await done
                os.close(again)

    run(main)


def test_the_end_of_the_peer_is_readable(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pair() as (ours, theirs):
            done = loop.create_future()
            loop.add_reader(ours, once, loop.remove_reader, ours, done)
            await settle()
            theirs.close()
            await done
            assert ours.recv(1) == b""

    run(main)


def test_the_end_of_a_pipes_reader_wakes_its_writer(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        read, write = os.pipe()
        os.set_blocking(write, False)
        with pytest.raises(BlockingIOError):
            while True:
                os.write(write, b"x" * 65536)
        done = loop.create_future()
        loop.add_writer(write, once, loop.remove_writer, write, done)
        await settle()
        assert not done.done()
        os.close(read)
        await done
        os.close(write)

    run(main)


def test_a_descriptor_of_a_transport_is_not_the_callers(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pair() as (ours, _):
            transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
            number = ours.fileno()
            calls: list[Callable[..., Any]] = [loop.add_reader, loop.add_writer, loop.remove_reader, loop.remove_writer]
            for call in calls:
                with pytest.raises(RuntimeError, match="is used by transport"):
                    call(number, *([print] if call in (loop.add_reader, loop.add_writer) else []))
            transport.close()
            await settle()

    run(main)


def test_hundreds_of_descriptors_are_ready_at_once(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        pairs = [socket.socketpair() for _ in range(200)]
        done = loop.create_future()
        seen: set[int] = set()

        def readable(number: int) -> None:
            loop.remove_reader(pairs[number][0])
            seen.add(number)
            if len(seen) == len(pairs):
                done.set_result(None)

        for number, (ours, theirs) in enumerate(pairs):
            loop.add_reader(ours, readable, number)
            theirs.send(b"x")
        await done
        for ours, theirs in pairs:
            ours.close()
            theirs.close()

    run(main)


def test_many_that_become_ready_are_served_in_that_order(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        served: list[int] = []
        with contextlib.ExitStack() as stack:
            pairs = [stack.enter_context(pair()) for _ in range(130)]
            for number, (one, _) in enumerate(pairs):

                def read(number: int = number, one: socket.socket = one) -> None:
                    one.recv(1)
                    served.append(number)

                loop.add_reader(one, read)
            for _, other in pairs:
                other.send(b"x")
            await settle()
            assert len(served) == len(pairs)
            if run.poller != "task":
                assert served == sorted(served)
            for one, _ in pairs:
                loop.remove_reader(one)

    run(main)
