"""Load for minutes, on one hosted loop: `python -m tests.trust.soak --minutes 10`.

Clients of several kinds, half of them asyncio tasks and half trio tasks, talk to echo servers of the same loop; every byte is
compared. From the second half on, memory, descriptors, threads, timers and tasks must not grow. Prints what was done; ends with 1 and
says why if something is wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import gc
import os
import random
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from trio_asyncio_compat import TrioEventLoop, aio_as_trio, allow_asyncio, open_loop, trio_as_aio

from .states import tls_contexts

WORKERS = 100
CHUNK = 16_384
# Seconds at which the figures are taken.
INTERVAL = 1.0
# How far the last quarter may be above the one before it, in parts and beyond that in units.
SLACK: dict[str, tuple[float, float]] = {
    "resident MB": (0.05, 8),
    "descriptors": (0.1, 20),
    "threads": (0.0, 2),
    "timers": (0.1, 50),
    "trio tasks": (0.1, 10),
    "asyncio tasks": (0.1, 60),
}

Session = Callable[["Soak", random.Random], Awaitable[None]]


class Soak:
    """The servers' addresses, and what has been done."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.done: collections.Counter[str] = collections.Counter()
        self.bytes = 0
        self.figures: list[dict[str, float]] = []
        self.plain: tuple[str, int] = ("", 0)
        self.tls: tuple[str, int] = ("", 0)
        self.context: ssl.SSLContext | None = None
        self.over = False

    async def connect(self, *, tls: bool = False) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A client's connection."""
        if tls:
            return await asyncio.open_connection(*self.tls, ssl=self.context, server_hostname="localhost")
        return await asyncio.open_connection(*self.plain)

    def check(self, sent: bytes, received: bytes) -> None:
        """Raise unless every byte has come back."""
        if sent != received:
            raise AssertionError(f"{len(sent)} bytes were sent, and {len(received)} came back, not the same")
        self.bytes += 2 * len(sent)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The server's side."""
    try:
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
        writer.close()
        await writer.wait_closed()
    except (ConnectionError, ssl.SSLError, TimeoutError):
        writer.transport.abort()


async def _exchange(soak: Soak, chance: random.Random, size: int, *, tls: bool = False, slow: bool = False) -> None:
    reader, writer = await soak.connect(tls=tls)
    try:
        data = chance.randbytes(size)

        async def send() -> None:
            for start in range(0, size, CHUNK):
                writer.write(data[start : start + CHUNK])
                await writer.drain()

        async with asyncio.TaskGroup() as group:
            group.create_task(send())
            received = bytearray()
            while len(received) < size:
                received += await reader.readexactly(min(1000 if slow else CHUNK, size - len(received)))
                if slow:
                    await asyncio.sleep(0)
        soak.check(data, bytes(received))
        writer.close()
        await writer.wait_closed()
    finally:
        if not writer.is_closing():
            writer.transport.abort()


async def small(soak: Soak, chance: random.Random) -> None:
    await _exchange(soak, chance, chance.randrange(1, 2000))


async def large(soak: Soak, chance: random.Random) -> None:
    await _exchange(soak, chance, chance.randrange(100_000, 600_000))


async def slow_reader(soak: Soak, chance: random.Random) -> None:
    await _exchange(soak, chance, 100_000, slow=True)


async def over_tls(soak: Soak, chance: random.Random) -> None:
    await _exchange(soak, chance, chance.randrange(1, 100_000), tls=True)


async def half_close(soak: Soak, chance: random.Random) -> None:
    reader, writer = await soak.connect()
    data = chance.randbytes(chance.randrange(1, 50_000))
    try:
        writer.write(data)
        writer.write_eof()
        soak.check(data, await reader.read())
    finally:
        writer.transport.abort()


async def reset(soak: Soak, chance: random.Random) -> None:
    _, writer = await soak.connect()
    writer.write(chance.randbytes(chance.randrange(1, 50_000)))
    await asyncio.sleep(0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def timed_out(soak: Soak, chance: random.Random) -> None:
    try:
        async with asyncio.timeout(chance.uniform(0, 0.01)):
            await _exchange(soak, chance, 200_000, tls=chance.random() < 0.5)
    except TimeoutError:
        pass


async def cancelled(soak: Soak, chance: random.Random) -> None:
    task = asyncio.create_task(_exchange(soak, chance, 200_000))
    await asyncio.wait([task], timeout=chance.uniform(0, 0.01))
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()


async def in_a_thread(soak: Soak, chance: random.Random) -> None:
    data = chance.randbytes(1000)
    soak.check(data, await asyncio.to_thread(bytes, data))


SESSIONS: list[Session] = [small, small, large, slow_reader, over_tls, half_close, reset, timed_out, cancelled, in_a_thread]

# Trio's own.


async def cancelled_by_trio(soak: Soak, chance: random.Random) -> None:
    with trio.move_on_after(chance.uniform(0, 0.01)):
        await aio_as_trio(_exchange)(soak, chance, 200_000)


async def trio_client(soak: Soak, chance: random.Random) -> None:
    data = chance.randbytes(chance.randrange(1, 30_000))
    async with await trio.open_tcp_stream(*soak.plain) as stream:
        await stream.send_all(data)
        received = b""
        while len(received) < len(data):
            received += await stream.receive_some()
        soak.check(data, received)


async def from_asyncio(soak: Soak, chance: random.Random) -> None:
    await trio_as_aio(trio_client)(soak, chance)


async def timed_out_in_trio(soak: Soak, chance: random.Random) -> None:
    try:
        async with asyncio.timeout(chance.uniform(0, 0.01)):
            async with trio_as_aio(trio.open_nursery()) as nursery:
                nursery.start_soon(trio_client, soak, chance)
                await trio_as_aio(cancelled_by_trio)(soak, chance)
    except TimeoutError:
        pass


async def flavour_free(soak: Soak, chance: random.Random) -> None:
    """Cancelled from both worlds, whichever comes first."""
    with trio.move_on_after(chance.uniform(0, 0.02)):
        await trio_client(soak, chance)
        try:
            # Not around trio's client: asyncio's timeout does not see through the nursery in which that connects.
            async with asyncio.timeout(chance.uniform(0, 0.02)):
                await trio.sleep(chance.uniform(0, 0.01))
                await _exchange(soak, chance, 50_000)
        except TimeoutError:
            pass


async def allowing_asyncio(soak: Soak, chance: random.Random) -> None:
    await allow_asyncio(flavour_free, soak, chance)


SESSIONS += [from_asyncio, timed_out_in_trio]
TRIO_SESSIONS: list[Session] = [
    *(aio_as_trio(session) for session in SESSIONS),
    cancelled_by_trio,
    cancelled_by_trio,
    trio_client,
    allowing_asyncio,
]


async def work(soak: Soak, number: int, sessions: list[Session]) -> None:
    """One worker: sessions in a row."""
    chance = random.Random(f"{soak.seed}-{number}")
    while not soak.over:
        session = chance.choice(sessions)
        await session(soak, chance)
        soak.done[session.__name__] += 1


def figures(loop: TrioEventLoop) -> dict[str, float]:
    """What must not grow."""
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[1])
    return {
        "resident MB": pages * os.sysconf("SC_PAGE_SIZE") / 1e6,
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "timers": loop._scheduler.scheduled,
        "trio tasks": trio.lowlevel.current_statistics().tasks_living,
        "asyncio tasks": len(asyncio.all_tasks(loop)),
    }


def growth(rows: list[dict[str, float]]) -> list[str]:
    """What is higher in the last quarter than in the one before it."""
    quarter = len(rows) // 4
    before, last = rows[-2 * quarter : -quarter], rows[-quarter:]
    found = []
    for name, (part, units) in SLACK.items():
        high, low = max(row[name] for row in last), max(row[name] for row in before)
        if high > low * (1 + part) + units:
            found.append(f"{name} has grown from {low:g} to {high:g}")
    return found


async def soak_for(seconds: float, soak: Soak, poller: Any) -> None:
    """Everything, inside of trio."""
    async with open_loop(poller=poller) as loop:
        reports: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda loop, context: reports.append(context))
        for_server, soak.context = tls_contexts()
        servers = [await aio_as_trio(asyncio.start_server)(echo, "127.0.0.1", 0, ssl=tls) for tls in (None, for_server)]
        soak.plain, soak.tls = (server.sockets[0].getsockname() for server in servers)
        async with trio.open_nursery() as nursery:
            for number in range(0, WORKERS, 2):
                nursery.start_soon(aio_as_trio(work), soak, number, SESSIONS)
                nursery.start_soon(work, soak, number + 1, TRIO_SESSIONS)
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                await trio.sleep(INTERVAL)
                # What only the collector frees would make the figures rise and fall.
                gc.collect()
                soak.figures.append(figures(loop))
            soak.over = True
        # A handler of a connection that was reset or cut may complain of it; nothing else may.
        odd = [report for report in reports if not isinstance(report.get("exception"), (OSError, EOFError))]
        if odd:
            raise AssertionError(f"reported: {odd[:3]}")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.trust.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--poller", choices=["nested", "task"])
    options = parser.parse_args()
    soak = Soak(options.seed)
    trio.run(soak_for, options.minutes * 60, soak, options.poller)
    print(f"seed {soak.seed}: {sum(soak.done.values())} sessions, {soak.bytes / 1e6:.0f} MB compared")
    print(dict(soak.done))
    print("at the half:", soak.figures[len(soak.figures) // 2])
    print("at the end: ", soak.figures[-1])
    if grown := growth(soak.figures):
        sys.exit("; ".join(grown))


if __name__ == "__main__":
    main()
