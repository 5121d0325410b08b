"""Code that awaits the library it does not run on is told which function, in which kind of task, and what to write instead."""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from trio_asyncio_compat import TrioEventLoop, aio_as_trio, open_loop, trio_as_aio

from ..support import Records, Run

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
            note, crossing = caught.value.__notes__
            assert crossing.startswith("It crossed from asyncio to trio in ")
            assert note.startswith("trio.sleep() is trio-flavoured, and asyncio itself was given it. Await it directly in trio code")

    trio.run(main)


class Unreadable(RuntimeError):
    """Of a kind that is looked at for an explanation, and cannot be."""

    def __str__(self) -> str:
        raise ZeroDivisionError


UNEXPLAINABLE: dict[str, Callable[[], Exception]] = {
    "unreadable": Unreadable,
    "unreadable in a group": lambda: ExceptionGroup("", [Unreadable()]),
}


@pytest.mark.parametrize("name", UNEXPLAINABLE)
def test_an_error_that_cannot_be_explained_is_reported_like_any_other(run: Run, name: str) -> None:
    def callback() -> None:
        raise error

    async def in_task() -> None:
        raise error

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: reports.append((context["message"], context["exception"])))
        loop.call_soon(callback)
        await asyncio.sleep(0)
        task: Any = loop.create_task(in_task())
        await asyncio.wait([task])

    error = UNEXPLAINABLE[name]()
    reports: list[tuple[str, BaseException]] = []
    run(main)
    gc.collect()
    assert [reported for _, reported in reports] == [error, error]
    assert [message.partition("test_")[0] for message, _ in reports] == ["Exception in callback ", "Task exception was never retrieved"]


@pytest.mark.parametrize("name", UNEXPLAINABLE)
def test_an_error_that_cannot_be_explained_comes_out_as_it_is(run: Run, name: str) -> None:
    async def raises() -> None:
        raise error

    error = UNEXPLAINABLE[name]()
    with pytest.raises(type(error)) as caught:
        run(raises)
    assert caught.value is error
    assert caught.value.__context__ is None


def test_a_protocol_that_fails_with_such_an_error_loses_its_connection(run: Run) -> None:
    class Failing(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            raise error

        def connection_lost(self, exc: Exception | None) -> None:
            lost.append(exc)
            gone.set()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: reports.append(context["exception"]))
        ours, theirs = socket.socketpair()
        with theirs:
            await loop.create_connection(Failing, sock=ours)
            theirs.send(b"x")
            await gone.wait()

    error = Unreadable()
    gone = asyncio.Event()
    lost: list[Exception | None] = []
    reports: list[Exception] = []
    run(main)
    assert reports == lost == [error]


def test_groups_in_groups_are_reported_however_deep(run: Run) -> None:
    async def main() -> None:
        error: Exception = ValueError()
        for _ in range(sys.getrecursionlimit()):
            error = ExceptionGroup("", [error, error])
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: reports.append(context["message"]))
        loop.call_exception_handler({"message": "deep", "exception": error})

    reports: list[str] = []
    run(main)
    assert reports == ["deep"]


@pytest.mark.parametrize("context", [None, {}, {"exception": 1, "source_traceback": 2}])
def test_a_report_of_a_kind_that_asyncio_does_not_make(run: Run, context: Any) -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_exception_handler(context)

    run(main)
    assert len(run.log.take()) >= 1
