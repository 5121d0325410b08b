"""Futures and tasks: how the loop makes them, factories, names, contexts, eager starts."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import sniffio
import trio
import trio.testing

from trio_asyncio_compat import aio_as_trio, open_loop

from .support import Run

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="default")
# The loops' own methods have had `eager_start` since Python 3.14; its factory came with 3.12.
EAGER_START = sys.version_info >= (3, 14)
eager_factory: Any = getattr(asyncio, "eager_task_factory", None)
needs_eager = pytest.mark.skipif(eager_factory is None, reason="new in Python 3.12")


async def who() -> tuple[str, str]:
    task = asyncio.current_task()
    assert task is not None
    return task.get_name(), variable.get()


def test_a_future_belongs_to_its_loop(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[str] = loop.create_future()
        assert type(future) is asyncio.Future
        assert future.get_loop() is loop
        loop.call_soon(future.set_result, "done")
        assert await future == "done"

    run(main)


def test_a_task_has_the_name_and_the_context_it_was_given(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        context = contextvars.copy_context()
        context.run(variable.set, "given")
        variable.set("callers")
        task = loop.create_task(who(), name="a name", context=context)
        assert task.get_name() == "a name"
        assert type(task) is asyncio.Task
        assert await task == ("a name", "given")
        name, value = await loop.create_task(who())
        assert name.startswith("Task-")
        assert value == "callers"

    run(main)


def test_a_task_does_not_start_before_the_next_turn(run: Run) -> None:
    async def main() -> None:
        started: list[int] = []

        async def start(number: int) -> None:
            started.append(number)

        tasks = [asyncio.get_running_loop().create_task(start(number)) for number in range(3)]
        assert started == []
        await asyncio.sleep(0)
        assert started == [0, 1, 2]
        assert all(task.done() for task in tasks)

    run(main)


def test_what_is_no_coroutine_is_no_task(run: Run) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        mistakes: list[Any] = [who, 5, None, loop.create_future()]
        for mistake in mistakes:
            with pytest.raises(TypeError, match="a coroutine was expected"):
                loop.create_task(mistake)
        coroutine = who()
        with pytest.raises(TypeError):
            loop.create_task(coroutine, nonsense=True)
        coroutine.close()

    run(main)


def test_a_closed_loop_makes_no_task(sync_run: Run) -> None:
    loop = sync_run.new_loop()
    loop.close()
    coroutine = who()
    with pytest.raises(RuntimeError, match="closed"):
        loop.create_task(coroutine)
    coroutine.close()


def test_the_source_traceback_of_a_task_ends_at_the_caller(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        task: Any = loop.create_task(who())
        assert task._source_traceback[-1].name == "main"
        await task

    run(main, debug=True)


class Named(asyncio.Task[Any]):
    """A task of a factory."""


def test_a_task_factory_makes_the_tasks(run: Run) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        seen: list[Any] = []

        def factory(loop: Any, coroutine: Any, **options: Any) -> Named:
            seen.append((loop, coroutine.__name__))
            return Named(coroutine, loop=loop, **options)

        assert loop.get_task_factory() is None
        loop.set_task_factory(factory)
        assert loop.get_task_factory() is factory
        context = contextvars.copy_context()
        context.run(variable.set, "given")
        task = loop.create_task(who(), name="a name", context=context)
        assert type(task) is Named
        assert (await task)[1] == "given"
        assert task.get_name() == "a name"
        assert type(asyncio.ensure_future(who())) is Named
        assert seen == [(loop, "who")] * 2
        await asyncio.sleep(0)
        loop.set_task_factory(None)
        assert loop.get_task_factory() is None
        assert type(loop.create_task(asyncio.sleep(0))) is asyncio.Task
        for mistake in (5, "factory"):
            with pytest.raises(TypeError, match="callable or None"):
                loop.set_task_factory(mistake)

    run(main)


def test_an_option_that_asyncio_does_not_know_is_refused(run: Run) -> None:
    async def main() -> None:
        coroutine = asyncio.sleep(0)
        options: dict[str, Any] = {"nonsense": 1}
        with pytest.raises(TypeError, match="unexpected keyword argument 'nonsense'|invalid keyword argument for Task"):
            asyncio.get_running_loop().create_task(coroutine, **options)
        coroutine.close()

    run(main)


def test_the_signature_is_that_of_asyncio(our_run: Run) -> None:
    async def main() -> None:
        assert inspect.signature(asyncio.get_running_loop().create_task) == inspect.signature(stock.create_task)

    stock = asyncio.SelectorEventLoop()
    stock.close()
    our_run(main)


def starts_at_once(loop: Any) -> list[Callable[[Coroutine[Any, Any, Any]], Any]]:
    """The ways to make a task that runs its first step in the call."""
    ways: list[Callable[[Coroutine[Any, Any, Any]], Any]] = []
    if EAGER_START:
        ways.append(lambda coroutine: loop.create_task(coroutine, eager_start=True))

    def by_factory(coroutine: Coroutine[Any, Any, Any]) -> Any:
        loop.set_task_factory(eager_factory)
        try:
            return asyncio.ensure_future(coroutine)
        finally:
            loop.set_task_factory(None)

    return [*ways, by_factory]


@needs_eager
def test_an_eager_task_runs_its_first_step_in_the_call(run: Run) -> None:
    async def main() -> None:
        for start in starts_at_once(asyncio.get_running_loop()):
            steps: list[str] = []

            async def body(steps: list[str] = steps) -> str:
                steps.append("first")
                await asyncio.sleep(0)
                steps.append("second")
                return "result"

            task = start(body())
            assert steps == ["first"]
            assert await task == "result"
            at_once = start(who())
            assert at_once.done()

    run(main)


@needs_eager
def test_an_eager_first_step_in_trio_code_is_asyncio_code(hosted_run: Run) -> None:
    """Or anyio would take its trio backend there, and a trio scope could be opened on a task that is not its own."""
    seen: list[object] = []

    async def body() -> None:
        for _ in range(2):
            seen.append((sniffio.current_async_library(), trio.lowlevel.in_trio_task(), asyncio.current_task() is not None))
            with pytest.raises(RuntimeError):
                await trio.sleep(0)
            await asyncio.sleep(0)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        await trio.testing.wait_all_tasks_blocked()
        for start in starts_at_once(loop):
            seen.clear()
            task = start(body())
            assert seen == [("asyncio", False, True)]
            assert sniffio.current_async_library() == "trio"
            await aio_as_trio(task)
            assert seen == [("asyncio", False, True)] * 2

    hosted_run.trio_run(main)


@needs_eager
def test_the_factory_of_open_loop_may_be_eager(hosted_run: Run) -> None:
    async def main() -> None:
        async with open_loop(task_factory=eager_factory, poller=hosted_run.poller) as loop:
            task = loop.create_task(who())
            assert task.done()
            assert task.result()[1] == "default"
            waiting = loop.create_task(asyncio.sleep(0.001, "slept"))
            assert await aio_as_trio(waiting) == "slept"

    trio.run(main)


def test_an_error_that_nobody_retrieved_is_reported(run: Run) -> None:
    async def fail() -> None:
        raise ValueError("lost")

    async def main() -> None:
        reports: list[dict[str, Any]] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: reports.append(context))
        task: Any = loop.create_task(fail())
        await asyncio.wait([task])
        del task
        [report] = reports
        assert report["message"] == "Task exception was never retrieved"
        assert str(report["exception"]) == "lost"

    run(main)
