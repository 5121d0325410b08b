"""Rows that only loops on trio have: crossing the border, and how fair the two sides are to each other."""

from __future__ import annotations

import asyncio
import time

import trio

from .loops import bridge
from .row import Result, Row, of_waits, once, repeated

# Enough that a turn of the loop takes long beside one callback.
BUSY_ASYNCIO_TASKS = 100
BUSY_TRIO_TASKS = 10


async def call_that_waits(count: int) -> None:
    call = bridge().aio_as_trio(asyncio.sleep)
    for _ in range(count):
        await call(0)


async def call_that_never_waits(count: int) -> None:
    async def nothing() -> None:
        pass

    call = bridge().aio_as_trio(nothing)
    for _ in range(count):
        await call()


async def call_of_trio_that_waits(count: int) -> None:
    call = bridge().trio_as_aio(trio.sleep)

    async def asyncio_code() -> None:
        for _ in range(count):
            await call(0)

    await bridge().aio_as_trio(asyncio_code)()


async def call_of_trio_that_never_waits(count: int) -> None:
    async def nothing() -> None:
        pass

    call = bridge().trio_as_aio(nothing)

    async def asyncio_code() -> None:
        for _ in range(count):
            await call()

    await bridge().aio_as_trio(asyncio_code)()


async def flavour_free_awaits(count: int) -> None:
    """Both worlds awaited by one function."""

    async def both() -> None:
        for _ in range(count):
            await asyncio.sleep(0)
            await trio.sleep(0)

    await bridge().allow_asyncio(both)


async def trio_beside_busy_asyncio(seconds: float) -> Result:
    """How long a trio task waits in `checkpoint` while asyncio tasks keep the loop busy."""

    async def spin() -> None:
        while True:
            await asyncio.sleep(0)

    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(spin()) for _ in range(BUSY_ASYNCIO_TASKS)]
    # The tasks have begun, and what is allocated only once has been.
    for _ in range(10):
        await trio.lowlevel.checkpoint()
    waits = []
    end = (before := time.perf_counter()) + seconds
    while before < end:
        await trio.lowlevel.checkpoint()
        now = time.perf_counter()
        waits.append(now - before)
        before = now
    for task in tasks:
        task.cancel()
    return of_waits(waits)


async def asyncio_beside_busy_trio(seconds: float) -> Result:
    """How much later than asked `asyncio.sleep` returns while trio tasks keep trio busy."""

    async def spin() -> None:
        while True:
            await trio.lowlevel.checkpoint()

    async def sleeper() -> list[float]:
        delay = 0.0005
        waits = []
        end = (before := time.perf_counter()) + seconds
        while before < end:
            await asyncio.sleep(delay)
            now = time.perf_counter()
            waits.append(now - before - delay)
            before = now
        return waits

    async with trio.open_nursery() as nursery:
        for _ in range(BUSY_TRIO_TASKS):
            nursery.start_soon(spin)
        waits = await bridge().aio_as_trio(sleeper)()
        nursery.cancel_scope.cancel()
    return of_waits(waits)


ROWS = [
    Row("border", "trio calls asyncio that waits once", repeated(call_that_waits), flavour="trio"),
    Row("border", "trio calls asyncio that never waits", repeated(call_that_never_waits), flavour="trio"),
    Row("border", "asyncio calls trio that waits once", repeated(call_of_trio_that_waits), flavour="trio"),
    Row("border", "asyncio calls trio that never waits", repeated(call_of_trio_that_never_waits), flavour="trio"),
    Row("border", "flavour-free: asyncio.sleep(0), trio.sleep(0)", repeated(flavour_free_awaits), flavour="trio"),
    Row("fairness", "checkpoint() of a trio task, 100 busy asyncio tasks", once(trio_beside_busy_asyncio), flavour="trio", unit="waits"),
    Row("fairness", "lateness of a timer of asyncio, 10 busy trio tasks", once(asyncio_beside_busy_trio), flavour="trio", unit="waits"),
]
