"""connect_read_pipe and connect_write_pipe."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from pathlib import Path
from typing import IO, Any

import pytest

from .connections import Recorder
from .support import Run

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pipes on Windows need the proactor")


async def reading(pipe: Any) -> tuple[Any, Recorder]:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_read_pipe(Recorder, pipe)
    assert transport.get_extra_info("pipe") is pipe
    return transport, protocol


async def writing(pipe: Any) -> tuple[Any, Recorder]:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(Recorder, pipe)
    assert transport.get_extra_info("pipe") is pipe
    return transport, protocol


def pipe() -> tuple[IO[bytes], IO[bytes]]:
    read, write = os.pipe()
    return open(read, "rb", 0), open(write, "wb", 0)


def test_bytes_go_through_a_pipe(run: Run) -> None:
    async def main() -> None:
        read, write = pipe()
        _, reader = await reading(read)
        sender, writer = await writing(write)
        sender.write(b"a")
        sender.write(b"")
        sender.writelines([b"b", b"c"])
        sender.write_eof()
        await reader.lost
        await writer.lost
        assert bytes(reader.data) == b"abc"
        assert reader.events[-2:] == ["eof", "lost"]
        assert read.closed
        assert write.closed

    run(main)


def test_more_than_a_pipe_holds_arrives_whole(run: Run) -> None:
    async def main() -> None:
        read, write = pipe()
        receiver, reader = await reading(read)
        sender, writer = await writing(write)
        receiver.pause_reading()
        data = os.urandom(1_000_000)
        sender.write(data)
        assert sender.get_write_buffer_size() > 0
        assert writer.events == ["made", "pause"]
        receiver.resume_reading()
        await writer.resumed.wait()
        sender.close()
        await reader.lost
        await writer.lost
        assert bytes(reader.data) == data

    run(main)


def test_a_paused_pipe_delivers_nothing(run: Run) -> None:
    async def main() -> None:
        read, write = pipe()
        receiver, reader = await reading(read)
        assert receiver.is_reading()
        receiver.pause_reading()
        assert not receiver.is_reading()
        write.write(b"x")
        for _ in range(10):
            await asyncio.sleep(0)
        assert not reader.data
        receiver.resume_reading()
        write.close()
        await reader.lost
        assert bytes(reader.data) == b"x"

    run(main)


def test_a_reader_that_leaves_ends_the_writer(run: Run) -> None:
    async def main() -> None:
        read, write = pipe()
        sender, writer = await writing(write)
        read.close()
        error = await writer.lost
        assert error is None or isinstance(error, BrokenPipeError)
        sender.close()
        read, write = pipe()
        sender, writer = await writing(write)
        sender.write(b"x" * 1_000_000)
        read.close()
        assert isinstance(await writer.lost, BrokenPipeError)

    run(main)


def test_abort_drops_what_waits(run: Run) -> None:
    async def main() -> None:
        read, write = pipe()
        sender, writer = await writing(write)
        sender.write(b"x" * 1_000_000)
        sender.abort()
        assert sender.is_closing()
        assert await writer.lost is None
        receiver, reader = await reading(read)
        receiver.close()
        await reader.lost

    run(main)


def test_sockets_and_fifos_are_pipes_too(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        one, other = socket.socketpair()
        sender, writer = await writing(one)
        _, reader = await reading(other)
        sender.write(b"socket")
        sender.close()
        await reader.lost
        await writer.lost
        assert bytes(reader.data) == b"socket"
        path = tmp_path / "fifo"
        os.mkfifo(path)
        read = open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", 0)
        write = open(path, "wb", 0)
        _, reader = await reading(read)
        sender, writer = await writing(write)
        sender.write(b"fifo")
        sender.close()
        await reader.lost
        await writer.lost
        assert bytes(reader.data) == b"fifo"

    run(main)


def test_terminals_are_pipes_too(run: Run) -> None:
    async def main() -> None:
        master, slave = os.openpty()
        sender, writer = await writing(open(slave, "wb", 0))
        receiver, reader = await reading(open(master, "rb", 0))
        sender.write(b"typed\n")
        while not reader.data.endswith(b"\n"):
            await asyncio.sleep(0)
        assert bytes(reader.data) == b"typed\r\n"
        sender.close()
        await writer.lost
        receiver.close()
        await reader.lost

    run(main)


def test_a_regular_file_is_no_pipe(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with (tmp_path / "file").open("w+b") as file:
            with pytest.raises(ValueError, match="is for pipes/sockets only|only for pipes"):
                await loop.connect_read_pipe(Recorder, file)
            with pytest.raises(ValueError, match="is only for pipes, sockets and character devices"):
                await loop.connect_write_pipe(Recorder, file)

    run(main)


def test_the_protocol_of_a_pipe_can_be_changed(run: Run) -> None:
    async def main() -> None:
        read, write = pipe()
        receiver, first = await reading(read)
        second = Recorder()
        receiver.set_protocol(second)
        assert receiver.get_protocol() is second
        write.write(b"x")
        write.close()
        await second.lost
        assert bytes(second.data) == b"x"
        assert first.events == ["made"]

    run(main)
