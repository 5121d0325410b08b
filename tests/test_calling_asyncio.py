"""Trio code calls asyncio: the rows of the design's table for functions and awaitables, and what surrounds a call."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable

import pytest
import sniffio
import trio

from trio_asyncio_compat import aio_as_trio

from .support import VirtualRun

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


def test_cancel_reaches_the_task_once_with_trios_reason(virtual_run: VirtualRun) -> None:
    seen: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError as exc:
            seen.append(str(exc))
            await asyncio.sleep(10)
            seen.append("cleaned up undisturbed")
            raise

    async def main() -> None:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(aio_as_trio(work))
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel(reason="no longer needed")
        assert scope.cancelled_caught

    virtual_run.trio_run(main)
    assert len(seen) == 2
    assert "no longer needed" in seen[0]


@pytest.mark.parametrize("late", ["value", "error"])
def test_a_value_or_an_error_that_comes_late_counts(virtual_run: VirtualRun, late: str) -> None:
    async def work() -> str:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            if late == "error":
                raise ValueError("late") from None
        return "late"

    async def main() -> None:
        with trio.move_on_after(1) as scope:
            if late == "error":
                with pytest.raises(ValueError, match="late"):
                    await aio_as_trio(work)()
            else:
                assert await aio_as_trio(work)() == "late"
        assert not scope.cancelled_caught

    virtual_run.trio_run(main)


def test_a_group_that_mixes_cancellation_and_errors_is_split(virtual_run: VirtualRun) -> None:
    async def work() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError as exc:
            raise BaseExceptionGroup("both", [exc, ValueError("stays")]) from None

    async def main() -> None:
        with pytest.raises(BaseExceptionGroup) as caught:
            with trio.move_on_after(1):
                await aio_as_trio(work)()
        assert [type(exc) for exc in caught.value.exceptions] == [ValueError]

    virtual_run.trio_run(main)


def test_cancellation_that_trio_did_not_ask_for_is_passed_on(virtual_run: VirtualRun) -> None:
    async def work() -> None:
        raise asyncio.CancelledError("of its own")

    async def main() -> None:
        with pytest.raises(asyncio.CancelledError, match="of its own"):
            await aio_as_trio(work)()

    virtual_run.trio_run(main)


def test_cancelling_a_gather_cancels_its_children(virtual_run: VirtualRun) -> None:
    ended: list[int] = []

    async def child(number: int) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append(number)

    async def main() -> None:
        with trio.move_on_after(1) as scope:
            await aio_as_trio(asyncio.gather)(child(1), child(2))
        assert scope.cancelled_caught

    virtual_run.trio_run(main)
    assert sorted(ended) == [1, 2]


def test_a_call_that_never_waits_takes_no_trip_through_the_pump(virtual_run: VirtualRun) -> None:
    async def work() -> int:
        return 5

    async def main() -> None:
        others: list[str] = []

        async def other() -> None:
            others.append("ran")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(other)
            assert await aio_as_trio(work)() == 5
            assert others == []

    virtual_run.trio_run(main)


def test_context_variables_pass_both_ways(virtual_run: VirtualRun) -> None:
    async def work() -> str:
        before = variable.get()
        await asyncio.sleep(0)
        variable.set("set by asyncio")
        return before

    async def main() -> None:
        for _ in range(2):
            variable.set("set by trio")
            assert await aio_as_trio(work)() == "set by trio"
            assert variable.get() == "set by asyncio"

    virtual_run.trio_run(main)


def test_awaitables_of_all_kinds(virtual_run: VirtualRun) -> None:
    class Custom:
        def __await__(self):  # type: ignore[no-untyped-def]
            yield from asyncio.sleep(0, "custom").__await__()
            return "custom"

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert await aio_as_trio(asyncio.sleep(1, "coroutine")) == "coroutine"
        assert await aio_as_trio(loop.create_task(asyncio.sleep(1, "task"))) == "task"
        assert await aio_as_trio(Custom()) == "custom"
        future: asyncio.Future[str] = loop.create_future()
        loop.call_later(1, future.set_result, "future")
        assert await aio_as_trio(future) == "future"

    virtual_run.trio_run(main)


def test_sniffio_says_asyncio_inside_and_trio_outside(virtual_run: VirtualRun) -> None:
    async def work() -> list[str]:
        names = [sniffio.current_async_library()]
        await asyncio.sleep(0)
        return [*names, sniffio.current_async_library()]

    async def main() -> None:
        assert await aio_as_trio(work)() == ["asyncio", "asyncio"]
        assert sniffio.current_async_library() == "trio"

    virtual_run.trio_run(main)


def test_a_trio_function_awaited_in_asyncio_code_fails_at_that_call_only(virtual_run: VirtualRun) -> None:
    async def mistaken() -> None:
        await asyncio.sleep(0)
        with trio.move_on_after(1):
            await trio.sleep(1)

    async def main() -> None:
        with pytest.raises(RuntimeError):
            await aio_as_trio(mistaken)()
        await aio_as_trio(asyncio.sleep)(1)

    virtual_run.trio_run(main)


def test_without_a_loop_the_error_names_open_loop_and_the_coroutine_is_closed() -> None:
    async def main() -> None:
        for target in (aio_as_trio(asyncio.sleep)(0), aio_as_trio(asyncio.sleep(0))):
            with pytest.raises(RuntimeError, match="open_loop"):
                await target

    trio.run(main)


@pytest.mark.parametrize("target", [None, 5, "text"])
def test_a_target_of_another_kind_is_a_type_error(target: Callable[[], Awaitable[None]]) -> None:
    with pytest.raises(TypeError, match="aio_as_trio"):
        aio_as_trio(target)


def test_a_callable_that_returns_nothing_to_await_is_a_type_error(virtual_run: VirtualRun) -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match="something to await"):
            await aio_as_trio(len)("text")  # type: ignore[arg-type]

    virtual_run.trio_run(main)


def test_stopping_the_loop_resolves_who_waits(virtual_run: VirtualRun) -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_later(1, asyncio.get_running_loop().stop)
        with pytest.raises(RuntimeError, match="stopped"):
            await aio_as_trio(asyncio.sleep)(3600)
        with pytest.raises(RuntimeError, match="stopped"):
            await aio_as_trio(asyncio.sleep)(3600)

    virtual_run.trio_run(main)
