"""An exception that lets nothing be written to it, or not be looked at, passes through everything of ours unharmed."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
from typing import TYPE_CHECKING, Any

import pytest
import trio

from trio_asyncio_compat import TrioEventLoop, aio_as_trio, open_loop, run, trio_as_aio
from trio_asyncio_compat.border.cancellation import without_context

if TYPE_CHECKING:
    from collections.abc import Callable

    from .support import Run


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    number: int


@dataclasses.dataclass(frozen=True)
class FrozenRuntimeError(RuntimeError):
    number: int


class Secretive(RuntimeError):
    def __str__(self) -> str:
        raise LookupError("not for you")

    def __getattribute__(self, name: str) -> Any:
        if name == "__notes__":
            raise LookupError("not for you either")
        return super().__getattribute__(name)


def with_notes_in_a_tuple() -> Exception:
    error = ValueError("noted")
    error.__notes__ = ("a note",)  # type: ignore[assignment]
    return error


KINDS = pytest.mark.parametrize("make", [lambda: Frozen(1), lambda: FrozenRuntimeError(1), Secretive, with_notes_in_a_tuple])


def crossing(error: BaseException) -> Callable[[], Any]:
    async def fails() -> None:
        raise error

    async def asyncio_calls_trio() -> None:
        await trio_as_aio(fails)()

    return asyncio_calls_trio


@KINDS
def test_it_leaves_open_loop_as_it_is(hosted_run: Run, make: Callable[[], Exception]) -> None:
    error = make()
    with pytest.raises(type(error)) as caught:
        hosted_run.trio_run(aio_as_trio(crossing(error)))
    assert caught.value is error


@KINDS
def test_it_leaves_a_driven_loop_as_it_is(our_run: Run, make: Callable[[], Exception]) -> None:
    error = make()
    with pytest.raises(type(error)) as caught:
        our_run(crossing(error))
    assert caught.value is error


@KINDS
def test_it_leaves_run_as_it_is(make: Callable[[], Exception]) -> None:
    error = make()
    with pytest.raises(type(error)) as caught:
        run(aio_as_trio(crossing(error)))
    assert caught.value is error


@KINDS
def test_it_is_reported_if_nobody_retrieves_it(make: Callable[[], Exception]) -> None:
    error = make()
    reported: list[BaseException] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context["exception"]))
        task = asyncio.create_task(crossing(error)())
        await asyncio.wait([task])
        del task
        gc.collect()

    with asyncio.Runner(loop_factory=TrioEventLoop) as runner:
        runner.run(main())
    assert reported == [error]


def test_a_strict_loop_raises_each_of_them_though_they_are_equal() -> None:
    async def reports() -> None:
        for error in (Frozen(1), Frozen(1), with_notes_in_a_tuple()):
            asyncio.get_running_loop().call_exception_handler({"message": "a report", "exception": error})

    async def main() -> None:
        async with open_loop(strict=True):
            await aio_as_trio(reports)()

    with pytest.raises(ExceptionGroup) as caught:
        trio.run(main)
    assert [type(error) for error in caught.value.exceptions] == [Frozen, Frozen, ValueError]


def test_the_callees_cancellation_is_hidden_behind_it_all_the_same() -> None:
    error = Frozen(1)
    try:
        try:
            raise asyncio.CancelledError
        except asyncio.CancelledError:
            raise error
    except Frozen:
        pass
    assert without_context(error) is error
    assert error.__suppress_context__


class WithoutParts(ExceptionGroup[Exception]):
    def derive(self, excs: Any) -> Any:
        raise TypeError("the parts of this group are not to be had")


class Hidden(Exception):
    def __getattribute__(self, name: str) -> Any:
        raise LookupError(f"{name} is not to be had")


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("make", [lambda: WithoutParts("g", [ValueError(1)]), Hidden], ids=["no parts", "nothing"])
def test_a_call_has_an_end_whatever_its_error_lets_be_seen(make: Callable[[], Exception], late: bool) -> None:
    async def fails() -> None:
        if late:
            await trio.sleep(0)
        raise error

    async def main() -> None:
        try:
            await trio_as_aio(fails)()
        except BaseException as exc:
            caught.append(exc)

    error = make()
    caught: list[BaseException] = []
    with asyncio.Runner(loop_factory=TrioEventLoop) as runner:
        runner.run(main())
    run(main())
    assert len(caught) == 2
    if type(error) is WithoutParts:
        assert caught[0] is caught[1] is error


def test_a_note_may_be_refused_with_anything() -> None:
    class Refuses(Exception):
        def add_note(self, note: str) -> None:
            raise SystemExit(note)

    async def fails() -> None:
        raise Refuses

    async def main() -> None:
        with pytest.raises(Refuses):
            await aio_as_trio(fails)()

    run(main)
