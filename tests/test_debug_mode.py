"""Debug mode: who keeps whom waiting is named, what was forgotten says where it was made, and the task tree knows ages and turns."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import re
import sys
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
import trio
import trio.testing

from trio_asyncio_compat import HangError, TrioEventLoop, aio_as_trio, allow_asyncio, flavour_free_task_factory, open_loop, run, trio_as_aio
from trio_asyncio_compat.tasktree import Loop, TaskTree, collect, format_task_tree

from .support import Records, Run
from .test_tasktree import line_of_this, named, only_loop

HERE = __file__


def line_of(code: str) -> int:
    return line_of_this(HERE, code)


def this_loop() -> TrioEventLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, TrioEventLoop)
    return loop


@contextlib.contextmanager
def slow_is(seconds: float) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    before, loop.slow_callback_duration = loop.slow_callback_duration, seconds
    try:
        yield
    finally:
        loop.slow_callback_duration = before


class FakeTime:
    """What debug mode measures with: it goes on only where a test says so, however busy the machine is."""

    now = 1000.0


@pytest.fixture(autouse=True)
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_asyncio_compat._slowness._now", lambda: FakeTime.now)


def block() -> None:
    FakeTime.now += 0.03


# Who keeps whom waiting


def test_a_callback_that_keeps_trio_waiting_is_named_with_its_task(our_run: Run) -> None:
    async def looks_up() -> None:
        block()

    async def main() -> None:
        with slow_is(0.02):
            await asyncio.create_task(looks_up(), name="the lookup")
            # Trio is told when the slice has ended.
            await trio_as_aio(trio.testing.wait_all_tasks_blocked)()

    our_run(main, debug=True)
    messages = our_run.log.take()
    assert any(re.match(r"Executing <Task finished name='the lookup' .* took 0\.\d+ seconds$", message) for message in messages)
    (waited,) = [message for message in messages if message.startswith("Trio was kept waiting for 0.")]
    assert "the longest of them step of the lookup (" in waited
    assert "looks_up) with 0." in waited


def test_many_short_callbacks_that_keep_trio_waiting_are_named_together(our_run: Run) -> None:
    async def main() -> None:
        with slow_is(0.1):
            for _ in range(5):
                this_loop().call_soon(block)
            await trio_as_aio(trio.testing.wait_all_tasks_blocked)()

    our_run(main, debug=True)
    messages = our_run.log.take()
    (waited,) = [message for message in messages if message.startswith("Trio was kept waiting")]
    assert f"the longest of them block ({HERE}:{block.__code__.co_firstlineno}) with 0.0" in waited


def test_what_waits_in_trio_meanwhile_is_counted(hosted_run: Run) -> None:
    async def main() -> None:
        woken = trio.Event()

        def wake_and_block() -> None:
            woken.set()
            scope.deadline = trio.current_time() - 0.5
            block()

        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as scope:
                nursery.start_soon(woken.wait)
                await trio.testing.wait_all_tasks_blocked()
                with slow_is(0.02):
                    this_loop().call_soon(wake_and_block)
                    await trio.sleep_forever()

    hosted_run.trio_run(main, debug=True)
    (waited,) = [message for message in hosted_run.log.take() if message.startswith("Trio was kept waiting")]
    assert re.search(r"\. In trio: \d+ tasks? ready, a deadline 0\.5\d+ seconds late$", waited)


def test_a_trio_task_that_starves_asyncio_is_named(hosted_run: Run) -> None:
    async def greedy() -> None:  # begins
        this_loop().call_at(this_loop().time() - 0.5, int)
        block()
        await trio.Event().wait()  # where it is then

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            with slow_is(0.02):
                nursery.start_soon(greedy)
                await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()

    hosted_run.trio_run(main, debug=True)
    (message,) = [message for message in hosted_run.log.take() if "greedy" in message]
    assert message.startswith("A step of trio task ")
    assert f"(which begins at {HERE}:{line_of('async def greedy() -> None:  # begins')} and is now at " in message
    assert f"{HERE}:{line_of('await trio.Event().wait()  # where it is then')}, in " in message
    assert re.search(r" took 0\.\d+ seconds\. Asyncio was kept waiting: a timer 0\.5\d+ seconds late$", message)


def test_trio_tasks_that_starve_asyncio_together_are_counted(hosted_run: Run) -> None:
    async def greedy() -> None:
        block()

    async def main() -> None:
        with slow_is(0.1):
            async with trio.open_nursery() as nursery:
                for _ in range(5):
                    nursery.start_soon(greedy)

    hosted_run.trio_run(main, debug=True)
    (message,) = [message for message in hosted_run.log.take() if message.startswith("One round of trio's scheduler took 0.")]
    assert re.search(r"for \d+ steps of its tasks, the longest of them of .*greedy with 0\.0", message)


async def blocks_in_its_only_step() -> None:
    block()


async def blocks_in_its_last_step() -> None:
    await trio.lowlevel.checkpoint()
    block()


async def blocks_and_goes_on() -> None:
    await trio.lowlevel.checkpoint()
    block()
    await trio.lowlevel.checkpoint()


async def blocks_between_items() -> AsyncIterator[int]:
    yield 0
    await trio.lowlevel.checkpoint()
    block()
    yield 1


@contextlib.asynccontextmanager
async def blocks_on_entry() -> AsyncIterator[None]:
    await trio.lowlevel.checkpoint()
    block()
    yield


async def runs_in_the_background() -> None:
    this_loop().run_trio_task(blocks_in_its_only_step)
    await asyncio.sleep(0.001)


async def iterates() -> None:
    async for _ in trio_as_aio(blocks_between_items)():
        pass


async def enters() -> None:
    async with trio_as_aio(blocks_on_entry)():
        pass


@pytest.mark.parametrize(
    ("calls", "blocks", "now"),
    [
        (runs_in_the_background, blocks_in_its_only_step, "has ended"),
        (trio_as_aio(blocks_in_its_last_step), blocks_in_its_last_step, "has ended"),
        (trio_as_aio(blocks_and_goes_on), blocks_and_goes_on, ", in blocks_and_goes_on"),
        (iterates, blocks_between_items, ", in blocks_between_items"),
        (enters, blocks_on_entry, ", in blocks_on_entry"),
    ],
)
def test_a_trio_function_that_asyncio_code_has_called_and_that_starves_it_is_named(
    calls: Callable[[], Awaitable[None]], blocks: Any, now: str, hosted_run: Run
) -> None:
    async def main() -> None:
        with slow_is(0.02):
            await calls()
            await trio_as_aio(trio.testing.wait_all_tasks_blocked)()

    hosted_run(main, debug=True)
    (message,) = hosted_run.log.take()
    code = inspect.unwrap(blocks).__code__
    assert re.match(rf"A step of trio task [\w.]*\.{blocks.__name__} \(which begins at {HERE}:{code.co_firstlineno} and ", message)
    assert f"{now}) took 0.030 seconds" in message


def test_trio_functions_that_starve_asyncio_together_are_named_though_asyncio_has_called_them(hosted_run: Run) -> None:
    async def main() -> None:
        with slow_is(0.1):
            await asyncio.gather(*(trio_as_aio(blocks_in_its_last_step)() for _ in range(5)))
            await trio_as_aio(trio.testing.wait_all_tasks_blocked)()

    hosted_run(main, debug=True)
    (message,) = hosted_run.log.take()
    assert re.search(r"One round of .*the longest of them of [\w.]*\.blocks_in_its_last_step with 0\.030 seconds", message)


def test_the_body_of_a_flavour_free_task_is_named(hosted_run: Run) -> None:
    async def body() -> None:
        block()
        await asyncio.sleep(0)

    async def main() -> None:
        await trio.lowlevel.checkpoint()
        with slow_is(0.02):
            await allow_asyncio(body)

    hosted_run.trio_run(main, debug=True)
    assert any("A step of trio task" in message and f"{HERE}:" in message for message in hosted_run.log.take())


def test_the_slow_first_step_of_a_call_is_asyncios_and_not_the_callers(hosted_run: Run) -> None:
    async def slow() -> None:
        block()

    async def main() -> None:
        with slow_is(0.02):
            await aio_as_trio(slow)()
            await trio.sleep(0)

    hosted_run.trio_run(main, debug=True)
    slow_callback, waited = hosted_run.log.take()
    assert slow_callback.startswith("Executing <Task finished")
    assert "slow()" in slow_callback
    assert re.match(r"Trio was kept waiting for 0\.\d+ seconds, while asyncio ran 1 callback, the longest of them step of .*slow", waited)


def test_of_two_loops_each_in_debug_mode_both_track_origins_until_they_close(clean: Records) -> None:
    async def main() -> list[int]:
        depths: list[int] = []
        first, second = open_loop(debug=True), open_loop(debug=True)
        await first.__aenter__()
        inner = trio.Event()

        async def open_second() -> None:
            async with second:
                inner.set()
                await closed.wait()
                depths.append(sys.get_coroutine_origin_tracking_depth())

        closed = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(open_second)
            await inner.wait()
            closed.set()
        await first.__aexit__(None, None, None)
        return depths

    assert trio.run(main) == [20]
    assert sys.get_coroutine_origin_tracking_depth() == 0


def test_debug_mode_that_is_switched_on_while_the_loop_runs_watches_both_sides(hosted_run: Run) -> None:
    async def main() -> None:
        this_loop().set_debug(True)
        await aio_as_trio(asyncio.sleep)(0)
        with slow_is(0.02):
            await trio.sleep(0)
            block()
            await trio.sleep(0)
            this_loop().call_soon(block)
            await aio_as_trio(asyncio.sleep)(0)
            await trio.testing.wait_all_tasks_blocked()
        this_loop().set_debug(False)
        await aio_as_trio(asyncio.sleep)(0)
        with slow_is(0.02):
            await trio.sleep(0)
            block()
            await trio.sleep(0)

    hosted_run.trio_run(main)
    kinds = [message.partition(" ")[0] for message in hosted_run.log.take()]
    assert kinds == ["A", "Executing", "Trio"]


def test_outside_of_debug_mode_the_loop_has_no_instruments(our_run: Run) -> None:
    async def main() -> list[object]:
        loop = this_loop()
        plain = [type(loop._scheduler), type(loop._pump)]
        loop.set_debug(True)
        loop.set_debug(False)
        return [plain, [type(loop._scheduler), type(loop._pump)], plain[0].__name__, loop._instruments._all]

    before, after, name, left = our_run(main)
    assert before == after
    assert name == "Scheduler"
    assert left == []


# What was forgotten says where it was made


@pytest.mark.parametrize("crossed", [lambda: trio_as_aio(trio.open_nursery)(), lambda: aio_as_trio(asyncio.timeout)(3)])
def test_a_call_that_was_never_awaited_says_where_it_was_made(crossed: Callable[[], Any], our_run: Run) -> None:
    async def main() -> list[str]:
        kept = [crossed()]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            kept.clear()
            gc.collect()
        return [str(warning.message) for warning in caught]

    (message,) = our_run(main, debug=True)
    assert "was never awaited, entered or iterated\nMade at (most recent call last)\n" in message
    assert f'"{HERE}", line {line_of("kept = [crossed()]")}, in main\n    kept = [crossed()]' in message
    assert "trio_asyncio_compat" not in message.replace(HERE, "")


@pytest.mark.parametrize("flavour", ["trio", "asyncio"])
def test_a_coroutine_that_was_never_awaited_says_where_it_was_made(flavour: str, hosted_run: Run) -> None:
    async def forgotten() -> None: ...

    async def forgets() -> list[str]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            forgotten()  # type: ignore[unused-coroutine]
            gc.collect()
        return [str(warning.message) for warning in caught]

    (message,) = hosted_run.trio_run(forgets if flavour == "trio" else aio_as_trio(forgets), debug=True)
    assert "Coroutine created at (most recent call last)" in message
    assert "in forgets\n" in message


def test_the_error_of_a_task_that_nobody_retrieved_says_where_it_was_made_by_the_programs_frames_only(our_run: Run) -> None:
    async def fails() -> None:
        raise ZeroDivisionError

    async def main() -> list[dict[str, Any]]:
        reports: list[dict[str, Any]] = []
        this_loop().set_exception_handler(lambda loop, context: reports.append(context))
        asyncio.create_task(fails())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        gc.collect()
        return reports

    (report,) = our_run(main, debug=True)
    assert report["message"] == "Task exception was never retrieved"
    made = report["source_traceback"]
    assert [frame.name for frame in made if frame.filename == HERE][-1] == "main"
    below = "/trio_asyncio_compat/", "/trio/_core/", "/asyncio/events.py"
    assert not [frame for frame in made if any(part in frame.filename for part in below)]


def test_a_future_that_nobody_resolved_says_where_it_was_made(hosted_run: Run) -> None:
    async def main() -> str:
        future = asyncio.get_running_loop().create_future()  # nobody will
        message = ""

        async def waits() -> None:
            nonlocal message
            try:
                await aio_as_trio(future)
            except RuntimeError as exc:
                message = str(exc)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(waits)
            await trio.testing.wait_all_tasks_blocked()
            this_loop().stop()
        return message

    message = hosted_run.trio_run(main, debug=True)
    line = line_of("future = asyncio.get_running_loop().create_future()  # nobody will")
    assert message == f"Event loop stopped before Future completed. It was made in main ({HERE}:{line})."


@pytest.mark.parametrize("factory", [None, flavour_free_task_factory])
def test_a_future_of_the_programs_that_a_task_still_waits_for_at_the_end_says_where_it_was_made(factory: Any, clean: Records) -> None:
    async def waits(future: asyncio.Future[None]) -> None:
        await future

    async def main() -> None:
        async with open_loop(debug=True, task_factory=factory) as loop:
            done = loop.create_future()
            done.set_result(None)
            kept["tasks"] = [
                loop.create_task(waits(loop.create_future()), name="forgotten"),  # made here
                loop.create_task(waits(done)),
                # Nobody forgets these.
                loop.create_task(asyncio.Queue[None]().get()),
                loop.create_task(asyncio.sleep(3600)),
                loop.create_task(waits(asyncio.create_task(asyncio.sleep(3600)))),
                loop.create_task(trio_as_aio(trio.sleep_forever)()),
            ]
            await trio.testing.wait_all_tasks_blocked()

    kept: dict[str, list[asyncio.Task[None]]] = {}
    trio.run(main)
    (message,) = clean.take()
    line = line_of('loop.create_task(waits(loop.create_future()), name="forgotten"),  # made here')
    assert "name='forgotten'" in message
    assert message.endswith(f"waits, at the end of its loop, for a future that nobody has resolved. It was made in main ({HERE}:{line}).")


# The task tree


async def sleeper() -> None:
    await asyncio.sleep(3600)


async def waits_for_event() -> None:
    await trio.Event().wait()


async def look() -> TaskTree:
    for _ in range(5):
        await trio.testing.wait_all_tasks_blocked()
    return collect()


def test_tasks_of_both_worlds_have_an_age_and_a_place(our_run: Run) -> None:
    async def main() -> TaskTree:
        task = asyncio.create_task(sleeper(), name="asyncio's")  # made here
        other = asyncio.create_task(trio_as_aio(waits_for_event)(), name="trio's")
        # Both have begun.
        await trio_as_aio(trio.testing.wait_all_tasks_blocked)()
        await asyncio.sleep(0.02)
        tree = await trio_as_aio(look)()
        task.cancel()
        other.cancel()
        return tree

    tree = our_run(main, debug=True)
    of_asyncio, of_trio = named(tree, "asyncio's"), named(tree, "waits_for_event", "trio")
    for task in (of_asyncio, of_trio):
        assert task.age is not None and 0.01 < task.age < 20
        assert task.in_state is not None and 0.01 < task.in_state <= task.age
    assert of_asyncio.made_at is not None
    assert (of_asyncio.made_at.function, of_asyncio.made_at.line) == (
        "main",
        line_of('task = asyncio.create_task(sleeper(), name="asyncio\'s")  # made here'),
    )
    text = format_task_tree(tree)
    assert re.search(r"asyncio task asyncio's \(sleeper\), waiting for \d+ ms, \d+ ms old\n", text)
    assert "made in main  " in text


def test_a_call_is_as_old_as_the_call_and_not_as_the_task_that_makes_it_again(our_run: Run) -> None:
    async def nothing() -> None:
        await trio.lowlevel.checkpoint()

    async def main() -> TaskTree:
        for _ in range(5):
            await trio_as_aio(nothing)()
            await asyncio.sleep(0.01)
        task = asyncio.create_task(trio_as_aio(waits_for_event)(), name="the caller")
        tree = await trio_as_aio(look)()
        task.cancel()
        return tree

    tree = our_run(main, debug=True)
    call, caller = named(tree, "waits_for_event", "trio"), named(tree, "the caller")
    assert [frame.function for frame in call.frames if not frame.hidden] == ["waits_for_event", "Event.wait"]
    assert call.age is not None and caller.age is not None and call.age <= caller.age


def test_a_future_that_is_waited_for_says_where_it_was_made(our_run: Run) -> None:
    async def main() -> TaskTree:
        future = asyncio.get_running_loop().create_future()  # elsewhere

        async def waits() -> None:
            await future

        task = asyncio.create_task(waits(), name="waits")
        tree = await trio_as_aio(look)()
        task.cancel()
        return tree

    tree = our_run(main, debug=True)
    made = named(tree, "waits", "asyncio").awaits_made_at
    assert made is not None
    assert (made.function, made.line) == ("main", line_of("future = asyncio.get_running_loop().create_future()  # elsewhere"))
    assert "waits for a future that was made in main  " in format_task_tree(tree)


def test_the_last_turns_are_shown_with_what_ran_in_them(our_run: Run) -> None:
    async def main() -> Loop:
        for _ in range(40):
            await asyncio.sleep(0)
        for _ in range(20):
            this_loop().call_soon(int)
        this_loop().call_soon(looks)
        await asyncio.sleep(0.001)
        return only_loop(trees[0])

    trees: list[TaskTree] = []

    def looks() -> None:
        trees.append(collect())

    loop = our_run(main, debug=True)
    assert loop.debug
    assert len(loop.last_turns) == 16
    *before, last = loop.last_turns
    numbers = [turn.number for turn in loop.last_turns]
    assert numbers == sorted(numbers, key=lambda number: number or 0)
    assert all(turn.seconds is not None and turn.ran[0].seconds is not None for turn in before)
    assert "step of Task-" in before[-1].ran[0].call.function
    assert last.seconds is None
    assert [ran.call.function for ran in last.ran] == ["int"] * 8
    assert last.more == 13
    assert re.search(r"turn \d+, \S+ ms ago, goes on: int \S+ ms, .*, 13 more\n", format_task_tree(trees[0]))


def test_a_first_step_stands_between_the_turns(hosted_run: Run) -> None:
    async def first() -> TaskTree:
        return collect()

    async def main() -> TaskTree:
        return await aio_as_trio(first)()

    loop = only_loop(hosted_run.trio_run(main, debug=True))
    last = loop.last_turns[-1]
    assert (last.number, len(last.ran), last.ran[0].seconds) == (None, 1, None)


def test_a_hang_shows_the_last_turns(clean: Records) -> None:
    async def main() -> None:
        await asyncio.sleep(0)
        await asyncio.get_running_loop().create_future()

    with pytest.raises(HangError) as caught:
        run(main, debug=True, deadlock_after=0.1)
    assert re.search(r"turn \d+, \d+ ms ago, took ", caught.value.tree)


def test_without_debug_mode_the_tree_says_what_it_does_not_know(our_run: Run) -> None:
    async def main() -> TaskTree:
        return collect()

    tree = our_run(main)
    assert all((task.age, task.in_state, task.made_at) == (None, None, None) for task in tree.tasks())
    assert format_task_tree(tree).endswith("(debug mode knows more: how old tasks are, where they were made, the last turns)\n")
    assert "debug mode knows more" not in format_task_tree(our_run(main, debug=True))
