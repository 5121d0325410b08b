"""Rows about what many of something cost: connections, timers, tasks. The small case stands beside the large one."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import subprocess
from collections.abc import AsyncIterator

from .echo import Echo, EchoProtocol, serve_tcp
from .load import in_thread, load_program
from .row import MEMORY, Measure, Ready, Result, Row, memory, once, repeating

ACTIVE = 100
IDLE_MEASURED = 5_000
TASKS = 100_000


@contextlib.asynccontextmanager
async def held(address: str, connections: int) -> AsyncIterator[None]:
    """So many idle connections to `address`, from a process of its own."""
    # Not by the loop's own subprocesses, which are not what is measured.
    process = subprocess.Popen([load_program(), "hold", address, str(connections)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        if not await in_thread(process.stdout.readline):
            raise RuntimeError(f"could not open {connections} connections: is the limit of open files high enough?")
        yield
    finally:
        process.kill()
        process.communicate()


def echo_beside_idle(idle: int) -> Ready:
    """Echo over 100 connections of a server that has so many others, which are silent."""

    async def serve() -> tuple[str, object]:
        address, server = await serve_tcp(EchoProtocol)
        stack = contextlib.AsyncExitStack()
        await stack.enter_async_context(held(address, idle))
        return address, (server, stack)

    return Echo(serve, ACTIVE, 1024).ready


async def memory_per_connection(seconds: float) -> Result:
    accepted = 0

    class Counted(EchoProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            nonlocal accepted
            super().connection_made(transport)
            accepted += 1

    address, server = await serve_tcp(Counted)
    # What is allocated only once has been.
    async with held(address, 100):
        gc.collect()
        first, before = accepted, memory()
        async with held(address, IDLE_MEASURED):
            while accepted < first + IDLE_MEASURED:
                await asyncio.sleep(0.01)
            gc.collect()
            used = memory() - before
    del server
    return Result(used / IDLE_MEASURED)


async def memory_per_task(seconds: float) -> Result:
    gate = asyncio.Event()

    async def wait() -> None:
        await gate.wait()

    await asyncio.create_task(asyncio.sleep(0))
    gc.collect()
    before = memory()
    tasks = [asyncio.create_task(wait()) for _ in range(TASKS)]
    await asyncio.sleep(0)
    gc.collect()
    used = memory() - before
    gate.set()
    await asyncio.gather(*tasks)
    return Result(used / TASKS)


def timers_beside(live: int) -> Ready:
    """Timers made and cancelled, and as many made and fired, while so many others are alive."""

    @contextlib.asynccontextmanager
    async def ready() -> AsyncIterator[Measure]:
        loop = asyncio.get_running_loop()
        others = [loop.call_later(3600 + number * 7919 % 100_003, int) for number in range(live)]

        async def work(count: int) -> None:
            for number in range(count):
                loop.call_later(60 + number % 7, int).cancel()
                await asyncio.sleep(1e-9)

        yield repeating(work)
        for timer in others:
            timer.cancel()

    return ready


per_second = functools.partial(Row, "growth")
ROWS = [
    *(per_second(f"echo 1 KiB by protocol, 100 of {ACTIVE + idle:,} connections", echo_beside_idle(idle)) for idle in (0, 9_900)),
    *(per_second(f"two timers, {live:,} others alive", timers_beside(live)) for live in (100, 1_000_000)),
]
if MEMORY.exists():
    ROWS += [
        Row("growth", "memory of an idle connection", once(memory_per_connection), unit="bytes each"),
        Row("growth", "memory of a task that waits", once(memory_per_task), unit="bytes each"),
    ]
