"""The task tree comes out, and is text, whatever objects of the program answer with and whatever these are called."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import re
import signal
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import trio
import trio.testing

from trio_asyncio_compat import HangError, aio_as_trio, run, trio_as_aio
from trio_asyncio_compat.tasktree import (
    Call,
    Frame,
    Loop,
    Nursery,
    Ran,
    Scope,
    Task,
    TaskTree,
    Thread,
    Turn,
    collect,
    format_task_tree,
)
from trio_asyncio_compat.tasktree import (
    Run as TrioRun,
)

from .support import Run
from .test_tasktree import look, named, sigterm, wait_for_event
from .test_tasktree_attacked import tree_with

__all__ = ["sigterm"]  # a fixture

# What is not an Exception, too. (Ctrl-C always comes out.)
ERRORS = [ValueError, RecursionError, SystemExit, asyncio.CancelledError, GeneratorExit]


class Raises:
    """Raises this when it is asked for anything, even for what it is."""

    def __init__(self, error: Callable[[], BaseException]) -> None:
        object.__setattr__(self, "error", error)

    def __getattribute__(self, name: str) -> Any:
        error: BaseException = object.__getattribute__(self, "error")()
        raise error

    def __repr__(self) -> str:
        error: BaseException = object.__getattribute__(self, "error")()
        raise error

    def __call__(self, *args: object) -> None: ...

    async def acquire(self) -> None:
        await wait_for_event()


def waits_on(owner: Raises) -> Any:
    """A coroutine with a frame of a method of `owner`."""
    return trio_as_aio(Raises.acquire)(owner)


class RaisesInRepr(asyncio.Future[None]):
    def __init__(self, error: Callable[[], BaseException]) -> None:
        super().__init__()
        self.error = error

    def __repr__(self) -> str:
        raise self.error()


class Endless(Coroutine[Any, Any, None]):
    """A coroutine that seems to await itself."""

    cr_frame = None

    @property
    def cr_await(self) -> Endless:
        return self

    def send(self, value: object) -> None: ...

    def throw(self, *exc: Any) -> None:
        raise exc[0]

    def close(self) -> None: ...

    def __await__(self) -> Any:
        raise NotImplementedError


async def awaits(what: Any) -> None:
    await what


@pytest.mark.parametrize("error", ERRORS)
def test_an_object_may_raise_anything(error: type[BaseException], our_run: Run) -> None:
    def make() -> list[Any]:
        loop = asyncio.get_running_loop()
        future = RaisesInRepr(error)
        future.add_done_callback(Raises(error))
        return [
            asyncio.create_task(waits_on(Raises(error)), name="waits on one"),
            asyncio.create_task(awaits(future), name="waits for one"),
            loop.call_later(50, Raises(error)),
        ]

    tree = our_run(lambda: tree_with(make))
    assert named(tree, "waits on one").waits_for
    assert named(tree, "waits for one").state == "waiting"
    (loop,) = tree.loops()
    assert [timer.function[: timer.function.index(" at 0x")] for timer in loop.timers if "Raises" in timer.function] == [
        f"<{__name__}.Raises object"
    ]


def test_a_manager_that_does_not_know_whether_it_is_true(hosted_run: Run) -> None:
    class Manager(contextlib.AbstractAsyncContextManager[None]):
        def __bool__(self) -> bool:
            raise SystemExit

        async def __aexit__(self, *exc: object) -> None: ...

    async def main() -> TaskTree:
        async with aio_as_trio(Manager()):
            return await look()

    (carrier,) = [task for task in hosted_run.trio_run(main).tasks() if task.holds]
    assert carrier.holds is not None and carrier.holds.startswith(f"<{__name__}.test_a_manager")


def test_a_chain_that_never_ends(our_run: Run) -> None:
    async def main() -> TaskTree:
        task = asyncio.create_task(Endless(), name="endless")
        tree = collect()
        task.cancel()
        return tree

    assert named(our_run(main), "endless").frames == []


@pytest.mark.parametrize("items", [1, 100_000])
def test_a_queue_is_described_without_its_items(items: int, our_run: Run) -> None:
    asked = 0

    class Item:
        def __repr__(self) -> str:
            nonlocal asked
            asked += 1
            raise SystemExit

    def make() -> list[Any]:
        queue: asyncio.Queue[Item] = asyncio.Queue(items)
        for _ in range(items):
            queue.put_nowait(Item())
        return [asyncio.create_task(queue.put(Item()), name="puts something")]

    tree = our_run(lambda: tree_with(make))
    says = named(tree, "puts something").frames[-1].on
    assert says is not None
    assert says.endswith(f" maxsize={items} with {items:,} item{'s' if items > 1 else ''}>")
    assert asked == 0


def test_a_hang_is_told_with_an_object_that_wants_to_exit() -> None:
    async def main() -> None:
        await trio_as_aio(Raises.acquire)(Raises(SystemExit))

    with pytest.raises(HangError, match="trio run in MainThread"):
        run(main, deadlock_after=0.1)


@pytest.mark.parametrize("name", [int, bytes, list, type(None)])
def test_a_name_need_not_be_a_string(name: Callable[[], Any], hosted_run: Run) -> None:
    async def misnamed() -> None:
        trio.lowlevel.current_task().name = name()
        await wait_for_event()

    async def main() -> TaskTree:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(misnamed)
            tree = await look()
            nursery.cancel_scope.cancel()
        return tree

    tree = hosted_run.trio_run(main)
    (task,) = [task for task in tree.tasks() if any(frame.function.endswith("misnamed") for frame in task.frames)]
    assert task.name == repr(name())


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, TimeoutError])
def test_what_a_signal_handler_raises_while_an_object_is_asked_comes_out(error: type[BaseException], sigterm: signal.Signals) -> None:
    def handle(signum: int, frame: object) -> None:
        raise error

    class Interrupted(asyncio.Event):
        def __repr__(self) -> str:
            signal.raise_signal(sigterm)
            return "not interrupted"

    # Only what is of asyncio or trio is asked for its repr.
    Interrupted.__module__ = "asyncio.locks"

    async def main() -> None:
        task = asyncio.create_task(Interrupted().wait())
        await asyncio.sleep(0)
        signal.signal(sigterm, handle)
        try:
            with pytest.raises(error):
                format_task_tree()
        finally:
            task.cancel()

    run(main)


# What the program can name

EVIL = "evil\n\r\x1b[2J\x1b]0;title\x07\u202e\udc80 name"


def spoilt(data: Any) -> Any:
    """A tree with every text in it replaced that is not one of a few."""
    if dataclasses.is_dataclass(data) and not isinstance(data, type):
        fixed = ("flavour", "state", "holding")
        return dataclasses.replace(
            data, **{each.name: spoilt(getattr(data, each.name)) for each in dataclasses.fields(data) if each.name not in fixed}
        )
    if isinstance(data, list):
        return [spoilt(each) for each in data]
    return EVIL if isinstance(data, str) else data


def everything() -> TaskTree:
    """Whatever a tree can tell of."""
    frame, call = Frame("f", "a.py", 1, on="<lock>"), Call("g", "b.py", 2, 3.0, 4)
    turns = [Turn(1, 2.0, None, [Ran(call, 0.1)])]
    loop = Loop("loop", True, "busy", 3, [call], [call], [call], [call], [frame], True, turns)
    scope = Scope(1.0, True, True, "reason")
    below = Task(2, "asyncio", "below", "waiting", [frame], [scope], 1, blocked_by=1, holds="<a lock>", holding="holds", holds_for=1)
    alike = [Task(number, "trio", "alike", "waiting", [frame], awaits_made_at=frame) for number in range(10, 20)]
    nurseries = [Nursery(scope, [below], loop), Nursery(scope, alike)]
    top = Task(1, "trio", "top", "running", [frame], waits_for=[2], age=1.0, in_state=1.0, made_at=frame, nurseries=nurseries)
    return TaskTree([TrioRun("main", [top])], [Thread("thread", "h", [frame], 1)], [[1, 2]])


@pytest.mark.parametrize("color", [False, True])
def test_no_text_in_a_tree_can_break_a_line_or_move_the_cursor(color: bool) -> None:
    tree = everything()
    lines = format_task_tree(spoilt(tree), color=color).split("\n")
    assert len(lines) == len(format_task_tree(tree).split("\n")) > 20
    assert "evil\\n\\r\\x1b[2J" in lines[0]
    assert all(re.sub(r"\x1b\[[\d;]+m", "", line).isprintable() for line in lines)


def test_tools_get_names_on_one_line_too(hosted_run: Run) -> None:
    over, begun, released = threading.Event(), trio.Event(), trio.Event()

    def named_badly() -> None: ...

    def work() -> None:
        threading.current_thread().name = EVIL
        trio.from_thread.run_sync(begun.set)
        over.wait()

    named_badly.__qualname__ = work.__qualname__ = EVIL

    async def misnamed() -> None:
        trio.lowlevel.current_task().name = EVIL
        with trio.CancelScope(shield=True):
            await released.wait()

    async def main() -> TaskTree:
        timer = asyncio.get_running_loop().call_later(50, named_badly)
        thread = asyncio.create_task(asyncio.to_thread(work), name=EVIL)
        with trio.CancelScope() as outer:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(misnamed)
                await begun.wait()
                outer.cancel(EVIL)
                with trio.CancelScope(shield=True):
                    tree = await look()
                over.set()
                released.set()
        timer.cancel()
        await aio_as_trio(asyncio.wait)([thread])
        return tree

    def texts(data: Any) -> list[str]:
        if isinstance(data, dict):
            return [text for key, value in data.items() if key != "file" for text in texts(value)]
        if isinstance(data, list):
            return [text for value in data for text in texts(value)]
        return [data] if isinstance(data, str) else []

    tree = hosted_run.trio_run(main)
    (thread,), (loop,) = tree.threads, tree.loops()
    reasons = [scope.reason for task in tree.tasks() for scope in task.scopes if scope.reason]
    named_evil = [thread.name, thread.function, loop.timers[0].function, *reasons, *(task.name for task in tree.tasks())]
    assert sum("evil" in name for name in named_evil) == 6
    found = [text for text in texts(dataclasses.asdict(tree)) if "evil" in text]
    assert all(text.isprintable() for text in found)
