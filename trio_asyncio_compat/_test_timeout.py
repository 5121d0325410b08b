"""The timeout of the pytest plugin: a test that takes too long fails with the task tree of that moment.

Called by `pytest_plugin.py`. In real time, whatever clock the test has. What ends the test is its loop: it stops, as if a callback had
raised the error. So nothing is interrupted in the middle, and the test cleans up; a callback that blocks has to end first, but is shown.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING

from ._current_loop import open_in_process
from ._hang import HangError
from .tasktree import format_task_tree

if TYPE_CHECKING:
    from collections.abc import Iterator

# Seconds that a test gets to end before the tree is printed past pytest; and between two looks whether there is a loop by now.
_GRACE = 1.0
_LOOK = 0.05


@contextlib.contextmanager
def fail_with_tree_after(seconds: float, name: str, descriptor: int) -> Iterator[None]:
    """Fail the block, the test `name`, after so many seconds. If it does not end then, the tree is written to the descriptor."""
    over = threading.Event()
    thread = threading.Thread(target=_watch, args=(seconds, name, descriptor, over), name="timeout of a test", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _watch(seconds: float, name: str, descriptor: int, over: threading.Event) -> None:
    if over.wait(seconds):
        return
    # Between two loops of a test there is nothing to see, and nothing to stop.
    while not open_in_process:
        if over.wait(_LOOK):
            return
    error = HangError(f"{name} has taken more than {seconds:g} s", format_task_tree())
    for loop in list(open_in_process):
        # One may have been closed meanwhile.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(loop._pump.fail, error)
    if not over.wait(_GRACE):
        os.write(descriptor, f"\n{error}".encode("utf-8", "replace"))
