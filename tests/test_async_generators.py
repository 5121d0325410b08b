"""Async generators: who finishes those that are left in the middle, and when."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest
import sniffio
import trio
import trio.testing

from trio_asyncio_compat import aio_as_trio

from .support import Run


async def numbers(ended: list[str]) -> AsyncIterator[int]:
    try:
        while True:
            yield 1
    finally:
        await asyncio.sleep(0)
        ended.append(sniffio.current_async_library())


async def trio_numbers(ended: list[str]) -> AsyncIterator[int]:
    try:
        while True:
            yield 1
    finally:
        with trio.CancelScope(shield=True):
            ended.append(sniffio.current_async_library())


def test_a_generator_that_is_dropped_is_finished_soon(run: Run) -> None:
    async def main() -> None:
        ended: list[str] = []
        async for _ in numbers(ended):
            break
        gc.collect()
        for _ in range(5):
            await asyncio.sleep(0)
        assert ended == ["asyncio"]

    run(main)


def test_shutdown_asyncgens_finishes_all_and_warns_of_later_ones(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        ended: list[str] = []
        generators = [numbers(ended) for _ in range(10)]
        for generator in generators:
            await anext(generator)
        await loop.shutdown_asyncgens()
        assert ended == ["asyncio"] * 10
        await loop.shutdown_asyncgens()
        late: Any = numbers(ended)
        with pytest.warns(ResourceWarning, match="shutdown_asyncgens"):
            await anext(late)
        await late.aclose()

    run(main)


def test_an_error_of_a_generator_at_the_end_is_reported(run: Run) -> None:
    async def failing() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            raise ValueError("at the end")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        reports: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: reports.append(context))
        generator = failing()
        await anext(generator)
        await loop.shutdown_asyncgens()
        [report] = reports
        assert str(report["exception"]) == "at the end"
        assert report["asyncgen"] is generator

    run(main)


def test_generators_left_open_end_with_the_loop(run: Run) -> None:
    ended: list[str] = []
    kept: list[Any] = []

    async def main() -> None:
        kept.append(numbers(ended))
        await anext(kept[0])

    run(main)
    assert ended == ["asyncio"]


def test_each_side_finishes_the_generators_it_began(hosted_run: Run) -> None:
    """Whichever side drops them."""
    ended: list[str] = []

    async def trio_main() -> None:
        asyncios: Any = numbers(ended)
        trios: Any = trio_numbers(ended)
        await aio_as_trio(anext)(asyncios)
        await anext(trios)

        del asyncios
        gc.collect()
        await aio_as_trio(asyncio.sleep)(0.001)
        assert ended == ["asyncio"]
        # trio's own finaliser has its warning.
        with pytest.warns(ResourceWarning, match="was garbage collected before it had been exhausted"):
            del trios
            gc.collect()
        await trio.testing.wait_all_tasks_blocked()
        assert ended == ["asyncio", "trio"]

    hosted_run.trio_run(trio_main)
