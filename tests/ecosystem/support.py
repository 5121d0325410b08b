"""What the tests of the libraries share: many calls at once, calls that are cut off, and peers that can be killed.

A scenario is asyncio-flavoured, as the libraries are. These helpers let trio and asyncio take part in equal shares in each, whichever
way the loop runs. On asyncio's own loop (`--stock-asyncio`) the trio half is left out.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trio

from trio_asyncio_compat import TrioEventLoop, aio_as_trio, trio_as_aio

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]
# How many calls are under way at once.
MANY = 24
# After how many seconds a call that would never end is cut off. The servers are local: each call has begun long before.
CUT = 0.2


def on_our_loop() -> bool:
    return isinstance(asyncio.get_running_loop(), TrioEventLoop)


async def at_once(job: Callable[[int], Awaitable[T]], count: int = MANY) -> list[T]:
    """The results of `job(0)`, `job(1)`, ..., run at once: the even ones by a trio nursery, the odd ones by an asyncio TaskGroup."""
    results: dict[int, T] = {}

    async def one(number: int) -> None:
        results[number] = await job(number)

    async def from_trio(numbers: range) -> None:
        async with trio.open_nursery() as nursery:
            for number in numbers:
                nursery.start_soon(aio_as_trio(one), number)

    ours = on_our_loop()
    async with asyncio.TaskGroup() as group:
        if ours:
            group.create_task(trio_as_aio(from_trio)(range(0, count, 2)))
        for number in range(1, count, 2) if ours else range(count):
            group.create_task(one(number))
    return [results[number] for number in range(count)]


async def cut_off(job: Callable[[], Awaitable[object]]) -> None:
    """Calls of `job`, which would never end, are ended by asyncio's timeout, by `Task.cancel`, and by a trio scope."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(CUT):
            await job()

    async def call() -> None:
        await job()

    task = asyncio.create_task(call())
    asyncio.get_running_loop().call_later(CUT, task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await task

    async def from_trio() -> None:
        with trio.move_on_after(CUT) as scope:
            await aio_as_trio(call)()
        assert scope.cancelled_caught

    if on_our_loop():
        await trio_as_aio(from_trio)()


class Peer:
    """Another process, on the far side of a connection. It has said `hello`, a line, when it is ready."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self._process = process
        self.pid = process.pid
        self.hello = process.stdout.readline().strip()

    def kill(self) -> None:
        """End it without any farewell (SIGKILL)."""
        self._process.kill()
        self._process.wait()

    def finish(self) -> None:
        """Let it end by itself, which it does when its stdin ends; what it writes to stderr is the test's."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(30) == 0


@contextmanager
def peer(module: str, *args: str) -> Iterator[Peer]:
    """Run `python -m module args`, one of the test files, as a peer; in the end it is gone."""
    command = [sys.executable, "-m", module, *args]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            yield Peer(process)
        finally:
            process.kill()


def be_a_peer(server: Callable[[], AbstractAsyncContextManager[Any]]) -> None:
    """What such a process does: print what `server()` gives (its port), and serve on our loop until stdin ends."""

    async def main() -> None:
        async with server() as hello:
            print(hello, flush=True)
            await asyncio.to_thread(sys.stdin.read)

    with asyncio.Runner(loop_factory=TrioEventLoop) as runner:
        runner.run(main())
