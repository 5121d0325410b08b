"""The task tree comes out whatever the program is made of, and at whatever moment it is asked for."""

from __future__ import annotations

import asyncio
import errno
import io
import signal
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from typing import Any

import pytest
import trio
import trio.testing

from trio_asyncio_compat import aio_as_trio, allow_asyncio, open_loop, run, trio_as_aio
from trio_asyncio_compat.tasktree import TaskTree, collect, format_task_tree, print_on_signal

from .support import Records, Run
from .test_tasktree import look, named, only_loop, sigterm, sleeper, visible, wait_for_event

__all__ = ["sigterm"]  # a fixture


# What a program may be made of


class Hostile:
    """Raises whatever it is asked for."""

    def __getattr__(self, name: str) -> Any:
        raise ZeroDivisionError(name)

    def __repr__(self) -> str:
        raise ZeroDivisionError

    def __call__(self) -> None: ...


class HostileTask(asyncio.Task[None]):
    def get_name(self) -> str:
        raise ZeroDivisionError

    def __repr__(self) -> str:
        raise ZeroDivisionError


class HostileAwaitable(Hostile):
    def __await__(self) -> Generator[Any, Any, None]:
        yield from asyncio.sleep(3600).__await__()


class PlainAwaitable:
    """Its iterator is the future's, which is no coroutine, and knows nothing of what it awaits."""

    def __await__(self) -> Any:
        return asyncio.get_running_loop().create_future().__await__()


async def awaits(what: Awaitable[object]) -> None:
    await what


async def tree_with(fn: Callable[[], list[asyncio.Future[Any] | asyncio.Handle]]) -> TaskTree:
    made = fn()
    tree = await trio_as_aio(look)()
    format_task_tree(tree, color=True)
    for each in made:
        each.cancel()
    return tree


def test_objects_that_raise_whatever_they_are_asked_for(our_run: Run) -> None:
    def make() -> list[Any]:
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[Any] = asyncio.Queue(1)
        queue.put_nowait(Hostile())
        return [
            HostileTask(sleeper(), loop=loop),
            asyncio.create_task(awaits(HostileAwaitable()), name="waits for a hostile one"),
            asyncio.create_task(awaits(PlainAwaitable()), name="waits for a plain one"),
            asyncio.create_task(queue.put(Hostile()), name="puts something"),
            loop.call_later(50, Hostile()),
        ]

    tree = our_run(lambda: tree_with(make))
    assert visible(named(tree, "a task without a name").frames) == ["sleeper", "sleep"]
    assert visible(named(tree, "a hostile one").frames) == ["awaits", "__await__", "sleep"]
    assert visible(named(tree, "a plain one").frames) == ["awaits"]
    assert named(tree, "puts something").frames[-1].on is not None
    assert any(timer.function.startswith(f"<{__name__}.Hostile object at 0x") for timer in only_loop(tree).timers)


def test_names_do_not_move_the_cursor_nor_fill_the_screen(our_run: Run) -> None:
    def make() -> list[Any]:
        return [asyncio.create_task(sleeper(), name="evil\n\033[2J" + 10_000 * "x")]

    text = format_task_tree(our_run(lambda: tree_with(make)))
    (line,) = [line for line in text.splitlines() if "evil" in line]
    assert "evil \\x1b[2Jxxx" in line
    assert len(line) < 400


def test_ten_thousand_tasks_that_are_waited_for_together(hosted_run: Run) -> None:
    """Measured: 0.6 s; 7.5 s with a search for each."""

    async def main() -> TaskTree:
        async def waits() -> None:
            await asyncio.gather(*(sleeper() for _ in range(10_000)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(aio_as_trio(waits))
            tree = await look()
            nursery.cancel_scope.cancel()
        return tree

    tree = hosted_run.trio_run(main)
    waiting = named(tree, "waits", "asyncio")
    assert len(waiting.calls) == len(waiting.waits_for) == 10_000
    assert "10,000 asyncio tasks alike, waiting: " in format_task_tree(tree)


def test_chains_that_are_longer_than_pythons_stack(hosted_run: Run) -> None:
    async def nested(depth: int) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(nested, depth - 1) if depth else nursery.start_soon(wait_for_event)

    async def main() -> TaskTree:
        last = asyncio.create_task(sleeper())
        chain = [last]
        for _ in range(1500):
            chain.append(asyncio.create_task(awaits(chain[-1])))
        chain[-1].set_name("the last one")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(nested, 300)
            tree = await look()
            nursery.cancel_scope.cancel()
        last.cancel()
        await aio_as_trio(asyncio.wait)(chain)
        return tree

    tree = hosted_run.trio_run(main)
    text = format_task_tree(tree)
    assert len(text.splitlines()) > 1800
    depth, task = 0, named(tree, "the last one")
    while task.calls:
        (task,) = task.calls
        depth += 1
    assert depth == 1500


# At whatever moment


async def carried() -> AsyncIterator[int]:
    for number in range(3):
        yield number
        await trio.lowlevel.checkpoint()


async def there_and_back() -> None:
    await trio.lowlevel.checkpoint()
    await aio_as_trio(asyncio.sleep)(0)
    async with aio_as_trio(asyncio.timeout)(60):
        await trio.lowlevel.checkpoint()


async def of_asyncio() -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(trio_as_aio(there_and_back)())
    async with trio_as_aio(trio.open_nursery)() as nursery:
        nursery.start_soon(trio.lowlevel.checkpoint)
    async for _ in trio_as_aio(carried)():
        pass
    # Left to the end of the loop.
    asyncio.create_task(sleeper())
    asyncio.create_task(trio_as_aio(wait_for_event)())


async def of_both() -> None:
    async with asyncio.timeout(60), trio.open_nursery() as nursery:
        nursery.start_soon(there_and_back)
        await asyncio.sleep(0)


async def everything(debug: bool) -> None:
    async with open_loop(debug=debug):
        asyncio.get_running_loop().slow_callback_duration = 60
        async with trio.open_nursery() as nursery:
            nursery.start_soon(aio_as_trio(of_asyncio))
            nursery.start_soon(allow_asyncio, of_both)


# How often a picture is taken.
ENOUGH = 150


@pytest.mark.parametrize("debug", [False, True])
def test_a_signal_may_come_between_any_two_lines_of_anything(debug: bool, clean: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    """While loops of all kinds are opened, work and close: a timer of the system interrupts at another point each time."""
    looks = 0
    errors: list[BaseException] = []

    def handle(signum: int, frame: object) -> None:
        nonlocal looks
        try:
            format_task_tree()
        except BaseException as exc:
            errors.append(exc)
        looks += 1
        # Not at once, and not always at the same point of what runs then.
        if looks < ENOUGH:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0.0001 + 0.00013 * (looks % 17))

    reported = sys.unraisablehook

    def report(args: Any) -> None:
        # Trio closes the sockets that signals wake it with before it has Python use another: one in between is told so.
        if not (isinstance(args.exc_value, OSError) and args.exc_value.errno in (errno.EBADF, errno.EPIPE) and args.object is None):
            reported(args)

    monkeypatch.setattr(sys, "unraisablehook", report)
    before = signal.signal(signal.SIGVTALRM, handle)
    signal.setitimer(signal.ITIMER_VIRTUAL, 0.0001)
    try:
        while looks < ENOUGH:
            trio.run(everything, debug)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
    assert errors == []


@pytest.mark.parametrize("debug", [False, True])
def test_another_thread_may_look_while_loops_come_and_go(debug: bool, clean: Records) -> None:
    looks = 0
    errors: list[BaseException] = []
    over = threading.Event()

    def watch() -> None:
        nonlocal looks
        # With a pause: debug mode asks the system for each file in a traceback, and a thread that never waits would get its turn each time.
        while not over.wait(0.0005):
            try:
                # Between two loops there is nothing.
                looks += "loop TrioEventLoop" in format_task_tree()
            except BaseException as exc:
                errors.append(exc)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        while looks < 20:
            trio.run(everything, debug)
    finally:
        over.set()
        thread.join()
    assert errors == []


def test_a_signal_that_comes_while_the_tree_is_printed_is_answered_afterwards(sigterm: signal.Signals) -> None:
    class Slow(io.StringIO):
        depth = deepest = printed = 0

        def write(self, text: str) -> int:
            self.depth += 1
            self.deepest = max(self.deepest, self.depth)
            self.printed += 1
            if self.printed == 1:
                for _ in range(5):
                    signal.raise_signal(sigterm)
            self.depth -= 1
            return len(text)

    file = Slow()

    async def main() -> None:
        print_on_signal(sigterm, file)
        signal.raise_signal(sigterm)

    run(main)
    assert (file.deepest, file.printed) == (1, 2)


def test_a_loop_that_is_closing_is_shown_with_what_holds_it_up(our_run: Run) -> None:
    trees: list[TaskTree] = []

    async def stubborn() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            trees.append(await trio_as_aio(look)())

    async def main() -> None:
        asyncio.create_task(stubborn(), name="stubborn")
        await asyncio.sleep(0)

    our_run(main)
    task = named(trees[0], "stubborn", "asyncio")
    assert task.cancelling == 1
    assert visible(task.frames)[0] == "stubborn"


def test_a_loop_that_has_closed_is_no_more_there() -> None:
    async def main() -> TaskTree:
        async with open_loop():
            pass
        return collect()

    tree = trio.run(main)
    assert tree.loops() == []
    assert "debug mode" not in format_task_tree(tree)


def coroutine_like(steps: int) -> Coroutine[Any, Any, int]:
    """What has the methods of a coroutine, and none of its attributes."""

    class Likeness(Coroutine[Any, Any, int]):
        left = steps

        def send(self, value: object) -> None:
            self.left -= 1
            if not self.left:
                raise StopIteration(steps)

        def throw(self, *exc: Any) -> None:
            raise exc[0]

        def close(self) -> None: ...

        def __await__(self) -> Generator[Any, Any, int]:
            raise NotImplementedError

    return Likeness()


def test_a_task_of_what_only_looks_like_a_coroutine(our_run: Run) -> None:
    async def main() -> TaskTree:
        task = asyncio.get_running_loop().create_task(coroutine_like(5), name="likeness")
        await asyncio.sleep(0)
        tree = collect()
        await task
        return tree

    task = named(our_run(main, debug=True), "likeness")
    assert (task.state, task.frames) == ("ready", [])
