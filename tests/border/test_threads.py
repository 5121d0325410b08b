"""Threads: from trio's worker threads, an executor's and plain ones, calls reach trio and asyncio; results and cancellation come back."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable
from typing import Any

import pytest
import sniffio
import trio

from trio_asyncio_compat import TrioExecutor, aio_as_trio, flavour_free_task_factory, trio_as_aio

from .support import Border, Odd, forever, variable

FACTORIES = pytest.mark.parametrize("factory", [None, flavour_free_task_factory], ids=["asyncio", "flavour-free"])


async def by_to_thread(job: Callable[[], Any]) -> Any:
    return await asyncio.to_thread(job)


async def by_run_in_executor(job: Callable[[], Any]) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, job)


async def by_trio_executor(job: Callable[[], Any]) -> Any:
    return await asyncio.get_running_loop().run_in_executor(TrioExecutor(), job)


async def by_trio_to_thread(job: Callable[[], Any]) -> Any:
    return await trio_as_aio(trio.to_thread.run_sync)(job)


async def by_a_pool(job: Callable[[], Any]) -> Any:
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return await asyncio.get_running_loop().run_in_executor(pool, job)


TRIOS_THREADS = [by_to_thread, by_run_in_executor, by_trio_executor, by_trio_to_thread]
TRIO = pytest.mark.parametrize("start", TRIOS_THREADS)
ANY = pytest.mark.parametrize("start", [*TRIOS_THREADS, by_a_pool])


async def asyncio_code(argument: object) -> object:
    await asyncio.sleep(0.001)
    assert sniffio.current_async_library() == "asyncio"
    return argument


async def trio_code(argument: object) -> object:
    await trio.sleep(0.001)
    assert sniffio.current_async_library() == "trio"
    return argument


@TRIO
def test_trio_from_a_thread(real_border: Border, start: Any) -> None:
    def job() -> object:
        assert trio.from_thread.run_sync(trio.lowlevel.in_trio_run)
        return trio.from_thread.run(trio_code, "result")

    def fail() -> None:
        async def raise_odd() -> None:
            raise Odd

        trio.from_thread.run(raise_odd)

    async def main() -> None:
        assert await start(job) == "result"
        with pytest.raises(Odd):
            await start(fail)

    real_border.asyncio(main)


@TRIO
def test_asyncio_from_a_trio_call_of_a_thread(real_border: Border, start: Any) -> None:
    def job() -> object:
        return trio.from_thread.run(aio_as_trio(asyncio_code), "result")

    async def main() -> None:
        assert await start(job) == "result"

    real_border.asyncio(main)


@ANY
def test_run_coroutine_threadsafe(real_border: Border, start: Any) -> None:
    async def fail() -> None:
        await asyncio.sleep(0)
        raise Odd

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def job() -> object:
            with pytest.raises(Odd):
                asyncio.run_coroutine_threadsafe(fail(), loop).result(10)
            return asyncio.run_coroutine_threadsafe(asyncio_code("result"), loop).result(10)

        assert await start(job) == "result"

    real_border.asyncio(main)


@ANY
def test_call_soon_threadsafe(real_border: Border, start: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        future = loop.create_future()

        def job() -> object:
            cancelled = threading.Event()
            # Until then the loop comes to nothing else.
            loop.call_soon_threadsafe(cancelled.wait, 10)
            loop.call_soon_threadsafe(seen.append, "cancelled").cancel()
            cancelled.set()
            loop.call_soon_threadsafe(seen.append, threading.current_thread() is threading.main_thread())
            return loop.call_soon_threadsafe(future.set_result, "result")

        assert isinstance(await start(job), asyncio.Handle)
        assert await future == "result"
        assert seen == [False]

    seen: list[object] = []
    real_border.asyncio(main)


@ANY
def test_a_thread_sees_no_loop_and_no_library_of_its_own(real_border: Border, start: Any) -> None:
    def job() -> tuple[object, ...]:
        try:
            library = sniffio.current_async_library()
        except sniffio.AsyncLibraryNotFoundError:
            library = "none"
        return asyncio._get_running_loop(), library, trio.lowlevel.in_trio_run()

    async def main() -> None:
        assert await start(job) == (None, "none", False)

    real_border.asyncio(main)


@ANY
def test_cancelling_what_a_thread_started(real_border: Border, start: Any) -> None:
    """The concurrent Future cancels the asyncio task, and the task's cancellation is the concurrent Future's."""
    cancelled: list[str] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        begun = threading.Event()

        async def waits() -> None:
            begun.set()
            try:
                await forever()
            except asyncio.CancelledError:
                cancelled.append("asyncio")
                raise

        async def waits_in_trio() -> None:
            begun.set()
            try:
                await trio.sleep_forever()
            except trio.Cancelled:
                cancelled.append("trio")
                raise

        def job() -> None:
            for function in (waits, trio_as_aio(waits_in_trio)):
                begun.clear()
                future = asyncio.run_coroutine_threadsafe(function(), loop)
                assert begun.wait(10)
                assert future.cancel()
                with pytest.raises(concurrent.futures.CancelledError):
                    future.result(10)

        await start(job)
        while len(cancelled) < 2:
            await asyncio.sleep(0)
        assert cancelled == ["asyncio", "trio"]

    real_border.asyncio(main)


def test_a_cancelled_task_is_told_to_the_thread(real_border: Border) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()

        def job() -> None:
            async def cancels_itself() -> None:
                raise asyncio.CancelledError

            with pytest.raises(concurrent.futures.CancelledError):
                asyncio.run_coroutine_threadsafe(cancels_itself(), loop).result(10)

        await asyncio.to_thread(job)

    real_border.asyncio(main)


def test_the_scope_around_a_thread_reaches_its_calls_of_trio(real_border: Border) -> None:
    def job() -> None:
        with pytest.raises(trio.Cancelled):
            trio.from_thread.run(trio.sleep_forever)
        with pytest.raises(trio.Cancelled):
            trio.from_thread.check_cancelled()

    async def main() -> None:
        with trio.CancelScope() as scope:
            trio.lowlevel.spawn_system_task(_cancel_soon, scope)
            await trio.to_thread.run_sync(job)
        assert scope.cancel_called

    real_border.trio(main)
    real_border.both(main)


async def _cancel_soon(scope: trio.CancelScope) -> None:
    scope.cancel()


def test_asyncios_cancel_reaches_a_threads_call_of_trio(real_border: Border) -> None:
    begun = threading.Event()

    async def waits() -> None:
        begun.set()
        await trio.sleep_forever()

    def job() -> str:
        with pytest.raises(trio.Cancelled):
            trio.from_thread.run(waits)
        return "late"

    async def main() -> None:
        task = asyncio.create_task(by_trio_to_thread(job))
        await asyncio.to_thread(begun.wait, 10)
        task.cancel()
        # A thread is waited for, and what it returns counts.
        assert await task == "late"

    real_border.asyncio(main)


@FACTORIES
def test_an_executors_job_that_is_cancelled_is_not_waited_for_by_its_task(real_border: Border, factory: Any) -> None:
    go_on = threading.Event()

    async def main() -> None:
        task = asyncio.create_task(asyncio.to_thread(go_on.wait, 10))
        await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not go_on.is_set()
        go_on.set()

    real_border.asyncio(main, task_factory=factory)


def test_context_variables_reach_to_thread(real_border: Border) -> None:
    async def main() -> None:
        variable.set("of the caller")
        assert await asyncio.to_thread(variable.get) == "of the caller"

    real_border.asyncio(main)
    real_border.both(main)
    real_border.task(main)


def test_flavour_free_code_from_a_thread(real_border: Border) -> None:
    async def both() -> str:
        await trio.sleep(0)
        await asyncio.sleep(0)
        return "both"

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert await asyncio.to_thread(lambda: asyncio.run_coroutine_threadsafe(both(), loop).result(10)) == "both"
        assert await trio.to_thread.run_sync(lambda: trio.from_thread.run(both_in_trio)) == "both"

    async def both_in_trio() -> str:
        from trio_asyncio_compat import allow_asyncio

        return await allow_asyncio(both)

    real_border.task(main)


def test_a_trio_token_from_a_plain_thread(real_border: Border) -> None:
    async def main() -> None:
        token = trio.lowlevel.current_trio_token()
        results: list[object] = []

        def job() -> None:
            results.append(trio.from_thread.run(trio_code, "result", trio_token=token))
            results.append(trio.from_thread.run(aio_as_trio(asyncio_code), "asyncio", trio_token=token))

        thread = threading.Thread(target=job)
        thread.start()
        while thread.is_alive():
            await trio.sleep(0.001)
        assert results == ["result", "asyncio"]

    real_border.trio(main)


def test_many_threads_at_once(real_border: Border) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()

        def job(number: int) -> object:
            one = trio.from_thread.run(trio_code, number)
            return one, asyncio.run_coroutine_threadsafe(asyncio_code(number), loop).result(10)

        assert await asyncio.gather(*(asyncio.to_thread(job, number) for number in range(30))) == [(n, n) for n in range(30)]

    real_border.asyncio(main)
