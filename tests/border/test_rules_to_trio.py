"""Asyncio code calls trio and cancellation crosses: `TO_TRIO`, row by row, for every way to make such a call; and the rules around it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Generator
from typing import Any, TypeAlias

import pytest
import trio

from trio_asyncio_compat import (
    TrioEventLoop,
    aio_as_trio,
    flavour_free_task_factory,
    open_loop,
    run_trio,
    trio_as_aio,
    trio_as_asyncio,
)
from trio_asyncio_compat.border.cancellation import TO_ASYNCIO, TO_TRIO, Ended, Seen

from ..support import Records
from .support import Border, Odd, balanced, forever, left_in, settle, variable

Callee: TypeAlias = "Callable[[], Coroutine[Any, Any, Any]]"
ROWS = [pytest.param(asked, ended, seen, id=f"{'asked' if asked else 'unasked'}-{ended.name}") for (asked, ended), seen in TO_TRIO.items()]


def test_every_situation_is_in_the_tables() -> None:
    for table in (TO_ASYNCIO, TO_TRIO):
        assert set(table) == set(itertools.product([True, False], Ended))


async def foreign_cancelled() -> trio.Cancelled:
    """The exception of a scope that the call knows nothing of."""
    with trio.CancelScope() as scope:
        scope.cancel("foreign")
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled as exc:
            return exc
    raise AssertionError("a checkpoint in a cancelled scope")


async def end(ended: Ended) -> str:
    """End like this. In a cancelled scope, trio's exception is its own."""
    if ended is Ended.VALUE:
        return "value"
    if ended is Ended.ERROR:
        raise Odd("error")
    try:
        await trio.lowlevel.checkpoint()
    except trio.Cancelled as exc:
        cancelled = exc
    else:
        cancelled = await foreign_cancelled()
    try:
        if ended is Ended.CANCELLED:
            raise cancelled
        raise BaseExceptionGroup("mixed", [Odd("error"), BaseExceptionGroup("inner", [cancelled])])
    finally:
        del cancelled


# The ways to call: each an asyncio-flavoured function of the callee.


async def function(callee: Callee) -> Any:
    return await trio_as_aio(callee)()


async def coroutine(callee: Callee) -> Any:
    return await trio_as_asyncio(callee())


async def returning_callable(callee: Callee) -> Any:
    return await trio_as_aio(lambda: callee())()


async def awaitable(callee: Callee) -> Any:
    class Awaitable_:
        def __await__(self) -> Generator[Any, None, Any]:
            return (yield from callee().__await__())

    return await trio_as_aio(Awaitable_())


async def decorated(callee: Callee) -> Any:
    class Service:
        @trio_as_aio
        async def method(self) -> Any:
            return await callee()

    return await Service().method()


async def future(callee: Callee) -> Any:
    return await run_trio(callee)


async def future_of_the_loop(callee: Callee) -> Any:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, TrioEventLoop)
    return await loop.trio_as_future(callee)


async def entering(callee: Callee) -> Any:
    class Manager:
        async def __aenter__(self) -> Any:
            return await callee()

        async def __aexit__(self, *exc: object) -> None:
            """In a cancelled scope a wait here would be cancelled."""

    async with trio_as_aio(Manager()) as entered:
        return entered


async def leaving(callee: Callee) -> Any:
    class Manager:
        result: Any = None

        async def __aenter__(self) -> Manager:
            return self

        async def __aexit__(self, *exc: object) -> None:
            self.result = await callee()

    async with trio_as_aio(Manager()) as manager:
        pass
    return manager.result


async def stepping(callee: Callee) -> Any:
    async def generate() -> AsyncGenerator[object, None]:
        yield await callee()

    async with contextlib.aclosing(trio_as_aio(generate)()) as values:
        return await anext(values)


async def stepping_an_iterator(callee: Callee) -> Any:
    class Iterator:
        def __aiter__(self) -> Iterator:
            return self

        async def __anext__(self) -> Any:
            return await callee()

    values = aiter(trio_as_aio(Iterator()))
    try:
        return await anext(values)
    finally:
        await values.aclose()  # type: ignore[attr-defined]


async def sending(callee: Callee) -> Any:
    async def generate() -> AsyncGenerator[object, Callable[[], Awaitable[object]]]:
        await (yield None)()
        yield await callee()

    async def nothing() -> None:
        await trio.lowlevel.checkpoint()

    async with contextlib.aclosing(trio_as_aio(generate)()) as values:
        await anext(values)
        return await values.asend(nothing)


WAYS: list[Callable[[Callee], Awaitable[Any]]] = [
    function,
    coroutine,
    returning_callable,
    awaitable,
    decorated,
    future,
    future_of_the_loop,
    entering,
    leaving,
    stepping,
    stepping_an_iterator,
    sending,
]


@pytest.mark.parametrize("factory", [None, flavour_free_task_factory], ids=["asyncio", "flavour-free"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("asked", "ended", "seen"), ROWS)
def test_what_the_caller_sees(
    border: Border, way: Callable[[Callee], Awaitable[Any]], asked: bool, ended: Ended, seen: Seen, factory: Any
) -> None:
    told: list[str] = []
    started: asyncio.Future[None]
    if way is leaving and (asked, ended) == (True, Ended.VALUE):
        # There is no value to be had from leaving a block. The cancellation, which asyncio says only once, must not be lost for nothing.
        seen = Seen.CANCELLED

    async def callee() -> str:
        if not asked:
            await trio.sleep(1)
            return await end(ended)
        started.set_result(None)
        try:
            await trio.sleep_forever()
        except trio.Cancelled as exc:
            told.append(str(exc))
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
            return await end(ended)

    caught: list[BaseException] = []
    results: list[Any] = []

    async def caller() -> None:
        try:
            results.append(await way(callee))
        except BaseException as exc:
            caught.append(exc)
        task = asyncio.current_task()
        assert task is not None and task.cancelling() == asked

    async def main() -> None:
        nonlocal started
        started = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(caller())
        if asked:
            await started
            await asyncio.sleep(1)
            assert task.cancel("the reason")
        await task

    border.asyncio(main, task_factory=factory)

    if asked:
        (reason,) = told
        assert "the reason" in reason
    if seen is Seen.RESULT:
        assert results == (["value"] if ended is Ended.VALUE else [])
        assert results or isinstance(caught[0], Odd)
    else:
        (exc,) = caught
        if seen is Seen.CANCELLED:
            assert type(exc) is asyncio.CancelledError
            assert ("the reason" if asked else "foreign") in str(exc)
        else:
            assert seen is Seen.ERRORS
            with pytest.RaisesGroup(Odd, flatten_subgroups=True):
                raise exc
    del caught[:]


# How asyncio asks


async def cancel_by_task(call: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    task = asyncio.create_task(call())
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def cancel_by_timeout(call: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await call()


async def cancel_by_wait_for(call: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(call(), 1)


async def cancel_by_task_group(call: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    async def fail() -> None:
        await asyncio.sleep(1)
        raise Odd

    with pytest.RaisesGroup(Odd):
        async with asyncio.TaskGroup() as group:
            group.create_task(call())
            group.create_task(fail())


async def cancel_by_task_group_around(call: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    async def fail() -> None:
        await asyncio.sleep(1)
        raise Odd

    with pytest.RaisesGroup(Odd):
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
            await call()


async def cancel_by_gather(call: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    gathered = asyncio.gather(call(), call())
    await asyncio.sleep(1)
    gathered.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gathered


async def cancel_twice(call: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    task = asyncio.create_task(call())
    await asyncio.sleep(1)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    "cancel",
    [
        cancel_by_task,
        cancel_by_timeout,
        cancel_by_wait_for,
        cancel_by_task_group,
        cancel_by_task_group_around,
        cancel_by_gather,
        cancel_twice,
    ],
)
@pytest.mark.parametrize("factory", [None, flavour_free_task_factory], ids=["asyncio", "flavour-free"])
def test_every_way_to_cancel_reaches_trio_and_waits_for_it(border: Border, cancel: Any, factory: Any) -> None:
    ended: list[float] = []

    async def callee() -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
            ended.append(trio.current_time())

    async def main() -> None:
        start = trio.current_time()
        await cancel(trio_as_aio(callee))
        assert ended
        assert {at - start for at in ended} == {2}
        if sys.version_info >= (3, 13) or cancel not in (cancel_by_task_group, cancel_by_task_group_around):
            # Before, a TaskGroup does not take its own request back.
            balanced()

    border.asyncio(main, task_factory=factory)


@pytest.mark.parametrize("how", ["the future", "the task", "the scope around"])
def test_a_call_that_is_cancelled_before_its_trio_task_ran_is_resolved(border: Border, how: str) -> None:
    async def callee() -> None:
        begun.append(True)
        await trio.lowlevel.checkpoint()

    async def call() -> None:
        await trio_as_aio(callee)()

    async def main() -> None:
        if how == "the future":
            future = run_trio(callee)
            assert future.cancel()
            assert not future.done()
            with pytest.raises(asyncio.CancelledError):
                await future
            assert future.cancelled()
            assert not future.cancel()
        else:
            task = asyncio.create_task(call())
            if how == "the task":
                # Its first step has made the call.
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    begun: list[bool] = []
    border.asyncio(main)
    assert len(begun) <= 1


@pytest.mark.parametrize("kind", ["call", "future", "manager", "iterator"])
def test_open_loop_cancelled_from_outside_lets_the_calls_follow_their_tasks(clean: Records, kind: str) -> None:
    order: list[str] = []

    async def callee() -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            order.append("trio cancelled")
            raise

    @contextlib.asynccontextmanager
    async def manager() -> AsyncIterator[None]:
        try:
            yield
        finally:
            await trio.lowlevel.checkpoint_if_cancelled()
            order.append("trio left")

    async def iterate() -> AsyncIterator[None]:
        yield
        await callee()

    async def asyncio_code() -> None:
        async def use() -> None:
            if kind == "call":
                await trio_as_aio(callee)()
            elif kind == "future":
                await run_trio(callee)
            elif kind == "manager":
                async with trio_as_aio(manager()):
                    # Shielded from asyncio's own cancel, this goes on while the loop is being closed.
                    await trio_as_aio(callee)()
            else:
                async for _ in trio_as_aio(iterate)():
                    pass

        try:
            await use()
        except asyncio.CancelledError:
            order.append("asyncio cancelled")
            # Trio can still be called by what unwinds.
            assert await trio_as_aio(late)() == "late"
            order.append("late")
            raise

    async def late() -> str:
        await trio.sleep(0.001)
        return "late"

    async def main() -> None:
        with trio.CancelScope() as scope:
            async with open_loop() as loop:
                loop.create_task(asyncio_code())
                await settle(loop)
                scope.cancel()
                await trio.lowlevel.checkpoint()
        assert scope.cancelled_caught

    trio.run(main)
    assert order[0] == "trio cancelled"
    assert order[-2:] == ["asyncio cancelled", "late"]


def test_a_foreign_cancelled_does_not_end_the_loop(border: Border) -> None:
    """A trio.Cancelled that somebody kept, and raises where no scope is cancelled, is this call's affair alone."""

    async def callee() -> None:
        raise await foreign_cancelled()

    async def main() -> None:
        with pytest.raises(asyncio.CancelledError):
            await trio_as_aio(callee)()
        await trio_as_aio(trio.sleep)(1)
        balanced()

    border.asyncio(main)


# What else holds of a call


def test_the_call_runs_in_a_copy_of_the_callers_context(border: Border) -> None:
    async def callee() -> str:
        before = variable.get()
        variable.set("callee")
        await trio.lowlevel.checkpoint()
        return before + variable.get()

    async def main() -> None:
        variable.set("caller")
        assert await trio_as_aio(callee)() == "callercallee"
        assert variable.get() == "caller"

    border.asyncio(main)


def test_a_call_whose_result_is_not_awaited_runs_and_reports_its_error(border: Border) -> None:
    async def fail() -> None:
        await trio.sleep(1)
        raise Odd("nobody looks")

    async def main() -> None:
        run_trio(fail)
        await asyncio.sleep(2)
        gc.collect()
        assert "exception was never retrieved" in border.log.take()[0]

    border.asyncio(main)


async def _sleep() -> None:
    await trio.sleep(1)


def test_stop_iteration_of_trio_code_reaches_asyncio(border: Border) -> None:
    class Awaitable_:
        def __await__(self) -> Generator[Any, None, Any]:
            yield from _sleep().__await__()
            return "value"

    def stop() -> Awaitable[Any]:
        raise StopIteration("odd")

    async def main() -> None:
        assert await trio_as_aio(Awaitable_()) == "value"
        with pytest.raises(RuntimeError) as caught:
            await trio_as_aio(stop)()
        assert isinstance(caught.value.__cause__, StopIteration)

    border.asyncio(main)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_an_exit_in_trio_code_is_raised_where_the_call_is_awaited_and_ends_the_loop(clean: Records, error: BaseException) -> None:
    async def leave() -> None:
        await trio.lowlevel.checkpoint()
        raise error

    async def caller() -> None:
        try:
            await trio_as_aio(leave)()
        except BaseException as exc:
            seen.append(exc)
            raise

    async def main() -> None:
        async with open_loop():
            await aio_as_trio(caller)()

    seen: list[BaseException] = []
    with pytest.raises(type(error)) as caught:
        trio.run(main)
    assert caught.value is error
    assert seen == [error]
    seen.clear()


def test_shield_keeps_the_call_going(border: Border) -> None:
    async def callee() -> str:
        await trio.sleep(2)
        return "done"

    async def main() -> None:
        future = run_trio(callee)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await asyncio.shield(future)
        assert await future == "done"

    border.asyncio(main)


def test_both_directions_nested(border: Border) -> None:
    """A cancel at the outside reaches the inside, once, through four borders."""
    told: list[str] = []

    async def innermost() -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled as exc:
            told.append(str(exc))
            raise

    async def in_asyncio(inner: Callable[[], Awaitable[Any]]) -> None:
        try:
            await inner()
        except asyncio.CancelledError as exc:
            told.append(str(exc))
            raise

    async def main() -> None:
        def middle() -> Coroutine[Any, Any, Any]:
            return aio_as_trio(in_asyncio)(trio_as_aio(innermost))

        with trio.move_on_after(1) as scope:
            await aio_as_trio(in_asyncio)(trio_as_aio(middle))
        assert scope.cancelled_caught

    border.trio(main)
    assert len(told) == 3
    assert all("deadline" in reason for reason in told)


def test_a_call_needs_a_running_loop_of_ours(clean: Records) -> None:
    async def callee() -> None:
        raise AssertionError("is not to be called")

    async def stock() -> None:
        with pytest.raises(RuntimeError, match="open_loop"):
            await trio_as_aio(callee)()
        with pytest.raises(RuntimeError, match="open_loop"):
            await trio_as_aio(callee())
        with pytest.raises(RuntimeError, match="open_loop"):
            async with trio_as_aio(trio.CancelScope()):
                raise AssertionError("is not to be entered")
        with pytest.raises(RuntimeError, match="open_loop"):
            async for _ in trio_as_aio(generate)():
                raise AssertionError("is not to be iterated")

    async def generate() -> AsyncIterator[int]:
        yield 1

    async def in_trio() -> None:
        for awaitable in (trio_as_aio(callee)(), trio_as_aio(callee())):
            with pytest.raises(RuntimeError, match="trio code"):
                await awaitable

    asyncio.run(stock())
    trio.run(in_trio)


def test_a_call_in_a_stopped_loop_is_refused(clean: Records) -> None:
    async def callee() -> None:
        raise AssertionError("is not to be called")

    async def asyncio_code() -> None:
        try:
            await forever()
        finally:
            late.append(await trio_as_aio(late_callee)())

    async def late_callee() -> str:
        await trio.lowlevel.checkpoint()
        return "late"

    async def main() -> None:
        async with open_loop() as loop:
            task = loop.create_task(asyncio_code())
            await settle(loop)
            stopped = loop.stop()
            assert stopped is not None
            await stopped.wait()
            with pytest.raises(RuntimeError, match="stopped"):
                await aio_as_trio(forever)()
            assert left_in(loop) == [repr(task)]
        # While it is closed it runs once more.
        assert late == ["late"]
        with pytest.raises(RuntimeError, match="open_loop"):
            await aio_as_trio(forever)()

    late: list[str] = []
    trio.run(main)


@pytest.mark.parametrize("poll", range(20))
def test_a_cancellation_at_any_step_of_managers_and_iterators_is_not_lost(border: Border, poll: int) -> None:
    """However far trio's code has come: it ends the loop in the body sooner or later, though trio's code may finish in spite of it."""

    async def numbers() -> AsyncGenerator[int, None]:
        for number in range(2):
            await trio.lowlevel.checkpoint()
            yield number

    async def body() -> None:
        for _ in range(100):
            async with trio_as_aio(trio.open_nursery()) as nursery:
                nursery.start_soon(trio.lowlevel.checkpoint)
                async for _ in trio_as_aio(numbers)():
                    await asyncio.sleep(0)

    async def main() -> None:
        task = asyncio.create_task(body())
        for _ in range(poll):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    border.asyncio(main)
