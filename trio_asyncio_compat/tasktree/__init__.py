"""One picture of both worlds: trio's nurseries and tasks, the loops among them, asyncio's tasks, and who waits for whom.

    from trio_asyncio_compat.tasktree import print_task_tree
    print_task_tree()

It works in trio code, in asyncio code, in another thread while the program goes on or hangs, and in a signal handler
(`print_on_signal`; `python -m trio_asyncio_compat --tasktree-on SIGUSR1 app.py`). It only looks: nothing of it is kept up to date while the
program runs, so it costs nothing until it is asked for. What it looks at may move on meanwhile, if it is another thread's.

`collect()` returns plain data (`model.py`), for tools; `format_task_tree()` makes text of it.
"""

from __future__ import annotations

from .collecting import collect
from .formatting import format_task_tree
from .model import Call, Frame, Loop, Nursery, Ran, Run, Scope, Task, TaskTree, Thread, Turn
from .printing import print_on_signal, print_task_tree

__all__ = [
    "Call",
    "Frame",
    "Loop",
    "Nursery",
    "Ran",
    "Run",
    "Scope",
    "Task",
    "TaskTree",
    "Thread",
    "Turn",
    "collect",
    "format_task_tree",
    "print_on_signal",
    "print_task_tree",
]
