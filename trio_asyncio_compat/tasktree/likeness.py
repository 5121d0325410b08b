"""Which tasks of a tree are alike, so that one entry can show them all: they differ in nothing but their names, and so do those below them.

Called by `formatting.py`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .model import Nursery, Scope, Task, TaskTree

_ADDRESS = re.compile("0x[0-9a-f]+")


class Likeness:
    """The kind of each task, a number: that of others which are alike is the same.

    `spoken_of` are the tasks that the text speaks of in another place: each of these is one of its kind. Kinds are found from below
    upwards, since a task is alike if all below it are, and a chain of tasks may be longer than Python's stack.
    """

    def __init__(self, tree: TaskTree, spoken_of: set[int]) -> None:
        self._kinds: dict[object, int] = {}
        self._kind_of: dict[int, int] = {}
        for task in reversed(tree.tasks()):
            described = ("one of its kind", task.id) if task.id in spoken_of else self._described(task)
            self._kind_of[task.id] = self._kinds.setdefault(described, len(self._kinds))

    def kind(self, task: Task) -> int:
        """See the class."""
        return self._kind_of[task.id]

    def _described(self, task: Task) -> object:
        below = {call.id for call in task.calls}
        return (
            task.flavour,
            task.state,
            tuple((frame.function, frame.file, frame.line) for frame in task.frames if not frame.hidden),
            task.made_at,
            task.awaits_made_at,
            task.cancelling,
            None if task.holds is None else _ADDRESS.sub("", task.holds),
            task.holding,
            task.holds_for,
            task.blocked_by,
            tuple(number for number in task.waits_for if number not in below),
            tuple(map(_described_scope, task.scopes)),
            self._kinds_of(task.calls),
            tuple(map(self._described_nursery, task.nurseries)),
        )

    def _described_nursery(self, nursery: Nursery) -> object:
        # There is one of each loop.
        return _described_scope(nursery.scope), self._kinds_of(nursery.tasks), None if nursery.loop is None else id(nursery)

    def _kinds_of(self, tasks: list[Task]) -> tuple[int, ...]:
        return tuple(self._kind_of[task.id] for task in tasks if not task.machinery)


def _described_scope(scope: Scope) -> object:
    return scope.seconds_left is None, scope.cancelled, scope.shielded, scope.reason
