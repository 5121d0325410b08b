"""What the tests of the border share: running code of each flavour in one `trio.run`, and checking what the border leaves in its loop.

The fixtures on top of this are in `conftest.py`.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import trio
from trio.testing import MockClock

from trio_asyncio_compat import TrioEventLoop, aio_as_trio, allow_asyncio, flavour_free_task_factory, open_loop
from trio_asyncio_compat._callers import IDLE
from trio_asyncio_compat._threads import WORKER

from ..support import Records

T = TypeVar("T")
variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


class Odd(Exception):
    """An error of the user's."""


class Border:
    """Runs a function of either flavour, or of none, with a loop open; checks that nothing of it is left when it has ended.

    In virtual time a timer that nothing else is waiting for fires at once.
    """

    def __init__(self, log: Records, *, virtual: bool) -> None:
        self.log = log
        self.virtual = virtual

    def trio(self, fn: Callable[[], Awaitable[T]], **options: Any) -> T:
        """Run trio-flavoured code."""

        async def main() -> T:
            async with checked_loop(**options):
                return await fn()

        return trio.run(main, clock=MockClock(autojump_threshold=0) if self.virtual else None)

    def asyncio(self, fn: Callable[[], Coroutine[Any, Any, T]], **options: Any) -> T:
        """Run asyncio-flavoured code."""
        return self.trio(lambda: aio_as_trio(fn)(), **options)

    def both(self, fn: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run flavour-free code in trio's main task, by `allow_asyncio`."""
        return self.trio(lambda: allow_asyncio(fn))

    def task(self, fn: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run flavour-free code in a task that `flavour_free_task_factory` has made."""
        return self.trio(lambda: aio_as_trio(fn()), task_factory=flavour_free_task_factory)


@asynccontextmanager
async def checked_loop(**options: Any) -> AsyncIterator[TrioEventLoop]:
    """`open_loop`, where nothing may be left when the block ends by itself."""
    async with open_loop(**options) as loop:
        yield loop
        await settle(loop)
        assert left_in(loop) == []


async def settle(loop: TrioEventLoop) -> None:
    """Let what has ended be told so."""
    for _ in range(3):
        await loop.synchronize()
        await trio.testing.wait_all_tasks_blocked()


def left_in(loop: TrioEventLoop) -> list[str]:
    """The tasks of either kind that `loop` has, but for its own."""
    left = [repr(task) for task in asyncio.all_tasks(loop)]
    if loop._nursery is not None:
        left += [task.name for task in loop._nursery.child_tasks if not _is_its_own(task.name)]
    return left


def _is_its_own(name: str) -> bool:
    return name.startswith(("pump of", "watcher of")) or name in (IDLE, WORKER)


def balanced() -> None:
    """The current asyncio task has no request to cancel it left."""
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def forever() -> None:
    """Asyncio-flavoured."""
    await asyncio.get_running_loop().create_future()
