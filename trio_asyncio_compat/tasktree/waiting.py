"""Who waits for whom, across the border and on each side. Called by `collecting.py`.

What a waiting task has in hand is a future. If that is a task, or a call, the answer is plain. Else it is a future that somebody is going
to resolve, as `asyncio.wait`, `TaskGroup`, `gather` and `shield` wait: then it is found in the callbacks of the tasks that resolve it. So
is the future of what a carrier of trio is asked for: the carrier's task is a call itself, and its callback knows the carrier.
"""

from __future__ import annotations

import asyncio
import functools
import types
from typing import TYPE_CHECKING, Any

import trio

from .._calls import TrioCall
from .._stdlib import awaited_by_task, callbacks_of, getters_of
from ..border.asyncio_carrier import AsyncioCarrier
from ..border.crossing import Manager
from ..border.trio_carrier import TrioCarrier, _Interrupter
from .asking import ask, attribute, in_words, is_a, result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .._loop import TrioEventLoop
    from .model import Holding, Task

_CARRIES = {AsyncioCarrier._serve.__code__, TrioCarrier._serve.__code__}
_PHASES: dict[types.CodeType, Holding] = {Manager.enter.__code__: "enters", Manager.exit.__code__: "leaves"}


class Waiting:
    """What the tasks of some loops wait for."""

    def __init__(self, loops: list[TrioEventLoop]) -> None:
        # The trio task of each call, by the call's scope.
        self.carried: dict[trio.CancelScope, trio.lowlevel.Task] = {}
        # By the number of the task that waits for a lock: the trio task that holds it.
        self.holders: dict[int, trio.lowlevel.Task] = {}
        # A task that waits for it, by future.
        self._waiter_of: dict[Any, Any] = {}
        # By future: what is going to resolve it.
        self._resolved_by: dict[Any, list[asyncio.Future[Any]]] = {}
        # By trio task: the future it waits for.
        self._by_trio: dict[trio.lowlevel.Task, asyncio.Future[Any]] = {}
        for loop in loops:
            for wait in list(loop._waits):
                self._by_trio[wait._task] = wait._future
                self._waiter_of[wait._future] = wait._task
            tasks = asyncio.all_tasks(loop)
            for task in tasks:
                awaited = _awaited(task)
                if awaited is not None:
                    self._waiter_of[awaited] = task
                self._note_carrier(task)
            left: list[asyncio.Future[Any]] = [*tasks, *list(loop._calls)]
            while left:
                future = left.pop()
                for callback in ask((), callbacks_of, future):
                    for resolved in _reached(callback):
                        if resolved not in self._resolved_by:
                            # One of gather() or shield(), which may itself be waited for by another.
                            left.append(resolved)
                        self._resolved_by.setdefault(resolved, []).append(future)

    def _note_carrier(self, task: asyncio.Task[Any]) -> None:
        frame = attribute(result(task, "get_coro", None), "cr_frame")
        if is_a(frame, types.FrameType) and frame.f_code is AsyncioCarrier._serve.__code__:
            # Another thread's task may have ended meanwhile; its frame is empty then.
            call = getattr(frame.f_locals.get("self"), "_call", None)
            if call is not None:
                self._resolved_by.setdefault(call.done, []).append(task)

    def future_of(self, task: Any) -> asyncio.Future[Any] | None:
        """The future that `task`, of either world, waits for."""
        return _awaited(task) if isinstance(task, asyncio.Task) else self._by_trio.get(task)

    def waiter_of(self, future: Any) -> Any:
        """A task that waits for `future`, of asyncio or of `concurrent.futures`, or for another that this one is going to resolve."""
        seen, left = {future}, [future]
        while left:
            following = left.pop()
            if following in self._waiter_of:
                return self._waiter_of[following]
            reached = [each for callback in ask((), callbacks_of, following) for each in _reached(callback) if each not in seen]
            seen.update(reached)
            left += reached
        return None

    def awaited_by(self, task: Any) -> Iterator[Any]:
        """The tasks of either world that `task`, which is of either, waits for."""
        future = self.future_of(task)
        if future is None:
            return
        seen, left = {future}, [future]
        while left:
            end = left.pop()
            if is_a(end, TrioCall):
                if end.scope in self.carried:
                    yield self.carried[end.scope]
            elif is_a(end, asyncio.Task):
                yield end
            else:
                resolved_by = self._resolved_by.get(end, ())
                # Who has the same callback as the others is one of them, and they all wait for what their owner is going to say.
                following = [each for each in resolved_by if each not in seen] if task not in resolved_by else []
                seen.update(following)
                left += reversed(following)


def _reached(callback: Callable[..., object]) -> list[asyncio.Future[Any]]:
    """The futures that a done-callback has at hand."""
    values = ask((), _at_hand, callback)
    return [value for value in values if not issubclass(type(value), (asyncio.Task, TrioCall)) and ask(False, _is_future, value)]


def _is_future(value: object) -> bool:
    # The program may have a kind of its own, which cannot be a key.
    return asyncio.isfuture(value) and isinstance(hash(value), int)


def _awaited(task: asyncio.Task[Any]) -> asyncio.Future[Any] | None:
    future = ask(None, awaited_by_task, task)
    return future if ask(False, _is_future, future) else None


def _at_hand(callback: Callable[..., object]) -> list[Any]:
    values: list[Any] = []
    if is_a(callback, functools.partial):
        values += callback.args
    elif is_a(callback, types.MethodType):
        values += _attributes_of(callback.__self__)
    elif is_a(callback, types.FunctionType):
        for name, cell in zip(callback.__code__.co_freevars, callback.__closure__ or (), strict=True):
            try:
                values.append(cell.cell_contents)
            except ValueError:
                continue  # empty
            # A task group of anyio defines its callback in a method.
            values += _attributes_of(cell.cell_contents) if name == "self" else []
    if attribute(callback, "__module__") == asyncio.tasks.__name__:
        # as_completed() puts what has ended into a queue.
        values += [getter for queue in values if is_a(queue, asyncio.Queue) for getter in getters_of(queue)]
    return values


def _attributes_of(owner: object) -> list[Any]:
    return list(getattr(owner, "__dict__", {}).values())


def held_by_carrier(chain: list[types.FrameType]) -> tuple[str, Holding, asyncio.Task[Any] | None] | None:
    """What a task of the border has to do with a context manager or iterator of its side: that in words, what it does with it, and the
    asyncio task whose block it holds it for (which of trio's tasks has a block of asyncio's is not known)."""
    subject = next((attribute(frame.f_locals.get("self"), "_subject") for frame in chain if frame.f_code in _CARRIES), None)
    for frame in chain:
        phase = _PHASES.get(frame.f_code)
        manager = None if phase is None else frame.f_locals.get("manager")
        if phase is not None and manager is not None:
            return in_words(manager), phase, None
    held = attribute(subject, "_manager", attribute(subject, "_iterator"))
    if held is None:
        return None
    interrupter = attribute(attribute(subject, "_interrupt_block"), "__self__")
    return in_words(held), "holds", interrupter._task if isinstance(interrupter, _Interrupter) else None


def holder_of_lock(chain: list[types.FrameType]) -> trio.lowlevel.Task | None:
    """The trio task that holds the lock of trio which a chain ends at."""
    for frame in reversed(chain):
        lock = frame.f_locals.get("self") if frame.f_code.co_name == "acquire" else None
        if is_a(lock, trio.Lock) or is_a(lock, trio.StrictFIFOLock):
            return lock.statistics().owner
    return None


def cycles(tasks: list[Task]) -> list[list[int]]:
    """Circles among tasks that wait, each once, beginning with its lowest number."""
    waits = {task.id: [*task.waits_for, *filter(None, (task.blocked_by, task.holds_for))] for task in tasks}
    found: list[list[int]] = []
    done: set[int] = set()
    for start in waits:
        path: list[int] = []
        # (a task, the ones it waits for that are still to be followed)
        left = [(start, iter(waits[start]))] if start not in done else []
        path += [start] if left else []
        while left:
            here, following = left[-1]
            there = next(following, None)
            if there is None:
                done.add(here)
                left.pop()
                path.pop()
            elif there in path:
                circle = path[path.index(there) :]
                lowest = circle.index(min(circle))
                found.append(circle[lowest:] + circle[:lowest])
            elif there in waits and there not in done:
                left.append((there, iter(waits[there])))
                path.append(there)
    return found
