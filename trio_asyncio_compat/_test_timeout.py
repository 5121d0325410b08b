"""The timeout of the pytest plugin: a test that takes too long fails with the task tree of that moment.

Called by `pytest_plugin.py`. In real time, whatever clock the test has. Nothing is interrupted in the middle, and the test cleans up; a
callback that blocks has to end first, but is shown.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import threading
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from ._current_loop import open_in_process
from ._hang import HangError
from .tasktree import format_task_tree
from .tasktree.frames import Stacks, await_chain

if TYPE_CHECKING:
    import types
    from collections.abc import Awaitable, Callable, Collection, Iterator

    from ._loop import TrioEventLoop

T = TypeVar("T")

# Whatever else a test ends with while it cleans up, be it that it is to be skipped, it has taken too long.
_ENDS_PYTEST = (KeyboardInterrupt, SystemExit, pytest.exit.Exception)
# Seconds that a test gets to end before the next measure is taken; and between two looks whether there is a loop by now.
_GRACE = 1.0
_LOOK = 0.05


@contextlib.contextmanager
def fail_with_tree_after(seconds: float, name: str, codes: Collection[types.CodeType], descriptor: int) -> Iterator[Watch]:
    """Fail the block, the test `name`, after so many seconds.

    Only if it opens a loop; others that are open already are no business of it. `codes` are of the functions that it consists of: a
    task of a driven loop that runs one of them is cancelled. If there is none, or it goes on, the loop stops, as if a callback had raised
    the error; if that does not end the block either, the tree is written to the descriptor.
    """
    watch = Watch(seconds, name, codes, descriptor)
    thread = threading.Thread(target=watch.run, name="timeout of a test", daemon=True)
    thread.start()
    try:
        yield watch
    except BaseException as exc:
        if watch.error is not None and exc is not watch.error and not isinstance(exc, _ENDS_PYTEST):
            raise watch.error from exc
        raise
    else:
        if watch.error is not None:
            raise watch.error
    finally:
        watch.over.set()
        thread.join()
        # An exception's traceback keeps this frame, and the error is one.
        del watch


class Watch:
    """The time of one test."""

    def __init__(self, seconds: float, name: str, codes: Collection[types.CodeType], descriptor: int) -> None:
        self.over = threading.Event()
        # Set when the time is over: the test may then end in any way.
        self.error: HangError | None = None
        self._not_its_own = set(open_in_process)
        self._seconds = seconds
        self._name = name
        self._codes = codes
        self._descriptor = descriptor

    def run(self) -> None:
        """In a thread, until the test is over."""
        if self.over.wait(self._seconds):
            return
        # Between two loops of a test there is nothing to see, and nothing to stop.
        while not self._loops():
            if self.over.wait(_LOOK):
                return
        self.error = HangError(f"{self._name} has taken more than {self._seconds:g} s", format_task_tree())
        for end in (self._cancel, self._stop):
            for loop in self._loops():
                # One may have been closed meanwhile.
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(end, loop, self.error)
            if self.over.wait(_GRACE):
                return
        os.write(self._descriptor, f"\n{self.error}".encode("utf-8", "replace"))

    def made_sure(self, function: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
        """`function`, the asyncio one that is tested, raising the error itself when it is cancelled because of it.

        For a plugin that runs tests in a task that goes on behind them, but would not behind a CancelledError.
        """

        @functools.wraps(function)
        async def test(*args: Any, **arguments: Any) -> T:
            try:
                return await function(*args, **arguments)
            except asyncio.CancelledError as exc:
                if self.error is None:
                    raise
                if (task := asyncio.current_task()) is not None:
                    task.uncancel()
                raise self.error from exc

        return test

    def _loops(self) -> set[TrioEventLoop]:
        return open_in_process - self._not_its_own

    def _cancel(self, loop: TrioEventLoop, error: HangError) -> None:
        """End the test, and leave the loop to the tests behind it: several may share one that is driven."""
        tasks = [] if loop._hosted else [task for task in asyncio.all_tasks(loop) if self._runs(task)]
        for task in tasks:
            task.cancel()
        if not tasks:
            self._stop(loop, error)

    def _runs(self, task: asyncio.Task[object]) -> bool:
        return any(frame.f_code in self._codes for frame in await_chain(task.get_coro(), Stacks()))

    def _stop(self, loop: TrioEventLoop, error: HangError) -> None:
        loop._pump.fail(error)
