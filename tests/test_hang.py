"""`run(deadlock_after=...)`: a program that hangs fails with the task tree; one that makes progress does not."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from trio_asyncio_compat import HangError, aio_as_trio, run, trio_as_aio

from .support import Records


async def trio_deadlock() -> None:
    await trio.Event().wait()


async def asyncio_deadlock() -> None:
    await asyncio.get_running_loop().create_future()


async def deadlock_across_the_border() -> None:
    lock = trio.Lock()

    async def wants_lock() -> None:
        async with lock:
            pass

    async with lock:
        await aio_as_trio(trio_as_aio(wants_lock))()


@pytest.mark.parametrize("fn", [trio_deadlock, asyncio_deadlock])
def test_a_program_in_which_nothing_moves_fails_with_the_tree(fn: object, clean: Records) -> None:
    with pytest.raises(HangError, match="nothing has moved") as caught:
        run(fn, deadlock_after=0.05)  # type: ignore[arg-type]
    assert fn.__name__ in caught.value.tree  # type: ignore[attr-defined]


def test_a_lock_held_across_the_border_is_named(clean: Records) -> None:
    async def main() -> None:
        await deadlock_across_the_border()

    with pytest.raises(HangError) as caught:
        run(main, deadlock_after=0.05)
    assert "the lock is held by #" in caught.value.tree
    assert "these wait for each other: #" in caught.value.tree


def test_a_callback_that_blocks_is_shown_at_once_and_fails_when_it_ends(clean: Records, capsys: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_soon(block)
        await trio.sleep_forever()

    def block() -> None:
        # As long as nothing has been printed about it.
        deadline = time.monotonic() + 10
        while "block" not in (text := capsys.readouterr().err) and time.monotonic() < deadline:
            threading.Event().wait(0.01)
        printed.append(text)

    printed: list[str] = []
    with pytest.raises(HangError, match="has taken more than") as caught:
        run(main, deadlock_after=0.05)
    assert "running  test_a_callback" in printed[0]
    assert caught.value.tree in printed[0]


def test_a_pending_timer_is_no_hang(clean: Records) -> None:
    async def main() -> str:
        await trio.sleep(0.1)
        await asyncio.sleep(0.1)
        return "done"

    assert run(main, deadlock_after=0.03) == "done"


def test_virtual_time_is_no_hang(clean: Records) -> None:
    async def main() -> str:
        await asyncio.sleep(3600)
        return "done"

    assert run(main, deadlock_after=5, clock=trio.testing.MockClock(autojump_threshold=0)) == "done"


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_the_time_must_be_positive(seconds: float) -> None:
    with pytest.raises(ValueError, match="deadlock_after must be"):
        run(trio_deadlock, deadlock_after=seconds)


async def left_timeout() -> None:
    async with asyncio.timeout(5):
        await asyncio.sleep(0)


async def left_wait_for() -> None:
    await asyncio.wait_for(asyncio.sleep(0), 5)


@pytest.mark.parametrize("leave", [left_timeout, left_wait_for])
def test_a_timeout_that_was_left_is_no_pending_timer(leave: Callable[[], Awaitable[None]], clean: Records) -> None:
    async def main() -> None:
        await leave()
        await asyncio.Event().wait()

    began = time.monotonic()
    with pytest.raises(HangError, match="nothing has moved"):
        run(main, deadlock_after=0.05)
    assert time.monotonic() - began < 4
