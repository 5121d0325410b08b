"""A callback that raises SystemExit or KeyboardInterrupt ends the loop, which goes on until everything has been cleaned up."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import trio
import trio.testing

import trio_asyncio_compat
from trio_asyncio_compat import TrioEventLoop, aio_as_trio, open_loop

from .support import Records, Run


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    os.write(writing, b"x")
    yield reading, writing
    os.close(reading)
    os.close(writing)


def leave() -> None:
    raise SystemExit(3)


def interrupt() -> None:
    raise KeyboardInterrupt


def ever_again(loop: asyncio.AbstractEventLoop) -> None:
    loop.call_soon(ever_again, loop)
    leave()


def ever_later(loop: asyncio.AbstractEventLoop) -> None:
    loop.call_later(0, ever_later, loop)
    leave()


def fail_to_read(loop: asyncio.AbstractEventLoop, reading: int) -> None:
    loop.set_exception_handler(lambda loop, context: leave())
    loop.add_reader(reading, lambda: 1 / 0)


Begin = Callable[[asyncio.AbstractEventLoop, int, int], object]
IN_EVERY_TURN: dict[str, Begin] = {
    "a reader": lambda loop, reading, writing: loop.add_reader(reading, leave),
    "a writer": lambda loop, reading, writing: loop.add_writer(writing, leave),
    "a reader, with Ctrl-C": lambda loop, reading, writing: loop.add_reader(reading, interrupt),
    "the exception handler": lambda loop, reading, writing: fail_to_read(loop, reading),
    "a callback": lambda loop, reading, writing: ever_again(loop),
    "a timer": lambda loop, reading, writing: ever_later(loop),
}


@pytest.mark.parametrize("kind", IN_EVERY_TURN)
def test_what_raises_in_every_turn_does_not_keep_the_loop_from_ending(hosted_run: Run, pipe: tuple[int, int], kind: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(IN_EVERY_TURN[kind], loop, *pipe)
        try:
            await loop.create_future()
        finally:
            for fd in pipe:
                loop.remove_reader(fd)
                loop.remove_writer(fd)

    with pytest.raises(KeyboardInterrupt if "Ctrl-C" in kind else SystemExit):
        hosted_run(main)


@pytest.mark.parametrize("debug", [False, True])
def test_many_readers_that_raise_end_the_loop_one_after_the_other(hosted_run: Run, debug: bool) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for number, (ours, theirs) in enumerate(pairs):
            theirs.send(b"x")
            loop.add_reader(ours, sys.exit, number)
        try:
            await loop.create_future()
        finally:
            for _ in range(20):
                await asyncio.sleep(0)
            steps.append(loop._scheduler.turns)  # type: ignore[attr-defined]

    steps: list[int] = []
    pairs = [socket.socketpair() for _ in range(8)]
    try:
        with pytest.raises(SystemExit) as caught:
            hosted_run(main, debug=debug)
    finally:
        for sock in (sock for pair in pairs for sock in pair):
            sock.close()
    assert caught.value.code in range(8)
    assert steps[0] < 200


@contextlib.asynccontextmanager
async def session(steps: list[str]) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await asyncio.sleep(0.001)
        steps.append("the session is closed")


async def cleans_up(steps: list[str]) -> None:
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        await asyncio.sleep(0.001)
        steps.append("cleaned up")


def test_asyncio_code_cleans_up_with_the_loop(run: Run) -> None:
    async def main() -> None:
        task = asyncio.create_task(cleans_up(steps))
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_soon(leave)
        async with session(steps):
            await task

    steps: list[str] = []
    with pytest.raises(SystemExit):
        run(main)
    assert steps == ["cleaned up", "the session is closed"]


def test_flavour_free_code_cleans_up_with_the_loop(clean: Records) -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_soon(leave)
        async with session(steps):
            await cleans_up(steps)

    steps: list[str] = []
    with pytest.raises(SystemExit):
        trio_asyncio_compat.run(main)
    assert steps == ["cleaned up", "the session is closed"]


def test_trio_code_cleans_up_with_the_loop(clean: Records) -> None:
    async def goodbye() -> None:
        await asyncio.sleep(0.001)
        steps.append("goodbye")

    async def main() -> None:
        async with open_loop() as loop:
            loop.call_soon(leave)
            async with trio.open_nursery() as nursery, aio_as_trio(session(steps)):
                nursery.start_soon(aio_as_trio(cleans_up), steps)
                try:
                    await trio.sleep_forever()
                finally:
                    with trio.CancelScope(shield=True):
                        await aio_as_trio(goodbye)()

    steps: list[str] = []
    with pytest.raises(SystemExit):
        trio.run(main)
    assert sorted(steps) == ["cleaned up", "goodbye", "the session is closed"]


def test_who_waits_behind_a_shield_is_told_why(clean: Records) -> None:
    async def main() -> None:
        async with open_loop() as loop:
            loop.call_later(0, leave)
            with trio.CancelScope(shield=True), pytest.raises(RuntimeError, match="The event loop is ending: SystemExit in a callback"):
                await aio_as_trio(cleans_up)(steps)

    steps: list[str] = []
    with pytest.raises(SystemExit):
        trio.run(main)
    assert steps == ["cleaned up"]


def test_what_comes_out_keeps_its_context(run: Run) -> None:
    def fail() -> None:
        try:
            raise LookupError
        except LookupError:
            leave()

    async def main() -> None:
        asyncio.get_running_loop().call_soon(fail)
        await asyncio.get_running_loop().create_future()

    with pytest.raises(SystemExit) as caught:
        run(main)
    assert isinstance(caught.value.__context__, LookupError)


def test_the_second_ctrl_c_ends_a_call_that_has_swallowed_the_first(hosted_run: Run) -> None:
    async def goes_on() -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(0.001, signal.raise_signal, signal.SIGINT)
        try:
            await loop.create_future()
        except asyncio.CancelledError as exc:
            steps.append(str(exc))
        loop.call_later(0.001, signal.raise_signal, signal.SIGINT)
        try:
            await loop.create_future()
        except asyncio.CancelledError as exc:
            steps.append(str(exc))
            raise

    async def main() -> None:
        async with open_loop():
            await aio_as_trio(goes_on)()

    steps: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
    assert steps == ["KeyboardInterrupt", "the event loop is shutting down"]


STUCK_READER = """
import asyncio, os, sys
import trio
import trio_asyncio_compat
from trio_asyncio_compat import aio_as_trio, open_loop

def stuck():
    print("stuck", flush=True)
    while True:
        pass

async def main():
    reading, writing = os.pipe()
    os.write(writing, b"x")
    asyncio.get_running_loop().add_reader(reading, stuck)
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        print("cleaned up", flush=True)

async def hosted():
    async with open_loop():
        await aio_as_trio(main)()

try:
    if sys.argv[1] == "hosted":
        trio.run(hosted)
    else:
        trio_asyncio_compat.run(main)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.parametrize("kind", ["hosted", "flavour-free"])
def test_ctrl_c_breaks_a_reader_that_is_stuck_in_every_turn(kind: str) -> None:
    with subprocess.Popen([sys.executable, "-c", STUCK_READER, kind], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        lines = []
        while line := child.stdout.readline():
            lines.append(line.strip())
            # Two that come at once count as one.
            while line == "stuck\n" and not select.select([child.stdout], [], [], 1)[0]:
                child.send_signal(signal.SIGINT)
        assert child.wait() == 0
    assert lines.count("stuck") <= 2
    assert lines.count("cleaned up") == 1
    assert lines[-1] == "interrupted"


def test_a_driven_loop_may_be_driven_again(clean: Records, pipe: tuple[int, int]) -> None:
    loop = TrioEventLoop()
    try:
        loop.add_reader(pipe[0], leave)
        for _ in range(3):
            with pytest.raises(SystemExit):
                loop.run_forever()
    finally:
        loop.close()
