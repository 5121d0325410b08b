"""The private names of trio that this package uses, and nothing else.

Callers are `_flavour.py` (which code is running here) and `_driven.py` (a forked child). Everything else in
the package goes through trio's public API. `tests/test_private_names.py` fails when trio changes one of these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

try:
    from trio._core._run_context import GLOBAL_RUN_CONTEXT as run_context
except ImportError:  # trio before 0.32 keeps it in the run module
    from trio._core._run import GLOBAL_RUN_CONTEXT as run_context

if TYPE_CHECKING:
    import trio


def hide_current_task() -> trio.lowlevel.Task | None:
    """Make trio believe that no task is running in this thread; return the one that was, for `show_task`.

    trio's synchronous functions that need only the run still work afterwards. A trio function that needs a
    task raises RuntimeError at once instead of acting on a task that is not its caller's.
    """
    task: trio.lowlevel.Task | None = run_context.__dict__.pop("task", None)
    return task


def show_task(task: trio.lowlevel.Task | None) -> None:
    """Undo `hide_current_task`."""
    if task is not None:
        run_context.task = task


def forget_run() -> None:
    """Make trio believe that it does not run in this thread: for the child of a fork, where it does not."""
    run_context.__dict__.clear()


def is_interrupt_handler(handler: Any) -> bool:
    """Whether `handler` is the SIGINT handler that `trio.run` installs."""
    return getattr(handler, "__module__", None) == "trio._core._ki"
