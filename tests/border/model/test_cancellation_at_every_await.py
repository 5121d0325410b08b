"""Each program is cancelled at its first await, at its second, and so on, from either side: it ends, cleans up, leaves nothing."""

from __future__ import annotations

import asyncio
import types
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from trio_asyncio_compat import aio_as_trio, allow_asyncio, trio_as_aio

from ...support import Run
from .execution import all_tasks

# Is given what cancels it.
Cancellable: TypeAlias = "Callable[[Callable[[], object]], Coroutine[Any, Any, None]]"
# What is held is in the list.
Held: TypeAlias = "list[str]"
Program: TypeAlias = "Callable[[Held], Coroutine[Any, Any, None]]"


@contextmanager
def holding(held: Held, what: str) -> Iterator[None]:
    held.append(what)
    try:
        yield
    finally:
        held.remove(what)


async def asyncio_part(held: Held, what: str = "asyncio's") -> None:
    """Waits in several ways, and for a while in its clean-up."""
    with holding(held, what):
        try:
            await asyncio.sleep(0)
            await asyncio.sleep(1)
            async with asyncio.timeout(50), asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(2))
                await asyncio.sleep(1)
        finally:
            await asyncio.sleep(0)
            await asyncio.sleep(1)


async def trio_part(held: Held, what: str = "trio's") -> None:
    """Waits in several ways, and for a while in its clean-up."""
    with holding(held, what):
        try:
            await trio.sleep(0)
            await trio.sleep(1)
            with trio.move_on_after(50):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(trio.sleep, 2)
                    await trio.sleep(1)
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(0)
                await trio.sleep(1)


async def asyncio_values(held: Held) -> AsyncIterator[int]:
    with holding(held, "asyncio's iterator"):
        for value in range(3):
            await asyncio.sleep(1)
            yield value


async def trio_values(held: Held) -> AsyncIterator[int]:
    with holding(held, "trio's iterator"):
        for value in range(3):
            await trio.sleep(1)
            yield value


# In trio's flavour


async def trio_calls_asyncio(held: Held) -> None:
    await trio_part(held)
    await aio_as_trio(asyncio_part)(held)
    await trio_part(held)


async def trio_holds_managers(held: Held) -> None:
    async with aio_as_trio(asyncio.timeout(100)):
        await trio_part(held)
        async with aio_as_trio(asyncio.TaskGroup()) as group:
            child = asyncio_part(held, "a child's")
            await aio_as_trio(_create)(group, child)
            await trio.sleep(1)


async def trio_iterates(held: Held) -> None:
    values = [value async for value in aio_as_trio(asyncio_values)(held)]
    assert values == [0, 1, 2]


# In asyncio's


async def asyncio_calls_trio(held: Held) -> None:
    await asyncio_part(held)
    await trio_as_aio(trio_part)(held)
    await asyncio_part(held)


async def asyncio_holds_managers(held: Held) -> None:
    async with trio_as_aio(trio.move_on_after(100)):
        await asyncio_part(held)
        async with trio_as_aio(trio.open_nursery()) as nursery:
            nursery.start_soon(trio_part, held, "a child's")
            await asyncio.sleep(1)


async def asyncio_iterates(held: Held) -> None:
    values = [value async for value in trio_as_aio(trio_values)(held)]
    assert values == [0, 1, 2]


# In both


async def both_alternate(held: Held) -> None:
    with trio.move_on_after(100):
        await asyncio_part(held)
    async with asyncio.timeout(100):
        await trio_part(held)
    await asyncio.gather(asyncio_part(held, "one's"), asyncio_part(held, "the other's"))


async def both_call(held: Held) -> None:
    await aio_as_trio(asyncio_part)(held)
    await trio_as_aio(trio_part)(held)


async def both_hold_managers(held: Held) -> None:
    async with aio_as_trio(asyncio.timeout(100)), trio_as_aio(trio.move_on_after(100)):
        await trio_part(held)
        await asyncio_part(held)


async def both_hold_nurseries(held: Held) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio_part, held, "a child's")
        await asyncio_part(held)


async def _create(group: asyncio.TaskGroup, child: Coroutine[Any, Any, None]) -> None:
    group.create_task(child)


OF_TRIO = [trio_calls_asyncio, trio_holds_managers, trio_iterates]
OF_ASYNCIO = [asyncio_calls_trio, asyncio_holds_managers, asyncio_iterates]
OF_BOTH = [both_alternate, both_call, both_hold_managers, both_hold_nurseries]


@types.coroutine
def cancelled_at(program: Coroutine[Any, Any, None], number: int, cancel: Callable[[], object], soon: bool) -> Generator[Any, Any, bool]:
    """Run `program`, and call `cancel` at its await of this number (`soon`: once it waits there). Return whether it had so many."""
    step: Callable[[Any], Any] = program.send
    value: Any = None
    count = 0
    while True:
        try:
            awaited = step(value)
        except StopIteration:
            return count >= number
        count += 1
        if count == number and soon:
            asyncio.get_running_loop().call_soon(cancel)
        elif count == number:
            cancel()
        try:
            step, value = program.send, (yield awaited)
        except GeneratorExit:
            program.close()
            raise
        except BaseException as exc:
            step, value = program.throw, exc


class Attempt:
    """One run of a program that is cancelled at one await."""

    def __init__(self, program: Program, number: int, soon: bool) -> None:
        self.held: Held = []
        self.program = program
        self.number = number
        self.soon = soon
        # Whether there was no such await.
        self.over = False
        # How often it was cancelled.
        self.cancels = 0

    async def run(self, cancel: Callable[[], object]) -> None:
        def count_and_cancel() -> None:
            self.cancels += 1
            cancel()

        self.over = not await cancelled_at(self.program(self.held), self.number, count_and_cancel, self.soon)

    async def run_as_task(self, carry: Callable[[Cancellable, Callable[[], object]], Any]) -> None:
        """As, or below, an asyncio task that is cancelled."""
        task = asyncio.current_task()
        assert task is not None
        try:
            await carry(self.run, task.cancel)
        except asyncio.CancelledError:
            assert task.cancelling() == 1
        except BaseExceptionGroup as group:
            # What a nursery makes of it.
            if group.split(asyncio.CancelledError)[1] is not None:
                raise
        else:
            # It has swallowed nothing: the cancellation came too late, or not at all.
            assert task.cancelling() == self.cancels


async def _as_it_is(function: Cancellable, cancel: Callable[[], object]) -> None:
    await function(cancel)


async def _by_trio(function: Cancellable, cancel: Callable[[], object]) -> None:
    await trio_as_aio(function)(cancel)


async def trio_cancels(attempt: Attempt) -> None:
    with trio.CancelScope() as scope:
        if attempt.program in OF_TRIO:
            await attempt.run(scope.cancel)
        elif attempt.program in OF_ASYNCIO:
            await aio_as_trio(attempt.run)(scope.cancel)
        else:
            await allow_asyncio(attempt.run, scope.cancel)


async def asyncio_cancels(attempt: Attempt) -> None:
    if attempt.program in OF_TRIO:
        await aio_as_trio(attempt.run_as_task)(_by_trio)
    elif attempt.program in OF_ASYNCIO:
        await aio_as_trio(attempt.run_as_task)(_as_it_is)
    else:
        await allow_asyncio(attempt.run_as_task, _as_it_is)


@pytest.mark.parametrize("soon", [False, True], ids=["before it waits", "while it waits"])
@pytest.mark.parametrize("canceller", [trio_cancels, asyncio_cancels])
@pytest.mark.parametrize("program", OF_TRIO + OF_ASYNCIO + OF_BOTH)
def test_cancelled_at_every_await(hosted_run: Run, program: Program, canceller: Callable[[Attempt], Any], soon: bool) -> None:
    async def main() -> None:
        for number in range(1, 200):
            await trio.testing.wait_all_tasks_blocked()
            before = all_tasks()
            attempt = Attempt(program, number, soon)
            await canceller(attempt)
            await trio.testing.wait_all_tasks_blocked()
            assert attempt.held == []
            assert all_tasks() == before
            assert asyncio.all_tasks(asyncio.get_running_loop()) == set()
            if attempt.over:
                break
        assert number > 2

    hosted_run.trio_run(main, clock=MockClock(autojump_threshold=0))
