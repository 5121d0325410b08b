"""The rules of flavour-free code: which cancellation is met where, what it is, how often, and what of it comes out."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeAlias

import pytest
import sniffio
import trio

from trio_asyncio_compat import aio_as_trio, allow_asyncio, flavour_free_task_factory, open_loop, run, trio_as_aio
from trio_asyncio_compat.border import flavour_free
from trio_asyncio_compat.border.cancellation import CancelledInBothWorlds

from ..support import Records
from .support import Border, Odd, balanced, forever, variable

Body: TypeAlias = "Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any]"


# What runs there


def test_the_function_runs_in_the_callers_trio_task_and_in_an_asyncio_task_of_its_own(border: Border) -> None:
    task: trio.lowlevel.Task

    async def body(*args: int) -> tuple[int, ...]:
        assert trio.lowlevel.current_task() is task
        aio_task = asyncio.current_task()
        assert aio_task is not None
        await trio.sleep(1)
        assert asyncio.current_task() is aio_task
        await asyncio.sleep(1)
        assert asyncio.current_task() is aio_task
        assert trio.lowlevel.current_task() is task
        assert asyncio.get_running_loop() is aio_task.get_loop()
        assert sniffio.current_async_library() == "trio"
        return args

    async def main() -> None:
        nonlocal task
        task = trio.lowlevel.current_task()
        assert asyncio.current_task() is None
        assert await allow_asyncio(body, 1, 2) == (1, 2)
        assert asyncio.current_task() is None

    border.trio(main)


def test_in_flavour_free_code_it_is_a_plain_call(border: Border) -> None:
    async def inner(outer: object) -> str:
        assert asyncio.current_task() is outer
        await asyncio.sleep(1)
        return "inner"

    async def body() -> str:
        return await allow_asyncio(inner, asyncio.current_task())

    assert border.both(body) == "inner"


@pytest.mark.parametrize("waits", [True, False])
def test_a_result_and_an_error_come_out_as_they_are(body: Body, waits: bool) -> None:
    error = Odd()

    async def succeed() -> str:
        if waits:
            await asyncio.sleep(0)
        return "result"

    async def fail() -> None:
        if waits:
            await trio.lowlevel.checkpoint()
        raise error

    assert body(succeed) == "result"
    with pytest.raises(Odd) as caught:
        body(fail)
    assert caught.value is error
    error.__traceback__ = None


def test_context_variables_are_the_callers(border: Border) -> None:
    async def body() -> None:
        assert variable.get() == "before"
        variable.set("in the body")
        await asyncio.sleep(1)
        assert variable.get() == "in the body"

    async def main() -> None:
        variable.set("before")
        await allow_asyncio(body)
        assert variable.get() == "in the body"

    border.trio(main)


def test_a_callable_that_returns_an_awaitable_and_one_that_does_not(border: Border) -> None:
    async def main() -> None:
        async def coroutine() -> str:
            await asyncio.sleep(0)
            return "awaited"

        assert await allow_asyncio(lambda: coroutine()) == "awaited"
        assert await allow_asyncio(asyncio.create_task, coroutine()) == "awaited"
        assert list(await allow_asyncio(asyncio.gather, coroutine(), coroutine())) == ["awaited"] * 2
        nothing: Any = int
        with pytest.raises(TypeError, match="async function"):
            await allow_asyncio(nothing)
        with pytest.raises(TypeError):
            await allow_asyncio(coroutine, 1)  # type: ignore[arg-type]

    border.trio(main)


def test_many_bodies_side_by_side(border: Border) -> None:
    async def body(number: int) -> None:
        task = asyncio.current_task()
        for _ in range(3):
            await trio.sleep(number % 3)
            assert asyncio.current_task() is task
            await asyncio.sleep(number % 2)
            assert asyncio.current_task() is task
        done.append(number)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(allow_asyncio, body, number)

    done: list[int] = []
    border.trio(main)
    assert sorted(done) == list(range(50))


def test_without_a_loop_or_in_asyncio_code_it_is_refused(border: Border, clean: Records) -> None:
    async def without() -> None:
        with pytest.raises(RuntimeError, match="open_loop"):
            await allow_asyncio(forever)

    async def in_asyncio() -> None:
        with pytest.raises(RuntimeError, match="asyncio code"):
            await allow_asyncio(forever)

    trio.run(without)
    border.asyncio(in_asyncio)


def test_run_makes_the_main_function_flavour_free(clean: Records) -> None:
    async def main(one: int) -> int:
        await asyncio.sleep(0)
        await trio.sleep(0)
        task = asyncio.current_task()
        assert task in asyncio.all_tasks()
        return one

    assert run(main, 1) == 1


# Trio's cancellation


def test_a_trio_cancel_is_an_exception_of_both_worlds_with_trios_reason(body: Body) -> None:
    async def wait_in_asyncio() -> None:
        await asyncio.sleep(5)

    async def wait_in_trio() -> None:
        await trio.sleep(5)

    async def main() -> None:
        for wait in (wait_in_asyncio, wait_in_trio):
            with trio.move_on_after(1):
                with pytest.raises(asyncio.CancelledError) as caught:
                    await wait()
                assert type(caught.value) is CancelledInBothWorlds
                assert "deadline" in str(caught.value)
                assert str(caught.value) == str(caught.value.args[0])
                raise caught.value
            balanced()

    body(main)


def test_asyncio_is_cancelled_once_for_each_scope_and_trio_at_every_checkpoint(body: Body) -> None:
    async def main() -> None:
        count = 0
        with trio.CancelScope() as outer:
            with trio.CancelScope() as inner:
                inner.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(1)
                    count += 1
                await asyncio.sleep(1)
                for _ in range(2):
                    with contextlib.suppress(trio.Cancelled):
                        await trio.sleep(1)
                        count += 1
                await asyncio.sleep(1)
                outer.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(1)
                    count += 1
                await asyncio.sleep(1)
        assert count == 0
        assert trio.current_time() == 3
        balanced()

    body(main)


def test_a_scope_that_trio_has_told_of_does_not_cancel_asyncios_awaits(body: Body) -> None:
    async def main() -> None:
        with trio.move_on_after(1) as scope:
            try:
                await trio.sleep_forever()
            finally:
                await asyncio.sleep(1)
                await forever_until(1)
        assert scope.cancelled_caught
        assert trio.current_time() == 3

    async def forever_until(seconds: float) -> None:
        async with asyncio.timeout(seconds):
            with contextlib.suppress(asyncio.CancelledError):
                await forever()

    body(main)


def test_the_same_scope_cannot_cancel_a_second_body_less(border: Border) -> None:
    """What one body was told of is news to the next one in the same scope."""

    async def wait() -> None:
        await asyncio.sleep(5)

    async def main() -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            for _ in range(2):
                with contextlib.suppress(trio.Cancelled):
                    await allow_asyncio(wait)
        assert trio.current_time() == 0

    border.trio(main)


def test_a_shield_holds_for_asyncios_awaits(body: Body) -> None:
    async def main() -> None:
        with trio.move_on_after(1) as scope:
            with trio.CancelScope(shield=True) as shield:
                await asyncio.sleep(2)
                shield.shield = False
                with pytest.raises(trio.Cancelled) as caught:
                    await asyncio.sleep(2)
            raise caught.value
        assert scope.cancelled_caught
        assert trio.current_time() == 2

    body(main)


def test_a_late_result_of_an_asyncio_await_counts(body: Body) -> None:
    async def stubborn() -> str:
        try:
            await forever()
        except asyncio.CancelledError:
            await asyncio.sleep(1)
        return "late"

    async def main() -> None:
        with trio.move_on_after(1) as scope:
            assert await asyncio.create_task(stubborn()) == "late"
        assert scope.cancel_called and not scope.cancelled_caught
        with trio.move_on_after(1) as scope:
            assert await asyncio.create_task(stubborn()) == "late"
            # The next checkpoint of trio says that it is still cancelled.
            await trio.lowlevel.checkpoint()
        assert scope.cancelled_caught

    body(main)


@pytest.mark.parametrize("fresh", [asyncio.CancelledError("fresh"), BaseExceptionGroup("fresh", [asyncio.CancelledError("fresh")])])
def test_a_fresh_cancelled_error_in_answer_to_trios_cancel_is_trios_at_the_end(border: Border, fresh: BaseException) -> None:
    async def body() -> None:
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            raise fresh from None

    async def main() -> None:
        with trio.move_on_after(1) as scope:
            await allow_asyncio(body)
        assert scope.cancelled_caught

    border.trio(main)


def test_an_error_and_a_mixed_group_in_answer_to_trios_cancel(border: Border) -> None:
    async def fail() -> None:
        try:
            await asyncio.sleep(5)
        finally:
            raise Odd

    async def mix() -> None:
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            raise BaseExceptionGroup("mixed", [Odd(), asyncio.CancelledError()]) from None

    async def main() -> None:
        with trio.move_on_after(1) as scope:
            with pytest.raises(Odd):
                await allow_asyncio(fail)
        assert not scope.cancelled_caught
        with pytest.RaisesGroup(Odd):
            with trio.move_on_after(1):
                await allow_asyncio(mix)

    border.trio(main)


def test_a_cancelled_error_of_ones_own_is_passed_on(border: Border) -> None:
    async def body() -> None:
        await asyncio.sleep(0)
        raise asyncio.CancelledError("own")

    async def main() -> None:
        with trio.CancelScope() as scope:
            with pytest.raises(asyncio.CancelledError, match="own") as caught:
                await allow_asyncio(body)
            assert not isinstance(caught.value, trio.Cancelled)
        assert not scope.cancelled_caught

    border.trio(main)


def test_no_trio_cancel_is_thrown_where_none_is_in_effect(border: Border) -> None:
    """One that was kept, and raised where its scope is left, is an error like any other in asyncio; a nursery would swallow it."""
    kept: list[BaseException] = []

    async def body() -> None:
        with trio.move_on_after(1):
            try:
                await asyncio.sleep(5)
            except asyncio.CancelledError as exc:
                kept.append(exc)
                raise
        balanced()
        assert await allow_asyncio(trio.sleep, 1) is None  # type: ignore[func-returns-value]

    border.both(body)
    kept.clear()


# asyncio's cancellation


def test_cancel_while_trio_is_awaited_raises_there_with_its_message(body: Body) -> None:
    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().call_later(1, task.cancel, "the message")
        with pytest.raises(asyncio.CancelledError, match="the message") as caught:
            await trio.sleep_forever()
        assert type(caught.value) is asyncio.CancelledError
        assert trio.current_time() == 1
        # Once, as asyncio has it: trio's awaits go on to work.
        await trio.sleep(1)
        assert task.uncancel() == 0

    body(main)


def test_a_trap_that_cannot_be_aborted_keeps_the_request(body: Body) -> None:
    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None

        def abort(raise_cancel: object) -> trio.lowlevel.Abort:
            aborted.append(True)
            return trio.lowlevel.Abort.FAILED

        trio_task = trio.lowlevel.current_task()
        loop = asyncio.get_running_loop()
        aborted: list[bool] = []
        loop.call_later(1, task.cancel)
        loop.call_later(2, trio.lowlevel.reschedule, trio_task)
        await trio.lowlevel.wait_task_rescheduled(abort)
        assert aborted == [True]
        assert trio.current_time() == 2
        with pytest.raises(asyncio.CancelledError):
            await trio.sleep_forever()
        assert trio.current_time() == 2
        task.uncancel()

        loop.call_later(1, task.cancel)
        loop.call_later(2, trio.lowlevel.reschedule, trio_task)
        await trio.lowlevel.wait_task_rescheduled(abort)
        with pytest.raises(asyncio.CancelledError):
            await asyncio.sleep(5)
        assert trio.current_time() == 4
        task.uncancel()

    body(main)


def test_cancel_from_inside_is_met_at_the_next_await_of_either_world(body: Body) -> None:
    async def wait_in_asyncio() -> None:
        await asyncio.sleep(0)

    async def wait_in_trio() -> None:
        await trio.sleep(0)

    async def checkpoint() -> None:
        await trio.lowlevel.checkpoint()

    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        for wait in (wait_in_asyncio, wait_in_trio, checkpoint):
            task.cancel("from inside")
            with pytest.raises(asyncio.CancelledError, match="from inside"):
                await wait()
            assert task.uncancel() == 0
            await wait()

    body(main)


def test_uncancel_takes_an_undelivered_request_back_where_asyncio_does(body: Body) -> None:
    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        assert task.uncancel() == 0
        if sys.version_info >= (3, 13):
            await trio.sleep(1)
            await asyncio.sleep(1)
        else:
            with pytest.raises(asyncio.CancelledError):
                await asyncio.sleep(1)

    body(main)


def test_cancelling_counts(body: Body) -> None:
    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        task.cancel()
        task.cancel()
        assert task.cancelling() == 2
        with pytest.raises(asyncio.CancelledError):
            await trio.sleep(1)
        assert task.cancelling() == 2
        assert (task.uncancel(), task.uncancel(), task.uncancel()) == (1, 0, 0)

    body(main)


def test_what_a_body_that_swallows_its_cancel_returns_counts(border: Border) -> None:
    async def body() -> str:
        try:
            await trio.sleep_forever()
        except asyncio.CancelledError:
            return "swallowed"

    async def main() -> None:
        task = asyncio.create_task(body())
        await asyncio.sleep(1)
        task.cancel()
        assert await task == "swallowed"
        assert not task.cancelled()

    border.task(main)


def test_a_cancelled_task_is_cancelled_for_who_awaits_it(border: Border) -> None:
    async def main() -> None:
        task = asyncio.create_task(trio.sleep_forever())
        await asyncio.sleep(1)
        task.cancel("the message")
        with pytest.raises(asyncio.CancelledError, match="the message"):
            await task
        assert task.cancelled()
        with pytest.raises(asyncio.CancelledError):
            task.result()
        with pytest.raises(asyncio.CancelledError):
            task.exception()

    border.task(main)


# Both at once


@pytest.mark.parametrize("first", ["trio", "asyncio", "both"])
@pytest.mark.parametrize("wait", [trio.sleep_forever, forever])
def test_both_worlds_cancel_one_wait(body: Body, first: str, wait: Callable[[], Awaitable[object]]) -> None:
    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()
        loop.call_later(1 if first != "trio" else 1.5, task.cancel)
        met: list[type[BaseException]] = []
        with trio.CancelScope(deadline=loop.time() + (1 if first != "asyncio" else 1.5)) as scope:
            with contextlib.suppress(asyncio.CancelledError):
                try:
                    await wait()
                except asyncio.CancelledError as exc:
                    met.append(type(exc))
                    with trio.CancelScope(shield=True):
                        await trio.sleep(1)
                    raise
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(1)
        assert scope.cancel_called
        assert met[0] is {"trio": CancelledInBothWorlds, "asyncio": asyncio.CancelledError}.get(first, met[0])
        assert task.cancelling() == 1
        task.uncancel()
        await asyncio.sleep(1)
        await trio.sleep(1)

    body(main)


def test_a_timeout_of_asyncio_and_a_scope_of_trio_each_catch_their_own(body: Body) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for wait in (forever, trio.sleep_forever):
            for first in range(4):
                deadlines = [loop.time() + (1 if index == first else 10) for index in range(4)]
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(deadlines[0]) as outer_timeout:
                        with trio.CancelScope(deadline=deadlines[1]) as outer:
                            with contextlib.suppress(TimeoutError):
                                async with asyncio.timeout_at(deadlines[2]) as inner_timeout:
                                    with trio.CancelScope(deadline=deadlines[3]) as inner:
                                        await wait()
                assert [outer_timeout.expired(), outer.cancelled_caught, inner_timeout.expired(), inner.cancelled_caught] == [
                    index == first for index in range(4)
                ]
                balanced()

    body(main)


def test_a_timeout_that_expires_in_the_clean_up_of_a_trio_cancel(body: Body) -> None:
    async def main() -> None:
        with trio.move_on_after(1) as scope:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(2):
                    try:
                        await forever()
                    finally:
                        await asyncio.sleep(5)
            # The scope's own is lost, as an answer with another error is; its state is not.
            await trio.lowlevel.checkpoint()
        assert scope.cancelled_caught
        assert trio.current_time() == 2
        balanced()

    body(main)


def test_a_scope_that_expires_in_the_clean_up_of_a_timeout(body: Body) -> None:
    async def main() -> None:
        with trio.move_on_after(2) as scope:
            async with asyncio.timeout(1) as timeout:
                try:
                    await forever()
                finally:
                    await asyncio.sleep(5)
        assert timeout.expired()
        assert scope.cancel_called
        assert trio.current_time() == 2
        balanced()

    with contextlib.suppress(TimeoutError):
        body(main)


def test_a_trio_cancel_around_a_task_group_comes_out_of_the_scope(body: Body) -> None:
    async def main() -> None:
        with trio.move_on_after(1) as scope:
            async with asyncio.TaskGroup() as group:
                child = group.create_task(forever())
                await asyncio.sleep(5)
        assert scope.cancelled_caught
        assert child.cancelled()
        balanced()

    body(main)


def test_a_failing_child_of_a_task_group_while_trio_is_awaited(body: Body) -> None:
    async def fail() -> None:
        await asyncio.sleep(1)
        raise Odd

    async def main() -> None:
        with pytest.RaisesGroup(Odd):
            async with asyncio.TaskGroup() as group:
                group.create_task(fail())
                await trio.sleep_forever()
        assert trio.current_time() == 1
        balanced()

    body(main)


def test_a_nursery_in_a_task_group_and_the_other_way_round(body: Body) -> None:
    async def fail() -> None:
        await trio.sleep(1)
        raise Odd

    async def main() -> None:
        with pytest.RaisesGroup(pytest.RaisesGroup(Odd)):
            async with asyncio.TaskGroup() as group:
                child = group.create_task(forever())
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(fail)
                    await asyncio.sleep(5)
        assert child.cancelled()
        with pytest.RaisesGroup(Odd):
            async with trio.open_nursery() as nursery:
                async with asyncio.TaskGroup() as group:
                    child = group.create_task(forever())
                    nursery.start_soon(fail)
                    await asyncio.sleep(5)
        assert child.cancelled()
        balanced()

    body(main)


def test_ctrl_c_on_the_way_to_the_body_is_raised_in_it(border: Border, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupts = [False, True, False]

    def step(method: Callable[[Any], Any], value: Any) -> Any:
        if interrupts.pop(0):
            raise KeyboardInterrupt
        return method(value)

    async def body() -> str:
        try:
            await asyncio.sleep(0)
        except KeyboardInterrupt:
            return "interrupted"
        return "not interrupted"

    monkeypatch.setattr(flavour_free, "_step", step)
    assert border.both(body) == "interrupted"
    assert interrupts == []


# Waiting for the wrong thing, and other mistakes


def test_awaiting_ones_own_task_and_a_future_of_another_loop(body: Body) -> None:
    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        with pytest.raises(RuntimeError, match="cannot await on itself"):
            await task
        other = asyncio.new_event_loop()
        future = other.create_future()
        with pytest.raises(RuntimeError, match="different loop"):
            await future
        other.close()

        class Odd_:
            def __await__(self) -> Any:
                yield asyncio.get_running_loop().create_future()

        with pytest.raises(RuntimeError, match="yield was used instead of yield from"):
            await Odd_()

    body(main)


def test_a_dropped_body_is_closed(clean: Records) -> None:
    """A flavour-free task of a loop that is stopped, and never closed by anybody: its coroutine is closed with it."""

    async def body() -> None:
        try:
            await forever()
        finally:
            ended.append(True)

    async def main() -> None:
        async with open_loop() as loop:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(allow_asyncio, body)
                await trio.testing.wait_all_tasks_blocked()
                stopped = loop.stop()
                assert stopped is not None
                await stopped.wait()
                await trio.testing.wait_all_tasks_blocked()

    ended: list[bool] = []
    with pytest.RaisesGroup(RuntimeError):
        trio.run(main)
    assert ended == [True]


def test_nothing_of_a_body_is_kept(border: Border) -> None:
    class Thing:
        pass

    async def body(thing: Thing, fail: bool) -> None:
        await asyncio.sleep(0)
        await trio.sleep(0)
        if fail:
            raise Odd(thing)

    async def main() -> None:
        for fail in (False, True):
            gc.collect()
            gc.disable()
            try:
                thing = Thing()
                kept = weakref.ref(thing)
                with contextlib.suppress(Odd):
                    await allow_asyncio(body, thing, fail)
                with contextlib.suppress(Odd):
                    await flavour_free_task_factory(asyncio.get_running_loop(), body(thing, fail))
                del thing
                await trio.sleep(1)
                assert kept() is None
            finally:
                gc.enable()

    border.both(main)


def test_calls_across_the_border_work_in_the_body(border: Border) -> None:
    """Adapters are not needed there, and do no harm."""

    async def trio_code() -> str:
        await trio.sleep(1)
        assert sniffio.current_async_library() == "trio"
        return "trio"

    async def asyncio_code() -> str:
        await asyncio.sleep(1)
        assert sniffio.current_async_library() == "asyncio"
        return "asyncio"

    async def main() -> None:
        assert await trio_as_aio(trio_code)() == "trio"
        assert await aio_as_trio(asyncio_code)() == "asyncio"
        assert await trio_code() == "trio"

    border.both(main)
