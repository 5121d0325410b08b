"""The task of flavour-free code, as asyncio and libraries see it: an `asyncio.Task` in everything that they do with one."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import io
import sys
import weakref
from collections.abc import Coroutine, Generator
from typing import Any

import pytest
import trio

from trio_asyncio_compat import allow_asyncio, flavour_free_task_factory, open_loop
from trio_asyncio_compat.border.task import FlavourFreeTask

from ..support import Records
from .support import Border, Odd, forever, settle, variable


async def value(result: object = "value", seconds: float = 0) -> object:
    await trio.sleep(seconds)
    await asyncio.sleep(seconds)
    return result


def test_it_is_an_asyncio_task_that_all_tasks_knows(border: Border) -> None:
    async def main() -> None:
        task = asyncio.create_task(value())
        assert type(task) is FlavourFreeTask
        assert isinstance(task, asyncio.Task) and isinstance(task, asyncio.Future)
        assert asyncio.isfuture(task)
        assert task.get_loop() is asyncio.get_running_loop()
        assert asyncio.ensure_future(task) is task
        assert {task, asyncio.current_task()} == asyncio.all_tasks()
        assert await task == "value"
        assert {asyncio.current_task()} == asyncio.all_tasks()

    border.task(main)


def test_the_current_task_is_the_one_that_runs(border: Border) -> None:
    async def body() -> object:
        first = asyncio.current_task()
        await trio.sleep(1)
        second = asyncio.current_task()
        await asyncio.sleep(1)
        assert first is second is asyncio.current_task(asyncio.get_running_loop())
        asyncio.get_running_loop().call_soon(lambda: seen.append(asyncio.current_task()))
        await asyncio.sleep(0)
        return first

    async def main() -> None:
        tasks = [asyncio.create_task(body()) for _ in range(3)]
        assert await asyncio.gather(*tasks) == tasks
        # In a callback there is none.
        assert seen == [None] * 3

    seen: list[object] = []
    border.task(main)


def test_names(border: Border) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        task: Any = loop.create_task(value(seconds=1), name="a name")
        assert task.get_name() == "a name"
        await asyncio.sleep(0.1)
        assert task.trio_task.name == "a name"
        task.set_name("another")
        assert task.get_name() == "another"
        task.set_name(42)
        assert task.get_name() == "42"
        await task
        unnamed = [asyncio.create_task(value()) for _ in range(2)]
        first, second = (task.get_name() for task in unnamed)
        assert first != second
        assert first.startswith("Task-")
        await asyncio.wait(unnamed)

    border.task(main)


def test_contexts(border: Border) -> None:
    async def body() -> str:
        before = variable.get()
        variable.set("in the task")
        await asyncio.sleep(0)
        await trio.sleep(0)
        assert variable.get() == "in the task"
        return before

    async def main() -> None:
        variable.set("of the creator")
        task = asyncio.create_task(body())
        variable.set("later")
        assert await task == "of the creator"
        assert variable.get() == "later"
        context = contextvars.Context()
        context.run(variable.set, "given")
        task = asyncio.create_task(body(), context=context)
        if sys.version_info >= (3, 12):
            assert task.get_context() is context
        assert await task == "given"
        assert context[variable] == "in the task"

    border.task(main)


def test_callbacks(border: Border) -> None:
    seen: list[object] = []

    def callback(task: object) -> None:
        seen.append((task, variable.get()))

    async def main() -> None:
        context = contextvars.Context()
        context.run(variable.set, "given")
        task = asyncio.create_task(value())
        task.add_done_callback(callback, context=context)
        removed = [seen.append, seen.append]
        for each in removed:
            task.add_done_callback(each)
        assert task.remove_done_callback(seen.append) >= 1
        await task
        await asyncio.sleep(0)
        assert (task, "given") in seen
        seen.clear()
        task.add_done_callback(seen.append)
        await asyncio.sleep(0)
        assert seen == [task]
        seen.clear()

    border.task(main)


def test_the_states_of_a_task(border: Border) -> None:
    async def fail() -> None:
        await trio.sleep(0)
        raise Odd

    async def main() -> None:
        task = asyncio.create_task(value(seconds=1))
        assert not task.done() and not task.cancelled()
        with pytest.raises(asyncio.InvalidStateError):
            task.result()
        with pytest.raises(asyncio.InvalidStateError):
            task.exception()
        for resolve in (task.set_result, task.set_exception):
            with pytest.raises(RuntimeError):
                resolve(Odd())
        assert await task == "value"
        assert task.done() and task.result() == "value" and task.exception() is None
        assert not task.cancel()
        failing = asyncio.create_task(fail())
        with pytest.raises(Odd):
            await failing
        assert isinstance(failing.exception(), Odd)

    border.task(main)


def test_repr(border: Border) -> None:
    async def main() -> None:
        task = asyncio.create_task(value(), name="a name")
        assert "pending" in repr(task) and "name='a name'" in repr(task) and "value()" in repr(task)
        task.cancel()
        assert "cancelling" in repr(task) or sys.version_info < (3, 12)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert "cancelled" in repr(task)
        task = asyncio.create_task(value())
        await task
        assert "finished" in repr(task) and "result='value'" in repr(task)
        waiting = asyncio.create_task(forever())
        await asyncio.sleep(0)
        await trio.lowlevel.checkpoint()
        assert "wait_for=<Future pending" in repr(waiting)
        waiting.cancel()

    border.task(main)


def test_the_coroutine_and_its_stack(border: Border) -> None:
    async def inner() -> None:
        await trio.sleep(1)

    async def body() -> None:
        await inner()

    async def main() -> None:
        coroutine = body()
        task = asyncio.create_task(coroutine)
        assert task.get_coro() is coroutine
        await asyncio.sleep(0.5)
        frames = task.get_stack()
        assert [frame.f_code.co_name for frame in frames] == ["body"]
        assert len(task.get_stack(limit=1)) == 1
        text = io.StringIO()
        task.print_stack(file=text)
        assert "in body" in text.getvalue() and "await inner()" in text.getvalue()
        await task
        assert task.get_stack() == []
        failing = asyncio.create_task(fail())
        await asyncio.wait([failing])
        text = io.StringIO()
        failing.print_stack(file=text)
        assert "raise Odd" in text.getvalue()
        assert "Odd" in text.getvalue()
        # Nothing of the machinery in between.
        assert [frame.f_code.co_name for frame in failing.get_stack()] == ["fail"]
        failing.exception()

    async def fail() -> None:
        await trio.sleep(0)
        raise Odd

    border.task(main)


def test_who_awaits_whom_is_visible(border: Border) -> None:
    """`_fut_waiter`, which asyncio's own tools and anyio read."""

    async def main() -> None:
        future = asyncio.get_running_loop().create_future()

        async def wait() -> None:
            await future

        task: Any = asyncio.create_task(wait())
        await asyncio.sleep(0.1)
        assert task._fut_waiter is future
        future.set_result(None)
        await task
        assert task._fut_waiter is None
        assert not task._must_cancel

    border.task(main)


def test_functions_of_asyncio_that_take_tasks(border: Border) -> None:
    async def main() -> None:
        tasks = [asyncio.create_task(value(number, number)) for number in (1, 2)]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        assert done == {tasks[0]} and pending == {tasks[1]}
        assert [await task for task in asyncio.as_completed(tasks)] == [1, 2]
        assert await asyncio.gather(*tasks) == [1, 2]
        assert await asyncio.wait_for(tasks[0], 1) == 1
        assert await asyncio.shield(tasks[1]) == 2
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.create_task(forever()), 1)
        async with asyncio.TaskGroup() as group:
            grouped = group.create_task(value("grouped", 1))
        assert grouped.result() == "grouped"
        assert type(grouped) is FlavourFreeTask

    border.task(main)


# Garbage


def test_a_finished_task_is_freed_without_the_collector(border: Border) -> None:
    async def fail() -> None:
        await trio.sleep(0)
        await asyncio.sleep(0)
        raise Odd

    async def main() -> None:
        for make in (value, fail):
            gc.collect()
            gc.disable()
            try:
                coroutine: Coroutine[Any, Any, Any] = make()
                task = asyncio.create_task(coroutine)
                del coroutine
                kept = weakref.ref(task)
                await asyncio.wait([task])
                task.exception()
                del task
                await asyncio.sleep(1)
                assert kept() is None
            finally:
                gc.enable()

    border.task(main)


def test_a_task_that_nobody_holds_goes_on(border: Border) -> None:
    """Other than asyncio's own: its trio task holds it."""

    async def body() -> None:
        await asyncio.get_running_loop().create_future()

    async def main() -> None:
        kept = weakref.ref(asyncio.create_task(body()))
        await asyncio.sleep(1)
        gc.collect()
        task = kept()
        assert task is not None
        task.cancel()

    border.task(main)


def test_many_tasks_leave_no_garbage(border: Border) -> None:
    async def main() -> None:
        await asyncio.gather(*(value() for _ in range(100)))
        gc.collect()
        gc.disable()
        try:
            for _ in range(10):
                await asyncio.gather(*(value() for _ in range(10)))
            loop = asyncio.get_running_loop()
            tasks = [thing for thing in gc.get_objects() if type(thing) is FlavourFreeTask and thing.get_loop() is loop]
            assert len(tasks) == 1
            del tasks
        finally:
            gc.enable()

    border.task(main)


# Errors that nobody looks at


def test_an_exception_that_is_never_retrieved_is_logged(border: Border) -> None:
    async def fail() -> None:
        await trio.sleep(0)
        raise Odd("nobody looks")

    async def main() -> None:
        task = asyncio.create_task(fail(), name="the failing one")
        await asyncio.sleep(1)
        assert border.log.take() == []
        del task
        await asyncio.sleep(0)
        gc.collect()
        (line,) = border.log.take()
        assert "exception was never retrieved" in line
        assert "the failing one" in line

    border.task(main)


def test_an_exception_of_allow_asyncio_is_retrieved_by_its_caller(border: Border) -> None:
    async def fail() -> None:
        await asyncio.sleep(0)
        raise Odd

    async def main() -> None:
        with pytest.raises(Odd):
            await allow_asyncio(fail)
        gc.collect()

    border.trio(main)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
@pytest.mark.parametrize("awaits", [True, False])
def test_an_exit_in_a_task_ends_the_loop(clean: Records, error: BaseException, awaits: bool) -> None:
    async def leave() -> None:
        if awaits:
            await trio.sleep(0)
            await asyncio.sleep(0)
        raise error

    async def main() -> None:
        async with open_loop(task_factory=flavour_free_task_factory) as loop:
            task = loop.create_task(leave())
            try:
                await trio.sleep_forever()
            finally:
                assert task.exception() is error

    with pytest.raises(type(error)) as caught:
        trio.run(main)
    assert caught.value is error


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_an_exit_in_allow_asyncio_comes_out_as_it_is(clean: Records, error: BaseException) -> None:
    async def leave() -> None:
        await asyncio.sleep(0)
        raise error

    async def main() -> None:
        async with open_loop():
            await allow_asyncio(leave)

    with pytest.raises(type(error)) as caught:
        trio.run(main)
    assert caught.value is error


def test_stop_iteration_is_refused_as_in_asyncio(border: Border) -> None:
    class Awaitable_:
        def __await__(self) -> Generator[Any, None, None]:
            yield from asyncio.sleep(0).__await__()
            raise StopIteration

    async def main() -> None:
        with pytest.raises(RuntimeError, match="StopIteration"):
            await Awaitable_()

    border.task(main)


# The factory


def test_the_factory_refuses_what_it_cannot_make() -> None:
    async def coroutine() -> None:
        raise AssertionError("is not to run")

    loop = asyncio.new_event_loop()
    made = coroutine()
    with pytest.raises(TypeError, match="TrioEventLoop"):
        flavour_free_task_factory(loop, made)
    made.close()
    loop.close()


def test_the_factory_refuses_what_is_no_coroutine(border: Border) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        wrong: Any = 42
        with pytest.raises(TypeError, match="42"):
            flavour_free_task_factory(loop, wrong)
        with pytest.raises(TypeError, match="42"):
            loop.create_task(wrong)

    border.task(main)


def test_the_factory_is_set_while_the_loop_runs(border: Border) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert loop.get_task_factory() is None
        loop.set_task_factory(flavour_free_task_factory)
        assert await asyncio.create_task(value()) == "value"
        loop.set_task_factory(None)
        with pytest.raises(RuntimeError):
            await asyncio.create_task(value())

    border.asyncio(main)


def test_tasks_made_before_a_driven_loop_runs(clean: Records) -> None:
    from trio_asyncio_compat import TrioEventLoop

    loop = TrioEventLoop()
    loop.set_task_factory(flavour_free_task_factory)
    task = loop.create_task(value())
    assert loop.run_until_complete(task) == "value"
    cancelled = loop.create_task(value())
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(cancelled)
    loop.close()


def test_a_task_that_is_waiting_when_a_drive_ends_is_cancelled_with_it(clean: Records) -> None:
    from trio_asyncio_compat import TrioEventLoop

    loop = TrioEventLoop()
    loop.set_task_factory(flavour_free_task_factory)
    task = loop.create_task(forever())
    loop.run_until_complete(value(seconds=0.001))
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    loop.close()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
def test_eager_start_makes_an_ordinary_one(border: Border) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        task = flavour_free_task_factory(loop, value(), eager_start=True)
        assert await task == "value"

    border.asyncio(main)


def test_the_order_of_asyncio_is_kept_within_a_task(border: Border) -> None:
    """What a task does between two awaits is not interleaved with a callback."""
    order: list[str] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(order.append, "first")
        loop.call_soon(order.append, "second")
        await asyncio.sleep(0)
        order.append("task")
        await settle(loop)  # type: ignore[arg-type]

    border.task(main)
    assert order == ["first", "second", "task"]


def test_a_loop_with_thousands_of_flavour_free_tasks_ends(clean: Records) -> None:
    ended: list[int] = []

    async def body(number: int) -> None:
        try:
            if number % 2:
                await trio.sleep_forever()
            else:
                await forever()
        finally:
            ended.append(number)

    async def main() -> None:
        async with open_loop(task_factory=flavour_free_task_factory) as loop:
            tasks = [loop.create_task(body(number)) for number in range(2000)]
            await trio.testing.wait_all_tasks_blocked()
        assert all(task.cancelled() for task in tasks)

    trio.run(main)
    assert sorted(ended) == list(range(2000))
