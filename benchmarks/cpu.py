"""Rows that measure scheduling: each is an async function that does its work `count` times."""

from __future__ import annotations

import asyncio


async def call_soon_chained(count: int) -> None:
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def step(left: int) -> None:
        if left:
            loop.call_soon(step, left - 1)
        else:
            done.set_result(None)

    step(count)
    await done


async def call_soon_wide(count: int) -> None:
    """100 callbacks in each turn."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    left = count

    def step() -> None:
        nonlocal left
        left -= 1
        if left > 0:
            loop.call_soon(step)
        elif not done.done():
            done.set_result(None)

    for _ in range(100):
        loop.call_soon(step)
    await done


async def sleep_zero(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def gather_thousand(count: int) -> None:
    async def child() -> None:
        await asyncio.sleep(0)

    for _ in range(count):
        await asyncio.gather(*[child() for _ in range(1000)])


async def timers(count: int) -> None:
    """100,000 timers made, then all of them fired."""
    loop = asyncio.get_running_loop()
    for _ in range(count):
        done = loop.create_future()
        left = 100_000

        def fire(done: asyncio.Future[None] = done) -> None:
            nonlocal left
            left -= 1
            if not left:
                done.set_result(None)

        now = loop.time()
        for number in range(100_000):
            # Not in the order in which they are due.
            loop.call_at(now + (number * 7919 % 100_000) * 1e-7, fire)
        await done


async def timeout_disarmed(count: int) -> None:
    for _ in range(count):
        async with asyncio.timeout(60):
            await asyncio.sleep(0)


async def queue_ping_pong(count: int) -> None:
    there: asyncio.Queue[int] = asyncio.Queue()
    back: asyncio.Queue[int] = asyncio.Queue()

    async def answer() -> None:
        for _ in range(count):
            back.put_nowait(await there.get())

    task = asyncio.ensure_future(answer())
    for number in range(count):
        there.put_nowait(number)
        await back.get()
    await task


async def to_thread(count: int) -> None:
    for _ in range(count):
        await asyncio.to_thread(int)


ROWS = {
    "call_soon chained": call_soon_chained,
    "call_soon 100 wide": call_soon_wide,
    "sleep(0)": sleep_zero,
    "gather of 1,000": gather_thousand,
    "100k timers": timers,
    "timeout armed and disarmed": timeout_disarmed,
    "queue ping-pong": queue_ping_pong,
    "to_thread": to_thread,
}
