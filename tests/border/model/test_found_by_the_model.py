"""What random programs have found to be wrong, each as a test of its own."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trio_asyncio_compat import aio_as_trio, allow_asyncio, trio_as_aio

from ...support import Run


def test_call_to_asyncio_by_flavour_free_code_is_cancelled_in_both_worlds(hosted_run: Run) -> None:
    seen: list[str] = []

    async def body() -> None:
        try:
            await aio_as_trio(asyncio.sleep)(2)
        except asyncio.CancelledError:
            # The body has been told of the scope, so its clean-up may await.
            await asyncio.sleep(3)
            seen.append("cleaned up")
            raise

    async def main() -> None:
        with trio.move_on_after(1) as scope:
            await allow_asyncio(body)
        assert scope.cancelled_caught
        assert seen == ["cleaned up"]

    hosted_run.trio_run(main, clock=MockClock(autojump_threshold=0))


@pytest.mark.parametrize("manager", [lambda: trio.move_on_after(5), trio.open_nursery])
@pytest.mark.parametrize("turns", range(6))
def test_cancellation_while_a_manager_of_trio_is_entered_leaves_it_again(our_run: Run, manager: Any, turns: int) -> None:
    """It was entered all the same, and then stood in a trio task that nobody ended."""

    async def block() -> None:
        async with trio_as_aio(manager)():
            await asyncio.Event().wait()

    async def main() -> None:
        task = asyncio.create_task(block())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel("no more")
        with pytest.raises(asyncio.CancelledError, match="no more"):
            await task
        assert task.cancelling() == 1

    our_run(main)


def test_scope_whose_time_is_over_when_it_is_entered_cancels_its_block(our_run: Run) -> None:
    async def main() -> None:
        async with trio_as_aio(trio.move_on_after(0)) as scope:
            await asyncio.Event().wait()
        assert scope.cancelled_caught
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    our_run(main)


def test_manager_of_trio_entered_by_flavour_free_code_in_a_cancelled_scope(hosted_run: Run) -> None:
    managers: list[AbstractAsyncContextManager[object]] = [trio_as_aio(trio.move_on_after(5)), trio_as_aio(trio.open_nursery)()]

    async def body() -> None:
        task = asyncio.current_task()
        assert task is not None
        for manager in managers:
            with trio.CancelScope() as scope:
                scope.cancel()
                async with manager:
                    raise AssertionError("the block must not begin")
            assert scope.cancelled_caught
            assert task.cancelling() == 0

    hosted_run.trio_run(lambda: allow_asyncio(body), clock=MockClock(autojump_threshold=0))


def test_outer_scope_behind_a_shield_cancels_asyncio_awaits_once_the_shield_is_gone(hosted_run: Run) -> None:
    async def body() -> None:
        with trio.CancelScope() as outer:
            with trio.CancelScope(shield=True) as inner:
                inner.cancel()
                outer.cancel()
                await asyncio.sleep(7)
            assert inner.cancelled_caught
            await asyncio.sleep(8)
        assert outer.cancelled_caught
        assert trio.current_time() == 0

    hosted_run.trio_run(lambda: allow_asyncio(body), clock=MockClock(autojump_threshold=0))


def test_nursery_ended_by_a_cancellation_does_not_disturb_the_clean_up_after_it(hosted_run: Run) -> None:
    """The nursery cancels its own scope when a child ends cancelled: that is the same cancellation, not another one."""
    cleaned_up: list[float] = []

    async def body() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            try:
                await asyncio.sleep(100)
            finally:
                await trio.lowlevel.cancel_shielded_checkpoint()
                await trio.lowlevel.cancel_shielded_checkpoint()
                await asyncio.sleep(3)
                cleaned_up.append(trio.current_time())

    async def main() -> None:
        began = trio.current_time()
        with trio.move_on_after(1) as scope:
            await allow_asyncio(body)
        assert scope.cancelled_caught
        assert cleaned_up == [began + 4]

    hosted_run.trio_run(main, clock=MockClock(autojump_threshold=0))


def test_scope_that_is_new_in_a_clean_up_cancels_asyncio_awaits_in_it(hosted_run: Run) -> None:
    async def body() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            with trio.move_on_after(2, shield=True) as shielded:
                await asyncio.sleep(100)
            assert shielded.cancelled_caught
            # Without a shield it is of no use, as in trio: what it raises belongs to the scope around.
            with trio.CancelScope() as own:
                own.cancel()
                await asyncio.sleep(100)

    async def main() -> None:
        began = trio.current_time()
        with trio.move_on_after(1) as scope:
            await allow_asyncio(body)
        assert scope.cancelled_caught
        assert trio.current_time() - began == 3

    hosted_run.trio_run(main, clock=MockClock(autojump_threshold=0))


def test_manager_of_trio_does_not_swallow_what_a_scope_around_flavour_free_code_throws(hosted_run: Run) -> None:
    async def body() -> None:
        task = asyncio.current_task()
        assert task is not None
        with trio.move_on_after(3) as outer:
            async with trio_as_aio(trio.move_on_after(1)):
                try:
                    await trio.sleep(100)
                except asyncio.CancelledError:
                    assert trio.current_time() == 1
                await asyncio.sleep(100)
            raise AssertionError("the cancellation has been lost")
        assert outer.cancelled_caught
        assert trio.current_time() == 3
        assert task.cancelling() == 0

    hosted_run.trio_run(lambda: allow_asyncio(body), clock=MockClock(autojump_threshold=0))


def test_task_cancel_reaches_a_call_that_is_made_in_a_clean_up(hosted_run: Run) -> None:
    """Trio aborts a wait at most once, and has done so for a scope that the body had been told of."""

    async def body() -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            asyncio.get_running_loop().call_later(2, task.cancel)
            with pytest.raises(asyncio.CancelledError):
                await aio_as_trio(asyncio.sleep)(100)
            assert trio.current_time() == 3
            assert task.uncancel() == 0
            raise

    async def main() -> None:
        with trio.move_on_after(1) as scope:
            await allow_asyncio(body)
        assert scope.cancelled_caught

    hosted_run.trio_run(main, clock=MockClock(autojump_threshold=0))


def test_task_cancel_during_a_call_that_is_cancelled_already_reaches_the_next_one(hosted_run: Run) -> None:
    async def linger() -> None:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            await asyncio.sleep(10)

    async def body() -> None:
        asyncio.get_running_loop().call_later(2, asyncio.current_task().cancel)  # type: ignore[union-attr]
        await aio_as_trio(linger)()
        with pytest.raises(asyncio.CancelledError):
            await aio_as_trio(asyncio.sleep)(100)
        assert trio.current_time() == 11

    async def main() -> None:
        with trio.move_on_after(1):
            await allow_asyncio(body)

    hosted_run.trio_run(main, clock=MockClock(autojump_threshold=0))


def test_call_that_fails_at_once_in_a_cancelled_scope_fails(hosted_run: Run) -> None:
    """Whether the cancellation comes before that or after it depends on whether its first step is made where it is called."""

    async def fail() -> None:
        raise KeyError

    async def call() -> None:
        await trio_as_aio(fail)()

    async def main() -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            for _ in range(3):
                with pytest.raises(KeyError):
                    await aio_as_trio(call)()

    hosted_run.trio_run(main)
