"""What could be lost at the border, and who could be left waiting: errors of iterators, blocks that nobody leaves, trio tasks' identity."""

from __future__ import annotations

import asyncio
import contextvars
import gc
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trio_asyncio_compat import aio_as_trio, open_loop, trio_as_aio

from ..support import Records

user: contextvars.ContextVar[str] = contextvars.ContextVar("user")

pytestmark = pytest.mark.usefixtures("clean")


def run(main: Callable[[], Any], reports: list[dict[str, Any]] | None = None) -> None:
    async def hosted() -> None:
        async with open_loop() as loop:
            if reports is not None:
                loop.set_exception_handler(lambda loop, context: reports.append(context))
            await main()

    trio.run(hosted, clock=MockClock(autojump_threshold=0))


async def fail_of_asyncio(turns: int) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)
    raise ValueError("a child failed")


async def fail_of_trio(turns: int) -> None:
    for _ in range(turns):
        await trio.lowlevel.checkpoint()
    raise ValueError("a child failed")


async def of_asyncio(turns: int) -> AsyncIterator[int]:
    async with asyncio.TaskGroup() as group:
        group.create_task(fail_of_asyncio(turns))
        yield 1
        await asyncio.sleep(0)
        yield 2
        await asyncio.sleep(1)


async def of_trio(turns: int) -> AsyncIterator[int]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fail_of_trio, turns)
        yield 1
        await trio.lowlevel.checkpoint()
        yield 2
        await trio.sleep(1)


# From before the first step has ended until after the second.
@pytest.mark.parametrize("turns", range(8))
@pytest.mark.parametrize("side", ["asyncio", "trio"])
def test_an_error_between_two_steps_of_an_iterator_is_raised(side: str, turns: int) -> None:
    async def trio_code() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async for _ in aio_as_trio(of_asyncio)(turns):
                pass
        assert [type(error) for error in caught.value.exceptions] == [ValueError]

    async def asyncio_code() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async for _ in trio_as_aio(of_trio)(turns):
                pass
        assert [type(error) for error in caught.value.exceptions] == [ValueError]

    run(trio_code if side == "asyncio" else lambda: aio_as_trio(asyncio_code)())


@pytest.mark.parametrize("how", ["closed", "dropped"])
@pytest.mark.parametrize("side", ["asyncio", "trio"])
def test_an_error_that_no_step_has_raised_is_raised_or_reported_at_the_end(side: str, how: str) -> None:
    async def trio_code() -> None:
        iterator = aiter(aio_as_trio(of_asyncio)(1))
        assert await anext(iterator) == 1
        await trio.sleep(0.1)
        if how == "closed":
            with pytest.raises(ExceptionGroup, match="TaskGroup"):
                await iterator.aclose()  # type: ignore[attr-defined]
        del iterator
        await trio.sleep(0.1)

    async def asyncio_code() -> None:
        iterator = aiter(trio_as_aio(of_trio)(1))
        assert await anext(iterator) == 1
        await asyncio.sleep(0.1)
        if how == "closed":
            with pytest.raises(ExceptionGroup, match="nursery"):
                await iterator.aclose()  # type: ignore[attr-defined]
        del iterator
        await asyncio.sleep(0.1)

    reports: list[dict[str, Any]] = []
    run(trio_code if side == "asyncio" else lambda: aio_as_trio(asyncio_code)(), reports)
    assert [type(report["exception"]) for report in reports] == ([ExceptionGroup] if how == "dropped" else [])


def test_a_generator_that_stands_in_a_block_of_the_other_side_does_not_hold_up_the_end() -> None:
    ends: list[str] = []

    async def generator() -> AsyncIterator[int]:
        try:
            async with trio_as_aio(trio.open_nursery)() as nursery:
                nursery.start_soon(trio.sleep_forever)
                yield 1
        finally:
            ends.append("closed")

    kept = generator()

    async def begin() -> None:
        assert await anext(kept) == 1

    run(lambda: aio_as_trio(begin)())
    assert ends == ["closed"]


@pytest.mark.parametrize("error", [None, ValueError("of the program")])
def test_a_block_that_was_entered_by_hand_and_never_left_does_not_hold_up_the_end(error: Exception | None) -> None:
    manager = trio_as_aio(trio.open_nursery)()

    async def enter() -> None:
        nursery: trio.Nursery = await manager.__aenter__()
        nursery.start_soon(trio.sleep_forever)

    async def main() -> None:
        await aio_as_trio(enter)()
        if error is not None:
            raise error

    if error is None:
        run(main)
    else:
        with pytest.raises(ValueError, match="of the program"):
            run(main)


def test_a_lock_is_broken_when_the_call_that_holds_it_ends() -> None:
    lock = trio.Lock()

    async def crash() -> None:
        await lock.acquire()
        await trio.sleep(1)
        raise ValueError("with the lock")

    async def asyncio_code() -> None:
        # From here on there is a trio task that waits for calls.
        await trio_as_aio(trio.sleep)(0)
        crashing = asyncio.create_task(trio_as_aio(crash)())
        await asyncio.sleep(0.5)
        with pytest.raises(trio.BrokenResourceError):
            await trio_as_aio(lock.acquire)()
        with pytest.raises(ValueError, match="with the lock"):
            await crashing

    run(lambda: aio_as_trio(asyncio_code)())


@pytest.mark.parametrize("waits", [False, True])
def test_each_call_is_a_borrower_of_its_own(waits: bool) -> None:
    limiter = trio.CapacityLimiter(3)

    async def borrow() -> None:
        if waits:
            await limiter.acquire()
        else:
            limiter.acquire_nowait()

    async def asyncio_code() -> None:
        for _ in range(3):
            await trio_as_aio(trio.sleep)(0)
            await trio_as_aio(borrow)()
        assert limiter.borrowed_tokens == 3

    run(lambda: aio_as_trio(asyncio_code)())


@pytest.mark.parametrize("waits", [False, True])
def test_calls_that_leave_nothing_behind_need_no_new_trio_task(waits: bool) -> None:
    class Spawned(trio.abc.Instrument):
        count = 0

        def task_spawned(self, task: trio.lowlevel.Task) -> None:
            self.count += 1

    async def call() -> None:
        if waits:
            await trio.lowlevel.checkpoint()

    async def asyncio_code() -> None:
        # Two at once: a call may be made before the task of the last one is ready for another.
        await asyncio.gather(trio_as_aio(call)(), trio_as_aio(call)())
        await asyncio.sleep(1)
        spawned = Spawned()
        trio.lowlevel.add_instrument(spawned)
        for _ in range(10):
            await trio_as_aio(call)()
        trio.lowlevel.remove_instrument(spawned)
        assert spawned.count == 0

    run(lambda: aio_as_trio(asyncio_code)())


def test_a_lock_of_asyncio_is_entered_by_several_trio_tasks_one_after_the_other() -> None:
    steps: list[str] = []

    async def main() -> None:
        lock = aio_as_trio(asyncio.Lock())

        async def use() -> None:
            async with lock:
                steps.append("in")
                await trio.sleep(1)
                steps.append("out")

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(use)

    run(main)
    assert steps == ["in", "out"] * 3


@pytest.mark.parametrize("side", ["asyncio", "trio"])
def test_an_iterator_does_not_carry_the_variables_of_one_caller_to_another(side: str) -> None:
    async def users() -> AsyncIterator[str | None]:
        while True:
            yield user.get(None)

    async def step(iterator: AsyncIterator[str | None], name: str | None) -> None:
        if name is not None:
            user.set(name)
        assert await anext(iterator) == name
        assert user.get(None) == name

    async def trio_code() -> None:
        iterator = aiter(aio_as_trio(users)())
        for name in names:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(step, iterator, name)
        assert user.get(None) is None

    async def asyncio_code() -> None:
        iterator = aiter(trio_as_aio(users)())
        for name in names:
            await asyncio.create_task(step(iterator, name))
        assert user.get(None) is None

    names = ("alice", None, "bob", None)
    run(trio_code if side == "asyncio" else lambda: aio_as_trio(asyncio_code)())


def test_coroutines_given_to_what_cannot_be_called_are_closed(clean: Records) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="open_loop"):
            await aio_as_trio(asyncio.gather)(asyncio.sleep(0), asyncio.sleep(0))

    trio.run(main)


@pytest.mark.parametrize("turns", [0, 1], ids=["at once", "later"])
def test_a_call_that_raises_leaves_nothing_to_the_garbage_collector(turns: int) -> None:
    async def many(call: Callable[[int], Any]) -> None:
        for _ in range(20):
            with pytest.raises(ValueError, match="a child failed"):
                await call(turns)

    async def main() -> None:
        into_asyncio, into_trio = aio_as_trio(fail_of_asyncio), trio_as_aio(fail_of_trio)
        for caller, call in ((many, into_asyncio), (aio_as_trio(many), into_trio)):
            # What is made for the first call is kept for the next.
            await caller(call)
            gc.collect()
            gc.disable()
            try:
                await caller(call)
                assert gc.collect() == 0
            finally:
                gc.enable()

    run(main)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=["SystemExit", "KeyboardInterrupt"])
@pytest.mark.parametrize("turns", [0, 1], ids=["at once", "later"])
def test_an_error_that_ends_the_program_comes_out_of_a_call_and_is_not_reported(error: BaseException, turns: int) -> None:
    """What the asyncio log says of it is checked with everything that is left behind."""

    async def fail() -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        raise error

    async def main() -> None:
        await aio_as_trio(fail)()

    with pytest.raises(type(error)):
        run(main)
