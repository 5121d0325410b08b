"""Runs a program for real: in virtual time, on a hosted loop, and records when each step ended and how."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio
import trio.testing
from trio.testing import MockClock

from trio_asyncio_compat import TrioEventLoop, aio_as_trio, allow_asyncio, open_loop, trio_as_aio

from .programs import (
    Allow,
    Body,
    CallAsyncio,
    CallTrio,
    Fail,
    Finally,
    Flavour,
    Group,
    Nursery,
    Path,
    Records,
    Scope,
    ScopeFromAsyncio,
    Sleep,
    Step,
    Swallow,
    Timeout,
    TimeoutFromTrio,
    child_path,
    cleanup_path,
)


class Failure(Exception):
    """What a `Fail` raises."""


def describe(exc: BaseException | None) -> object:
    """An exception, as the model names it: two are alike if a program could not tell them apart by type."""
    match exc:
        case None:
            return "value"
        case BaseExceptionGroup():
            return ("group", *sorted((describe(inner) for inner in exc.exceptions), key=repr))
        case trio.Cancelled():
            return "cancelled in both worlds" if isinstance(exc, asyncio.CancelledError) else "cancelled by trio"
        case asyncio.CancelledError():
            return "cancelled by asyncio"
        case TimeoutError():
            return "timeout"
        case Failure():
            return f"failure {exc.args[0]}"
        case _:
            return repr(exc)


class Execution:
    """One run of one program."""

    def __init__(self) -> None:
        self.records: Records = {}
        self.loop: TrioEventLoop
        # A nursery outside of the program, for what somebody else does.
        self.outside: trio.Nursery

    async def body(self, steps: Body, flavour: Flavour, path: Path) -> None:
        for index, step in enumerate(steps):
            here = (*path, index)
            error: BaseException | None = None
            try:
                await self.step(step, flavour, here)
            except BaseException as exc:
                error = exc
                raise
            finally:
                self.records[here] = (self.loop.time(), describe(error))
                error = None

    async def step(self, step: Step, flavour: Flavour, path: Path) -> None:
        match step:
            case Sleep(seconds, of_trio):
                await (trio.sleep(seconds) if of_trio else asyncio.sleep(seconds))
            case Fail(number):
                raise Failure(number)
            case Scope(body, deadline, cancelled, by_trio, shield):
                with trio.CancelScope(
                    deadline=self.loop.time() + deadline if deadline is not None else float("inf"), shield=shield
                ) as scope:
                    with self.later(cancelled, scope.cancel, by_trio):
                        await self.body(body, flavour, path)
            case Nursery(body, children):
                async with trio.open_nursery() as nursery:
                    for index, child in enumerate(children):
                        nursery.start_soon(self.body, child, Flavour.TRIO, child_path(path, index))
                    await self.body(body, flavour, path)
            case Timeout(body, deadline):
                async with asyncio.timeout(deadline):
                    await self.body(body, flavour, path)
            case Group(body, children):
                async with asyncio.TaskGroup() as group:
                    for index, child in enumerate(children):
                        group.create_task(self.task(child, Flavour.ASYNCIO, child_path(path, index)))
                    await self.body(body, flavour, path)
            case CallAsyncio(body, cancelled, by_trio):
                await aio_as_trio(self.task)(body, Flavour.ASYNCIO, path, cancelled, by_trio)
            case CallTrio(body):
                await trio_as_aio(self.body)(body, Flavour.TRIO, path)
            case Allow(body, cancelled, by_trio):
                await allow_asyncio(functools.partial(self.task, body, Flavour.MIXED, path, cancelled, by_trio))
            case TimeoutFromTrio(body, deadline):
                async with aio_as_trio(asyncio.timeout(deadline)):
                    await self.body(body, flavour, path)
            case ScopeFromAsyncio(body, deadline):
                async with trio_as_aio(trio.move_on_after(deadline)):
                    await self.body(body, flavour, path)
            case Finally(body, cleanup):
                try:
                    await self.body(body, flavour, path)
                finally:
                    await self.body(cleanup, flavour, cleanup_path(path))
            case Swallow(body):
                try:
                    await self.body(body, flavour, path)
                except (trio.Cancelled, asyncio.CancelledError):
                    pass

    async def task(self, body: Body, flavour: Flavour, path: Path, cancelled: int | None = None, by_trio: bool = False) -> None:
        """A body that is a task to asyncio; what is left of the requests to cancel it is recorded, as its step -1."""
        task = asyncio.current_task()
        assert task is not None
        try:
            with self.later(cancelled, task.cancel, by_trio):
                await self.body(body, flavour, path)
        finally:
            self.records[*path, -1] = (self.loop.time(), task.cancelling())

    @contextmanager
    def later(self, seconds: int | None, cancel: Callable[[], object], by_trio: bool) -> Iterator[None]:
        """Have somebody else call `cancel`, unless the block has ended before."""
        if seconds is None:
            yield
        elif by_trio:
            waiting = trio.CancelScope()
            self.outside.start_soon(_call_later, waiting, seconds, cancel)
            try:
                yield
            finally:
                waiting.cancel()
        else:
            handle = self.loop.call_later(seconds, cancel)
            try:
                yield
            finally:
                handle.cancel()


async def _call_later(waiting: trio.CancelScope, seconds: int, cancel: Callable[[], object]) -> None:
    with waiting:
        await trio.sleep(seconds)
        cancel()


# A task that the loop keeps for its next call of trio code.
_IDLE = "a trio task that waits for calls from asyncio"


def all_tasks() -> set[trio.lowlevel.Task]:
    """The trio tasks of this run that do something."""
    root = trio.lowlevel.current_root_task()
    found: set[trio.lowlevel.Task] = set()
    new = [root] if root is not None else []
    while new:
        task = new.pop()
        if task.name != _IDLE:
            found.add(task)
        for nursery in task.child_nurseries:
            new += nursery.child_tasks
    return found


def execute(program: Body) -> Records:
    """Run `program`, a body in trio's flavour; return what was recorded, the end of the whole under the path ()."""
    execution = Execution()

    async def main() -> None:
        async with open_loop() as loop, trio.open_nursery() as execution.outside:
            execution.loop = loop
            await trio.testing.wait_all_tasks_blocked()
            before = all_tasks()
            try:
                await execution.body(program, Flavour.TRIO, ())
            except BaseException as exc:
                execution.records[()] = (loop.time(), describe(exc))
            else:
                execution.records[()] = (loop.time(), describe(None))
            await trio.testing.wait_all_tasks_blocked()
            assert all_tasks() == before
            assert asyncio.all_tasks(loop) == set()

    trio.run(main, clock=MockClock(autojump_threshold=0))
    return execution.records
