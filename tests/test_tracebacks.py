"""An error that has crossed the border shows the program's frames only, and says where it crossed; a cancellation says why."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from trio_asyncio_compat import aio_as_trio, open_loop, run, trio_as_aio

from .support import Run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HERE = Path(__file__)


async def fails_in_asyncio() -> None:
    await asyncio.sleep(0)
    raise ValueError("the error")


async def trio_calls_asyncio() -> None:
    await aio_as_trio(fails_in_asyncio)()


async def asyncio_calls_trio() -> None:
    await trio_as_aio(trio_calls_asyncio)()


async def calls_all() -> None:
    await aio_as_trio(asyncio_calls_trio)()


def functions(error: BaseException) -> list[str]:
    """What its traceback shows of this file, and "?" for each other frame in between."""
    frames = traceback.extract_tb(error.__traceback__)
    shown = [frame.name if frame.filename == str(HERE) else "?" for frame in frames]
    first = next(
        i
        for i, frame in enumerate(frames)
        if frame.filename == str(HERE) and frame.name in globals() and not frame.name.startswith("test_")
    )
    return shown[first:]


def test_the_two_halves_of_a_traceback_stand_next_to_each_other(hosted_run: Run) -> None:
    with pytest.raises(ValueError) as caught:
        hosted_run.trio_run(calls_all)
    assert functions(caught.value) == ["calls_all", "asyncio_calls_trio", "trio_calls_asyncio", "fails_in_asyncio"]


def notes(error: BaseException) -> list[str]:
    """Without the places."""
    return [note.partition(" (")[0] for note in error.__notes__]


def test_notes_say_where_the_error_crossed_from_the_inside_out(hosted_run: Run) -> None:
    with pytest.raises(ValueError) as caught:
        hosted_run.trio_run(calls_all)
    assert notes(caught.value) == [
        "It crossed from asyncio to trio in trio_calls_asyncio",
        "It crossed from trio to asyncio in asyncio_calls_trio",
        "It crossed from asyncio to trio in calls_all",
    ]
    assert f"({HERE}:{trio_calls_asyncio.__code__.co_firstlineno + 1})" in caught.value.__notes__[0]


def test_an_error_that_leaves_a_driven_loop_is_tidied_too(our_run: Run) -> None:
    with pytest.raises(ValueError) as caught:
        our_run(asyncio_calls_trio)
    assert functions(caught.value) == ["asyncio_calls_trio", "trio_calls_asyncio", "fails_in_asyncio"]
    assert notes(caught.value)[:2] == [
        "It crossed from asyncio to trio in trio_calls_asyncio",
        "It crossed from trio to asyncio in asyncio_calls_trio",
    ]


def test_an_error_that_is_only_reported_is_tidied_too(our_run: Run) -> None:
    errors: list[BaseException] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: errors.append(context["exception"]))
        task = asyncio.create_task(asyncio_calls_trio())
        await asyncio.wait([task])
        del task
        gc.collect()

    our_run(main)
    assert functions(errors[0]) == ["asyncio_calls_trio", "trio_calls_asyncio", "fails_in_asyncio"]


def test_run_shows_the_program_only() -> None:
    with pytest.raises(ValueError) as caught:
        run(calls_all)
    frames = traceback.extract_tb(caught.value.__traceback__)
    assert [frame.name for frame in frames] == [
        "test_run_shows_the_program_only",
        "run",
        "calls_all",
        "asyncio_calls_trio",
        "trio_calls_asyncio",
        "fails_in_asyncio",
    ]


def test_errors_in_groups_and_behind_others_are_tidied_too(hosted_run: Run) -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reraises)

    async def reraises() -> None:
        try:
            await trio_calls_asyncio()
        except ValueError as exc:
            raise KeyError("another") from exc

    with pytest.raises(ExceptionGroup) as caught:
        hosted_run.trio_run(main)
    cause = caught.value.exceptions[0].__cause__
    assert cause is not None
    assert functions(cause) == ["trio_calls_asyncio", "fails_in_asyncio"]
    assert len(cause.__notes__) == 1


def test_an_error_that_crossed_nothing_gets_no_note(hosted_run: Run) -> None:
    async def main() -> None:
        raise ValueError

    with pytest.raises(ValueError) as caught:
        hosted_run.trio_run(main)
    assert not hasattr(caught.value, "__notes__")


def test_an_error_that_the_program_catches_and_logs_is_tidied_where_it_crosses(hosted_run: Run) -> None:
    logged: list[str] = []

    async def in_trio() -> None:
        try:
            await aio_as_trio(asyncio_calls_trio)()
        except ValueError:
            logged.append(traceback.format_exc())

    async def in_asyncio() -> None:
        try:
            await trio_as_aio(trio_calls_asyncio)()
        except ValueError:
            logged.append(traceback.format_exc())
        await trio_as_aio(in_trio)()

    async def main() -> None:
        await aio_as_trio(in_asyncio)()

    hosted_run.trio_run(main)
    assert [text.count("  File ") for text in logged] == [3, 4]
    assert [text.count(f'  File "{HERE}"') for text in logged] == [3, 4]
    assert [text.count("It crossed ") for text in logged] == [2, 3]


def test_in_groups_too_an_error_of_a_task_begins_with_the_programs_code(hosted_run: Run) -> None:
    async def group() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(trio_as_aio(trio_calls_asyncio)())

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(aio_as_trio(group))

    with pytest.raises(ExceptionGroup) as caught:
        hosted_run.trio_run(main)
    (of_nursery,) = caught.value.exceptions
    assert traceback.extract_tb(of_nursery.__traceback__)[0].name == "group"
    assert notes(of_nursery) == ["It crossed from asyncio to trio at the beginning of a task."]
    assert isinstance(of_nursery, ExceptionGroup)
    (of_group,) = of_nursery.exceptions
    assert [frame.name for frame in traceback.extract_tb(of_group.__traceback__)] == ["trio_calls_asyncio", "fails_in_asyncio"]
    assert notes(of_group) == [
        "It crossed from asyncio to trio in trio_calls_asyncio",
        "It crossed from trio to asyncio at the beginning of a task.",
    ]


def test_an_error_of_a_task_that_nobody_retrieves_begins_with_the_programs_code(our_run: Run) -> None:
    errors: list[BaseException] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: errors.append(context["exception"]))
        task = asyncio.create_task(trio_as_aio(trio_calls_asyncio)())
        await asyncio.wait([task])
        del task
        gc.collect()

    our_run(main)
    assert [frame.name for frame in traceback.extract_tb(errors[0].__traceback__)] == ["trio_calls_asyncio", "fails_in_asyncio"]


@contextlib.asynccontextmanager
async def fails_on_leaving() -> AsyncIterator[None]:
    yield
    await fails_in_asyncio()


async def fails_on_iterating() -> AsyncIterator[None]:
    yield
    await fails_in_asyncio()


def test_managers_iterators_and_awaitables_are_tidied_where_they_cross(hosted_run: Run) -> None:
    async def managers() -> None:
        async with aio_as_trio(fails_on_leaving)():
            pass

    async def iterators() -> None:
        async for _ in aio_as_trio(fails_on_iterating)():
            pass

    async def awaitables() -> None:
        await aio_as_trio(fails_in_asyncio())

    async def futures() -> None:
        await aio_as_trio(asyncio.ensure_future(fails_in_asyncio()))

    async def functions_that_return_awaitables() -> None:
        await aio_as_trio(asyncio.gather)(fails_in_asyncio())

    async def main() -> None:
        for fails in (managers, iterators, awaitables, futures, functions_that_return_awaitables):
            with pytest.raises(ValueError) as caught:
                await fails()
            names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__) if frame.name != "__aexit__"]
            assert names[1:] in (
                [fails.__name__, "fails_in_asyncio"],
                [fails.__name__, "fails_on_leaving", "fails_in_asyncio"],
                [fails.__name__, "fails_on_iterating", "fails_in_asyncio"],
            )
            assert notes(caught.value) == [f"It crossed from asyncio to trio in {fails.__qualname__}"]

    hosted_run.trio_run(main)


def test_an_error_that_is_raised_again_and_again_has_each_note_once(hosted_run: Run) -> None:
    error = ValueError("the only one")

    async def fails() -> None:
        raise error

    async def main() -> None:
        await aio_as_trio(fails)()

    for _ in range(3):
        with pytest.raises(ValueError):
            hosted_run.trio_run(main)
    assert notes(error) == [f"It crossed from asyncio to trio in {main.__qualname__}"]


def test_an_error_of_the_package_itself_shows_where_it_was_raised() -> None:
    async def main() -> None:
        async with open_loop():
            await aio_as_trio(42)  # type: ignore[call-overload]

    with pytest.raises(TypeError) as caught:
        trio.run(main)
    assert traceback.extract_tb(caught.value.__traceback__)[-1].name == "cross"
    assert not hasattr(caught.value, "__notes__")


def test_an_error_of_the_adapter_has_crossed_nothing() -> None:
    async def main() -> None:
        await aio_as_trio(fails_in_asyncio)()

    with pytest.raises(RuntimeError, match="open_loop") as caught:
        trio.run(main)
    assert traceback.extract_tb(caught.value.__traceback__)[-1].name == "loop_of_trio_code"
    assert not hasattr(caught.value, "__notes__")


@pytest.mark.parametrize("name", ["_calls", "_waiting", "border.crossing", "border.task", "border.to_asyncio", "border.to_trio"])
def test_pytest_hides_the_frames_between(name: str) -> None:
    assert importlib.import_module(f"trio_asyncio_compat.{name}").__tracebackhide__ is True


def test_trios_reason_is_the_message_of_asyncios_cancellation(hosted_run: Run) -> None:
    async def in_asyncio() -> str:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError as exc:
            return str(exc)
        return "not cancelled"

    async def main() -> str:
        with trio.CancelScope() as scope:
            scope.cancel("the user went away")
            return await aio_as_trio(in_asyncio)()
        return "cut"

    assert "the user went away" in hosted_run.trio_run(main)


def test_asyncios_message_is_the_reason_of_trios_cancellation(our_run: Run) -> None:
    reasons: list[str] = []

    async def in_trio() -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled as exc:
            reasons.append(str(exc))
            raise

    async def main() -> str:
        task = asyncio.ensure_future(trio_as_aio(in_trio)())
        await asyncio.sleep(0)
        task.cancel("the user went away")
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        return str(caught.value)

    message = our_run(main)
    assert message == "the user went away"
    # In a task that had not begun, there is nothing to tell.
    assert all("the user went away" in reason for reason in reasons)


def test_a_reason_survives_the_way_there_and_back(hosted_run: Run) -> None:
    reasons: list[str] = []

    async def innermost() -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled as exc:
            reasons.append(str(exc))
            raise

    async def in_asyncio() -> None:
        await trio_as_aio(innermost)()

    async def main() -> None:
        with trio.move_on_after(3600) as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(aio_as_trio(in_asyncio))
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel("the user went away")

    hosted_run.trio_run(main)
    assert len(reasons) == 1
    assert "the user went away" in reasons[0]


async def asyncio_calls_deeper(depth: int, seen: list[trio.Cancelled]) -> None:
    await trio_as_aio(trio_calls_deeper)(depth, seen)


async def trio_calls_deeper(depth: int, seen: list[trio.Cancelled]) -> None:
    try:
        await (trio.sleep_forever() if depth == 0 else aio_as_trio(asyncio_calls_deeper)(depth - 1, seen))
    except trio.Cancelled as exc:
        seen.append(exc)
        raise


@pytest.mark.parametrize("reason", [None, 'it\'s "over"'])
def test_however_often_it_crosses_a_cancellation_says_the_same(hosted_run: Run, reason: str | None) -> None:
    seen: list[trio.Cancelled] = []

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio_calls_deeper, 8, seen)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel(reason)

    hosted_run.trio_run(main)
    assert len(seen) == 9
    assert len({(exc.source, exc.reason, exc.source_task) for exc in seen}) == 1
    assert seen[0].source == "explicit"
    assert seen[0].reason == reason


def test_calls_as_deep_as_they_can_be_made_are_all_cancelled(hosted_run: Run) -> None:
    seen: list[trio.Cancelled] = []

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio_calls_deeper, 200, seen)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()

    hosted_run.trio_run(main)
    assert len(seen) == 201


def test_a_deadline_is_the_reason_on_the_other_side_of_two_crossings(hosted_run: Run) -> None:
    seen: list[trio.Cancelled] = []

    async def main() -> None:
        with trio.move_on_after(0):
            await trio_calls_deeper(1, seen)

    hosted_run.trio_run(main)
    assert [str(exc) for exc in seen] == ["cancelled due to deadline"] * 2
