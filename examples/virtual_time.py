"""Tests with virtual time: a client that tries for hours, asyncio's and trio's timers both, tested in no time.

    python -m pytest examples/virtual_time.py
    python examples/virtual_time.py

`autojump_clock` is pytest-trio's: when there is nothing else to do, its time jumps to the next deadline. asyncio's timers are among them.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from trio_asyncio_compat import aio_as_trio

# What is tested.


async def try_again(job: Callable[[], Awaitable[str]], first_delay: float, give_up_after: float) -> str:
    """Asyncio-flavoured: call `job` until it succeeds, with a delay between that doubles. TimeoutError after so many seconds."""
    delay = first_delay
    async with asyncio.timeout(give_up_after):
        while True:
            try:
                return await job()
            except ConnectionError:
                await asyncio.sleep(delay)
                delay *= 2


class Flaky:
    """A server that is up from a certain time on."""

    def __init__(self, up_from: float) -> None:
        self.asked_at: list[float] = []
        self._up_from = up_from

    async def ask(self) -> str:
        now = asyncio.get_running_loop().time()
        self.asked_at.append(now)
        if now < self._up_from:
            raise ConnectionRefusedError
        return "an answer"


# The tests. `aio_loop` and the mark `flavour_free` come with this package.


@pytest.mark.trio
async def test_delays_double(autojump_clock: MockClock, aio_loop: object) -> None:
    start = trio.current_time()
    server = Flaky(up_from=start + 10_000)
    assert await aio_as_trio(try_again)(server.ask, 60, 86_400) == "an answer"
    assert [round(at - start) for at in server.asked_at] == [0, 60, 180, 420, 900, 1860, 3780, 7620, 15300]


@pytest.mark.flavour_free
async def test_gives_up_after_a_day(autojump_clock: MockClock) -> None:
    start = trio.current_time()
    with pytest.raises(TimeoutError):
        await try_again(Flaky(up_from=float("inf")).ask, 60, 86_400)
    assert round(trio.current_time() - start) == 86_400


@pytest.mark.flavour_free
async def test_trio_scope_ends_it_sooner(autojump_clock: MockClock) -> None:
    with trio.move_on_after(3600) as scope:
        await try_again(Flaky(up_from=float("inf")).ask, 60, 86_400)
    assert scope.cancelled_caught


if __name__ == "__main__":
    start = time.monotonic()
    code = pytest.main(["-q", "-p", "no:asyncio", "-p", "no:cacheprovider", __file__])
    print("more than a day, in less than a minute:", time.monotonic() - start < 60)
    sys.exit(code)
