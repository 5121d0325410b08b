"""Callbacks: call_soon and its threadsafe kin, timers, errors, debug mode."""

from __future__ import annotations

import asyncio
import contextvars
import math
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

from trio_asyncio_compat import TrioEventLoop

from .support import Run, VirtualRun

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="default")


async def settle(turns: int = 3) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)


def test_callbacks_run_in_the_order_they_were_queued(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        order: list[int] = []

        def first() -> None:
            order.append(0)
            loop.call_soon(order.append, 3)

        loop.call_soon(first)
        loop.call_soon(order.append, 1)
        loop.call_soon_threadsafe(order.append, 2)
        assert order == []
        await settle()
        assert order == [0, 1, 2, 3]

    run(main)


def test_a_cancelled_callback_does_not_run(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        ran: list[int] = []
        handles: list[asyncio.Handle] = [
            loop.call_soon(ran.append, 1),
            loop.call_soon_threadsafe(ran.append, 2),
            loop.call_later(0, ran.append, 3),
            loop.call_at(loop.time(), ran.append, 4),
        ]
        for handle in handles:
            assert not handle.cancelled()
            handle.cancel()
            handle.cancel()
            assert handle.cancelled()
            assert "cancelled" in repr(handle)
        await asyncio.sleep(0.001)
        assert ran == []

    run(main)


def test_a_callback_may_cancel_one_of_the_same_turn(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        ran: list[int] = []
        handles: list[asyncio.Handle] = []
        loop.call_soon(lambda: handles[0].cancel())
        second = loop.call_soon(ran.append, 2)
        handles.append(second)
        loop.call_soon(ran.append, 3)
        await settle()
        assert ran == [3]

    run(main)


def test_callbacks_run_in_the_context_they_were_given(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        seen: list[str] = []

        def look() -> None:
            seen.append(variable.get())
            variable.set("changed")

        context = contextvars.Context()
        context.run(variable.set, "given")
        variable.set("caller's")
        schedules: list[Callable[..., object]] = [
            loop.call_soon,
            loop.call_soon_threadsafe,
            lambda *args, **options: loop.call_later(0, *args, **options),
            lambda *args, **options: loop.call_at(loop.time(), *args, **options),
        ]
        for schedule in schedules:
            schedule(look)
            schedule(look, context=context)
        await asyncio.sleep(0.002)
        assert sorted(seen) == sorted(["caller's"] * 4 + ["given"] + ["changed"] * 3)
        assert variable.get() == "caller's"
        assert context[variable] == "changed"

    run(main)


def test_threads_wake_an_idle_loop(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        got: list[int] = []

        def deliver(number: int) -> None:
            got.append(number)
            if len(got) == 200 and not done.done():
                done.set_result(None)

        def work(number: int) -> None:
            for step in range(20):
                handle = loop.call_soon_threadsafe(deliver, number * 20 + step)
                assert isinstance(handle, asyncio.Handle)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(10)]
        for thread in threads:
            thread.start()
        await done
        for thread in threads:
            thread.join()
        # Of each thread in its order.
        for number in range(10):
            mine = [one for one in got if one // 20 == number]
            assert mine == sorted(mine)
        assert sorted(got) == list(range(200))

    run(main)


def test_timers_run_by_deadline_and_then_in_the_order_they_were_made(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        order: list[int] = []
        base = loop.time()
        for number, delay in enumerate([0.003, 0.001, 0.002, 0.001, 0.003]):
            handle = loop.call_at(base + delay, order.append, number)
            assert handle.when() == base + delay
        await asyncio.sleep(0.005)
        assert order in ([1, 3, 2, 0, 4], [1, 3, 2, 4, 0])  # equal deadlines of the standard library's heap are in no order
        if run.ours:
            assert order == [1, 3, 2, 0, 4]

    run(main)


@pytest.mark.parametrize("delay", [0, -1, -1e9, -0.0])
def test_a_delay_that_is_not_positive_runs_at_once(run: Run, delay: float) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        ran: list[str] = []
        loop.call_later(delay, ran.append, "ran")
        assert ran == []
        await settle()
        assert ran == ["ran"]

    run(main)


def test_a_delay_of_none_is_a_mistake(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(TypeError, match="delay must not be None"):
            loop.call_later(None, print)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="when cannot be None"):
            loop.call_at(None, print)  # type: ignore[arg-type]

    run(main)


def test_a_delay_that_is_no_number_is_refused_before_it_does_harm(our_run: Run) -> None:
    """The standard library's loop ends with it."""

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        mistakes: list[Any] = ["1", [], 1j]
        for mistake in mistakes:
            for method in (loop.call_later, loop.call_at):
                with pytest.raises(TypeError):
                    method(mistake, pytest.fail)
        await asyncio.sleep(0.001)

    our_run(main)


def test_not_a_number_runs_at_once_and_keeps_the_others_in_order(our_run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        ran: list[str] = []
        start = loop.time()
        for number in range(20, 0, -1):
            loop.call_at(start + number / 1e6, ran.append, str(number))
            loop.call_later(float("nan"), ran.append, "nan")
        await asyncio.sleep(0.001)
        assert ran == ["nan"] * 20 + [str(number) for number in range(1, 21)]

    our_run(main)


def test_not_a_number_wakes_an_idle_loop(hosted_run: Run) -> None:
    """As a timer that trio code makes, like any other that is due."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        await trio.testing.wait_all_tasks_blocked()
        ran = trio.Event()
        loop.call_later(float("nan"), ran.set)
        await ran.wait()

    hosted_run.trio_run(main)


def test_a_long_delay_is_kept_and_does_no_harm(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        handles = [loop.call_later(delay, pytest.fail) for delay in (1e5, 1e9, 1e15, float("inf"))]
        await asyncio.sleep(0.001)
        for handle in handles:
            handle.cancel()

    run(main)


def test_hours_pass_at_once_in_virtual_time(virtual_run: VirtualRun) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        order: list[float] = []
        for hours in (3, 1, 2):
            loop.call_later(hours * 3600, lambda: order.append(loop.time() - begin))
        cancelled = loop.call_later(1800, pytest.fail)
        await asyncio.sleep(60)
        cancelled.cancel()
        await asyncio.sleep(4 * 3600 - 60)
        assert order == pytest.approx([3600, 7200, 10800])
        assert loop.time() - begin == pytest.approx(4 * 3600)

    before = time.monotonic()
    virtual_run(main)
    assert time.monotonic() - before < 20


def test_a_cancelled_timer_does_not_hold_virtual_time_back(virtual_run: VirtualRun) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(5, pytest.fail).cancel()
        begin = loop.time()
        await asyncio.sleep(100)
        assert loop.time() - begin == pytest.approx(100)

    virtual_run(main)


@pytest.mark.parametrize("debug", [False, True])
def test_a_timer_that_trio_code_cancels_leaves_no_deadline_in_trio(debug: bool, hosted_run: Run) -> None:
    async def main() -> float:
        timer = asyncio.get_running_loop().call_later(3600, int)
        await trio.testing.wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().seconds_to_next_deadline <= 3600
        timer.cancel()
        return trio.lowlevel.current_statistics().seconds_to_next_deadline

    assert hosted_run.trio_run(main, debug=debug) == math.inf


# Errors


class Odd(Exception):
    """An error of the user's."""


def fail() -> None:
    raise Odd("boom")


def test_an_error_of_a_callback_is_logged_and_the_loop_goes_on(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        ran: list[int] = []
        loop.call_soon(fail)
        loop.call_soon(ran.append, 1)
        loop.call_later(0, fail)
        await asyncio.sleep(0.001)
        assert ran == [1]

    run(main)
    messages = run.log.take()
    assert len(messages) == 2
    assert all(message.startswith("Exception in callback fail()") for message in messages)


def test_an_exception_handler_gets_what_asyncios_gets(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        seen: list[dict[str, Any]] = []
        assert loop.get_exception_handler() is None
        handler = lambda where, context: seen.append({"loop": where, **context})  # noqa: E731
        loop.set_exception_handler(handler)
        assert loop.get_exception_handler() is handler
        handle = loop.call_soon(fail)
        await settle()
        (context,) = seen
        assert context["loop"] is loop
        assert isinstance(context["exception"], Odd)
        assert context["handle"] is handle
        assert context["message"].startswith("Exception in callback fail()")
        loop.set_exception_handler(None)
        with pytest.raises(TypeError, match="callable object or None is expected"):
            loop.set_exception_handler("nothing")

    run(main)


def test_a_library_can_report_a_problem(run: Run) -> None:
    """By `call_exception_handler`, which without a handler of the program logs as `default_exception_handler` does."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        context = {"message": "broken", "exception": ValueError("why"), "future": loop.create_future()}
        for report in (loop.call_exception_handler, loop.default_exception_handler):
            report(context)
            [message] = run.log.take()
            assert message.startswith("broken\nfuture: <Future pending")
        loop.default_exception_handler({})
        assert run.log.take() == ["Unhandled exception in event loop"]
        seen: list[Any] = []
        loop.set_exception_handler(lambda *arguments: seen.append(arguments))
        loop.call_exception_handler(context)
        assert seen == [(loop, context)]
        loop.set_exception_handler(None)
        assert loop.get_exception_handler() is None
        with pytest.raises(TypeError, match="callable"):
            loop.set_exception_handler(5)  # type: ignore[arg-type]

    run(main)


def test_an_error_of_the_exception_handler_is_logged(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()

        def handler(where: object, context: object) -> None:
            raise ValueError("of the handler")

        loop.set_exception_handler(handler)
        loop.call_soon(fail)
        await settle()

    run(main)
    assert any("Unhandled error in exception handler" in message for message in run.log.take())


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_an_exit_of_a_callback_comes_out_as_it_is(run: Run, kind: type[BaseException]) -> None:
    ran: list[str] = []

    def leave() -> None:
        raise kind("out")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(leave)
        try:
            await asyncio.sleep(30)
        finally:
            ran.append("finally")

    with pytest.raises(kind, match="out"):
        run(main)
    assert ran == ["finally"]


# Debug mode


def test_a_slow_callback_is_logged_in_debug_mode(run: Run) -> None:
    def slow() -> None:
        time.sleep(0.02)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert loop.get_debug()
        loop.slow_callback_duration = 0.01
        loop.call_soon(slow)
        await settle()
        loop.slow_callback_duration = 10

    run(main, debug=True)
    assert any("slow()" in message and message.startswith("Executing") for message in run.log.take())


def test_another_thread_is_noticed_in_debug_mode(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        errors: list[BaseException] = []

        def wrong() -> None:
            for schedule in (loop.call_soon, lambda fn: loop.call_later(1, fn), lambda fn: loop.call_at(1, fn)):
                try:
                    schedule(print)
                except RuntimeError as exc:
                    errors.append(exc)

        thread = threading.Thread(target=wrong)
        thread.start()
        thread.join()
        assert len(errors) == 3
        assert all("Non-thread-safe operation" in str(error) for error in errors)

    run(main, debug=True)


def test_a_coroutine_function_is_no_callback(run: Run) -> None:
    async def coroutine_function() -> None: ...

    async def main() -> None:
        loop = asyncio.get_running_loop()
        calls: list[tuple[Callable[[Any], object], str]] = [
            (loop.call_soon, "call_soon"),
            (loop.call_soon_threadsafe, "call_soon_threadsafe"),
            (lambda fn: loop.call_later(1, fn), "call_at"),
            (lambda fn: loop.call_at(1, fn), "call_at"),
        ]
        for call, name in calls:
            with pytest.raises(TypeError, match=rf"coroutines cannot be used with {name}\(\)"):
                call(coroutine_function)
            with pytest.raises(TypeError, match=rf"a callable object was expected by {name}\(\)"):
                call("text")

    run(main, debug=True)


def test_a_source_traceback_ends_at_the_caller(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        calls: list[Callable[[], asyncio.Handle]] = [
            lambda: loop.call_soon(print, ""),
            lambda: loop.call_soon_threadsafe(print, ""),
            lambda: loop.call_later(30, print),
            lambda: loop.call_at(30, print),
        ]
        for call in calls:
            handle: Any = call()
            handle.cancel()
            last = handle._source_traceback[-1]
            assert last.filename == __file__
            assert last.name == "<lambda>"

    run(main, debug=True)


# Closed


def test_a_closed_loop_refuses_work(sync_run: Run) -> None:
    loop = sync_run.new_loop()
    loop.close()
    refused: list[Callable[[], object]] = [
        lambda: loop.call_soon(print),
        lambda: loop.call_soon_threadsafe(print),
        lambda: loop.call_later(1, print),
        lambda: loop.call_at(1, print),
        lambda: loop.run_in_executor(None, print),
        lambda: loop.add_reader(0, print),
        lambda: loop.add_writer(1, print),
        loop.run_forever,
    ]
    for call in refused:
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            call()
    assert not loop.remove_reader(0)
    assert not loop.remove_writer(1)
    assert loop.is_closed()
    loop.stop()
    loop.time()


def test_timers_that_were_forgotten_are_found_where_test_suites_look(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        timers = [loop.call_later(3600 + number, int) for number in range(3)]
        timers[1].cancel()
        left = [timer for timer in loop._scheduled if not timer.cancelled() and timer.when() > loop.time() + 3000]  # type: ignore[attr-defined]
        assert left == [timers[0], timers[2]]
        for timer in left:
            timer.cancel()

    run(main)


def test_call_later_goes_through_call_at_of_a_subclass(sync_run: Run) -> None:
    base: Any = TrioEventLoop if sync_run.ours else asyncio.SelectorEventLoop

    class Telling(base):  # type: ignore[misc]
        def call_at(self, when: float, callback: Any, *args: Any, **options: Any) -> Any:
            told.append(args)
            return super().call_at(when, callback, *args, **options)

    class Further(Telling):
        pass

    told: list[Any] = []
    for kind in (Telling, Further):
        loop = kind()
        try:
            ran: list[int] = []
            loop.call_later(0, ran.append, 1)
            loop.call_later(0.0001, loop.stop)
            loop.run_forever()
            assert ran == [1]
        finally:
            loop.close()
    assert told == [(1,), ()] * 2
