"""Rows whose work is done inside the measured process: each is an async function that does it `count` times."""

from __future__ import annotations

import asyncio

from .row import Row, repeated


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


async def subprocess_pipes(count: int) -> None:
    """1 KiB to a child process and back."""
    child = await asyncio.create_subprocess_exec("cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
    assert child.stdin is not None
    assert child.stdout is not None
    message = b"x" * 1024
    for _ in range(count):
        child.stdin.write(message)
        await child.stdout.readexactly(len(message))
    child.stdin.close()
    await child.wait()


ROWS = [
    Row("cpu", "call_soon chained", repeated(call_soon_chained)),
    Row("cpu", "call_soon 100 wide", repeated(call_soon_wide)),
    Row("cpu", "sleep(0)", repeated(sleep_zero)),
    Row("cpu", "gather of 1,000", repeated(gather_thousand)),
    Row("cpu", "100k timers", repeated(timers)),
    Row("cpu", "timeout armed and disarmed", repeated(timeout_disarmed)),
    Row("cpu", "queue ping-pong", repeated(queue_ping_pong)),
    Row("cpu", "to_thread", repeated(to_thread), one_core=True),
    Row("more", "subprocess pipes, 1 KiB there and back", repeated(subprocess_pipes), one_core=True),
]
