"""Looking at everything that runs, and putting it together: `collect()`.

Where tasks are shown. A trio task stands in its nursery, as it does in trio. An asyncio task, and a trio task that asyncio code has called,
stand below the task that waits for them, whichever world that is of; those that nobody waits for stand in the nursery of their loop.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import types
from typing import TYPE_CHECKING, Any

import trio

from .. import _current_loop
from .._callers import IDLE, Caller
from .._calls import TrioFuture
from .._lifetime import _Host
from .._origins import origin
from .._pump import Pump
from .._stdlib import awaited_by_task
from .._task_poller import _Watch
from .._threads import WORKER
from .._trio_private import is_scheduled, scopes_around, was_cancelled, why_cancelled
from ..border.task import FlavourFreeTask
from .asking import as_name, ask, attribute, is_a, result
from .frames import Stacks, await_chain, described, name_of_task, name_of_trio_task
from .loops import describe_loop
from .model import Frame, Nursery, Run, Scope, Task, TaskTree
from .threads import ThreadsAtWork
from .waiting import Waiting, cycles, held_by_carrier, holder_of_lock

if TYPE_CHECKING:
    import traceback
    from collections.abc import Iterator

    from .._calls import TrioCall
    from .._loop import TrioEventLoop
    from .model import Flavour, State

# What the trio tasks run that keep a loop going; the names of those that wait for a call or have a thread, and of trio's own for calls from
# other threads.
_MACHINERY = {Pump.run.__code__, Pump._watch.__code__, _Host.pump.__code__, _Watch.run.__code__}
_MACHINERY_NAMES = {IDLE, WORKER, "<TrioToken.run_sync_soon task>"}


def collect() -> TaskTree:
    """Look at every loop of ours that runs in this process, at the trio runs that they are in, and at the one around the caller."""
    return _Collector().collect()


class _Collector:
    """One look.

    Invariants: every task has one entry in `_tasks`; a flavour-free one is entered for both of its objects. Those that stand in a
    nursery are in `_place`; the lists of the nurseries are put right at the end. Nothing calls itself for what is below a task, since a
    chain of tasks may be longer than Python's stack.
    """

    def __init__(self) -> None:
        self._stacks = Stacks()
        self._loops = {nursery: loop for loop in list(_current_loop.open_in_process) if (nursery := loop._nursery) is not None}
        self._waiting = Waiting(list(self._loops.values()))
        self._ages = [loop._checks.ages for loop in self._loops.values() if loop._checks is not None and loop.get_debug()]
        self._tasks: dict[Any, Task] = {}
        self._count = 0
        # The asyncio task whose block a carrier holds something for, by the carrier's id.
        self._blocks: dict[int, asyncio.Task[Any] | None] = {}
        # The task that each stands below in the tree, by id.
        self._above: dict[int, Task] = {}
        # The nursery that each stands in, unless it stands below a task that waits for it.
        self._place: dict[int, Nursery] = {}
        self._nursery_of_loop: dict[TrioEventLoop, Nursery] = {}
        self._threads = ThreadsAtWork(self._stacks, {loop._thread_id for loop in self._loops.values()})

    def collect(self) -> TaskTree:
        tree = TaskTree()
        for root, loops in self._roots().items():
            self._now = loops[0]._scheduler.trio_time() if loops else trio.current_time()
            run = Run(self._thread_of(loops))
            tree.runs.append(run)
            top = Nursery(Scope(None, False, False), run.tasks)
            self._trio_tasks([(task, top, None) for nursery in _nurseries_of(root) for task in _in_order(nursery.child_tasks)])
        for nursery, loop in self._loops.items():
            self._asyncio_tasks(loop, self._tasks.get(nursery.parent_task))
        self._link()
        # A task that has ended while this was collected has no entry: with another thread's, that may be at any point.
        numbers = {task: entry.id for task, entry in self._tasks.items()}
        tree.threads = list(self._threads.describe(self._waiting.waiter_of, numbers))
        tree.cycles = cycles(tree.tasks())
        return tree

    def _roots(self) -> dict[trio.lowlevel.Task, list[TrioEventLoop]]:
        """The root task of each trio run, with the loops in it."""
        roots: dict[trio.lowlevel.Task, list[TrioEventLoop]] = {}
        if trio.lowlevel.in_trio_run():
            here = trio.lowlevel.current_root_task()
            if here is not None:
                roots[here] = []
        for nursery, loop in self._loops.items():
            task = nursery.parent_task
            while task.parent_nursery is not None:
                task = task.parent_nursery.parent_task
            roots.setdefault(task, []).append(loop)
        return roots

    def _thread_of(self, loops: list[TrioEventLoop]) -> str:
        ident = loops[0]._thread_id if loops else threading.get_ident()
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        return as_name(names.get(ident, str(ident)))

    # Tasks

    def _trio_tasks(self, left: list[tuple[trio.lowlevel.Task, Nursery, Task | None]]) -> None:
        """Enter tasks, each with the nursery that it stands in and the task that has that open, and all below them."""
        left.reverse()
        while left:
            task, place, above = left.pop()
            entry = self._trio_task(task)
            place.tasks.append(entry)
            if above is not None:
                self._above[entry.id], self._place[entry.id] = above, place
            call = _call_of(task)
            if call is not None:
                self._waiting.carried[call.scope] = task
            nurseries = [(self._nursery(entry, nursery), nursery) for nursery in _nurseries_of(task)]
            below = [(child, its_entry, entry) for its_entry, nursery in nurseries for child in _in_order(nursery.child_tasks)]
            left += reversed(below)

    def _trio_task(self, task: trio.lowlevel.Task) -> Task:
        chain = await_chain(task.coro, self._stacks)
        frames = list(described(chain))
        body = next((each for each in map(_flavour_free, chain) if each is not None), None)
        scopes = list(self._scopes(task))
        entry = self._enter(task, "trio" if body is None else "both", name_of_trio_task(task, frames), _state_of_trio(task), frames)
        entry.scopes = scopes
        entry.machinery = attribute(task.coro, "cr_code") in _MACHINERY or as_name(task.name) in _MACHINERY_NAMES
        if body is not None:
            self._tasks[body] = entry
            entry.cancelling = body.cancelling()
        self._note(entry, chain)
        return entry

    def _nursery(self, parent: Task, nursery: trio.Nursery) -> Nursery:
        loop = self._loops.get(nursery)
        entry = Nursery(self._scope(nursery.cancel_scope), loop=None if loop is None else describe_loop(loop, self._stacks))
        parent.nurseries.append(entry)
        if loop is not None:
            self._nursery_of_loop[loop] = entry
        return entry

    def _asyncio_tasks(self, loop: TrioEventLoop, parent: Task | None) -> None:
        nursery = self._nursery_of_loop.get(loop)
        if parent is None or nursery is None:
            return
        running = asyncio.current_task(loop)
        for task in sorted(asyncio.all_tasks(loop), key=_number):
            if task in self._tasks:
                continue
            chain = await_chain(result(task, "get_coro", None), self._stacks)
            frames = list(described(chain))
            state = _state_of_asyncio(task, running)
            flavour: Flavour = "both" if isinstance(task, FlavourFreeTask) else "asyncio"
            entry = self._enter(task, flavour, _name_of_asyncio(task, frames), state, frames)
            cancelling = result(task, "cancelling", 0)
            entry.cancelling = cancelling if is_a(cancelling, int) else 0
            self._note(entry, chain)
            nursery.tasks.append(entry)
            self._above[entry.id], self._place[entry.id] = parent, nursery

    def _enter(self, task: Any, flavour: Flavour, name: str, state: State, frames: list[Frame]) -> Task:
        self._count += 1
        entry = self._tasks[task] = Task(self._count, flavour, name, state, frames)
        if self._ages:
            self._add_age(entry, task)
        return entry

    def _add_age(self, entry: Task, task: Any) -> None:
        """What debug mode knows."""
        for ages in self._ages:
            # Each knows the tasks that are younger than it is itself.
            if entry.in_state is None or (entry.age or 0) < (ages.age(task) or 0):
                entry.age, entry.in_state = ages.age(task), ages.in_state(task)
        if isinstance(task, asyncio.Task):
            entry.made_at = _as_frame(origin(task))
        awaited = self._waiting.future_of(task)
        if awaited is not None and not isinstance(awaited, (asyncio.Task, TrioFuture)):
            made = _as_frame(origin(awaited))
            # A queue or a lock makes it just where it waits for it.
            if made is not None and not any((frame.file, frame.line) == (made.file, made.line) for frame in entry.frames):
                entry.awaits_made_at = made

    def _note(self, entry: Task, chain: list[types.FrameType]) -> None:
        """What the frames of a task tell besides."""
        held = held_by_carrier(chain)
        if held is not None:
            entry.holds, entry.holding, self._blocks[entry.id] = held
        holder = holder_of_lock(chain)
        if holder is not None:
            self._waiting.holders[entry.id] = holder

    def _scopes(self, task: trio.lowlevel.Task) -> Iterator[Scope]:
        """Those between the task's nursery and what it does, but for those of its own nurseries, which are shown as such."""
        others = {nursery.cancel_scope for nursery in _nurseries_of(task)}
        call = _call_of(task)
        if call is not None and not was_cancelled(call.scope):
            # Around every call, so that what is around the loop does not cut it.
            others.add(call.scope)
        outer = task.parent_nursery.cancel_scope if task.parent_nursery is not None else None
        inwards: list[trio.CancelScope] = []
        for scope in scopes_around(task):
            if scope is outer:
                break
            if scope not in others:
                inwards.append(scope)
        return map(self._scope, reversed(inwards))

    def _scope(self, scope: trio.CancelScope) -> Scope:
        left = scope.deadline - self._now
        reason = why_cancelled(scope)
        return Scope(
            None if left == float("inf") else left, was_cancelled(scope), scope.shield, None if reason is None else as_name(reason)
        )

    # Who waits for whom

    def _link(self) -> None:
        for task, entry in list(self._tasks.items()):
            seen = set(entry.waits_for)
            for awaited in self._waiting.awaited_by(task):
                below = self._tasks.get(awaited)
                if below is None or below is entry or below.id in seen:
                    continue
                seen.add(below.id)
                entry.waits_for.append(below.id)
                caller = _caller_of(awaited)
                if caller is not None and caller.call is self._waiting.future_of(task) and entry.in_state is not None:
                    # Its task is older than the call, which was begun in the last step of who waits for it. (A carrier is not: its first
                    # call began it.)
                    below.age, below.in_state = entry.in_state, min(entry.in_state, below.in_state or entry.in_state)
                if self._is_callable(awaited) and self._may_stand_below(below, entry):
                    del self._place[below.id]
                    entry.calls.append(below)
                    self._above[below.id] = entry
        for entry in self._tasks.values():
            entry.calls.sort(key=lambda call: call.id)
            entry.waits_for.sort()
            for nursery in entry.nurseries:
                nursery.tasks = [task for task in nursery.tasks if self._place.get(task.id) is nursery]
            holder = self._waiting.holders.get(entry.id)
            if holder in self._tasks:
                entry.blocked_by = self._tasks[holder].id
            block = self._blocks.get(entry.id)
            if block in self._tasks:
                entry.holds_for = self._tasks[block].id

    def _is_callable(self, task: Any) -> bool:
        """Whether it stands where it does only because nobody waits for it: tasks of asyncio, and trio tasks that are calls."""
        return isinstance(task, asyncio.Task) or _call_of(task) is not None

    def _may_stand_below(self, below: Task, entry: Task) -> bool:
        if below.id not in self._place:
            return False  # it stands below another already
        above: Task | None = entry
        while above is not None:
            if above is below:
                return False
            above = self._above.get(above.id)
        return True


def _as_frame(summary: traceback.FrameSummary | None) -> Frame | None:
    return None if summary is None else Frame(summary.name, summary.filename, summary.lineno or 0)


def _nurseries_of(task: trio.lowlevel.Task) -> list[trio.Nursery]:
    """Those that are open in `task`, but for one that is just being made: a signal may come in the middle of that."""
    return [nursery for nursery in task.child_nurseries if attribute(nursery, "child_tasks") is not None]


def _in_order(tasks: Any) -> list[trio.lowlevel.Task]:
    """Children in the order they were started in: a nursery keeps them in a set, but their numbers tell."""
    return sorted(tasks, key=lambda task: getattr(task, "_counter", 0))


def _call_of(task: trio.lowlevel.Task) -> TrioCall | None:
    """The call that this trio task carries for asyncio code, if it is one's."""
    caller = _caller_of(task)
    return None if caller is None else caller.call


def _caller_of(task: trio.lowlevel.Task) -> Caller | None:
    frame = attribute(task.coro, "cr_frame") if isinstance(task, trio.lowlevel.Task) else None
    if not is_a(frame, types.FrameType) or frame.f_code is not Caller.run.__code__:
        return None
    caller = frame.f_locals.get("self")
    return caller if isinstance(caller, Caller) else None


def _flavour_free(frame: types.FrameType) -> FlavourFreeTask | None:
    if frame.f_code is not FlavourFreeTask._drive.__code__:
        return None
    task = frame.f_locals.get("self")
    return task if isinstance(task, FlavourFreeTask) else None


def _state_of_trio(task: trio.lowlevel.Task) -> State:
    state = inspect.getcoroutinestate(task.coro) if is_a(task.coro, types.CoroutineType) else inspect.CORO_SUSPENDED
    if state == inspect.CORO_SUSPENDED:
        return "ready" if is_scheduled(task) else "waiting"
    return _STATES[state]


_STATES: dict[str, State] = {inspect.CORO_RUNNING: "running", inspect.CORO_CREATED: "not started", inspect.CORO_CLOSED: "ended"}


def _state_of_asyncio(task: asyncio.Task[Any], running: asyncio.Task[Any] | None) -> State:
    if task is running:
        return "running"
    coroutine = result(task, "get_coro", None)
    if is_a(coroutine, types.CoroutineType) and inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
        return "not started"
    if is_a(coroutine, types.GeneratorType) and inspect.getgeneratorstate(coroutine) == inspect.GEN_CREATED:
        return "not started"
    return "waiting" if ask(None, awaited_by_task, task) is not None else "ready"


def _name_of_asyncio(task: asyncio.Task[Any], frames: list[Frame]) -> str:
    function = next((frame.function for frame in frames if not frame.hidden), None)
    return name_of_task(task) if function is None else f"{name_of_task(task)} ({function})"


def _number(task: asyncio.Task[Any]) -> tuple[str, int, str]:
    """Sorts Task-10 behind Task-9."""
    name = name_of_task(task)
    prefix, _, number = name.rpartition("-")
    return (prefix, int(number), name) if number.isdecimal() else (name, 0, name)
