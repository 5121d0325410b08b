"""Loops inside of trio: `open_loop` and `run`, several at once, and the order in which one is shut down."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import threading
import time
import weakref
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import outcome
import pytest
import trio
from trio.testing import MockClock

import trio_asyncio_compat
from trio_asyncio_compat import TrioEventLoop, aio_as_trio, open_loop, trio_as_aio

from .support import Records, Run


class Odd(Exception):
    """An error of the user's."""


class OddBase(BaseException):
    """Likewise, of the kind that nobody catches by accident."""


async def value(result: object) -> object:
    await asyncio.sleep(0)
    return result


# The block


def test_trio_code_sees_the_running_loop(hosted_run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, TrioEventLoop)
        assert loop.is_running() and not loop.is_closed()
        await trio.sleep(0)
        assert asyncio.get_running_loop() is loop
        async with trio.open_nursery() as nursery:
            nursery.start_soon(check, loop)

    async def check(loop: asyncio.AbstractEventLoop) -> None:
        assert asyncio.get_running_loop() is loop
        await trio.sleep(0)
        assert asyncio.get_running_loop() is loop

    hosted_run.trio_run(main)


@pytest.mark.usefixtures("clean")
def test_before_and_after_the_block_no_loop_runs() -> None:
    def none_runs() -> None:
        with pytest.raises(RuntimeError, match="no running event loop"):
            asyncio.get_running_loop()

    async def main() -> None:
        none_runs()
        async with open_loop() as loop:
            assert asyncio.get_running_loop() is loop
        none_runs()
        assert loop.is_closed() and not loop.is_running()
        await trio.sleep(0)
        none_runs()
        async with open_loop() as second:
            assert asyncio.get_running_loop() is second is not loop

    trio.run(main)


def test_synchronous_functions_of_asyncio_work_in_trio_code(hosted_run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        event, trio_event = asyncio.Event(), trio.Event()

        async def waits() -> str:
            await event.wait()
            trio_event.set()
            return "done"

        task = asyncio.create_task(waits())
        ensured = asyncio.ensure_future(value(1))
        future = loop.create_future()
        queue: asyncio.Queue[int] = asyncio.Queue()
        queue.put_nowait(3)
        event.set()
        future.set_result(2)
        await trio_event.wait()
        assert await aio_as_trio(task) == "done"
        assert await aio_as_trio(ensured) == 1
        assert await aio_as_trio(future) == 2
        assert await aio_as_trio(queue.get)() == 3

    hosted_run.trio_run(main)


def test_an_aiohttp_session_can_be_made_in_trio_code(hosted_run: Run) -> None:
    async def main() -> None:
        session = aiohttp.ClientSession()
        assert not session.closed
        await aio_as_trio(session.close)()
        assert session.closed

    hosted_run.trio_run(main)


@pytest.mark.usefixtures("clean")
def test_open_loop_outside_of_trio_says_what_to_do() -> None:
    async def use() -> None:
        async with open_loop():
            pass

    coroutine = use()
    with pytest.raises(RuntimeError, match=r"trio\.run"):
        coroutine.send(None)


@pytest.mark.usefixtures("clean")
def test_open_loop_in_asyncio_code_says_what_to_do() -> None:
    async def use() -> None:
        async with open_loop():
            pass

    async def main() -> None:
        async with open_loop():
            with pytest.raises(RuntimeError, match="open_loop"):
                await aio_as_trio(use)()

    trio.run(main)


@pytest.mark.parametrize("error", [Odd("x"), OddBase("x"), SystemExit(3), KeyboardInterrupt(), ExceptionGroup("mine", [Odd("x")])])
def test_what_the_block_raises_comes_out_as_it_is(clean: Records, error: BaseException) -> None:
    async def main() -> None:
        async with open_loop():
            await trio.sleep(0)
            raise error

    with pytest.raises(type(error)) as caught:
        trio.run(main)
    assert caught.value is error
    assert error.__context__ is None
    assert error.__cause__ is None


def test_the_value_of_the_block_survives_a_return(hosted_run: Run) -> None:
    async def main() -> int:
        async with open_loop():
            return 42

    assert hosted_run.trio_run(main) == 42


def test_an_outer_cancel_ends_the_block(hosted_run: Run) -> None:
    ended: list[str] = []

    async def background() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(0.001)
            ended.append("background")

    async def main() -> None:
        with trio.move_on_after(0.005) as scope:
            async with open_loop(poller=hosted_run.poller) as loop:
                task = loop.create_task(background())
                await trio.sleep_forever()
        assert scope.cancelled_caught
        assert task.cancelled()

    trio.run(main)
    assert ended == ["background"]


def test_a_block_in_a_cancelled_scope_ends(clean: Records) -> None:
    steps: list[str] = []

    async def main() -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            async with open_loop() as loop:
                loop.call_soon(steps.append, "queued")
                task = loop.create_task(never())
                steps.append("body")
                await trio.lowlevel.checkpoint()
                steps.append("not reached")
        assert scope.cancelled_caught
        assert task.cancelled()

    async def never() -> None:
        await asyncio.get_running_loop().create_future()

    trio.run(main)
    assert steps == ["body", "queued"]


def test_a_block_that_never_waits(clean: Records) -> None:
    async def main() -> None:
        async with open_loop() as loop:
            loop.call_soon(seen.append, 1)

    seen: list[int] = []
    trio.run(main)
    assert seen == [1]


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_a_callback_that_ends_the_loop_cancels_the_block(clean: Records, error: BaseException) -> None:
    steps: list[str] = []

    def fail() -> None:
        raise error

    async def main() -> None:
        async with open_loop() as loop:
            loop.call_soon(fail)
            try:
                await trio.sleep_forever()
            finally:
                steps.append("cancelled")

    with pytest.raises(type(error)) as caught:
        trio.run(main)
    assert caught.value is error
    assert steps == ["cancelled"]


def test_a_false_exception_comes_out(clean: Records) -> None:
    class Empty(Exception):
        def __len__(self) -> int:
            return 0

    async def main() -> None:
        async with open_loop():
            raise Empty

    with pytest.raises(Empty):
        trio.run(main)


def test_a_callback_that_ends_the_loop_resolves_who_waits_for_it(clean: Records) -> None:
    error = SystemExit(3)
    ends: list[BaseException] = []

    def fail() -> None:
        raise error

    async def waiter() -> None:
        with trio.CancelScope(shield=True):
            try:
                await aio_as_trio(forever)()
            except BaseException as exc:
                ends.append(exc)

    async def forever() -> None:
        await asyncio.get_running_loop().create_future()

    async def main() -> None:
        async with open_loop() as loop, trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(waiter)
            await trio.testing.wait_all_tasks_blocked()
            loop.call_soon(fail)

    with pytest.raises(SystemExit) as caught:
        trio.run(main)
    assert caught.value is error
    assert len(ends) == 3


@pytest.mark.parametrize("gathered", [False, True])
def test_stop_resolves_who_waits(hosted_run: Run, gathered: bool) -> None:
    cleaned_up = []

    async def forever() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(0)
            cleaned_up.append("cleaned up")

    def gather() -> asyncio.Future[Any]:
        return asyncio.gather(forever(), return_exceptions=True)

    call: Any = aio_as_trio(gather if gathered else forever)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(0.002, loop.stop)
        with pytest.raises(RuntimeError, match="stopped"):
            await call()
        with pytest.raises(RuntimeError, match="stopped"):
            await call()
        await trio.sleep(0)
        # Nobody waits for the first call any more, and it waits for nothing that others refer to.
        gc.collect()
        assert cleaned_up == []

    hosted_run.trio_run(main)
    assert cleaned_up == ["cleaned up"]


def test_stop_twice_then_leave(hosted_run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.stop()
        await trio.testing.wait_all_tasks_blocked()
        loop.stop()
        await trio.testing.wait_all_tasks_blocked()
        loop.stop()

    hosted_run.trio_run(main)


def test_stop_at_once_then_leave(hosted_run: Run) -> None:
    async def main() -> None:
        asyncio.get_running_loop().stop()

    hosted_run.trio_run(main)


def test_tasks_of_a_stopped_loop_still_unwind(hosted_run: Run) -> None:
    ended: list[str] = []

    async def background() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(0.001)
            ended.append("background")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        tasks.append(loop.create_task(background()))
        await trio.testing.wait_all_tasks_blocked()
        loop.stop()
        await trio.testing.wait_all_tasks_blocked()
        assert ended == []

    tasks: list[asyncio.Task[None]] = []
    hosted_run.trio_run(main)
    assert ended == ["background"]


def test_a_hosted_loop_cannot_be_closed_early(hosted_run: Run) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="Cannot close a running event loop"):
            asyncio.get_running_loop().close()

    hosted_run.trio_run(main)


def test_the_options_of_the_loop_are_set() -> None:
    async def main() -> None:
        def factory(loop: Any, coroutine: Any, **options: Any) -> Any:
            return asyncio.Task(coroutine, loop=loop, **options)

        async with open_loop(debug=True, task_factory=factory) as loop:
            assert loop.get_debug()
            assert loop.get_task_factory() is factory
            assert await aio_as_trio(value)(1) == 1
        async with open_loop(debug=False) as loop:
            assert not loop.get_debug()
            assert loop.get_task_factory() is None

    trio.run(main)


def test_time_is_trios(hosted_run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        before = trio.current_time()
        assert before <= loop.time() <= trio.current_time()

    hosted_run.trio_run(main, clock=MockClock(rate=7))


# Several loops


async def loop_in_asyncio() -> asyncio.AbstractEventLoop:
    await asyncio.sleep(0)
    return asyncio.get_running_loop()


def test_nested_loops(hosted_run: Run) -> None:
    async def main() -> None:
        outer = asyncio.get_running_loop()
        async with open_loop(poller=hosted_run.poller) as inner:
            assert asyncio.get_running_loop() is inner
            assert await aio_as_trio(loop_in_asyncio)() is inner
            await trio.sleep(0.001)
            assert asyncio.get_running_loop() is inner
            async with open_loop(poller=hosted_run.poller) as innermost:
                assert await aio_as_trio(loop_in_asyncio)() is innermost
            assert asyncio.get_running_loop() is inner
        assert asyncio.get_running_loop() is outer
        assert await aio_as_trio(loop_in_asyncio)() is outer

    hosted_run.trio_run(main)


def test_a_task_started_before_the_inner_loop_keeps_the_outer(hosted_run: Run) -> None:
    async def main() -> None:
        outer = asyncio.get_running_loop()
        seen: list[bool] = []

        async def watch() -> None:
            for _ in range(20):
                seen.append(asyncio.get_running_loop() is outer)
                seen.append(await aio_as_trio(loop_in_asyncio)() is outer)
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            async with open_loop(poller=hosted_run.poller) as inner:
                for _ in range(10):
                    assert asyncio.get_running_loop() is inner
                    await trio.lowlevel.checkpoint()
        assert len(seen) == 40 and all(seen)

    hosted_run.trio_run(main)


def test_callbacks_of_several_loops_see_their_own(hosted_run: Run) -> None:
    async def main() -> None:
        outer = asyncio.get_running_loop()
        seen: list[tuple[str, bool]] = []
        async with open_loop(poller=hosted_run.poller) as inner:
            outer.call_soon(lambda: seen.append(("outer", asyncio.get_running_loop() is outer)))
            inner.call_soon(lambda: seen.append(("inner", asyncio.get_running_loop() is inner)))
            outer.call_later(0.001, lambda: seen.append(("outer timer", asyncio.get_running_loop() is outer)))
            await trio.sleep(0.01)
        assert sorted(seen) == [("inner", True), ("outer", True), ("outer timer", True)]

    hosted_run.trio_run(main)


def test_loops_side_by_side(hosted_run: Run) -> None:
    async def one(number: int, results: dict[int, bool]) -> None:
        async with open_loop(poller=hosted_run.poller) as loop:
            right = True
            for _ in range(10):
                right &= asyncio.get_running_loop() is loop
                right &= await aio_as_trio(loop_in_asyncio)() is loop
                await trio.sleep(0.0005 * number)
            results[number] = right

    async def main() -> None:
        results: dict[int, bool] = {}
        async with trio.open_nursery() as nursery:
            for number in range(4):
                nursery.start_soon(one, number, results)
        assert results == dict.fromkeys(range(4), True)
        with pytest.raises(RuntimeError, match="no running event loop"):
            asyncio.get_running_loop()

    trio.run(main)


def test_one_loop_per_thread(clean: Records) -> None:
    def in_thread(results: list[object], number: int) -> None:
        async def main() -> None:
            async with open_loop() as loop:
                for _ in range(20):
                    assert await aio_as_trio(loop_in_asyncio)() is loop
                results.append(await aio_as_trio(value)(number))

        trio.run(main)

    results: list[object] = []
    threads = [threading.Thread(target=in_thread, args=(results, number)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results, key=str) == [0, 1, 2, 3]


def test_loops_in_different_threads_call_each_other(clean: Records) -> None:
    results: list[object] = []

    def in_thread(other: asyncio.AbstractEventLoop) -> None:
        async def main() -> None:
            async with open_loop():
                future = asyncio.run_coroutine_threadsafe(value("across"), other)
                results.append(await aio_as_trio(asyncio.wrap_future)(future))

        trio.run(main)

    async def main() -> None:
        async with open_loop() as loop:
            await trio.to_thread.run_sync(in_thread, loop)

    trio.run(main)
    assert results == ["across"]


def test_a_hosted_loop_in_a_guest_of_asyncio(clean: Records) -> None:
    """trio runs as a guest of stock asyncio, and hosts a loop of ours."""

    async def trio_main(host: asyncio.AbstractEventLoop) -> str:
        assert asyncio.get_running_loop() is host
        async with open_loop() as loop:
            assert asyncio.get_running_loop() is loop
            assert await aio_as_trio(loop_in_asyncio)() is loop
            await trio.sleep(0.001)
            assert asyncio.get_running_loop() is loop
        assert asyncio.get_running_loop() is host
        return "done"

    async def main() -> str:
        host = asyncio.get_running_loop()
        done: asyncio.Future[Any] = host.create_future()
        trio.lowlevel.start_guest_run(trio_main, host, run_sync_soon_threadsafe=host.call_soon_threadsafe, done_callback=done.set_result)
        end: outcome.Outcome[str] = await done
        assert asyncio.get_running_loop() is host
        return end.unwrap()

    with asyncio.Runner() as runner:
        assert runner.run(main()) == "done"


# Shutting down


def test_callbacks_queued_at_the_end_run_once(hosted_run: Run) -> None:
    order: list[str] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def again() -> None:
            order.append("again")
            loop.call_soon(again)

        loop.call_soon(order.append, "queued")
        loop.call_soon_threadsafe(order.append, "queued threadsafe")
        again()

    hosted_run.trio_run(main)
    assert order[:3] == ["again", "queued", "queued threadsafe"]
    assert order.count("again") >= 2


def test_timers_that_are_not_due_do_not_hold_the_end(hosted_run: Run) -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_later(1000, print)

    hosted_run.trio_run(main)


def test_tasks_are_cancelled_and_waited_for(hosted_run: Run) -> None:
    ended: list[int] = []

    async def background(number: int) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(0.0001 * number)
            ended.append(number)

    async def main() -> None:
        tasks = [asyncio.create_task(background(number)) for number in range(50)]
        main.tasks = tasks  # type: ignore[attr-defined]
        await trio.testing.wait_all_tasks_blocked()

    hosted_run.trio_run(main)
    assert sorted(ended) == list(range(50))


def test_thousands_of_tasks_do_not_hold_the_end(hosted_run: Run) -> None:
    ended = 0

    async def background() -> None:
        nonlocal ended
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended += 1

    async def main() -> None:
        main.tasks = [asyncio.create_task(background()) for _ in range(3000)]  # type: ignore[attr-defined]
        await trio.testing.wait_all_tasks_blocked()

    hosted_run.trio_run(main)
    assert ended == 3000
    del main.tasks  # type: ignore[attr-defined]


def test_a_task_that_starts_another_while_it_unwinds(hosted_run: Run) -> None:
    ended: list[str] = []

    async def second() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append("second")

    async def first() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            first.task = asyncio.create_task(second())  # type: ignore[attr-defined]
            await asyncio.sleep(0)
            ended.append("first")

    async def main() -> None:
        main.task = asyncio.create_task(first())  # type: ignore[attr-defined]
        await trio.testing.wait_all_tasks_blocked()

    hosted_run.trio_run(main)
    assert ended == ["first", "second"]


def test_errors_while_unwinding_are_reported(hosted_run: Run) -> None:
    contexts: list[dict[str, Any]] = []

    async def background() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            raise Odd("while unwinding")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: contexts.append(context))
        main.task = asyncio.create_task(background())  # type: ignore[attr-defined]
        await trio.testing.wait_all_tasks_blocked()

    hosted_run.trio_run(main)
    assert [type(context["exception"]) for context in contexts] == [Odd]


def test_a_callback_that_changes_the_running_loop_does_no_lasting_harm(hosted_run: Run) -> None:
    """As libraries do that run one loop inside of another. What is changed holds until trio's next turn."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        ran = trio.Event()

        def meddle() -> None:
            asyncio._set_running_loop(None)
            ran.set()

        loop.call_soon(meddle)
        await ran.wait()
        assert asyncio.get_running_loop() is loop
        assert await aio_as_trio(asyncio.sleep)(0.001, "slept") == "slept"

    hosted_run.trio_run(main)


def test_an_exit_while_unwinding_leaves_both_sides_working(hosted_run: Run) -> None:
    """What else unwinds may still need asyncio from trio, and trio from asyncio."""
    steps: list[str] = []

    async def leave() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            raise SystemExit(3)

    async def unwind_in_trio() -> None:
        await trio.lowlevel.checkpoint()
        steps.append(await aio_as_trio(asyncio.sleep)(0.001, "slept"))

    async def unwind() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(0.001)
            await trio_as_aio(unwind_in_trio)()
            steps.append("unwound")

    async def main() -> None:
        async with open_loop(poller=hosted_run.poller) as loop:
            tasks.extend([loop.create_task(unwind()), loop.create_task(leave())])
            await trio.testing.wait_all_tasks_blocked()

    tasks: list[asyncio.Task[None]] = []
    with pytest.raises(SystemExit) as caught:
        trio.run(main)
    assert caught.value.code == 3
    assert steps == ["slept", "unwound"]


def test_the_order_of_shutting_down(hosted_run: Run) -> None:
    order: list[str] = []

    class Protocol(asyncio.Protocol):
        def connection_lost(self, exc: Exception | None) -> None:
            order.append("transport")

    async def generator() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
        finally:
            await asyncio.sleep(0)
            order.append("generator")
            released.set()

    async def task() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(0.001)
            order.append("task")

    async def setup() -> None:
        loop = asyncio.get_running_loop()
        a, b = socket.socketpair()
        keep.append(b)
        keep.append(await loop.create_connection(Protocol, sock=a))
        iterator = generator()
        await anext(iterator)
        keep.append(iterator)
        keep.append(loop.create_task(task()))
        await asyncio.sleep(0)

    keep: list[Any] = []
    released = threading.Event()

    def work() -> None:
        released.wait()
        order.append("executor")

    async def main() -> None:
        await aio_as_trio(setup)()
        loop = asyncio.get_running_loop()
        # Let go only when the generator is closed: the executor is waited for after that.
        keep.append(loop.run_in_executor(None, work))
        loop.call_soon(order.append, "queued callback")

    hosted_run.trio_run(main)
    keep[0].close()
    assert order == ["queued callback", "task", "generator", "executor", "transport"]


def test_transports_left_open_are_closed(hosted_run: Run) -> None:
    class Protocol(asyncio.Protocol):
        lost: list[Exception | None] = []

        def connection_lost(self, exc: Exception | None) -> None:
            self.lost.append(exc)

    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def setup() -> None:
            server = await loop.create_server(Protocol, "127.0.0.1", 0)
            await loop.create_connection(Protocol, *server.sockets[0].getsockname()[:2])
            read, write = os.pipe()
            await loop.connect_read_pipe(Protocol, open(read, "rb"))
            await loop.connect_write_pipe(Protocol, open(write, "wb"))
            await loop.create_datagram_endpoint(asyncio.DatagramProtocol, ("127.0.0.1", 0))
            await asyncio.sleep(0.001)

        await aio_as_trio(setup)()

    Protocol.lost = []
    hosted_run.trio_run(main)
    assert len(Protocol.lost) >= 3


def test_a_trio_task_in_the_block_is_ended_before_the_loop(hosted_run: Run) -> None:
    async def main() -> None:
        async with open_loop(poller=hosted_run.poller) as loop, trio.open_nursery() as nursery:
            nursery.start_soon(user, loop)

    async def user(loop: asyncio.AbstractEventLoop) -> None:
        for _ in range(5):
            assert await aio_as_trio(value)(1) == 1
            assert not loop.is_closed()

    trio.run(main)


def test_a_task_that_outlives_the_loop_gets_a_clear_error(hosted_run: Run) -> None:
    errors: list[BaseException] = []

    async def outlive(gate: trio.Event) -> None:
        await gate.wait()
        for _ in range(2):
            try:
                await aio_as_trio(value)(1)
            except BaseException as exc:
                errors.append(exc)

    async def main() -> None:
        gate = trio.Event()
        async with trio.open_nursery() as nursery:
            async with open_loop(poller=hosted_run.poller):
                nursery.start_soon(outlive, gate)
                await trio.sleep(0)
            gate.set()

    trio.run(main)
    assert [type(error) for error in errors] == [RuntimeError] * 2
    assert all("open_loop()" in str(error) for error in errors)


def test_the_loop_is_freed_after_the_block(hosted_run: Run) -> None:
    refs: list[weakref.ref[Any]] = []

    async def main() -> None:
        async with open_loop(poller=hosted_run.poller) as loop:
            assert await aio_as_trio(value)(1) == 1
            refs.append(weakref.ref(loop))

    trio.run(main)
    gc.collect()
    assert refs[0]() is None


def test_many_loops_in_a_row(hosted_run: Run) -> None:
    async def main() -> None:
        for number in range(50):
            async with open_loop(poller=hosted_run.poller):
                assert await aio_as_trio(value)(number) == number

    trio.run(main)


def test_leaving_under_an_exit_stack(hosted_run: Run) -> None:
    async def main() -> None:
        async with contextlib.AsyncExitStack() as stack:
            loop = await stack.enter_async_context(open_loop(poller=hosted_run.poller))
            assert await aio_as_trio(value)(1) == 1
            assert asyncio.get_running_loop() is loop

    trio.run(main)


def test_a_loop_driven_in_a_thread_of_a_hosted_one(hosted_run: Run) -> None:
    def in_thread() -> object:
        with asyncio.Runner(loop_factory=lambda: TrioEventLoop(poller=hosted_run.poller)) as runner:
            return runner.run(value("inner"))

    async def main() -> None:
        assert await trio.to_thread.run_sync(in_thread) == "inner"
        loop = asyncio.get_running_loop()
        assert await aio_as_trio(loop.run_in_executor)(None, in_thread) == "inner"

    hosted_run.trio_run(main)


# run()


@pytest.mark.usefixtures("clean")
def test_run_takes_an_async_function_of_trio() -> None:
    async def main(first: int, second: int) -> tuple[int, int]:
        await trio.sleep(0)
        assert isinstance(asyncio.get_running_loop(), TrioEventLoop)
        assert await aio_as_trio(value)(3) == 3
        return first, second

    assert trio_asyncio_compat.run(main, 1, 2) == (1, 2)


@pytest.mark.usefixtures("clean")
def test_run_takes_a_coroutine_object_as_asyncio_does() -> None:
    assert trio_asyncio_compat.run(value(42)) == 42
    with pytest.raises(TypeError, match="coroutine object"):
        trio_asyncio_compat.run(value(42), 1)


@pytest.mark.usefixtures("clean")
def test_run_passes_debug_and_the_options_of_trio() -> None:
    clock = MockClock(autojump_threshold=0)

    async def main() -> tuple[bool, float]:
        begun = trio.current_time()
        await trio.sleep(100)
        return asyncio.get_running_loop().get_debug(), trio.current_time() - begun

    assert trio_asyncio_compat.run(main, debug=True, clock=clock) == (True, 100)
    assert trio_asyncio_compat.run(main, debug=False, clock=MockClock(autojump_threshold=0)) == (False, 100)
    steps: list[object] = []

    class Counter(trio.abc.Instrument):
        def before_run(self) -> None:
            steps.append("before_run")

    async def nothing() -> None:
        pass

    trio_asyncio_compat.run(nothing, instruments=[Counter()])
    assert steps == ["before_run"]


@pytest.mark.parametrize("wrong", [42, None, "main"])
@pytest.mark.usefixtures("clean")
def test_run_refuses_what_it_cannot_call(wrong: Any) -> None:
    with pytest.raises(TypeError, match="async function"):
        trio_asyncio_compat.run(wrong)


@pytest.mark.usefixtures("clean")
def test_run_refuses_a_function_that_returns_nothing_to_await() -> None:
    wrong: Any = lambda: 42  # noqa: E731
    with pytest.raises(TypeError, match="42"):
        trio_asyncio_compat.run(wrong)


@pytest.mark.parametrize("error", [Odd("x"), SystemExit(3), KeyboardInterrupt(), OddBase("x")])
@pytest.mark.usefixtures("clean")
def test_what_run_raises_is_bare(error: BaseException) -> None:
    async def trio_main() -> None:
        await trio.sleep(0)
        raise error

    async def asyncio_main() -> None:
        await asyncio.sleep(0)
        raise error

    for target in (trio_main, asyncio_main()):
        main: Any = target
        with pytest.raises(type(error)) as caught:
            trio_asyncio_compat.run(main)
        assert type(caught.value) is type(error)


@pytest.mark.usefixtures("clean")
def test_run_inside_of_trio_is_refused_without_leaking_the_coroutine() -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError):
            trio_asyncio_compat.run(value(1))

    trio.run(main)


@pytest.mark.usefixtures("clean")
def test_run_waits_for_what_the_main_function_left() -> None:
    ended: list[str] = []

    async def background() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(0)
            ended.append("background")

    async def main() -> None:
        main.task = asyncio.create_task(background())  # type: ignore[attr-defined]
        await trio.testing.wait_all_tasks_blocked()

    trio_asyncio_compat.run(main)
    assert ended == ["background"]


def test_a_busy_thread_is_waited_for_at_the_end(hosted_run: Run) -> None:
    ended: list[str] = []

    def slow() -> None:
        time.sleep(0.01)
        ended.append("thread")

    async def main() -> None:
        main.future = asyncio.get_running_loop().run_in_executor(None, slow)  # type: ignore[attr-defined]

    hosted_run.trio_run(main)
    assert ended == ["thread"]


@pytest.mark.parametrize("load", ["callbacks", "timers", "reader"])
def test_a_trio_task_waits_for_one_slice_at_most(load: str) -> None:
    """Whatever dice trio throws for the order of its tasks."""

    async def main() -> None:
        async with open_loop(slice_length=0.0001) as loop:
            one, other = socket.socketpair()
            with one, other:
                busy = True

                def again() -> None:
                    if busy:
                        loop.call_soon(again) if load == "callbacks" else loop.call_later(0, again)

                if load == "reader":
                    other.send(b"x")
                    loop.add_reader(one, int)
                else:
                    again()
                # The first slices may come from elsewhere: the pump is only about to take over.
                for _ in range(20):
                    await trio.lowlevel.checkpoint()
                for _ in range(200):
                    before = loop.statistics().slices
                    await trio.lowlevel.checkpoint()
                    assert loop.statistics().slices - before <= 1
                busy = False
                loop.remove_reader(one)

    trio.run(main)
