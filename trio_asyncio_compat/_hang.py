"""`run(..., deadlock_after=SECONDS)`: a program that hangs fails, and shows how everything stands at that moment.

A trio instrument notes when trio begins to wait and when a task begins a step; a thread looks at these notes now and then. Two things count
as a hang. Nothing has moved for so long, in either world, and no timer is going to change that: asyncio's timers are deadlines
of trio, so trio's own waiting time tells. Or one step, of a task or of a slice of callbacks, has taken so long.

The first hang cancels the program, which may hang again, or for good, while it cleans up: so if it does not end soon, the tree is
printed, and that of each hang that follows. Called by `_lifetime.py`.
"""

from __future__ import annotations

import contextlib
import math
import sys
import threading
import time
from typing import TYPE_CHECKING

import trio

from ._files import OURS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

# Trio waits for this many seconds at most, and looks again, if it has no deadline at all.
_NO_DEADLINE = 24 * 60 * 60
# How often the thread looks, in parts of the time that is allowed.
_LOOKS = 10
# Seconds that the program gets to end before the tree is printed.
_GRACE = 1.0


class HangError(RuntimeError):
    """The program hung. The message ends with the task tree of that moment; `tree` is that alone."""

    def __init__(self, message: str, tree: str) -> None:
        super().__init__(f"{message}\n{tree}")
        self.tree = tree


class _HangFinder(trio.abc.Instrument):
    """Invariants: `_waiting_since` is set while trio waits and has no deadline, `_step_since` while a task makes a step; `_error` is the
    first hang, which ends the block, and is set once."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._waiting_since: float | None = None
        self._step_since: float | None = None
        self._error: HangError | None = None
        self._printed = False
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
        try:
            with self._looked_at(), self._scope:
                yield
        except BaseException as exc:
            if self._error is None:
                raise
            if not isinstance(exc, Exception):
                # Somebody wants the program to end, and does not care for hangs.
                self._print_error()
                raise
            # What the program has raised meanwhile comes of the hang, or of its cancellation, and is shown with it.
            raise self._error from exc.with_traceback(_outside_of_here(exc.__traceback__))
        if self._error is not None:
            raise self._error

    @contextlib.contextmanager
    def _looked_at(self) -> Iterator[None]:
        thread = threading.Thread(target=self._look, name="hang finder", daemon=True)
        trio.lowlevel.add_instrument(self)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            trio.lowlevel.remove_instrument(self)
            thread.join()

    def _look(self) -> None:
        """The thread. What hangs while the block ends is only shown: it was told to end, and nothing more can be done."""
        known: float | None = None
        found = math.inf
        while not self._over.wait(min(self._seconds / _LOOKS, _GRACE)):
            waiting, step, now = self._waiting_since, self._step_since, time.monotonic()
            since = next((each for each in (waiting, step) if each is not None and now - each >= self._seconds), None)
            if since is not None and since != known:
                known = since
                self._found(blocks=since is step)
                found = min(found, now)
            elif now - found >= _GRACE:
                self._print_error()

    def _found(self, *, blocks: bool) -> None:
        seconds = self._seconds
        message = (
            f"a step of a task, or a callback, has taken more than {seconds} s"
            if blocks
            else f"nothing has moved for {seconds} s, in trio or in asyncio"
        )
        if self._error is not None:
            self._print_error()
            _print(f"and while it ends because of that, {message}\n{_tree()}")
        elif blocks:
            self._error = HangError(message, _tree())
            # It cannot be interrupted, and may never end.
            self._print_error()
            self._token.run_sync_soon(self._scope.cancel, message)
        else:
            # Looked at by trio itself, so that nothing moves meanwhile.
            self._token.run_sync_soon(self._fail, message)

    def _fail(self, message: str) -> None:
        # Of many tasks the tree takes its time, and this step is not the program's.
        self._step_since = None
        self._error = HangError(message, _tree())
        self._scope.cancel(message)

    def _print_error(self) -> None:
        """Once."""
        if not self._printed and self._error is not None:
            self._printed = True
            _print(f"{self._error}")


def _outside_of_here(trace: TracebackType | None) -> TracebackType | None:
    """The part that tells where the program has raised the error, without how it has come here."""
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(OURS):
        trace = trace.tb_next
    return trace


def _print(text: str) -> None:
    # There may be no stderr, or none that can be written to: then there is the error, at the end.
    with contextlib.suppress(Exception):
        sys.stderr.write(text)
        sys.stderr.flush()


def _tree() -> str:
    # Here, since few programs ever need it.
    from .tasktree import format_task_tree

    try:
        return format_task_tree()
    except BaseException as exc:
        # Of the program's objects, which may raise anything when they are to describe themselves; trio would not survive it here.
        return f"there is no task tree: {type(exc).__name__}\n"


def fail_on_hang(seconds: float | None) -> contextlib.AbstractContextManager[None]:
    """Watches a block, which is a trio task's, unless `seconds` is None."""
    if seconds is None:
        return contextlib.nullcontext()
    if not seconds > 0:
        raise ValueError(f"deadlock_after must be a positive number of seconds, not {seconds!r}")
    return _HangFinder(seconds).watching()
