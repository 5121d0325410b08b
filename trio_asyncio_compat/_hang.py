"""`run(..., deadlock_after=SECONDS)`: a program that hangs fails, and shows how everything stands at that moment.

A trio instrument notes when trio begins to wait and when a task begins a step; a thread looks at these notes now and then. Two things count
as a hang. Nothing has moved for so long, in either world, and no timer is going to change that: asyncio's timers are deadlines
of trio, so trio's own waiting time tells. Or one step, of a task or of a slice of callbacks, has taken so long. Called by `_lifetime.py`.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Iterator

# Trio waits for this many seconds at most, and looks again, if it has no deadline at all.
_NO_DEADLINE = 24 * 60 * 60
# How often the thread looks, in parts of the time that is allowed.
_LOOKS = 10


class HangError(RuntimeError):
    """The program hung. The message ends with the task tree of that moment; `tree` is that alone."""

    def __init__(self, message: str, tree: str) -> None:
        super().__init__(f"{message}\n{tree}")
        self.tree = tree


class _HangFinder(trio.abc.Instrument):
    """Invariants: `_waiting_since` is set while trio waits and has no deadline, `_step_since` while a task makes a step; `_error` is
    set once, by whichever finds the first hang."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._waiting_since: float | None = None
        self._step_since: float | None = None
        self._error: HangError | None = None
        self._over = threading.Event()
        self._scope = trio.CancelScope()
        self._token = trio.lowlevel.current_trio_token()

    def before_io_wait(self, timeout: float) -> None:
        if timeout >= _NO_DEADLINE:
            self._waiting_since = time.monotonic()

    def after_io_wait(self, timeout: float) -> None:
        self._waiting_since = None

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._step_since = time.monotonic()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self._step_since = None

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Cancel the block, and raise HangError, when it hangs."""
        thread = threading.Thread(target=self._look, name="hang finder", daemon=True)
        trio.lowlevel.add_instrument(self)
        thread.start()
        try:
            with self._scope:
                yield
        finally:
            self._over.set()
            trio.lowlevel.remove_instrument(self)
            thread.join()
        if self._error is not None:
            raise self._error

    def _look(self) -> None:
        """The thread."""
        while not self._over.wait(self._seconds / _LOOKS):
            if self._is_over(self._waiting_since):
                # Looked at by trio itself, so that nothing moves meanwhile.
                self._token.run_sync_soon(self._fail, f"nothing has moved for {self._seconds} s, in trio or in asyncio")
                return
            if self._is_over(self._step_since):
                message = f"a step of a task, or a callback, has taken more than {self._seconds} s"
                error = self._error = HangError(message, _tree())
                # It cannot be interrupted, and may never end.
                sys.stderr.write(f"{error}")
                sys.stderr.flush()
                self._token.run_sync_soon(self._scope.cancel, message)
                return

    def _is_over(self, since: float | None) -> bool:
        return since is not None and time.monotonic() - since >= self._seconds

    def _fail(self, message: str) -> None:
        self._error = HangError(message, _tree())
        self._scope.cancel(message)


def _tree() -> str:
    # Here, since few programs ever need it.
    from .tasktree import format_task_tree

    return format_task_tree()


@contextlib.contextmanager
def fail_on_hang(seconds: float | None) -> Iterator[None]:
    """Watch the block, which is a trio task's, unless `seconds` is None."""
    if seconds is None:
        yield
        return
    if not seconds > 0:
        raise ValueError(f"deadlock_after must be a positive number of seconds, not {seconds!r}")
    with _HangFinder(seconds).watching():
        yield
