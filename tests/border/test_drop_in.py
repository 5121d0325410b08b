"""The names of trio-asyncio 0.16: each exists and means the same, so that one import line is the whole migration."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import gc
import inspect
import json
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Awaitable, Callable, Iterator

import pytest
import trio

import trio_asyncio_compat
import trio_asyncio_compat as trio_asyncio
from trio_asyncio_compat import TrioEventLoop, TrioExecutor

from ..support import Records
from .support import Border, Odd, checked_loop, forever

# As trio-asyncio 0.16 has them. `test_the_list_is_trio_asyncios_own` compares with the installed one.
FUNCTIONS = {
    "BaseTrioEventLoop": ["queue_len"],
    "TrioEventLoop": ["queue_len"],
    "TrioExecutor": ["limiter", "thread_name_prefix", "max_workers"],
    "aio_as_trio": ["proc", "loop"],
    "allow_asyncio": ["fn", "args"],
    "asyncio_as_trio": ["proc", "loop"],
    "open_loop": ["queue_len"],
    "run": ["proc", "args", "queue_len", "trio_run_options"],
    "run_aio_coroutine": ["coro"],
    "run_aio_future": ["future"],
    "run_aio_generator": ["loop", "async_generator"],
    "run_trio": ["proc", "args"],
    "run_trio_task": ["proc", "args"],
    "trio_as_aio": ["proc", "loop"],
    "trio_as_asyncio": ["proc", "loop"],
}
OTHERS = ["TrioAsyncioDeprecationWarning", "current_loop"]
METHODS = {
    "autoclose": ["fd"],
    "no_autoclose": ["fd"],
    "run_aio_coroutine": ["coro"],
    "run_aio_future": ["future"],
    "run_trio_task": ["proc", "args"],
    "synchronize": [],
    "trio_as_future": ["proc", "args"],
    "wait_stopped": [],
    "stop": ["waiter"],
}


def parameters(function: Callable[..., object]) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name != "self"]


@pytest.mark.parametrize("name", [*FUNCTIONS, *OTHERS])
def test_every_public_name_exists(name: str) -> None:
    assert hasattr(trio_asyncio, name)
    assert name in trio_asyncio.__all__


@pytest.mark.parametrize("name", METHODS)
def test_every_method_takes_what_trio_asyncios_takes(name: str) -> None:
    ours = parameters(getattr(TrioEventLoop, name))
    assert ours == METHODS[name]


# In a process of its own: to import trio-asyncio replaces functions of asyncio.
ASK_TRIO_ASYNCIO = """
import asyncio, inspect, json, sys, warnings
warnings.simplefilter("ignore")
sync_loop_names = set(dir(asyncio.SelectorEventLoop))
try:
    import trio_asyncio
except ImportError:
    sys.exit("not installed")

def parameters(function):
    return [name for name in inspect.signature(function).parameters if name != "self"]

def signatures(holder, names):
    return {name: parameters(getattr(holder, name)) for name in names}

public = {name for name in vars(trio_asyncio) if not name.startswith("_")}
others = {"TrioAsyncioDeprecationWarning", "current_loop"}
methods = {name for name in dir(trio_asyncio.TrioEventLoop) if not name.startswith("_")} - sync_loop_names | {"stop"}
print(json.dumps([signatures(trio_asyncio, public - others), sorted(public & others), signatures(trio_asyncio.TrioEventLoop, methods)]))
"""


def test_the_list_is_trio_asyncios_own() -> None:
    asked = subprocess.run([sys.executable, "-c", ASK_TRIO_ASYNCIO], capture_output=True, text=True, check=False)
    if asked.stderr.strip() == "not installed":
        pytest.skip("trio-asyncio 0.16 is not installed here (the `bench` extra)")
    assert asked.returncode == 0, asked.stderr
    assert json.loads(asked.stdout) == [FUNCTIONS, OTHERS, METHODS]


# Running asyncio from trio


def test_run_aio_future(border: Border) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, TrioEventLoop)
        for wait in (trio_asyncio.run_aio_future, loop.run_aio_future):
            future: asyncio.Future[str] = loop.create_future()
            loop.call_later(1, future.set_result, "result")
            assert await wait(future) == "result"
            assert await wait(future) == "result"
            future = loop.create_future()
            loop.call_later(1, future.set_exception, Odd())
            with pytest.raises(Odd):
                await wait(future)
            future = loop.create_future()
            with trio.move_on_after(1) as scope:
                await wait(future)
            assert scope.cancelled_caught
            assert future.cancelled()
            future = loop.create_future()
            loop.call_later(1, future.cancel)
            with pytest.raises(asyncio.CancelledError):
                await wait(future)

    border.trio(main)


def test_run_aio_future_of_a_stock_loop_is_refused(border: Border) -> None:
    async def main() -> None:
        other = asyncio.new_event_loop()
        with pytest.raises(TypeError, match="run on trio"):
            await trio_asyncio.run_aio_future(other.create_future())
        other.close()

    border.trio(main)


def test_run_aio_coroutine(border: Border) -> None:
    async def coroutine(fail: bool) -> str:
        await asyncio.sleep(1)
        if fail:
            raise Odd
        return "result"

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, TrioEventLoop)
        for call in (trio_asyncio.run_aio_coroutine, loop.run_aio_coroutine):
            assert await call(coroutine(False)) == "result"
            with pytest.raises(Odd):
                await call(coroutine(True))
            with trio.move_on_after(1) as scope:
                await call(forever())
            assert scope.cancelled_caught

    border.trio(main)


def test_current_loop(border: Border) -> None:
    async def main() -> None:
        assert trio_asyncio.current_loop.get() is asyncio.get_running_loop()

    border.trio(main)
    border.asyncio(main)
    assert trio_asyncio.current_loop.get() is None
    assert trio_asyncio.current_loop.get(None) is None


# Running trio from asyncio


def test_run_trio_and_trio_as_future(border: Border) -> None:
    async def proc(result: object) -> object:
        await trio.sleep(1)
        return result

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, TrioEventLoop)
        assert await trio_asyncio.run_trio(proc, 1) == 1
        assert await loop.trio_as_future(proc, 2) == 2
        seen: list[object] = []
        loop.call_soon(lambda: trio_asyncio.run_trio(proc, 3).add_done_callback(seen.append))
        await asyncio.sleep(2)
        (future,) = seen
        assert isinstance(future, asyncio.Future)
        assert future.result() == 3

    border.asyncio(main)


def test_run_trio_without_a_loop_is_refused(clean: Records) -> None:
    with pytest.raises(RuntimeError, match="open_loop"):
        trio_asyncio.run_trio(trio.sleep, 1)
    with pytest.raises(RuntimeError, match="open_loop"):
        trio_asyncio.run_trio_task(trio.sleep, 1)


def test_run_trio_task_returns_a_handle_with_cancel(border: Border) -> None:
    ended: list[str] = []

    async def proc(name: str) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(name)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, TrioEventLoop)
        handle = loop.run_trio_task(proc, "one")
        await asyncio.sleep(1)
        assert not handle.cancelled()
        handle.cancel()
        assert handle.cancelled()
        await asyncio.sleep(1)
        assert ended == ["one"]
        handle.cancel()
        done = loop.run_trio_task(trio.lowlevel.checkpoint)
        await asyncio.sleep(1)
        done.cancel()
        assert not done.cancelled()

    border.asyncio(main)


@pytest.mark.parametrize("from_trio", [True, False])
def test_an_error_of_run_trio_task_ends_a_hosted_loop(clean: Records, from_trio: bool) -> None:
    error = Odd()
    ended: list[str] = []

    async def fail() -> None:
        await trio.sleep(0.001)
        raise error

    async def start() -> None:
        trio_asyncio.run_trio_task(fail)

    async def main() -> None:
        async with trio_asyncio.open_loop():
            if from_trio:
                await start()
            else:
                await trio_asyncio.aio_as_trio(start)()
            try:
                await trio.sleep_forever()
            finally:
                ended.append("block")

    with pytest.raises(Odd) as caught:
        trio.run(main)
    assert caught.value is error
    assert ended == ["block"]
    error.__traceback__ = None


def test_an_error_of_run_trio_task_ends_a_driven_loop(clean: Records) -> None:
    error = Odd()

    async def fail() -> None:
        await trio.sleep(0.001)
        raise error

    async def main() -> None:
        trio_asyncio.run_trio_task(fail)
        await forever()

    loop = TrioEventLoop()
    task = loop.create_task(main())
    with pytest.raises(Odd) as caught:
        loop.run_until_complete(task)
    assert caught.value is error
    error.__traceback__ = None
    # It can be driven again.
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    loop.close()


# The loop


def test_stop_returns_an_event(clean: Records) -> None:
    async def main() -> None:
        async with trio_asyncio.open_loop() as loop:
            own = trio.Event()
            given = loop.stop(own)
            assert given is own
            second = loop.stop()
            await own.wait()
            await second.wait()
            await loop.wait_stopped()
            # It has stopped: set at once.
            third = trio.Event()
            given = loop.stop(third)
            assert given is third
            assert third.is_set()

    trio.run(main)


def test_wait_stopped(clean: Records) -> None:
    order: list[str] = []

    async def waiter(loop: TrioEventLoop, started: trio.Event) -> None:
        started.set()
        await loop.wait_stopped()
        order.append("stopped")

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            async with trio_asyncio.open_loop() as loop:
                started = trio.Event()
                nursery.start_soon(waiter, loop, started)
                await started.wait()
                await trio.testing.wait_all_tasks_blocked()
                order.append("block")
        await loop.wait_stopped()

    trio.run(main)
    assert order == ["block", "stopped"]


def test_stop_from_asyncio_code(clean: Records) -> None:
    async def main() -> None:
        async with trio_asyncio.open_loop() as loop:
            loop.call_soon(loop.stop)
            await loop.wait_stopped()

    trio.run(main)


def test_synchronize(border: Border) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, TrioEventLoop)
        order: list[int] = []
        for number in range(5):
            loop.call_soon(order.append, number)
        await loop.synchronize()
        assert order == list(range(5))
        await loop.synchronize()

    border.trio(main)


def test_synchronize_with_a_stopped_loop_is_refused(clean: Records) -> None:
    async def main() -> None:
        async with trio_asyncio.open_loop() as loop:
            await loop.stop().wait()
            with pytest.raises(RuntimeError, match="stopped"):
                await loop.synchronize()

    trio.run(main)


def test_autoclose(clean: Records) -> None:
    read, write = os.pipe()
    other_read, other_write = os.pipe()

    class File:
        def fileno(self) -> int:
            return write

    async def main() -> None:
        async with trio_asyncio.open_loop() as loop:
            loop.autoclose(read)
            loop.autoclose(read)
            loop.autoclose(File())
            loop.autoclose(other_read)
            loop.no_autoclose(other_read)
            with pytest.raises(KeyError):
                loop.no_autoclose(other_read)
            os.fstat(read)

    trio.run(main)
    for fd in (read, write):
        with pytest.raises(OSError, match="descriptor"):
            os.fstat(fd)
    for fd in (other_read, other_write):
        os.close(fd)


def test_autoclose_of_a_descriptor_that_was_closed_is_reported(clean: Records) -> None:
    read, write = os.pipe()
    os.close(write)

    async def main() -> None:
        async with trio_asyncio.open_loop() as loop:
            loop.autoclose(read)
            os.close(read)

    trio.run(main)
    assert "autoclose" in clean.take()[0]


def test_queue_len_is_taken(clean: Records) -> None:
    async def main() -> str:
        async with trio_asyncio.open_loop(queue_len=10) as loop:
            assert isinstance(loop, trio_asyncio.BaseTrioEventLoop)
        return "done"

    assert trio.run(main) == "done"

    async def inside() -> str:
        return "inside"

    assert trio_asyncio.run(inside, queue_len=10) == "inside"

    async def positional() -> None:
        async with trio_asyncio.open_loop(10):
            pass

    trio.run(positional)
    trio_asyncio.TrioEventLoop(10).close()


def test_stop_of_a_loop_that_does_not_run_returns_an_event_that_is_set(clean: Records) -> None:
    loop = trio_asyncio.TrioEventLoop()
    assert loop.stop().is_set()
    loop.close()


def test_the_warning_is_a_category_and_never_issued() -> None:
    assert issubclass(trio_asyncio.TrioAsyncioDeprecationWarning, FutureWarning)
    warnings.filterwarnings("error", category=trio_asyncio.TrioAsyncioDeprecationWarning)


# TrioExecutor


def test_an_executors_jobs_run_in_trios_threads(real_border: Border) -> None:
    def job(argument: str) -> tuple[str, str, bool]:
        return argument, trio.from_thread.run(in_trio), threading.current_thread() is threading.main_thread()

    async def in_trio() -> str:
        await trio.lowlevel.checkpoint()
        return "from trio"

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with TrioExecutor() as executor:
            assert await loop.run_in_executor(executor, job, "argument") == ("argument", "from trio", False)
            future = executor.submit(job, argument="keyword")
            assert isinstance(future, concurrent.futures.Future)
            assert (await asyncio.wrap_future(future))[0] == "keyword"

    real_border.asyncio(main)
    real_border.task(main)


def test_an_executor_is_limited_and_names_its_threads(real_border: Border) -> None:
    running: list[int] = [0, 0]
    names: set[str] = set()
    lock = threading.Lock()

    def job() -> None:
        with lock:
            running[0] += 1
            running[1] = max(running)
            names.add(threading.current_thread().name)
        barrier.wait(10)
        with lock:
            running[0] -= 1

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for executor in (
            TrioExecutor(max_workers=2, thread_name_prefix="prefix"),
            TrioExecutor(trio.CapacityLimiter(2), thread_name_prefix="prefix"),
        ):
            await asyncio.gather(*(loop.run_in_executor(executor, job) for _ in range(6)))
            executor.shutdown()

    barrier = threading.Barrier(2)
    real_border.asyncio(main)
    assert running == [0, 2]
    assert all(name.startswith("prefix_") for name in names)


def test_an_executors_errors_and_cancellation(real_border: Border) -> None:
    def fail() -> None:
        raise Odd

    async def main() -> None:
        loop = asyncio.get_running_loop()
        executor = TrioExecutor(max_workers=1)
        with pytest.raises(Odd):
            await loop.run_in_executor(executor, fail)
        begun, go_on = threading.Event(), threading.Event()

        def block() -> str:
            begun.set()
            go_on.wait(10)
            return "done"

        first = loop.run_in_executor(executor, block)
        await asyncio.to_thread(begun.wait, 10)
        waiting = executor.submit(fail)
        assert waiting.cancel()
        go_on.set()
        assert await first == "done"
        executor.shutdown()
        with pytest.raises(RuntimeError, match="after shutdown"):
            executor.submit(fail)

    real_border.asyncio(main)


def test_an_executor_as_the_default_one(real_border: Border) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(TrioExecutor(thread_name_prefix="default"))
        assert (await asyncio.to_thread(lambda: threading.current_thread().name)).startswith("default_")

    real_border.asyncio(main)


def test_an_executor_outside_of_a_loop_is_refused() -> None:
    with pytest.raises(RuntimeError, match="open_loop"):
        TrioExecutor().submit(print)


# Policies


@contextlib.contextmanager
def policy_kept() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        before = asyncio.get_event_loop_policy()
        try:
            yield
        finally:
            asyncio.set_event_loop_policy(before)


def test_install_makes_ours_the_loop_of_asyncio(clean: Records) -> None:
    async def main() -> str:
        return type(asyncio.get_running_loop()).__name__

    with policy_kept():
        trio_asyncio_compat.install()
        assert asyncio.run(main()) == "TrioEventLoop"
        with asyncio.Runner() as runner:
            assert runner.run(main()) == "TrioEventLoop"
        loop = asyncio.new_event_loop()
        assert isinstance(loop, TrioEventLoop)
        loop.close()
        assert type(asyncio.get_event_loop_policy()) is trio_asyncio_compat.EventLoopPolicy
    assert asyncio.run(main()) != "TrioEventLoop"


def test_the_policy_by_itself(clean: Records) -> None:
    policy = trio_asyncio_compat.EventLoopPolicy
    assert policy is trio_asyncio_compat.EventLoopPolicy
    assert policy.__name__ == "EventLoopPolicy"
    loop = policy().new_event_loop()
    assert isinstance(loop, TrioEventLoop)
    loop.close()


def test_importing_has_no_side_effect() -> None:
    code = """
import asyncio, signal, sys, threading, warnings
warnings.simplefilter("error")
names = ["get_running_loop", "get_event_loop", "run", "Future", "Task", "timeout", "_get_running_loop", "new_event_loop"]
before = [getattr(asyncio, name) for name in names], signal.getsignal(signal.SIGINT), threading.active_count(), sys.get_asyncgen_hooks()
import trio_asyncio_compat
after = [getattr(asyncio, name) for name in names], signal.getsignal(signal.SIGINT), threading.active_count(), sys.get_asyncgen_hooks()
assert before == after
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# A program of trio-asyncio's documentation's kind, as it stands


def test_a_program_written_for_trio_asyncio(clean: Records) -> None:
    events: list[str] = []

    @trio_asyncio.trio_as_aio
    async def trio_code(result: str) -> str:
        await trio.sleep(0)
        return result

    @trio_asyncio.aio_as_trio
    async def asyncio_code(function: Callable[[str], Awaitable[str]]) -> str:
        await asyncio.sleep(0)
        return await function("through both")

    async def main() -> None:
        assert await asyncio_code(trio_code) == "through both"
        async with trio_asyncio.aio_as_trio(contextlib.nullcontext("entered")) as entered:
            events.append(entered)
        loop = trio_asyncio.current_loop.get()
        assert loop is not None
        await loop.run_aio_coroutine(asyncio.sleep(0))
        events.append(await trio_asyncio.run_aio_future(loop.trio_as_future(returning, "future")))

    async def returning(result: str) -> str:
        await trio.lowlevel.checkpoint()
        return result

    trio_asyncio.run(main)
    assert events == ["entered", "future"]
    gc.collect()


def test_the_loop_is_checked_for_leftovers(clean: Records) -> None:
    async def main() -> None:
        async with checked_loop() as loop:
            loop.run_trio_task(trio.lowlevel.checkpoint)
            await loop.synchronize()

    trio.run(main)
