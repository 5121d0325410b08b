"""The task tree shows every task of both worlds, where it is, and who waits for whom; and looking changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import io
import json
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import trio
import trio.testing

from trio_asyncio_compat import aio_as_trio, allow_asyncio, flavour_free_task_factory, open_loop, run, trio_as_aio
from trio_asyncio_compat.tasktree import Frame, Loop, Task, TaskTree, collect, format_task_tree, print_on_signal, print_task_tree

from .support import Run, hang_guard

THIS = Path(__file__)


def named(tree: TaskTree, part: str, flavour: str | None = None) -> Task:
    """The one task with this in its name."""
    (found,) = [task for task in tree.tasks() if part in task.name and flavour in (None, task.flavour)]
    return found


def only_loop(tree: TaskTree) -> Loop:
    (loop,) = loops(tree)
    return loop


def loops(tree: TaskTree) -> list[Loop]:
    return [nursery.loop for task in tree.tasks() for nursery in task.nurseries if nursery.loop is not None]


def visible(frames: list[Frame]) -> list[str]:
    return [frame.function.rpartition(".")[2] for frame in frames if not frame.hidden]


def line_of(code: str) -> int:
    """The number of the line in this file that is exactly this code."""
    return line_of_this(THIS, code)


def line_of_this(file: str | Path, code: str) -> int:
    """The number of the line in a file that is exactly this code."""
    (number,) = [i for i, line in enumerate(Path(file).read_text().splitlines(), 1) if line.strip() == code]
    return number


async def look(settled: int = 5) -> TaskTree:
    """A tree of when all others wait. Trio-flavoured."""
    for _ in range(settled):
        await trio.testing.wait_all_tasks_blocked()
    return collect()


async def sleeper() -> None:
    await asyncio.sleep(3600)  # asleep


async def wait_for_event() -> None:
    await trio.Event().wait()  # here


async def in_nursery(fn: Callable[[], Awaitable[object]]) -> TaskTree:
    """The tree while `fn` waits in a task of a nursery."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fn)
        tree = await look()
        nursery.cancel_scope.cancel()
    return tree


# What is in it


def test_trio_tasks_stand_in_their_nurseries_and_tell_where_they_wait(hosted_run: Run) -> None:
    tree = hosted_run.trio_run(lambda: in_nursery(wait_for_event))
    task = named(tree, "wait_for_event")
    assert (task.flavour, task.state) == ("trio", "waiting")
    assert visible(task.frames) == ["wait_for_event", "wait"]
    assert (task.frames[0].file, task.frames[0].line) == (str(THIS), line_of("await trio.Event().wait()  # here"))
    above = [each for each in tree.tasks() if any(task in nursery.tasks for nursery in each.nurseries)]
    assert [each.state for each in above] == ["running"]


def test_scopes_are_shown_from_the_outermost_in(hosted_run: Run) -> None:
    async def main() -> TaskTree:
        over = trio.Event()

        async def scoped() -> None:
            with trio.move_on_after(100), trio.CancelScope(shield=True), trio.CancelScope() as cancelled:
                cancelled.cancel("no more of it")
                with trio.CancelScope(shield=True):
                    await over.wait()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(scoped)
            tree = await look()
            over.set()
        return tree

    scopes = named(hosted_run.trio_run(main), "scoped").scopes
    assert [(scope.cancelled, scope.shielded, scope.reason) for scope in scopes] == [
        (False, False, None),
        (False, True, None),
        (True, False, "no more of it"),
        (False, True, None),
    ]
    assert 90 < (scopes[0].seconds_left or 0) <= 100


def test_an_asyncio_task_stands_below_the_trio_task_that_waits_for_it(hosted_run: Run) -> None:
    async def caller() -> None:
        await aio_as_trio(sleeper)()

    tree = hosted_run.trio_run(lambda: in_nursery(caller))
    trio_task = named(tree, "caller")
    (call,) = trio_task.calls
    assert (call.flavour, call.state) == ("asyncio", "waiting")
    assert trio_task.waits_for == [call.id]
    assert visible(trio_task.frames) == ["caller"]
    assert visible(call.frames) == ["sleeper", "sleep"]
    (timer,) = only_loop(tree).timers
    assert 3590 < (timer.seconds_left or 0) <= 3600


def test_a_trio_call_stands_below_the_asyncio_task_that_waits_for_it(our_run: Run) -> None:
    async def main() -> TaskTree:
        task = asyncio.create_task(trio_as_aio(wait_for_event)(), name="caller")
        tree = await trio_as_aio(look)()
        task.cancel()
        return tree

    tree = our_run(main)
    task = named(tree, "caller")
    (call,) = task.calls
    assert (task.flavour, call.flavour, call.name) == ("asyncio", "trio", "tests.test_tasktree.wait_for_event")
    assert visible(call.frames) == ["wait_for_event", "wait"]
    assert call.scopes == []


def test_a_call_in_a_trio_task_that_has_made_others_before_is_seen_to_its_last_frame(our_run: Run) -> None:
    async def nothing() -> None:
        await trio.lowlevel.checkpoint()

    async def main() -> TaskTree:
        for _ in range(5):
            await trio_as_aio(nothing)()
            await asyncio.sleep(0.001)
        task = asyncio.create_task(trio_as_aio(wait_for_event)(), name="caller")
        tree = await trio_as_aio(look)()
        task.cancel()
        return tree

    tree = our_run(main)
    (call,) = named(tree, "caller").calls
    assert (call.name, visible(call.frames)) == ("tests.test_tasktree.wait_for_event", ["wait_for_event", "wait"])
    # Trio tasks that wait for a call are none of the program's.
    assert not [task for task in tree.tasks() if "waits for calls" in task.name and not task.machinery]


def test_calls_there_and_back_are_one_branch(hosted_run: Run) -> None:
    async def in_asyncio() -> None:
        await trio_as_aio(in_trio)()

    async def in_trio() -> None:
        await aio_as_trio(sleeper)()

    tree = hosted_run.trio_run(lambda: in_nursery(aio_as_trio(in_asyncio)))
    task = named(tree, "in_asyncio", "asyncio")
    assert [task.flavour, task.calls[0].flavour, task.calls[0].calls[0].flavour] == ["asyncio", "trio", "asyncio"]
    assert tree.cycles == []


async def gathers() -> None:
    await asyncio.gather(sleeper(), sleeper())


async def gathers_deeply() -> None:
    await asyncio.gather(asyncio.gather(sleeper(), sleeper()))


async def groups() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(sleeper())
        group.create_task(sleeper())


async def waits() -> None:
    tasks = [asyncio.create_task(sleeper()), asyncio.create_task(sleeper())]
    try:
        await asyncio.wait(tasks)
    finally:
        for task in tasks:
            task.cancel()


async def shields() -> None:
    both = asyncio.gather(sleeper(), sleeper())
    try:
        await asyncio.shield(both)
    except asyncio.CancelledError:
        both.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await both


async def takes_as_completed() -> None:
    tasks = [asyncio.create_task(sleeper()), asyncio.create_task(sleeper())]
    try:
        for ended in asyncio.as_completed(tasks):
            await ended
    finally:
        for task in tasks:
            task.cancel()


async def groups_with_anyio() -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(sleeper)
        group.start_soon(sleeper)


@pytest.mark.parametrize("fn", [gathers, gathers_deeply, groups, waits, shields, takes_as_completed, groups_with_anyio])
def test_tasks_that_are_waited_for_together_stand_below_who_waits(fn: Callable[[], Any], our_run: Run) -> None:
    async def main() -> TaskTree:
        task = asyncio.create_task(fn(), name="waits for two")
        tree = await trio_as_aio(look)()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return tree

    task = named(our_run(main), "waits for two")
    # Since Python 3.14 asyncio says of a shielded future that it was cancelled when nobody waited for it any more.
    assert all("in shielded future" in message for message in our_run.log.take())
    assert [visible(call.frames)[-2:] for call in task.calls] == [["sleeper", "sleep"]] * 2
    assert task.waits_for == [call.id for call in task.calls]


@pytest.mark.parametrize("flavour", ["trio", "asyncio"])
def test_the_body_of_a_flavour_free_task_is_seen_to_its_last_frame(flavour: str, hosted_run: Run) -> None:
    async def deeper() -> None:
        await (trio.sleep_forever() if flavour == "trio" else sleeper())

    async def body() -> None:
        await deeper()

    tree = hosted_run.trio_run(lambda: in_nursery(functools.partial(allow_asyncio, body)))
    (task,) = [task for task in tree.tasks() if task.flavour == "both"]
    assert visible(task.frames)[:2] == ["body", "deeper"]
    assert visible(task.frames)[-1] == ("sleep_forever" if flavour == "trio" else "sleep")
    assert (task.state, task.cancelling) == ("waiting", 0)


def test_tasks_of_the_flavour_free_factory_are_of_both_worlds_and_shown_once(hosted_run: Run) -> None:
    async def main() -> TaskTree:
        async with open_loop(task_factory=flavour_free_task_factory) as loop:
            task = loop.create_task(trio.sleep_forever(), name="factory made")
            tree = await look()
            task.cancel()
        return tree

    (task,) = [task for task in trio.run(main).tasks() if task.flavour == "both"]
    assert visible(task.frames) == ["sleep_forever"]


def test_async_generators_are_links_of_the_chain(hosted_run: Run) -> None:
    async def numbers() -> AsyncIterator[int]:
        yield 1
        await sleeper()

    async def iterates() -> None:
        async for _ in numbers():
            pass

    tree = hosted_run.trio_run(lambda: in_nursery(aio_as_trio(iterates)))
    assert visible(named(tree, "iterates", "asyncio").frames) == ["iterates", "numbers", "sleeper", "sleep"]


def test_what_is_held_for_the_other_side_is_named(hosted_run: Run) -> None:
    async def main() -> tuple[TaskTree, TaskTree]:
        async with aio_as_trio(asyncio.timeout(50)):
            from_trio = await look()

        async def in_asyncio() -> TaskTree:
            async with trio_as_aio(trio.open_nursery()):
                return await trio_as_aio(look)()

        return from_trio, await aio_as_trio(in_asyncio)()

    from_trio, from_asyncio = hosted_run.trio_run(main)
    assert [task.flavour for task in from_trio.tasks() if task.holds and "Timeout [active]" in task.holds] == ["asyncio"]
    assert [task.flavour for task in from_asyncio.tasks() if task.holds and "NurseryManager" in task.holds] == ["trio"]


# Code that runs


def test_the_task_that_looks_is_running_and_seen_to_where_it_looks(our_run: Run) -> None:
    def deep() -> TaskTree:
        return collect()  # from deep down

    async def main() -> TaskTree:
        return deep()

    (task,) = [task for task in our_run(main).tasks() if task.flavour == "asyncio"]
    assert (task.state, visible(task.frames)) == ("running", ["main", "deep"])
    assert task.frames[-1].line == line_of("return collect()  # from deep down")


def test_a_callback_that_runs_is_seen(our_run: Run) -> None:
    trees: list[TaskTree] = []

    def callback() -> None:
        trees.append(collect())

    async def main() -> None:
        asyncio.get_running_loop().call_soon(callback)
        await asyncio.sleep(0)

    our_run(main)
    loop = only_loop(trees[0])
    assert loop.state == "busy"
    assert visible(loop.running) == ["callback"]
    assert not [task for task in trees[0].tasks() if task.flavour == "asyncio" and task.state == "running"]


def test_the_first_step_of_a_call_is_not_the_callers(hosted_run: Run) -> None:
    async def looks() -> TaskTree:
        return collect()

    async def caller() -> TaskTree:
        return await aio_as_trio(looks)()

    tree = hosted_run.trio_run(caller)
    (callee,) = [task for task in tree.tasks() if task.flavour == "asyncio"]
    assert visible(callee.frames) == ["looks"]
    assert [visible(task.frames)[-1] for task in tree.tasks() if task.state == "running" and task is not callee] == ["caller"]


def test_another_thread_sees_the_same(our_run: Run) -> None:
    async def main() -> tuple[TaskTree, bool]:
        task = asyncio.create_task(sleeper(), name="sleeper")
        await asyncio.sleep(0)
        tree = await asyncio.to_thread(collect)
        task.cancel()
        return tree, our_run.hosted

    tree, hosted = our_run(main)
    assert visible(named(tree, "sleeper").frames) == ["sleeper", "sleep"]
    assert only_loop(tree).hosted is hosted
    assert [run.thread for run in tree.runs] == ["MainThread"]


def test_a_thread_sees_a_callback_that_blocks(our_run: Run) -> None:
    trees: list[TaskTree] = []

    def blocks() -> None:
        thread = threading.Thread(target=lambda: trees.append(collect()))
        thread.start()
        thread.join()

    async def main() -> None:
        blocks()

    our_run(main)
    (task,) = [task for task in trees[0].tasks() if task.state == "running" and task.flavour == "asyncio"]
    # In the middle of starting the thread, or waiting for it already.
    assert visible(task.frames)[:2] == ["main", "blocks"]


def test_a_thread_may_look_again_and_again_while_everything_moves(our_run: Run) -> None:
    looks = 0
    errors: list[BaseException] = []
    over = threading.Event()

    def watch() -> None:
        nonlocal looks
        try:
            while not over.is_set():
                format_task_tree()
                looks += 1
        except BaseException as exc:
            errors.append(exc)

    async def there_and_back() -> None:
        await trio.lowlevel.checkpoint()
        await aio_as_trio(asyncio.sleep)(0)

    async def main() -> None:
        thread = threading.Thread(target=watch)
        thread.start()
        rounds = 0
        while (looks < 100 or rounds < 2) and not errors:
            rounds += 1
            async with asyncio.TaskGroup() as group, asyncio.timeout(60):
                for _ in range(5):
                    group.create_task(trio_as_aio(there_and_back)())
                await asyncio.to_thread(int)
        over.set()
        thread.join()

    our_run(main)
    assert errors == []


def test_two_runs_in_two_threads_are_two_trees(our_run: Run) -> None:
    async def main() -> TaskTree:
        entered, over = threading.Event(), trio.Event()

        async def other() -> None:
            async with open_loop():
                token.append(trio.lowlevel.current_trio_token())
                entered.set()
                await over.wait()

        token: list[trio.lowlevel.TrioToken] = []
        thread = threading.Thread(target=trio.run, args=(other,), name="the other thread")
        thread.start()
        entered.wait()
        tree = collect()
        token[0].run_sync_soon(over.set)
        await asyncio.to_thread(thread.join)
        return tree

    tree = our_run(main)
    assert sorted(run.thread for run in tree.runs) == ["MainThread", "the other thread"]
    assert visible(named(tree, "other").frames) == ["other", "wait"]


# Loops and threads


def test_two_loops_in_one_task_have_their_own_tasks(hosted_run: Run) -> None:
    async def main() -> TaskTree:
        async with open_loop() as outer, open_loop() as inner:
            tasks = [loop.create_task(sleeper(), name=name) for loop, name in ((outer, "outer"), (inner, "inner"))]
            tree = await look()
            for task in tasks:
                task.cancel()
            return tree

    tree = trio.run(main)
    of_loops = [nursery for task in tree.tasks() for nursery in task.nurseries if nursery.loop is not None]
    assert [[task.name for task in nursery.tasks if not task.machinery] for nursery in of_loops] == [
        ["outer (sleeper)"],
        ["inner (sleeper)"],
    ]


def test_readers_and_what_is_ready_are_listed(our_run: Run) -> None:
    async def main() -> TaskTree:
        server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
        asyncio.get_running_loop().call_soon(print)
        timer = asyncio.get_running_loop().call_later(50, print)
        asyncio.get_running_loop().call_later(60, print).cancel()
        tree = collect()
        timer.cancel()
        server.close()
        return tree

    loop = only_loop(our_run(main))
    assert [call.function for call in loop.ready] == ["print"]
    assert [call.function for call in loop.readers] == ["BaseSelectorEventLoop._accept_connection"]
    assert loop.writers == []
    assert [call.function for call in loop.timers] == ["print"]


def test_readers_of_the_machinery_say_what_they_are_for(our_run: Run) -> None:
    async def main() -> TaskTree:
        here, there = socket.socketpair()
        with here, there:
            here.setblocking(False)
            receives = asyncio.create_task(asyncio.get_running_loop().sock_recv(here, 1))
            await asyncio.sleep(0)
            tree = collect()
            there.send(b"x")
            await receives
        return tree

    (reader,) = only_loop(our_run(main)).readers
    assert (reader.function, reader.file) == ("sock_recv()", None)


def test_the_task_that_drives_a_loop_is_called_so(our_run: Run) -> None:
    async def main() -> TaskTree:
        return collect()

    tree = our_run(main)
    tops = [task.name for task in tree.runs[0].tasks if not task.machinery]
    assert (tops == ["that drives a loop"]) is not only_loop(tree).hosted


@pytest.mark.parametrize("start", ["to_thread", "run_in_executor"])
def test_a_thread_at_work_is_shown_with_who_waits_for_it(start: str, our_run: Run) -> None:
    def work() -> TaskTree:
        # It is begun at once. When trio has had its turn, the task waits.
        trio.from_thread.run_sync(int)
        return collect()

    async def waits_for_thread() -> TaskTree:
        if start == "to_thread":
            return await asyncio.to_thread(work)
        return await asyncio.get_running_loop().run_in_executor(None, work)

    tree = our_run(waits_for_thread)
    (thread,) = tree.threads
    assert thread.function.endswith("work")
    assert visible(thread.frames)[-1] == "work"
    assert thread.task == named(tree, "waits_for_thread").id


def test_idle_threads_are_not_shown(our_run: Run) -> None:
    async def main() -> TaskTree:
        await asyncio.to_thread(print)
        return collect()

    assert our_run(main).threads == []


# What goes wrong


def test_a_lock_of_trio_names_its_holder_and_a_circle_is_found(hosted_run: Run) -> None:
    lock = trio.Lock()

    async def wants_lock() -> None:
        async with lock:
            pass

    async def in_asyncio() -> None:
        await trio_as_aio(wants_lock)()

    async def holds_lock() -> None:
        async with lock:
            await aio_as_trio(in_asyncio)()

    tree = hosted_run.trio_run(lambda: in_nursery(holds_lock))
    holder, asker = named(tree, "holds_lock"), named(tree, "wants_lock")
    assert asker.blocked_by == holder.id
    (cycle,) = tree.cycles
    assert f"-{holder.id}-{named(tree, 'in_asyncio').id}-{asker.id}-" in f"-{'-'.join(map(str, cycle * 2))}-"
    assert "these wait for each other: #" in format_task_tree(tree)


def test_tasks_that_wait_for_each_other_are_shown_and_named(our_run: Run) -> None:
    async def main() -> TaskTree:
        tasks: list[asyncio.Task[None]] = []

        async def waits_for(other: int) -> None:
            await asyncio.wait([tasks[other]])

        tasks += [asyncio.create_task(waits_for(1), name="one"), asyncio.create_task(waits_for(0), name="two")]
        tree = await trio_as_aio(look)()
        for task in tasks:
            task.cancel()
        return tree

    tree = our_run(main)
    assert tree.cycles == [sorted([named(tree, "one").id, named(tree, "two").id])]


def test_a_task_that_is_cancelled_and_goes_on_says_so(our_run: Run) -> None:
    async def main() -> TaskTree:
        over = asyncio.Event()

        async def stubborn() -> None:
            with contextlib.suppress(asyncio.CancelledError):
                await sleeper()
            await over.wait()

        task = asyncio.create_task(stubborn(), name="stubborn")
        await asyncio.sleep(0)
        task.cancel()
        tree = await trio_as_aio(look)()
        over.set()
        await task
        return tree

    tree = our_run(main)
    assert named(tree, "stubborn").cancelling == 1
    assert "cancelled by asyncio" in format_task_tree(tree)


def test_looking_cancels_no_scope_whose_time_is_over(hosted_run: Run) -> None:
    async def main() -> bool:
        with trio.CancelScope() as scope:
            scope.deadline = trio.current_time() - 1
            tree = collect()
            caught = [each for task in tree.tasks() for each in task.scopes if each.seconds_left is not None]
            assert [each.cancelled for each in caught] == [False]
            scope.deadline = float("inf")
            await trio.lowlevel.checkpoint()
        return scope.cancelled_caught

    assert hosted_run.trio_run(main) is False


# The text


def test_without_a_loop_or_trio_there_is_nothing() -> None:
    assert collect().runs == []
    assert format_task_tree().startswith("nothing runs")


def test_trio_without_a_loop_is_shown_too() -> None:
    async def main() -> TaskTree:
        return await in_nursery(wait_for_event)

    assert named(trio.run(main), "wait_for_event").state == "waiting"


def test_the_tree_is_plain_data(our_run: Run) -> None:
    async def main() -> TaskTree:
        return collect()

    tree = our_run(main)
    assert json.loads(json.dumps(dataclasses.asdict(tree))) == dataclasses.asdict(tree)


def test_the_text_names_tasks_files_and_lines(hosted_run: Run) -> None:
    async def caller() -> None:
        await aio_as_trio(sleeper)()

    text = format_task_tree(hosted_run.trio_run(lambda: in_nursery(caller)))
    lines = [re.sub(r"^[ │├└─]*", "", line) for line in text.splitlines()]
    assert "trio run in MainThread" in lines
    assert any(re.fullmatch(r"asyncio task Task-\d+ \(sleeper\), waiting", line) for line in lines)
    assert any(re.fullmatch(rf"sleeper +\S*{THIS.name}:{line_of('await asyncio.sleep(3600)  # asleep')}", line) for line in lines)
    assert any(line.startswith("loop TrioEventLoop (hosted), idle after ") for line in lines)
    assert "pump" not in text


def test_many_tasks_that_are_alike_are_one_entry(our_run: Run) -> None:
    async def main() -> str:
        tasks = [asyncio.create_task(sleeper()) for _ in range(1000)]
        tree = await trio_as_aio(look)()
        for task in tasks:
            task.cancel()
        return format_task_tree(tree)

    text = our_run(main)
    assert re.search(r"1,000 asyncio tasks alike, waiting: Task-\d+, Task-\d+ \.\.\. Task-\d+\n", text)
    assert len(text.splitlines()) < 30


async def with_nursery(deadline: float = float("inf")) -> None:
    async with trio.open_nursery() as nursery:
        with trio.CancelScope(deadline=trio.current_time() + deadline):
            nursery.start_soon(wait_for_event)
            await trio.Event().wait()


@pytest.mark.parametrize(("fn", "below"), [(aio_as_trio(sleeper), "asyncio task"), (with_nursery, "trio task")], ids=["calls", "nurseries"])
def test_many_tasks_that_are_alike_down_to_the_last_below_are_one_entry(
    fn: Callable[[], Awaitable[None]], below: str, hosted_run: Run
) -> None:
    async def main() -> TaskTree:
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(fn, name="one of many")
            tree = await look()
            nursery.cancel_scope.cancel()
        return tree

    text = format_task_tree(hosted_run.trio_run(main))
    _, _, rest = text.partition("50 trio tasks alike, waiting: one of many, each with the like of this below\n")
    assert rest.count(f"─ {below} ") == 1
    assert len(rest.splitlines()) < 12


def test_what_is_not_alike_below_is_shown_by_itself(hosted_run: Run) -> None:
    async def main() -> TaskTree:
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(aio_as_trio(sleeper), name=f"plain {number}")
            for number in range(6):
                nursery.start_soon(with_nursery, 50 + number if number < 5 else float("inf"), name=f"nursery {number}")
            waited_for = asyncio.create_task(sleeper(), name="waited for by two")
            for number in range(2):
                nursery.start_soon(aio_as_trio(asyncio.wait), [waited_for], name=f"waits {number}")
            tree = await look()
            waited_for.cancel()
            nursery.cancel_scope.cancel()
        return tree

    text = format_task_tree(hosted_run.trio_run(main))
    assert "20 trio tasks alike, waiting: plain 0, plain 1 ... plain 19, each" in text
    assert "5 trio tasks alike, waiting: nursery 0, nursery 1 ... nursery 4, each" in text
    assert re.search(r"scope: deadline in (49|50) s to (53|54) s\n", text)
    assert "trio task nursery 5, waiting" in text
    assert text.count("waited for by two") == 2


def test_colour_is_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    async def main() -> list[str]:
        files: list[io.StringIO] = [Terminal(), io.StringIO(), Terminal()]
        monkeypatch.delenv("NO_COLOR", raising=False)
        print_task_tree(files[0])
        print_task_tree(files[1])
        monkeypatch.setenv("NO_COLOR", "1")
        print_task_tree(files[2])
        return [file.getvalue() for file in files]

    coloured, plain, refused = run(main)
    assert "\033[" in coloured
    assert "\033[" not in plain + refused
    assert re.sub(r"\033\[[\d;]*m", "", coloured).splitlines()[0] == plain.splitlines()[0]


@pytest.mark.parametrize(
    ("encoding", "line", "name"),
    [("ascii", "`- ", "Z\\xfcrich"), ("latin-1", "`- ", "Zürich"), ("cp437", "└─ ", "Zürich"), ("iso8859-5", "`- ", "Z\\xfcrich")],
)
def test_a_file_gets_what_its_encoding_has(encoding: str, line: str, name: str) -> None:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding)

    async def main() -> None:
        task = asyncio.create_task(sleeper(), name="Zürich")
        print_task_tree(file)
        task.cancel()

    run(main)
    text = raw.getvalue().decode(encoding)
    assert f"\n{line}" in text
    assert f"{name} (sleeper)" in text


# On a signal

HANGS = """
import asyncio, time

async def other():
    await asyncio.sleep(3600)

async def main():
    task = asyncio.create_task(other(), name="other")
    await asyncio.sleep(0)
    print("hangs", flush=True)
    while True:
        # Not for ever: Python does not look for signals once more before it sleeps.
        time.sleep(0.01)

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGUSR1")
def test_a_program_that_hangs_shows_where_on_a_signal_and_goes_on(tmp_path: Path) -> None:
    (tmp_path / "hangs.py").write_text(HANGS)
    command = [sys.executable, "-m", "trio_asyncio_compat", "--tasktree-on", "SIGUSR1", "hangs.py"]
    with hang_guard(), subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stderr is not None
            assert process.stdout.readline() == "hangs\n"
            for _ in range(2):
                process.send_signal(signal.SIGUSR1)
                text = ""
                while "hangs.py:5" not in text:  # the other task, which is last
                    text += process.stderr.readline()
                assert "asyncio task Task-1 (main), running" in text
                assert re.search(r"main +hangs.py:1[0-3]", text)  # printing, or sleeping already
            assert process.poll() is None
        finally:
            process.kill()


@pytest.fixture
def sigterm() -> Iterator[signal.Signals]:
    """A signal whose handler is put back."""
    before = signal.getsignal(signal.SIGTERM)
    yield signal.SIGTERM
    signal.signal(signal.SIGTERM, before)


def test_a_signal_prints_the_tree_in_any_step(sigterm: signal.Signals) -> None:
    file = io.StringIO()

    async def main() -> None:
        print_on_signal(sigterm, file)
        signal.raise_signal(sigterm)
        await trio.sleep(0)

    run(main)
    assert "main" in file.getvalue()


@pytest.mark.parametrize(("error", "printed"), [(RuntimeError("reentrant call"), "trio run in"), (OSError("disk full"), "disk full")])
def test_a_file_that_cannot_be_written_to_does_not_stop_the_program(
    error: Exception, printed: str, sigterm: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise error

    async def main() -> str:
        print_on_signal(sigterm, Broken())
        signal.raise_signal(sigterm)
        return "went on"

    assert run(main) == "went on"
    assert printed in capfd.readouterr().err


@pytest.mark.parametrize("closed", [False, True])
def test_the_signal_prints_the_tree_past_a_stderr_that_is_closed_or_not_there(
    closed: bool, sigterm: signal.Signals, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> str:
        stderr = io.StringIO()
        stderr.close()
        monkeypatch.setattr(sys, "stderr", stderr if closed else None)
        print_on_signal(sigterm)
        signal.raise_signal(sigterm)
        return "went on"

    assert run(main) == "went on"
    assert capfd.readouterr().err.startswith("trio run in MainThread\n")


def test_print_on_signal_is_for_the_main_thread() -> None:
    errors: list[BaseException] = []

    def other() -> None:
        try:
            print_on_signal(signal.SIGTERM)
        except ValueError as exc:
            errors.append(exc)

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert len(errors) == 1


def test_a_deep_chain_does_not_go_ever_further_to_the_right(hosted_run: Run) -> None:
    async def main() -> str:
        awaited: asyncio.Task[None] | None = None

        async def waits(behind: asyncio.Task[None] | None) -> None:
            await (asyncio.sleep(3600) if behind is None else behind)

        tasks = []
        for _ in range(500):
            awaited = asyncio.create_task(waits(awaited))
            tasks.append(awaited)
        await asyncio.sleep(0)
        text = format_task_tree()
        tasks[0].cancel()
        await asyncio.wait(tasks)
        return text

    text: str = hosted_run(main)
    assert text.count("waits  ") >= 500
    assert max(map(len, text.splitlines())) < 400
    assert re.search(r"^480 levels deep: asyncio task ", text, re.MULTILINE)
