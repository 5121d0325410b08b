"""An asyncio program that uses trio code. It is started as asyncio programs are; only the loop is another.

Its jobs are asyncio's: a TaskGroup, a queue, a timeout. The part that is hard to get right (ask several servers, take the
first answer, and leave nothing running) is trio's, and may come from a library for trio.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import trio

from trio_asyncio_compat import new_event_loop, trio_as_aio

# Trio-flavoured: a library that knows nothing of asyncio.


async def first_answer(asks: Sequence[Callable[[], Awaitable[str]]], delay: float) -> str:
    """The first answer of several, the next one being asked when those before have taken `delay` seconds, or have failed."""
    answers: list[str] = []
    errors: list[Exception] = []

    async def attempt(number: int, cancel: Callable[[], None], next_one: trio.Event) -> None:
        try:
            answers.append(await asks[number]())
            cancel()
        except OSError as exc:
            errors.append(exc)
            next_one.set()

    async with trio.open_nursery() as nursery:
        for number in range(len(asks)):
            next_one = trio.Event()
            nursery.start_soon(attempt, number, nursery.cancel_scope.cancel, next_one)
            with trio.move_on_after(delay):
                await next_one.wait()
    if not answers:
        raise ExceptionGroup("nobody has answered", errors)
    return answers[0]


class Server:
    """What is asked: it takes so many seconds, or is down."""

    def __init__(self, name: str, seconds: float | None) -> None:
        self._name, self._seconds = name, seconds

    async def ask(self) -> str:
        if self._seconds is None:
            raise ConnectionRefusedError(f"{self._name} is down")
        try:
            await trio.sleep(self._seconds)
        except trio.Cancelled:
            print(f"  {self._name} need not answer any more")
            raise
        return f"answer of {self._name}"


# Asyncio-flavoured: the program.

JOBS = {
    "quick": [Server("a", 0.01), Server("b", 0.01)],
    "slow": [Server("c", 30), Server("d", 0.01)],
    "broken": [Server("e", None), Server("f", 0.01)],
    "down": [Server("g", None), Server("h", None)],
    "hopeless": [Server("i", 30)],
}


async def do(name: str) -> str:
    asks = [server.ask for server in JOBS[name]]
    try:
        # asyncio's timeout cancels the trio code, which clears up before it is over.
        async with asyncio.timeout(1):
            return await trio_as_aio(first_answer)(asks, 0.2)
    except TimeoutError:
        return "no answer in time"
    except ExceptionGroup as group:
        return f"{group.message}: {', '.join(map(str, group.exceptions))}"


async def worker(queue: asyncio.Queue[str]) -> None:
    while not queue.empty():
        name = queue.get_nowait()
        print(f"{name}: {await do(name)}")


async def main() -> None:
    queue = asyncio.Queue[str]()
    for name in JOBS:
        queue.put_nowait(name)
    async with asyncio.TaskGroup() as group:
        group.create_task(worker(queue))
    print("on", type(asyncio.get_running_loop()).__name__)


with asyncio.Runner(loop_factory=new_event_loop) as runner:
    runner.run(main())
