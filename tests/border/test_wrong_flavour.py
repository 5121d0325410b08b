"""Code that awaits the library it does not run on is told which function, in which kind of task, and what to write instead."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from trio_asyncio_compat import TrioEventLoop, aio_as_trio, open_loop, trio_as_aio

from ..support import Records

pytestmark = pytest.mark.usefixtures("clean")


async def lock_of_trio() -> None:
    async with trio.Lock():
        pass


async def scope_of_trio() -> None:
    with trio.move_on_after(1):
        pass


async def nursery_of_trio() -> None:
    async with trio.open_nursery():
        pass


async def deadline_of_trio() -> float:
    return trio.current_effective_deadline()


async def timeout_of_asyncio() -> None:
    async with asyncio.timeout(1):
        pass


async def future_of_asyncio() -> None:
    await asyncio.get_running_loop().create_future()


TRIO: dict[str, tuple[Callable[[], Awaitable[Any]], str]] = {
    "sleep": (lambda: trio.sleep(1), "await trio_as_aio(trio.sleep)(...)"),
    "sleep of no time": (lambda: trio.sleep(0), "await trio_as_aio(trio.sleep)(...)"),
    "sleep for ever": (trio.sleep_forever, "await trio_as_aio(trio.sleep_forever)(...)"),
    "event": (lambda: trio.Event().wait(), "await trio_as_aio(trio.Event.wait)(...)"),
    "thread": (lambda: trio.to_thread.run_sync(int), "await trio_as_aio(trio.to_thread.run_sync)(...)"),
    "scope": (scope_of_trio, "async with trio_as_aio(trio.CancelScope(...))"),
    "nursery": (nursery_of_trio, "async with trio_as_aio(trio.open_nursery(...))"),
    "lock": (lock_of_trio, "async with trio_as_aio("),
    "synchronous": (deadline_of_trio, "works in trio code only"),
}
ASYNCIO: dict[str, tuple[Callable[[], Awaitable[Any]], str]] = {
    "sleep": (lambda: asyncio.sleep(1), "await aio_as_trio(asyncio.sleep)(...)"),
    "event": (lambda: asyncio.Event().wait(), "await aio_as_trio(asyncio.Event.wait)(...)"),
    "timeout": (timeout_of_asyncio, "async with aio_as_trio(asyncio.timeout(...))"),
    "future": (future_of_asyncio, "await aio_as_trio(future)"),
}


def text(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


@pytest.mark.parametrize("name", TRIO)
def test_trio_awaited_in_an_asyncio_task(name: str) -> None:
    function, instead = TRIO[name]

    async def wrong() -> None:
        await function()

    async def main() -> None:
        async with open_loop():
            with pytest.raises(RuntimeError) as caught:
                await aio_as_trio(wrong)()
            assert instead in text(caught.value)
            assert "runs in an asyncio task" in text(caught.value)
            # There, and not in this package.
            assert __file__ in "".join(caught.value.__notes__)

    trio.run(main)


@pytest.mark.parametrize("name", ASYNCIO)
def test_asyncio_awaited_in_a_trio_task(name: str) -> None:
    function, instead = ASYNCIO[name]

    async def wrong() -> None:
        await function()

    async def call() -> None:
        with pytest.raises((TypeError, RuntimeError)) as caught:
            await trio_as_aio(wrong)()
        assert instead in text(caught.value)
        assert "runs in a trio task" in text(caught.value)

    async def main() -> None:
        async with open_loop():
            await aio_as_trio(call)()
        with pytest.raises((TypeError, RuntimeError)) as caught:
            async with open_loop():
                await wrong()
        assert instead in text(caught.value)

    trio.run(main)


def test_what_ends_a_driven_loop_is_explained() -> None:
    async def wrong() -> None:
        await trio.sleep(1)

    with asyncio.Runner(loop_factory=TrioEventLoop) as runner, pytest.raises(RuntimeError) as caught:
        runner.run(wrong())
    assert "trio_as_aio(trio.sleep)" in text(caught.value)


def test_what_nobody_waits_for_is_explained(clean: Records) -> None:
    async def wrong() -> None:
        await trio.sleep(1)

    async def main() -> None:
        reports: list[dict[str, Any]] = []
        async with open_loop() as loop:
            loop.set_exception_handler(lambda loop, context: reports.append(context))
            loop.create_task(wrong())
            await loop.synchronize()
            await trio.testing.wait_all_tasks_blocked()
        assert "trio_as_aio(trio.sleep)" in text(reports[0]["exception"])

    trio.run(main)


@pytest.mark.parametrize("adapter", [aio_as_trio, trio_as_aio])
def test_an_adapter_where_no_loop_is_open_says_what_to_do(adapter: Any) -> None:
    async def function() -> None:
        pass

    with pytest.raises(RuntimeError, match=r"open_loop|called in trio code"):
        trio.run(adapter(function))


def test_an_adapter_in_the_wrong_kind_of_code_says_so() -> None:
    async def function() -> None:
        pass

    async def main() -> None:
        async with open_loop():

            async def asyncio_code() -> None:
                with pytest.raises(RuntimeError, match="called in asyncio code, which can await asyncio's functions directly"):
                    await aio_as_trio(function)()

            await aio_as_trio(asyncio_code)()
            with pytest.raises(RuntimeError, match="called in trio code, which can await trio's functions directly"):
                await trio_as_aio(function)()

    trio.run(main)


def test_an_adapter_that_is_given_what_is_of_its_own_world(clean: Records) -> None:
    async def main() -> None:
        async with open_loop():
            with pytest.raises(RuntimeError) as caught:
                await aio_as_trio(trio.sleep)(0)
            (note,) = caught.value.__notes__
            assert note.startswith("trio.sleep() is trio-flavoured, and asyncio itself was given it. Await it directly in trio code")

    trio.run(main)
