"""An error that has crossed the border shows the program's frames only, and says where it crossed; a cancellation says why."""

from __future__ import annotations

import asyncio
import gc
import importlib
import traceback
from pathlib import Path

import pytest
import trio
import trio.testing

from trio_asyncio_compat import aio_as_trio, open_loop, run, trio_as_aio

from .support import Run

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


def test_a_note_says_where_the_error_crossed_from_the_inside_out(hosted_run: Run) -> None:
    with pytest.raises(ValueError) as caught:
        hosted_run.trio_run(calls_all)
    (note,) = caught.value.__notes__
    parts = note.removeprefix("It crossed ").split(", then ")
    assert [part.partition(" (")[0] for part in parts] == [
        "from asyncio to trio in trio_calls_asyncio",
        "from trio to asyncio in asyncio_calls_trio",
        "from asyncio to trio in calls_all",
    ]
    assert f"({HERE}:" in parts[0]


def test_an_error_that_leaves_a_driven_loop_is_tidied_too(our_run: Run) -> None:
    with pytest.raises(ValueError) as caught:
        our_run(asyncio_calls_trio)
    assert functions(caught.value) == ["asyncio_calls_trio", "trio_calls_asyncio", "fails_in_asyncio"]
    (note,) = caught.value.__notes__
    assert note.startswith("It crossed from asyncio to trio in trio_calls_asyncio (")


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


def test_an_error_that_is_dealt_with_inside_is_left_alone(hosted_run: Run) -> None:
    async def main() -> ValueError:
        with pytest.raises(ValueError) as caught:
            await calls_all()
        return caught.value

    error = hosted_run.trio_run(main)
    assert not hasattr(error, "__notes__")
    assert "?" in functions(error)


def test_an_error_of_the_package_itself_shows_where_it_was_raised() -> None:
    async def main() -> None:
        async with open_loop():
            await aio_as_trio(42)  # type: ignore[call-overload]

    with pytest.raises(TypeError) as caught:
        trio.run(main)
    assert traceback.extract_tb(caught.value.__traceback__)[-1].name == "cross"


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


def test_a_deadline_is_the_reason_on_the_other_side_of_two_crossings(hosted_run: Run) -> None:
    seen: list[trio.Cancelled] = []

    async def main() -> None:
        with trio.move_on_after(0):
            await trio_calls_deeper(1, seen)

    hosted_run.trio_run(main)
    assert [str(exc) for exc in seen] == ["cancelled due to deadline"] * 2
