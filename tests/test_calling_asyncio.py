"""Trio code calls asyncio code: `aio_as_trio`. The rules are the table in section 6 of the design."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import inspect
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from typing import Any

import pytest
import sniffio
import trio

from trio_asyncio_compat import aio_as_trio, asyncio_as_trio, open_loop

from .support import Records, Run

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


class Odd(Exception):
    """An error of the user's."""


async def value(result: object) -> object:
    await asyncio.sleep(0)
    return result


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


# What may be called


def test_an_async_function(hosted_run: Run) -> None:
    async def function(a: int, *, b: int) -> int:
        await asyncio.sleep(0.001)
        return a + b

    async def main() -> None:
        assert await aio_as_trio(function)(1, b=2) == 3
        assert await asyncio_as_trio(function)(1, b=2) == 3

    hosted_run.trio_run(main)


def test_an_async_function_that_raises(hosted_run: Run) -> None:
    error = Odd("x")

    async def fail(wait: bool) -> None:
        if wait:
            await asyncio.sleep(0)
        raise error

    async def main() -> None:
        for wait in (True, False):
            with pytest.raises(Odd) as caught:
                await aio_as_trio(fail)(wait)
            assert caught.value is error

    hosted_run.trio_run(main)


def test_an_awaitable(hosted_run: Run) -> None:
    class Awaitable_:
        def __await__(self) -> Generator[Any, None, str]:
            yield from asyncio.sleep(0).__await__()
            return "awaited"

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert await aio_as_trio(value(1)) == 1
        assert await aio_as_trio(Awaitable_()) == "awaited"
        future: asyncio.Future[int] = loop.create_future()
        loop.call_later(0.001, future.set_result, 2)
        assert await aio_as_trio(future) == 2
        assert await aio_as_trio(future) == 2
        assert await aio_as_trio(loop.create_task(value(3))) == 3

    hosted_run.trio_run(main)


def test_a_callable_that_returns_an_awaitable(hosted_run: Run) -> None:
    async def main() -> None:
        assert list(await aio_as_trio(asyncio.gather)(value(1), value(2))) == [1, 2]
        assert await aio_as_trio(lambda: value(3))() == 3
        assert await aio_as_trio(functools.partial(value, 4))() == 4
        assert await aio_as_trio(asyncio.to_thread)(lambda: 5) == 5
        loop = asyncio.get_running_loop()
        assert await aio_as_trio(loop.run_in_executor)(None, lambda: 6) == 6
        done, pending = await aio_as_trio(asyncio.wait)([asyncio.ensure_future(value(7))])
        assert len(done) == 1 and not pending
        assert await aio_as_trio(asyncio.wait_for)(value(8), 1) == 8

    hosted_run.trio_run(main)


def test_a_decorated_function_keeps_its_name() -> None:
    @aio_as_trio
    async def named(a: int) -> int:
        """A docstring."""
        return a

    assert named.__name__ == "named"
    assert named.__doc__ == "A docstring."
    assert inspect.iscoroutinefunction(named)


def test_methods(hosted_run: Run) -> None:
    class Thing:
        name = "thing"

        @aio_as_trio
        async def method(self, suffix: str) -> str:
            await asyncio.sleep(0)
            return self.name + suffix

        async def plain(self) -> str:
            await asyncio.sleep(0)
            return self.name

    async def main() -> None:
        assert await Thing().method("!") == "thing!"
        assert await aio_as_trio(Thing().plain)() == "thing"

    hosted_run.trio_run(main)


def test_something_else_is_refused(hosted_run: Run) -> None:
    wrong: Any = 42
    with pytest.raises(TypeError, match="42"):
        aio_as_trio(wrong)

    async def main() -> None:
        not_async: Any = lambda: 42  # noqa: E731
        with pytest.raises(TypeError, match="42"):
            await aio_as_trio(not_async)()

    hosted_run.trio_run(main)


def test_a_future_of_another_loop_is_refused(hosted_run: Run) -> None:
    async def main() -> None:
        outer = asyncio.get_running_loop()
        future: asyncio.Future[None] = outer.create_future()
        async with open_loop(poller=hosted_run.poller):
            with pytest.raises(ValueError, match="different loop"):
                await aio_as_trio(future)

    hosted_run.trio_run(main)


def test_wrong_arguments_are_the_functions_own_error(hosted_run: Run) -> None:
    async def main() -> None:
        wrong: Any = aio_as_trio(value)
        with pytest.raises(TypeError, match="missing 1 required positional argument"):
            await wrong()

    hosted_run.trio_run(main)


def test_the_callee_runs_in_an_asyncio_task(hosted_run: Run) -> None:
    async def function() -> None:
        first = asyncio.current_task()
        assert first is not None
        assert asyncio.get_running_loop() is first.get_loop()
        await asyncio.sleep(0)
        assert asyncio.current_task() is first

    async def main() -> None:
        await aio_as_trio(function)()
        assert asyncio.current_task() is None

    hosted_run.trio_run(main)


def test_asyncios_primitives_work_in_the_callee(hosted_run: Run) -> None:
    async def function() -> str:
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            first = group.create_task(value("a"))
        lock, event = asyncio.Lock(), asyncio.Event()
        asyncio.get_running_loop().call_soon(event.set)
        async with lock:
            await event.wait()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await forever()
        return str(await first)

    async def main() -> None:
        assert await aio_as_trio(function)() == "a"

    hosted_run.trio_run(main)


def test_many_calls_at_once(hosted_run: Run) -> None:
    async def main() -> None:
        results: list[object] = []

        async def one(number: int) -> None:
            results.append(await aio_as_trio(value)(number))

        async with trio.open_nursery() as nursery:
            for number in range(500):
                nursery.start_soon(one, number)
        assert sorted(results, key=lambda result: int(str(result))) == list(range(500))

    hosted_run.trio_run(main)


# Cancellation


def test_a_trio_cancel_reaches_the_task_once_with_trios_reason(hosted_run: Run) -> None:
    steps: list[object] = []

    async def function() -> None:
        try:
            await forever()
        except asyncio.CancelledError as exc:
            task = asyncio.current_task()
            assert task is not None
            steps.append(("cancelled", task.cancelling()))
            steps.append("because of the test" in str(exc.args))
            # The clean-up may await as long as it likes.
            for _ in range(3):
                await asyncio.sleep(0.001)
            steps.append("cleaned up")
            raise

    async def main() -> None:
        with trio.CancelScope() as scope:
            asyncio.get_running_loop().call_later(0.002, lambda: scope.cancel("because of the test"))
            await aio_as_trio(function)()
        assert scope.cancelled_caught

    hosted_run.trio_run(main)
    assert steps == [("cancelled", 1), True, "cleaned up"]


def test_a_deadline_cancels_the_call(hosted_run: Run) -> None:
    async def main() -> None:
        with trio.move_on_after(0.002) as scope:
            await aio_as_trio(forever)()
        assert scope.cancelled_caught
        with pytest.raises(trio.TooSlowError):
            with trio.fail_after(0.001):
                await aio_as_trio(asyncio.sleep)(1000)

    hosted_run.trio_run(main)


@pytest.mark.parametrize("make", ["future", "task", "gather", "awaitable"])
def test_a_cancel_reaches_every_kind_of_awaitable(hosted_run: Run, make: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with trio.move_on_after(0.002) as scope:
            if make == "future":
                await aio_as_trio(loop.create_future())
            elif make == "task":
                await aio_as_trio(loop.create_task(forever()))
            elif make == "gather":
                await aio_as_trio(asyncio.gather)(forever(), forever())
            else:
                await aio_as_trio(forever())
        assert scope.cancelled_caught

    hosted_run.trio_run(main)


def test_a_value_that_comes_late_wins(hosted_run: Run) -> None:
    async def swallow() -> str:
        try:
            await forever()
        except asyncio.CancelledError:
            await asyncio.sleep(0.001)
        return "late"

    async def main() -> None:
        with trio.move_on_after(0.001) as scope:
            assert await aio_as_trio(swallow)() == "late"
        assert not scope.cancelled_caught
        assert scope.cancel_called

    hosted_run.trio_run(main)


def test_an_error_that_comes_late_wins(hosted_run: Run) -> None:
    async def fail() -> None:
        try:
            await forever()
        finally:
            raise Odd("while cleaning up")

    async def main() -> None:
        with pytest.raises(Odd):
            with trio.move_on_after(0.001):
                await aio_as_trio(fail)()

    hosted_run.trio_run(main)


def test_a_group_that_mixes_is_split(hosted_run: Run) -> None:
    async def mix() -> None:
        try:
            await forever()
        except asyncio.CancelledError as exc:
            raise BaseExceptionGroup("mixed", [exc, Odd("kept")]) from None

    async def main() -> None:
        with pytest.raises(BaseExceptionGroup) as caught:
            with trio.move_on_after(0.001) as scope:
                await aio_as_trio(mix)()
        assert scope.cancel_called
        assert [type(exc) for exc in caught.value.exceptions] == [Odd]
        assert caught.value.message == "mixed"

    hosted_run.trio_run(main)


def test_a_group_of_nothing_but_cancels_is_trios_cancel(hosted_run: Run) -> None:
    async def group() -> None:
        try:
            await forever()
        except asyncio.CancelledError as exc:
            raise BaseExceptionGroup("all cancelled", [exc]) from None

    async def main() -> None:
        with trio.move_on_after(0.001) as scope:
            await aio_as_trio(group)()
        assert scope.cancelled_caught

    hosted_run.trio_run(main)


def test_a_group_without_a_cancel_is_passed_on(hosted_run: Run) -> None:
    group = ExceptionGroup("errors", [Odd("x")])

    async def fail() -> None:
        try:
            await forever()
        except asyncio.CancelledError:
            raise group from None

    async def main() -> None:
        with trio.move_on_after(0.001):
            with pytest.raises(ExceptionGroup) as caught:
                await aio_as_trio(fail)()
            assert caught.value is group

    hosted_run.trio_run(main)


def test_a_cancelled_error_that_trio_did_not_cause_is_passed_on(hosted_run: Run) -> None:
    async def cancel_itself() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel("mine")
        await asyncio.sleep(0)

    async def main() -> None:
        with trio.CancelScope() as scope:
            with pytest.raises(asyncio.CancelledError, match="mine"):
                await aio_as_trio(cancel_itself)()
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_soon(future.cancel)
            with pytest.raises(asyncio.CancelledError):
                await aio_as_trio(future)
        assert not scope.cancelled_caught

    hosted_run.trio_run(main)


def test_a_task_cancelled_by_asyncio_and_trio(hosted_run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        task = loop.create_task(forever())
        with trio.CancelScope() as scope:

            def both() -> None:
                task.cancel()
                scope.cancel()

            loop.call_later(0.001, both)
            await aio_as_trio(task)
        assert scope.cancelled_caught

    hosted_run.trio_run(main)


def test_a_call_in_a_cancelled_scope_is_cancelled_where_it_first_waits(hosted_run: Run) -> None:
    steps: list[str] = []

    async def function() -> None:
        steps.append("begun")
        try:
            await asyncio.sleep(0)
        finally:
            steps.append("cancelled")
        steps.append("not reached")

    async def main() -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            await aio_as_trio(function)()
        assert scope.cancelled_caught

    hosted_run.trio_run(main)
    assert steps == ["begun", "cancelled"]


def test_a_call_that_does_not_wait_is_no_checkpoint(hosted_run: Run) -> None:
    async def at_once() -> str:
        return "at once"

    async def main() -> None:
        with trio.testing.assert_no_checkpoints():
            assert await aio_as_trio(at_once)() == "at once"
        with trio.CancelScope() as scope:
            scope.cancel()
            assert await aio_as_trio(at_once)() == "at once"
        assert not scope.cancelled_caught

    hosted_run.trio_run(main)


def test_a_shielded_call_is_not_cancelled(hosted_run: Run) -> None:
    async def main() -> None:
        with trio.move_on_after(0.001):
            with trio.CancelScope(shield=True):
                assert await aio_as_trio(asyncio.sleep)(0.005, "slept") == "slept"

    hosted_run.trio_run(main)


def test_cancelling_a_nursery_waits_for_all_calls(hosted_run: Run) -> None:
    ended = 0

    async def function() -> None:
        nonlocal ended
        try:
            await forever()
        finally:
            await asyncio.sleep(0.001)
            ended += 1

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(aio_as_trio(function))
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert ended == 100

    hosted_run.trio_run(main)


def test_asyncio_timeout_in_the_callee_is_not_taken_for_trios(hosted_run: Run) -> None:
    async def times_out() -> None:
        async with asyncio.timeout(0.001):
            await forever()

    async def main() -> None:
        with trio.fail_after(10), pytest.raises(TimeoutError):
            await aio_as_trio(times_out)()

    hosted_run.trio_run(main)


# Context variables


def test_context_variables_go_in_and_come_back(hosted_run: Run) -> None:
    async def function(wait: bool) -> None:
        assert variable.get() == "caller"
        if wait:
            await asyncio.sleep(0.001)
        variable.set("callee")

    async def main() -> None:
        for wait in (False, True):
            variable.set("caller")
            await aio_as_trio(function)(wait)
            assert variable.get() == "callee"

    hosted_run.trio_run(main)


def test_context_variables_come_back_from_an_error(hosted_run: Run) -> None:
    async def fail() -> None:
        await asyncio.sleep(0)
        variable.set("set before the error")
        raise Odd("x")

    async def main() -> None:
        with pytest.raises(Odd):
            await aio_as_trio(fail)()
        assert variable.get() == "set before the error"

    hosted_run.trio_run(main)


@pytest.mark.usefixtures("clean")
def test_context_variables_with_a_task_factory() -> None:
    def factory(loop: Any, coroutine: Any, **options: Any) -> Any:
        return asyncio.Task(coroutine, loop=loop, **options)

    async def function() -> None:
        assert variable.get() == "caller"
        await asyncio.sleep(0)
        variable.set("callee")

    async def main() -> None:
        async with open_loop(task_factory=factory):
            variable.set("caller")
            await aio_as_trio(function)()
            assert variable.get() == "callee"

    trio.run(main)


def test_context_variables_of_concurrent_calls_are_apart(hosted_run: Run) -> None:
    async def function(name: str) -> str:
        variable.set(name)
        await asyncio.sleep(0.001)
        return variable.get()

    async def main() -> None:
        async def one(name: str) -> None:
            assert await aio_as_trio(function)(name) == name
            assert variable.get() == name

        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(one, str(number))
        assert variable.get() == "unset"

    hosted_run.trio_run(main)


# Where no loop is


@pytest.mark.usefixtures("clean")
def test_without_a_loop_the_error_names_open_loop() -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match=r"open_loop\(\)"):
            await aio_as_trio(value)(1)
        with pytest.raises(RuntimeError, match=r"open_loop\(\)"):
            await aio_as_trio(value(1))
        with pytest.raises(RuntimeError, match=r"open_loop\(\)"):
            await aio_as_trio(lambda: value(1))()
        # No "was never awaited", which would fail the test.
        gc.collect()

    trio.run(main)


@pytest.mark.usefixtures("clean")
def test_outside_of_trio_the_error_names_open_loop() -> None:
    coroutine = aio_as_trio(value)(1)
    with pytest.raises(RuntimeError, match=r"open_loop\(\)"):
        coroutine.send(None)


def test_in_asyncio_code_it_is_refused(hosted_run: Run) -> None:
    async def function() -> None:
        with pytest.raises(RuntimeError, match="asyncio code"):
            await aio_as_trio(value)(1)

    async def main() -> None:
        await aio_as_trio(function)()

    hosted_run.trio_run(main)


@pytest.mark.usefixtures("clean")
def test_on_a_stock_loop_it_is_refused() -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match=r"open_loop\(\)"):
            await aio_as_trio(value)(1)

    with asyncio.Runner() as runner:
        runner.run(main())


# Which library is running


def test_sniffio_tells_the_sides_apart(hosted_run: Run) -> None:
    seen: list[str] = []

    async def function() -> None:
        seen.append(sniffio.current_async_library())
        await asyncio.sleep(0)
        seen.append(sniffio.current_async_library())

    async def main() -> None:
        seen.append(sniffio.current_async_library())
        await aio_as_trio(function)()
        seen.append(sniffio.current_async_library())
        loop = asyncio.get_running_loop()
        loop.call_soon(lambda: seen.append(sniffio.current_async_library()))
        await trio.testing.wait_all_tasks_blocked()
        seen.append(sniffio.current_async_library())

    hosted_run.trio_run(main)
    assert seen == ["trio", "asyncio", "asyncio", "trio", "asyncio", "trio"]


@pytest.mark.parametrize(
    "function",
    [
        lambda: trio.sleep(1),
        lambda: trio.lowlevel.checkpoint(),
        lambda: trio.Event().wait(),
        lambda: trio.to_thread.run_sync(int),
        lambda: trio.open_nursery().__aenter__(),
    ],
)
@pytest.mark.parametrize("wait_before", [False, True])
def test_a_trio_function_awaited_by_mistake_fails_there_and_nothing_else(
    hosted_run: Run, function: Callable[[], Awaitable[Any]], wait_before: bool
) -> None:
    async def mistaken() -> None:
        if wait_before:
            await asyncio.sleep(0)
        await function()

    async def main() -> None:
        with pytest.raises(RuntimeError):
            await aio_as_trio(mistaken)()
        assert await aio_as_trio(value)(1) == 1
        await trio.sleep(0)

    hosted_run.trio_run(main)


def test_trio_cancel_scopes_entered_by_mistake_in_asyncio_code_fail_there(hosted_run: Run) -> None:
    async def mistaken() -> None:
        with trio.move_on_after(1):
            await asyncio.sleep(0)

    async def main() -> None:
        with pytest.raises(RuntimeError):
            await aio_as_trio(mistaken)()
        assert await aio_as_trio(value)(1) == 1

    hosted_run.trio_run(main)


def test_an_asyncio_function_awaited_by_mistake_in_trio_code_fails_there(hosted_run: Run) -> None:
    async def main() -> None:
        with pytest.raises((RuntimeError, TypeError)):
            await forever()
        assert await aio_as_trio(value)(1) == 1

    hosted_run.trio_run(main)


def test_trios_synchronous_functions_work_in_asyncio_code(hosted_run: Run) -> None:
    async def main() -> None:
        event = trio.Event()
        send, receive = trio.open_memory_channel[int](1)
        scope = trio.CancelScope()

        async def function() -> None:
            event.set()
            send.send_nowait(1)
            scope.cancel()
            assert trio.current_time() > 0
            nursery.start_soon(started)

        ran: list[str] = []

        async def started() -> None:
            ran.append("started")

        async with trio.open_nursery() as nursery:
            await aio_as_trio(function)()
            await event.wait()
            assert await receive.receive() == 1
            with scope:
                await trio.sleep_forever()
        assert ran == ["started"]

    hosted_run.trio_run(main)


# Generators


def test_generators_are_finalised_by_the_side_that_began_them(hosted_run: Run) -> None:
    closed: list[str] = []

    async def asyncio_generator() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            closed.append(sniffio.current_async_library())

    async def trio_generator() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            closed.append(sniffio.current_async_library())

    async def begin() -> None:
        iterator = asyncio_generator()
        await anext(iterator)
        del iterator
        gc.collect()
        await asyncio.sleep(0.001)

    async def main() -> None:
        await aio_as_trio(begin)()
        assert closed == ["asyncio"]
        iterator = trio_generator()
        await anext(iterator)
        with pytest.warns(ResourceWarning, match="garbage collected"):
            del iterator
            gc.collect()
            await trio.testing.wait_all_tasks_blocked()
        assert closed == ["asyncio", "trio"]

    hosted_run.trio_run(main)


# Nothing is kept


def test_a_finished_call_keeps_nothing_alive(hosted_run: Run) -> None:
    class Thing:
        pass

    async def function(thing: Thing, wait: bool) -> Thing:
        if wait:
            await asyncio.sleep(0)
        return thing

    async def main() -> None:
        for wait in (False, True):
            thing = Thing()
            ref = weakref.ref(thing)
            assert await aio_as_trio(function)(thing, wait) is thing
            await trio.testing.wait_all_tasks_blocked()
            del thing
            gc.collect()
            assert ref() is None

    hosted_run.trio_run(main)


def test_an_error_of_a_call_is_freed_without_the_collector(hosted_run: Run) -> None:
    async def fail(wait: bool) -> None:
        if wait:
            await asyncio.sleep(0)
        raise Odd("x")

    async def main() -> None:
        for wait in (False, True):
            gc.collect()
            gc.disable()
            try:
                try:
                    await aio_as_trio(fail)(wait)
                except Odd as exc:
                    ref = weakref.ref(exc)
                for _ in range(3):
                    await trio.lowlevel.checkpoint()
                assert ref() is None
            finally:
                gc.enable()

    hosted_run.trio_run(main)


def test_a_slow_first_step_is_logged_in_debug_mode(hosted_run: Run) -> None:
    async def slow() -> None:
        time.sleep(0.02)

    async def main() -> None:
        asyncio.get_running_loop().slow_callback_duration = 0.01
        await aio_as_trio(slow)()

    hosted_run.trio_run(main, debug=True)
    assert any(message.startswith("Executing") and " took 0.0" in message for message in hosted_run.log.take())


def test_the_call_is_seen_by_all_tasks(hosted_run: Run, clean: Records) -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(aio_as_trio(forever))
            await trio.testing.wait_all_tasks_blocked()
            coroutine = next(iter(asyncio.all_tasks())).get_coro()
            assert getattr(coroutine, "__name__", None) == "forever"
            nursery.cancel_scope.cancel()

    hosted_run.trio_run(main)
