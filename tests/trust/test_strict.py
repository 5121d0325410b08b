"""`open_loop(strict=True)`: what asyncio would only log leaves the block as an ExceptionGroup."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from trio_asyncio_compat import aio_as_trio, open_loop

from ..support import Records


async def fails() -> None:
    raise ZeroDivisionError("in a task")


def strict_run(body: Callable[[], Awaitable[object]], *, strict: bool = True, debug: bool = False) -> None:
    async def main() -> None:
        async with open_loop(strict=strict, debug=debug):
            await body()

    trio.run(main)


async def forgotten_task() -> None:
    task: Any = asyncio.create_task(fails(), name="forgotten")
    await aio_as_trio(asyncio.wait)([task])


def test_an_exception_that_nobody_retrieved(clean: Records) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        strict_run(forgotten_task)
    (error,) = caught.value.exceptions
    assert isinstance(error, ZeroDivisionError)
    (note,) = error.__notes__
    assert note.startswith("Task exception was never retrieved\ntask: forgotten, of <coroutine object fails")


def test_in_debug_mode_the_note_says_where_the_task_was_made(clean: Records) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        strict_run(forgotten_task, debug=True)
    (note,) = caught.value.exceptions[0].__notes__
    assert "made at (most recent call last):" in note
    assert 'in forgotten_task\n    task: Any = asyncio.create_task(fails(), name="forgotten")' in note


def test_an_exception_in_a_callback(clean: Records) -> None:
    async def body() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        await aio_as_trio(asyncio.sleep)(0.001)

    with pytest.raises(ExceptionGroup) as caught:
        strict_run(body)
    (error,) = caught.value.exceptions
    assert isinstance(error, ZeroDivisionError)
    assert error.__notes__[0].startswith("Exception in callback")


def test_an_error_while_the_loop_shuts_down(clean: Records) -> None:
    kept: list[asyncio.Task[None]] = []

    async def unwinds_badly() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            raise ZeroDivisionError

    async def body() -> None:
        kept.append(asyncio.create_task(unwinds_badly(), name="bad"))
        await trio.testing.wait_all_tasks_blocked()

    with pytest.raises(ExceptionGroup) as caught:
        strict_run(body)
    assert [type(error) for error in caught.value.exceptions] == [ZeroDivisionError]
    assert "task: bad" in caught.value.exceptions[0].__notes__[0]


def test_a_report_without_an_exception(clean: Records) -> None:
    async def body() -> None:
        asyncio.get_running_loop().call_exception_handler({"message": "something odd"})

    with pytest.raises(ExceptionGroup) as caught:
        strict_run(body)
    assert str(caught.value.exceptions[0]) == "something odd"


@pytest.mark.parametrize("context", [{}, {"message": None}, {"exception": "no exception"}])
def test_a_report_without_a_message(clean: Records, context: dict[str, Any]) -> None:
    async def body() -> None:
        asyncio.get_running_loop().call_exception_handler(context)

    with pytest.raises(ExceptionGroup) as caught:
        strict_run(body)
    assert [str(error) for error in caught.value.exceptions] == ["Unhandled exception in event loop"]


class EqualToAll(Exception):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = Exception.__hash__


def test_errors_that_are_equal_are_all_in_the_group(clean: Records) -> None:
    async def body() -> None:
        for error in reported:
            asyncio.get_running_loop().call_exception_handler({"message": "reported", "exception": error})
        raise own

    reported, own = [EqualToAll(), EqualToAll()], EqualToAll()
    with pytest.raises(ExceptionGroup) as caught:
        strict_run(body)
    assert [id(error) for error in caught.value.exceptions] == [id(error) for error in [own, *reported]]


def test_an_error_that_is_reported_and_leaves_the_block_is_in_the_group_once(clean: Records) -> None:
    async def body() -> None:
        asyncio.get_running_loop().call_exception_handler({"message": "reported", "exception": error})
        raise error

    error = KeyError()
    with pytest.raises(ExceptionGroup) as caught:
        strict_run(body)
    assert caught.value.exceptions == (error,)


class Empty(Exception):
    def __len__(self) -> int:
        return 0


class WithoutNotes(Exception):
    def add_note(self, note: str, /) -> None:
        raise ZeroDivisionError


@pytest.mark.parametrize("kind", [Empty, WithoutNotes])
def test_an_error_of_an_odd_kind_is_in_the_group_as_any_other(clean: Records, kind: type[Exception]) -> None:
    async def body() -> None:
        asyncio.get_running_loop().call_exception_handler({"message": "reported", "exception": error})

    error = kind()
    with pytest.raises(ExceptionGroup) as caught:
        strict_run(body)
    assert caught.value.exceptions == (error,)


def test_a_callback_that_cannot_be_shown_leaves_the_message_in_the_note(clean: Records) -> None:
    class Callback:
        def __call__(self) -> None:
            raise KeyError

        def __repr__(self) -> str:
            raise ZeroDivisionError

    async def body() -> None:
        handle = asyncio.get_running_loop().call_later(3600, Callback())
        asyncio.get_running_loop().call_exception_handler({"message": "reported", "exception": error, "handle": handle})
        handle.cancel()

    error = KeyError()
    with pytest.raises(ExceptionGroup) as caught:
        strict_run(body)
    assert caught.value.exceptions == (error,)
    assert error.__notes__ == ["reported"]


def test_what_the_block_raises_is_in_the_group_too(clean: Records) -> None:
    async def body() -> None:
        await forgotten_task()
        raise KeyError

    with pytest.raises(ExceptionGroup) as caught:
        strict_run(body)
    assert [type(error) for error in caught.value.exceptions] == [KeyError, ZeroDivisionError]


def test_nothing_to_report_changes_nothing(clean: Records) -> None:
    async def body() -> None:
        raise KeyError

    strict_run(lambda: aio_as_trio(asyncio.sleep)(0))
    with pytest.raises(KeyError):
        strict_run(body)


def test_the_default_is_the_log(clean: Records) -> None:
    strict_run(forgotten_task, strict=False)
    (line,) = clean.take()
    assert line.startswith("Task exception was never retrieved")


def test_a_task_that_the_error_of_the_block_keeps_is_logged_when_that_is_gone(clean: Records) -> None:
    async def body() -> None:
        task = asyncio.create_task(fails())
        await aio_as_trio(asyncio.wait)([task])
        raise RuntimeError("the effect")

    with pytest.raises(RuntimeError, match="the effect") as caught:
        strict_run(body)
    del caught
    gc.collect()
    (report,) = clean.take()
    assert "Task exception was never retrieved" in report
