"""A bug: `fill` is called without `await`, so it never runs, and who waits for what it was to bring waits for ever."""

from __future__ import annotations

import asyncio

from trio_asyncio_compat import HangError, aio_as_trio, run


async def fill(queue: asyncio.Queue[int]) -> None:
    for number in range(3):
        await queue.put(number)


async def take_all(queue: asyncio.Queue[int]) -> int:
    fill(queue)
    total = 0
    for _ in range(3):
        total += await queue.get()
    return total


async def main() -> None:
    print(await aio_as_trio(take_all)(asyncio.Queue()))


try:
    run(main, deadlock_after=0.5)
except HangError as error:
    print(error)
