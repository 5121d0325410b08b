"""Context variables across the border, where the two sides have a context each.

A callee that lives in a task of its own for longer than one call (a context manager, an iterator) sees what its caller has set
before each call, and the caller sees afterwards what it has set, as with any await.
"""

from __future__ import annotations

import contextvars
from typing import TYPE_CHECKING

import trio

from .task import task_here

if TYPE_CHECKING:
    from contextvars import Context


def context_of_trio_code() -> Context:
    """The context itself, not a copy, that the current trio task runs in."""
    task = task_here()
    return trio.lowlevel.current_task().context if task is None else task.context


def carry(source: Context) -> None:
    """Set in the current context what is set otherwise in `source`. What is only set here stays: a variable cannot be unset."""
    ours = contextvars.copy_context()
    for variable, value in source.items():
        if variable not in ours or ours[variable] is not value:
            variable.set(value)
