"""A task tree as text, for people: plain, or with the colours of a terminal."""

from __future__ import annotations

import functools
import itertools
import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from .asking import printable
from .collecting import collect
from .likeness import Likeness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .model import Call, Frame, Loop, Nursery, Scope, Task, TaskTree, Thread, Turn

# Of timers, readers and the like; and of the names of tasks that are all alike.
_SHOWN = 5
# Fewer tasks than this that are alike are each shown.
_MANY_ALIKE = 4
# So many levels are shown below each other.
_DEEP = 40
_STYLES = {"trio": "32", "asyncio": "36", "both": "35", "loop": "1;34", "running": "1;33", "wrong": "1;31", "dim": "2", "bold": "1"}
_PAINTED = re.compile(rf"(\033\[(?:{'|'.join(['0', *_STYLES.values()])})m)")
_FLAVOURS = {"trio": "trio task", "asyncio": "asyncio task", "both": "trio and asyncio task"}


def format_task_tree(tree: TaskTree | None = None, *, color: bool = False) -> str:
    """The task tree of this moment, or the given one, as text that ends with a newline.

    Args:
        tree: what `collect()` has returned at another time.
        color: whether with the escape sequences of a terminal.
    """
    # The working directory may be another one by now.
    _short.cache_clear()
    return _Formatter(collect() if tree is None else tree, color).text()


@dataclass(slots=True)
class _Node:
    """A header, lines below it, and what hangs below that. The latter is made when its turn comes, since a chain of tasks may be longer
    than Python's stack."""

    header: str
    details: list[str] = field(default_factory=list)
    children: list[Callable[[], _Node]] = field(default_factory=list)


class _Formatter:
    def __init__(self, tree: TaskTree, color: bool) -> None:
        self._tree = tree
        self._color = color
        self._by_id = {task.id: task for task in tree.tasks()}
        # Tasks that are spoken of somewhere else: these show their number.
        self._spoken_of = {number for cycle in tree.cycles for number in cycle}
        for task in self._by_id.values():
            below = {call.id for call in task.calls}
            others = (*task.waits_for, task.blocked_by, task.holds_for)
            self._spoken_of |= {number for number in others if number is not None and number not in below}
        self._spoken_of |= {thread.task for thread in tree.threads if thread.task is not None}
        self._likeness = Likeness(tree, self._spoken_of)

    def text(self) -> str:
        """All of it."""
        nodes = [_Node(self._paint("bold", f"trio run in {run.thread}"), [], self._tasks(run.tasks)) for run in self._tree.runs]
        nodes += [self._thread(thread) for thread in self._tree.threads]
        lines = list(_lines(nodes))
        for cycle in self._tree.cycles:
            circle = " -> ".join(self._reference(number) for number in [*cycle, cycle[0]])
            lines.append(self._paint("wrong", f"these wait for each other: {circle}"))
        if any(not loop.debug for loop in self._tree.loops()):
            lines.append(self._paint("dim", "(debug mode knows more: how old tasks are, where they were made, the last turns)"))
        if not lines:
            lines.append("nothing runs: no loop of trio_asyncio_compat is open, and this is not inside of trio")
        return "".join(f"{_safe(line)}\n" for line in lines)

    # Tasks

    def _tasks(self, tasks: list[Task]) -> list[Callable[[], _Node]]:
        """A node for each, or one for many that are alike."""
        alike: dict[int, list[Task]] = {}
        for task in tasks:
            if not task.machinery:
                alike.setdefault(self._likeness.kind(task), []).append(task)
        nodes: list[Callable[[], _Node]] = []
        for group in alike.values():
            if len(group) < _MANY_ALIKE:
                nodes += [functools.partial(self._task, task) for task in group]
            else:
                nodes.append(functools.partial(self._many, group))
        return nodes

    def _many(self, group: list[Task]) -> _Node:
        first = group[0]
        node = self._task(first, group)
        names = [_name(task).partition(" (")[0] for task in group]
        shown = f"{names[0]}, {names[1]} ... {names[-1]}" if len({*names}) > 1 else names[0]
        kind = self._paint(first.flavour, f"{_FLAVOURS[first.flavour]}s")
        below = ", each with the like of this below" if node.children else ""
        node.header = f"{len(group):,} {kind} alike, {first.state}{_ages(group)}: {shown}{below}"
        return node

    def _task(self, task: Task, alike: list[Task] | None = None) -> _Node:
        number = f" #{task.id}" if task.id in self._spoken_of else ""
        state = self._paint("running", task.state) if task.state == "running" else task.state
        name = self._paint("bold", _name(task)) + ("" if task.holds_for is None else f" for {self._reference(task.holds_for)}")
        node = _Node(f"{self._paint(task.flavour, _FLAVOURS[task.flavour])}{number} {name}, {state}{_age(task)}")
        if task.made_at is not None:
            node.details.append(self._paint("dim", f"made in {_place(task.made_at)}"))
        node.details += self._frames(task.frames)
        if task.awaits_made_at is not None:
            node.details.append(f"waits for a future that was made in {_place(task.awaits_made_at)}")
        if task.cancelling:
            node.details.append(
                self._paint("wrong", "cancelled by asyncio" + (f" ({task.cancelling} times)" if task.cancelling > 1 else ""))
            )
        if node.details:  # else the scopes are the machinery's
            scopes = zip(*(each.scopes for each in alike or [task]), strict=True)
            node.details += [f"scope: {text}" for text in itertools.starmap(self._scope, scopes) if text]
        below = {call.id for call in task.calls}
        node.details += [f"waits for {self._reference(number)}" for number in task.waits_for if number not in below]
        if task.blocked_by is not None:
            node.details.append(self._paint("wrong", f"the lock is held by {self._reference(task.blocked_by)}"))
        node.children += self._tasks(task.calls)
        node.children += [functools.partial(self._nursery, nursery) for nursery in task.nurseries]
        return node

    def _nursery(self, nursery: Nursery) -> _Node:
        scope = self._scope(nursery.scope)
        children = self._tasks(nursery.tasks)
        if nursery.loop is not None:
            return _Node(self._loop_header(nursery.loop, scope), self._loop_details(nursery.loop), children)
        return _Node("nursery" + (f": {scope}" if scope else ""), [], children)

    def _reference(self, number: int) -> str:
        return f"#{number} {_name(self._by_id[number])}"

    def _scope(self, scope: Scope, *alike: Scope) -> str:
        """What is special about a scope; nothing for a plain one. Others that are alike may have other deadlines."""
        parts = []
        if scope.cancelled:
            parts.append(self._paint("wrong", "cancelled" + (f" ({scope.reason})" if scope.reason else "")))
        deadlines = sorted(each.seconds_left for each in (scope, *alike) if each.seconds_left is not None)
        if deadlines:
            parts.append(f"deadline {_range_left(deadlines)}")
        if scope.shielded:
            parts.append("shielded")
        return ", ".join(parts)

    def _frames(self, frames: list[Frame]) -> Iterator[str]:
        shown = [frame for frame in frames if not frame.hidden]
        width = max((len(frame.function) for frame in shown), default=0)
        for frame in shown:
            place = self._paint("dim", f"{_short(frame.file)}:{frame.line}")
            # The callers of a method are often methods of the same object.
            on = frame.on if frame is shown[-1] else None
            yield f"{frame.function:{width}}  {place}" + (f"  {on}" if on else "")

    # Loops and threads

    def _loop_header(self, loop: Loop, scope: str) -> str:
        counts = [
            _count(len(loop.ready), "callback", "ready"),
            _count(len(loop.timers), "timer"),
            _count(len(loop.readers), "reader"),
            _count(len(loop.writers), "writer"),
        ]
        name = self._paint("loop", f"loop {loop.name}") + (" (hosted)" if loop.hosted else " (driven)")
        state = self._paint("running", loop.state) if loop.state == "busy" else loop.state
        has = ", ".join(filter(None, counts)) or "nothing to wait for"
        return f"{name}, {state} after {_count(loop.turns, 'turn') or 'no turn'}: {has}" + (f"; {scope}" if scope else "")

    def _loop_details(self, loop: Loop) -> list[str]:
        lines = [f"{self._paint('running', 'running')}  {line}" for line in self._frames(loop.running)]
        lines += map(self._turn, loop.last_turns)
        for kind, calls in (("callback", loop.ready), ("timer", loop.timers), ("reader", loop.readers), ("writer", loop.writers)):
            alike: dict[object, list[Call]] = {}
            for call in calls:
                alike.setdefault((call.function, call.file, call.line), []).append(call)
            lines += [self._calls(kind, group) for group in list(alike.values())[:_SHOWN]]
            if len(alike) > _SHOWN:
                lines.append(self._paint("dim", f"and {kind}s of {len(alike) - _SHOWN} other kinds"))
        return lines

    def _turn(self, turn: Turn) -> str:
        name = "between turns" if turn.number is None else f"turn {turn.number:,}"
        took = "goes on" if turn.seconds is None else f"took {_duration(turn.seconds)}"
        ran = [f"{_called(run.call)} {'...' if run.seconds is None else _duration(run.seconds)}" for run in turn.ran]
        more = [f"{turn.more:,} more"] if turn.more else []
        return f"{name}, {_duration(turn.seconds_ago)} ago, {took}: {', '.join([*ran, *more])}"

    def _calls(self, kind: str, calls: list[Call]) -> str:
        """Calls of one function."""
        times = [call.seconds_left for call in calls if call.seconds_left is not None]
        when = _range_left(times) if times else ""
        descriptors = [str(call.descriptor) for call in calls if call.descriptor is not None]
        of = ", ".join(descriptors[:_SHOWN]) + (", ..." if len(descriptors) > _SHOWN else "")
        place = "  " + self._paint("dim", f"{_short(calls[0].file)}:{calls[0].line}") if calls[0].file is not None else ""
        detail = " ".join(filter(None, [when, f"of {of}" if of else ""]))
        return f"{_count(len(calls), kind)}{f' {detail}' if detail else ''}: {calls[0].function}{place}"

    def _thread(self, thread: Thread) -> _Node:
        waiting = f", for {self._reference(thread.task)}" if thread.task is not None else ""
        return _Node(f"{self._paint('bold', f'thread {thread.name}')} calls {thread.function}{waiting}", list(self._frames(thread.frames)))

    def _paint(self, style: str, text: str) -> str:
        return f"\033[{_STYLES[style]}m{text}\033[0m" if self._color else text


def _lines(nodes: list[_Node]) -> Iterator[str]:
    # (how deep it is, what stands before its first line, and before the others, the node)
    left: list[tuple[int, str, str, Callable[[], _Node]]] = [(0, "", "", functools.partial(_same, node)) for node in reversed(nodes)]
    while left:
        depth, first, others, make = left.pop()
        if depth and depth % _DEEP == 0:
            # From the left again: with every line as far to the right as it is deep, a long chain would be more blanks than words.
            first, others = f"{depth} levels deep: ", ""
        node = make()
        yield first + node.header
        stem = "│    " if node.children else "     "
        yield from (f"{others}{stem}{detail}" for detail in node.details)
        below = [(depth + 1, f"{others}├─ ", f"{others}│  ", child) for child in node.children]
        if below:
            below[-1] = (depth + 1, f"{others}└─ ", f"{others}   ", below[-1][3])
        left += reversed(below)


def _safe(line: str) -> str:
    """`line` with nothing but our own colours that is not to be seen: names of files may have anything in them."""
    return "".join(part if i % 2 else printable(part) for i, part in enumerate(_PAINTED.split(line)))


def _same(node: _Node) -> _Node:
    return node


def _count(number: int, what: str, how: str = "") -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}{f' {how}' if how else ''}" if number else ""


def _place(frame: Frame) -> str:
    return f"{frame.function}  {_short(frame.file)}:{frame.line}"


def _called(call: Call) -> str:
    return call.function if call.file is None else f"{call.function} ({_short(call.file)}:{call.line})"


def _name(task: Task) -> str:
    return task.name if task.holds is None else f"that {task.holding} {task.holds}"


def _age(task: Task) -> str:
    # Since its last step, which says nothing of one that is ready since some later moment.
    state = "" if task.in_state is None or task.state not in ("waiting", "running") else f" for {_duration(task.in_state)}"
    return state + ("" if task.age is None else f", {_duration(task.age)} old")


def _ages(group: list[Task]) -> str:
    ages = [task.age for task in group if task.age is not None]
    return f", {_duration(min(ages))} to {_duration(max(ages))} old" if ages else ""


def _duration(seconds: float) -> str:
    return f"{_number(seconds)} s" if seconds >= 1 else f"{seconds * 1000:.2g} ms" if seconds < 0.0995 else f"{seconds * 1000:.0f} ms"


def _seconds_left(seconds: float) -> str:
    return f"in {_number(seconds)} s" if seconds >= 0 else f"{_number(-seconds)} s ago"


def _range_left(times: list[float]) -> str:
    first, last = times[0], times[-1]
    if last - first <= 1:
        return _seconds_left(first)
    return f"{_seconds_left(first)} to {_seconds_left(last) if first < 0 else f'{_number(last)} s'}"


def _number(seconds: float) -> str:
    return f"{seconds:,.0f}" if seconds >= 9.95 else f"{seconds:.2g}"


# Once for each file: to ask for the working directory gives the interpreter to another thread, and a busy one keeps it for 5 ms.
# Measured, a tree of 250 lines that a thread beside a busy loop asks for: 2 to 5 ms instead of 29.
@functools.lru_cache(maxsize=4096)
def _short(file: str) -> str:
    """A path as short as it still says which file: below the working directory, or below where Python looks for modules."""
    path = Path(file)
    # The working directory last, since it may have been removed.
    for base in sorted(filter(os.path.isabs, sys.path), key=len, reverse=True):
        if Path(base).name == "site-packages" or path.is_relative_to(Path(os.__file__).parent):
            try:
                return str(path.relative_to(base))
            except ValueError:
                continue
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return file
