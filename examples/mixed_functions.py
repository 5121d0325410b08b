"""Functions of both worlds in one program: each calls the other, and one awaits both.

python examples/mixed_functions.py
"""

from __future__ import annotations

import asyncio
import sys

import trio

from trio_asyncio_compat import aio_as_trio, gather, run, trio_as_aio


async def fetch(name: str) -> str:
    """asyncio-flavoured, as an asyncio library would be."""
    await asyncio.sleep(0.02)
    return f"page of {name}"


async def count(channel: trio.MemorySendChannel[int]) -> None:
    """trio-flavoured."""
    async with channel:
        for number in range(3):
            await trio.sleep(0.01)
            await channel.send(number)


async def trio_calls_asyncio() -> None:
    print("trio calls asyncio:", await aio_as_trio(fetch)("one"))
    print("several at once:", await gather(fetch("two"), fetch("three")))
    with trio.move_on_after(0.01) as scope:
        await aio_as_trio(fetch)("a slow one")
    print("a trio scope cancelled the slow one:", scope.cancelled_caught)
    try:
        async with aio_as_trio(asyncio.timeout(0.01)):
            await trio.sleep_forever()
    except TimeoutError:
        print("asyncio.timeout around trio code: TimeoutError")


async def asyncio_calls_trio() -> None:
    async with trio_as_aio(trio.open_nursery()) as nursery:
        sender, receiver = trio.open_memory_channel[int](0)
        nursery.start_soon(count, sender)
        async for number in trio_as_aio(receiver):
            print("asyncio receives from a trio channel:", number)
    async with trio_as_aio(trio.move_on_after(0.01)) as scope:
        await asyncio.sleep(3600)
    print("trio.move_on_after around asyncio code:", scope.cancelled_caught)


async def both() -> None:
    """Flavour-free, as the main function of `run` is: awaits trio and asyncio, whatever comes."""
    print("both:", await fetch("four"), "and", await asyncio.wait_for(fetch("five"), 1))
    async with asyncio.timeout(1), trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep, 0.01)
        await asyncio.sleep(0.01)
    await trio_calls_asyncio()
    await aio_as_trio(asyncio_calls_trio)()
    print(sys.implementation.name, "is done")


if __name__ == "__main__":
    run(both)
