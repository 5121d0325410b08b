"""`gather` for trio code, flavour-free code and asyncio code: `asyncio.gather`'s semantics, with trio's cancellation around it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

import pytest
import trio

from trio_asyncio_compat import allow_asyncio, gather, open_loop

from ..support import Records
from .support import Border, Odd, forever

Runner: TypeAlias = "Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any]"


@pytest.fixture(params=["trio", "allow_asyncio", "task factory", "asyncio"])
def anywhere(request: pytest.FixtureRequest, border: Border) -> Runner:
    """Runs a function that uses `gather` and nothing else of a flavour, in code of each."""
    runners: dict[str, Runner] = {"trio": border.trio, "allow_asyncio": border.both, "task factory": border.task, "asyncio": border.asyncio}
    return runners[request.param]


@pytest.fixture(params=["trio", "allow_asyncio"])
def in_trio(request: pytest.FixtureRequest, border: Border) -> Runner:
    """Code that may use trio."""
    return border.trio if request.param == "trio" else border.both


async def value(result: object, seconds: float = 1) -> object:
    await asyncio.sleep(seconds)
    return result


async def fail(seconds: float = 1) -> None:
    await asyncio.sleep(seconds)
    raise Odd


def test_results_are_in_the_order_given(anywhere: Runner) -> None:
    async def main() -> None:
        assert await gather(value(1, 3), value(2, 1), value(3, 2)) == [1, 2, 3]
        assert trio.current_time() == 3
        assert await gather() == []

    anywhere(main)


def test_it_takes_coroutines_futures_and_tasks(anywhere: Runner) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        loop.call_later(1, future.set_result, "future")
        task = loop.create_task(value("task"))
        done = loop.create_future()
        done.set_result("done")
        assert await gather(value("coroutine"), future, task, done) == ["coroutine", "future", "task", "done"]
        same = value("same")
        assert await gather(same, same) == ["same", "same"]

    anywhere(main)


def test_the_first_error_comes_out_while_the_others_go_on(anywhere: Runner) -> None:
    async def main() -> None:
        other = asyncio.get_running_loop().create_task(value("other", 2))
        with pytest.raises(Odd):
            await gather(fail(), other, value("third", 2))
        assert trio.current_time() == 1
        assert not other.done()
        assert await gather(other) == ["other"]

    anywhere(main)


def test_return_exceptions(anywhere: Runner) -> None:
    async def main() -> None:
        first, second, third = await gather(fail(), value("second", 2), cancelled(), return_exceptions=True)
        assert isinstance(first, Odd)
        assert second == "second"
        assert isinstance(third, asyncio.CancelledError)

    async def cancelled() -> None:
        raise asyncio.CancelledError

    anywhere(main)


def test_a_cancelled_child_counts_as_its_own_error(anywhere: Runner) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        child = loop.create_task(forever())
        other = loop.create_task(value("other", 2))
        loop.call_later(1, child.cancel, "the child's own")
        with pytest.raises(asyncio.CancelledError) as caught:
            await gather(child, other)
        assert not isinstance(caught.value, trio.Cancelled)
        assert not other.done()
        assert await gather(other) == ["other"]

    anywhere(main)


@pytest.mark.parametrize("return_exceptions", [True, False])
def test_a_cancelled_trio_scope_cancels_all_children_and_waits_for_them(in_trio: Runner, return_exceptions: bool) -> None:
    ended: list[object] = []

    async def child(name: str) -> None:
        try:
            await forever()
        finally:
            await asyncio.sleep(1)
            ended.append(name)

    async def main() -> None:
        with trio.move_on_after(1) as scope:
            await gather(child("one"), child("two"), value("done", 0.5), return_exceptions=return_exceptions)
        assert scope.cancelled_caught
        assert sorted(map(str, ended)) == ["one", "two"]
        assert trio.current_time() == 2

    in_trio(main)


def test_asyncio_cancels_it(border: Border) -> None:
    async def main() -> None:
        children = [asyncio.create_task(forever()) for _ in range(2)]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await gather(*children)
        assert all(child.cancelled() for child in children)

    border.asyncio(main)
    border.both(main)
    border.task(main)


def test_children_that_end_well_although_cancelled(in_trio: Runner) -> None:
    async def stubborn() -> str:
        with contextlib.suppress(asyncio.CancelledError):
            await forever()
        return "late"

    async def main() -> None:
        with trio.move_on_after(1) as scope:
            # asyncio.gather() remembers that it was cancelled, whatever its children make of it.
            await gather(stubborn(), stubborn())
        assert scope.cancelled_caught

    in_trio(main)


def test_an_error_of_a_child_that_trio_has_cancelled(in_trio: Runner) -> None:
    async def child() -> None:
        try:
            await forever()
        finally:
            raise Odd

    async def main() -> None:
        with trio.move_on_after(1):
            with pytest.raises(Odd):
                await gather(child(), value("other", 5))

    in_trio(main)


def test_without_a_loop_the_coroutines_are_closed(clean: Records) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="open_loop"):
            await gather(value(1), value(2))

    async def afterwards() -> None:
        async with open_loop():
            await allow_asyncio(value, 1, 0)
        with pytest.raises(RuntimeError, match="open_loop"):
            await gather(value(1), value(2))

    trio.run(main)
    trio.run(afterwards)


def test_in_a_stock_loop_it_is_asyncios(clean: Records) -> None:
    async def main() -> None:
        assert await gather(value(1, 0), value(2, 0)) == [1, 2]

    asyncio.run(main())


def test_many_children(anywhere: Runner) -> None:
    async def main() -> None:
        assert await gather(*(value(number, number % 7) for number in range(500))) == list(range(500))

    anywhere(main)
