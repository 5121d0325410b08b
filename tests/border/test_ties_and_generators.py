"""Two things at one instant, errors behind the first one, loops of other threads, and managers in async generators."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trio_asyncio_compat import (
    aio_as_trio,
    allow_asyncio,
    flavour_free_task_factory,
    open_loop,
    run,
    run_aio_future,
    run_trio_task,
    trio_as_aio,
)

from ..support import Records

pytestmark = pytest.mark.usefixtures("clean")

waits = pytest.mark.parametrize("sleep", [asyncio.sleep, trio.sleep], ids=["asyncio", "trio"])


def in_both_worlds(main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    return run(main, clock=MockClock(autojump_threshold=0))


@waits
def test_two_cancellations_at_one_instant_are_one(sleep: Callable[[float], Coroutine[Any, Any, Any]]) -> None:
    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None

        def cancel() -> None:
            task.cancel("first")
            task.cancel("second")

        asyncio.get_running_loop().call_later(1, cancel)
        with pytest.raises(asyncio.CancelledError) as caught:
            await sleep(2)
        assert str(caught.value) == "first"
        await asyncio.sleep(1)
        assert (task.uncancel(), task.uncancel()) == (1, 0)

    in_both_worlds(main)


@waits
def test_timeouts_of_one_instant_leave_nothing_behind(sleep: Callable[[float], Coroutine[Any, Any, Any]]) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                async with asyncio.timeout(1):
                    await sleep(2)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await asyncio.sleep(1)
        await trio.sleep(1)

    in_both_worlds(main)


def test_a_timeout_that_comes_with_the_end_of_a_wait_for_trio_does_not_cancel_what_follows() -> None:
    async def main() -> None:
        event = trio.Event()
        loop = asyncio.get_running_loop()
        loop.call_later(1, event.set)
        async with asyncio.timeout(1):
            await event.wait()
        await asyncio.sleep(1)
        await trio.sleep(1)

    in_both_worlds(main)


async def in_a_nursery() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)


def test_a_flavour_free_task_that_is_cancelled_in_a_nursery_is_cancelled() -> None:
    async def fails() -> None:
        await asyncio.sleep(1)
        raise ValueError("a sibling")

    async def main() -> None:
        async with open_loop(task_factory=flavour_free_task_factory):
            await allow_asyncio(body)

    async def body() -> None:
        task = asyncio.create_task(in_a_nursery())
        await asyncio.sleep(1)
        task.cancel("enough")
        with pytest.raises(asyncio.CancelledError, match="enough"):
            await task
        assert task.cancelled()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(in_a_nursery(), 1)
        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                group.create_task(in_a_nursery())
                group.create_task(fails())
        assert [type(error) for error in caught.value.exceptions] == [ValueError]

    trio.run(main, clock=MockClock(autojump_threshold=0))


@pytest.mark.parametrize("nested", [False, True])
def test_asyncio_timeout_around_a_nursery_is_a_timeout(nested: bool) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                if nested:
                    async with trio.open_nursery():
                        await in_a_nursery()
                else:
                    await in_a_nursery()
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await asyncio.sleep(1)

    in_both_worlds(main)


def test_asyncio_timeout_does_not_swallow_an_error_in_the_nursery_nor_the_cancellation_of_a_scope() -> None:
    async def fails_when_cancelled() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise KeyError("clean-up")

    async def main() -> None:
        with pytest.raises(BaseExceptionGroup) as caught:
            async with asyncio.timeout(1):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(fails_when_cancelled)
        assert caught.value.subgroup(KeyError) is not None
        with trio.move_on_after(1) as scope:
            async with asyncio.timeout(2):
                await in_a_nursery()
        assert scope.cancelled_caught

    in_both_worlds(main)


# Errors


def test_the_error_of_a_dropped_generator_is_reported(clean: Records) -> None:
    async def generator() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            raise KeyError("clean-up of the generator")

    async def main() -> None:
        async with open_loop(strict=True):
            async for _ in aio_as_trio(generator)():
                break
            await trio.sleep(1)

    with pytest.raises(ExceptionGroup) as caught:
        trio.run(main, clock=MockClock(autojump_threshold=0))
    assert [str(error) for error in caught.value.exceptions] == ["'clean-up of the generator'"]


def test_every_error_of_trio_tasks_in_the_background_is_told(clean: Records) -> None:
    async def fails(error: Exception) -> None:
        try:
            await trio.sleep(1 if isinstance(error, ValueError) else 10)
        finally:
            raise error

    async def main() -> None:
        async with open_loop():
            run_trio_task(fails, ValueError("the first"))
            run_trio_task(fails, KeyError("the second"))
            try:
                await trio.sleep(5)
            finally:
                raise OSError("of the block")

    with pytest.raises(ValueError, match="the first"):
        trio.run(main, clock=MockClock(autojump_threshold=0))
    reports = "\n".join(clean.take())
    assert "another error, while the loop was ending with one" in reports
    assert "the block of open_loop() raised, while the loop was ending" in reports


# Threads


def test_a_loop_of_another_thread_is_refused() -> None:
    open_there: list[Any] = []
    ready, done = threading.Event(), threading.Event()

    async def other() -> None:
        async with open_loop() as loop:
            open_there.append(loop)
            ready.set()
            await trio.to_thread.run_sync(done.wait)

    async def main() -> None:
        async with open_loop():
            (loop,) = open_there
            with pytest.raises(RuntimeError, match="another thread"):
                await aio_as_trio(asyncio.sleep, loop=loop)(0)
            with pytest.raises(RuntimeError, match="another thread"):
                async with aio_as_trio(asyncio.timeout(1), loop=loop):
                    pass
            with pytest.raises(RuntimeError, match="another thread"):
                await run_aio_future(loop.create_future())
            for start in (loop.trio_as_future, loop.run_trio_task):
                with pytest.raises(RuntimeError, match="another thread"):
                    start(trio.sleep, 0)

    thread = threading.Thread(target=trio.run, args=[other])
    thread.start()
    try:
        assert ready.wait(30)
        trio.run(main)
    finally:
        done.set()
        thread.join()


# Async generators


class Manager:
    """Asyncio-flavoured."""

    def __init__(self) -> None:
        self.inside = False

    async def __aenter__(self) -> Manager:
        await asyncio.sleep(0)
        self.inside = True
        return self

    async def __aexit__(self, *exc: object) -> None:
        await asyncio.sleep(0)
        self.inside = False


async def rows(manager: Manager) -> AsyncGenerator[int, None]:
    async with aio_as_trio(manager):
        for number in range(3):
            yield number


def hosted(main: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    async def in_loop() -> None:
        async with open_loop():
            await main()

    trio.run(in_loop, clock=MockClock(autojump_threshold=0))


def test_a_generator_of_trio_with_a_manager_of_asyncio_may_be_left_early() -> None:
    async def main() -> None:
        manager = Manager()
        with trio.move_on_after(1):
            async with aclosing(rows(manager)) as generator:
                async for _ in generator:
                    assert manager.inside
                    break
        assert not manager.inside

    hosted(main)


def test_a_generator_of_trio_with_a_manager_of_asyncio_may_be_advanced_in_scopes_of_its_user() -> None:
    async def main() -> None:
        manager = Manager()
        numbers = []
        generator = rows(manager)
        while True:
            with trio.move_on_after(1):
                try:
                    numbers.append(await anext(generator))
                except StopAsyncIteration:
                    break
        assert numbers == [0, 1, 2]
        assert not manager.inside

    hosted(main)


def test_asyncio_interrupts_a_block_in_a_generator_that_is_a_context_manager() -> None:
    @asynccontextmanager
    async def limited() -> AsyncIterator[None]:
        async with aio_as_trio(asyncio.timeout(1)):
            yield

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with limited():
                await trio.sleep(2)
        assert trio.current_time() == 1

    hosted(main)


# Iterators that are no generators


def test_to_leave_an_iteration_over_a_channel_does_not_close_that() -> None:
    async def in_asyncio() -> list[int]:
        send, receive = trio.open_memory_channel[int](3)
        for number in range(3):
            send.send_nowait(number)
        got = []
        for _ in range(2):
            async for number in trio_as_aio(receive):
                got.append(number)
                break
            await asyncio.sleep(1)
        return got

    async def main() -> None:
        assert await aio_as_trio(in_asyncio)() == [0, 1]

    hosted(main)


def test_an_iterator_that_an_error_keeps_does_not_hold_up_the_end_of_the_loop() -> None:
    async def in_asyncio() -> None:
        send, receive = trio.open_memory_channel[int](3)
        send.send_nowait(1)
        iterator = aiter(trio_as_aio(receive))
        await anext(iterator)
        raise ZeroDivisionError(iterator)

    async def main() -> None:
        await aio_as_trio(in_asyncio)()

    with pytest.raises(ZeroDivisionError):
        hosted(main)
