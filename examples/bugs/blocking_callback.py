"""A bug: an asyncio callback calls something that blocks, and everything else in both worlds stands still."""

from __future__ import annotations

import asyncio
import sys
import time

import trio
import trio.lowlevel

from trio_asyncio_compat import HangError, aio_as_trio, run


def resolve(name: str) -> None:
    time.sleep(1)  # what a blocking client library does inside


async def lookup() -> None:
    resolve("localhost")


async def ticker() -> None:
    for _ in range(100):
        await trio.sleep(0.1)


async def main() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ticker)
        await trio.lowlevel.checkpoint()
        await aio_as_trio(asyncio.gather)(lookup(), asyncio.sleep(0.2))
        nursery.cancel_scope.cancel()


sys.stderr = sys.stdout  # where the tree is printed while it hangs
try:
    run(main, deadlock_after=0.5)
except HangError:
    print("and then it went on")
