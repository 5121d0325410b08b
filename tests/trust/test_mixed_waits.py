"""Generated programs behave alike whichever world they wait in: asyncio's waits on asyncio's own loop are the model.

Where two tasks go on at one instant, the worlds may differ in their order. So these are programs of one task, with timeouts, clean-up and
cancellations, in which no two things fall together: each kind has its own fraction of the instants.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from trio_asyncio_compat import allow_asyncio, trio_as_aio

from ..support import hang_guard
from .descriptions import new_error
from .worlds import OURS, Main, on_asyncio

Block = tuple[tuple[Any, ...], ...]
Sleep = Callable[[float], Awaitable[object]]
# Waits last eighths of a second.
waits = st.integers(1, 6).map(lambda number: number / 8)
DEPTH = 3


def blocks(depth: int) -> st.SearchStrategy[Block]:
    """Blocks with blocks in them. What expires in the deeper ones does so at finer fractions."""
    fraction = 2.0 ** (-6 * (DEPTH - depth + 1))
    statements: list[st.SearchStrategy[tuple[Any, ...]]] = [
        st.tuples(st.just("sleep"), waits),
        st.tuples(st.just("raise"), st.sampled_from(["ValueError", "CancelledError", "TimeoutError"])),
        st.tuples(st.just("cancel"), waits.map(lambda wait: wait + fraction / 2)),
    ]
    if depth:
        inner = blocks(depth - 1)
        statements += [
            st.tuples(st.just("timeout"), waits.map(lambda wait: wait + fraction), inner),
            st.tuples(st.just("finally"), inner, inner),
            st.tuples(st.just("except"), st.sampled_from(["ValueError", "CancelledError", "TimeoutError"]), inner, inner),
        ]
    return st.lists(st.one_of(statements), min_size=1, max_size=4).map(tuple)


class Execution:
    """Runs one program, whose waits are made by `sleep`, and writes down what happens when."""

    def __init__(self, program: Block) -> None:
        self.program = program
        self.trace: list[Any] = []

    def note(self, *what: Any) -> None:
        self.trace.append((asyncio.get_running_loop().time() - self.start, *what))

    async def main(self, sleep: Sleep) -> None:
        self.start = asyncio.get_running_loop().time()
        self.timers: list[asyncio.TimerHandle] = []
        try:
            await self.block(self.program, sleep)
            self.note("returns")
        except (ValueError, TimeoutError, asyncio.CancelledError) as exc:
            self.note("ends", type(exc).__mro__[-4:] if isinstance(exc, trio.Cancelled) else type(exc).__name__)
        for timer in self.timers:
            timer.cancel()

    async def block(self, block: Block, sleep: Sleep) -> None:
        task = asyncio.current_task()
        assert task is not None
        for word, *args in block:
            if word == "sleep":
                await sleep(args[0])
                self.note("has slept", args[0])
            elif word == "raise":
                raise new_error(args[0])
            elif word == "cancel":
                self.timers.append(asyncio.get_running_loop().call_later(args[0], task.cancel))
            elif word == "timeout":
                try:
                    async with asyncio.timeout(args[0]):
                        await self.block(args[1], sleep)
                except TimeoutError:
                    self.note("timeout", task.cancelling())
            elif word == "finally":
                try:
                    await self.block(args[0], sleep)
                finally:
                    self.note("finally", task.cancelling())
                    await self.block(args[1], sleep)
            else:
                try:
                    await self.block(args[1], sleep)
                except type(new_error(args[0])):
                    self.note("caught", args[0], task.cancelling())
                    await self.block(args[2], sleep)


def alternating(*sleeps: Sleep) -> Sleep:
    """Each in its turn."""
    turns = 0

    async def sleep(seconds: float) -> None:
        nonlocal turns
        turns += 1
        await sleeps[turns % len(sleeps)](seconds)

    return sleep


async def plain(execution: Execution) -> None:
    await execution.main(asyncio.sleep)


async def calling_trio(execution: Execution) -> None:
    await execution.main(alternating(trio_as_aio(trio.sleep), asyncio.sleep))


async def flavour_free(execution: Execution) -> None:
    async def in_trio() -> None:
        await allow_asyncio(execution.main, alternating(trio.sleep, asyncio.sleep))

    await trio_as_aio(in_trio)()


def observed(run: Callable[[Main, bool], None], form: Callable[[Execution], Any], program: Block) -> list[Any]:
    execution = Execution(program)
    run(lambda: form(execution), False)
    return execution.trace


@pytest.mark.parametrize("form", [calling_trio, flavour_free])
@pytest.mark.parametrize("world", OURS)
def test_waits_of_either_world_are_like_those_of_asyncio(world: str, form: Callable[[Execution], Any], cheap_collections: None) -> None:
    @settings(
        max_examples=100,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(blocks(DEPTH))
    def check(program: Block) -> None:
        with hang_guard(10):
            assert observed(OURS[world], form, program) == observed(on_asyncio, plain, program)

    check()
