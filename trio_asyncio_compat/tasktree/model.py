"""What a task tree consists of: plain data, without references into the running program; `dataclasses.asdict` makes JSON of it.

Filled by `collecting.py`, shown by `formatting.py`. Tasks refer to each other by `id`, a number within one tree.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Flavour: TypeAlias = Literal["trio", "asyncio", "both"]
Holding: TypeAlias = Literal["enters", "holds", "leaves"]
State: TypeAlias = Literal["running", "ready", "waiting", "not started", "ended"]


@dataclass(frozen=True, slots=True)
class Frame:
    """One step of an await chain, or of the stack of code that runs."""

    function: str
    file: str
    line: int
    #: Of the machinery (this package, trio's way to its scheduler), which is there, but not what anybody looks for.
    hidden: bool = False
    #: What a method of trio or asyncio was called on (a lock, a queue, a stream), where it says something.
    on: str | None = None


@dataclass(frozen=True, slots=True)
class Scope:
    """A cancel scope of trio that a task stands in."""

    #: Seconds until its deadline; None without one.
    seconds_left: float | None
    cancelled: bool
    shielded: bool
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """What a loop is going to call: a callback, and where that is defined."""

    function: str
    file: str | None = None
    line: int | None = None
    #: Seconds until it is due, of a timer.
    seconds_left: float | None = None
    #: Of a reader or writer.
    descriptor: int | None = None


@dataclass(frozen=True, slots=True)
class Ran:
    """A callback that has run, or runs: then without a time."""

    call: Call
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """One of the last turns of a loop, and what ran in it; the one that goes on has no time."""

    #: None: not in a turn, but where trio code has called asyncio code, whose first step is made at once.
    number: int | None
    seconds_ago: float
    seconds: float | None
    ran: list[Ran]
    #: That so many more ran.
    more: int = 0


@dataclass(slots=True)
class Thread:
    """A thread at work: a worker's, or one of the program; not one that a trio run is in."""

    name: str
    function: str
    #: From that function inwards, as far as it is Python.
    frames: list[Frame]
    #: The task that waits for it.
    task: int | None = None


@dataclass(slots=True)
class Task:
    """A task of either world, or of both at once (flavour-free)."""

    id: int
    flavour: Flavour
    name: str
    state: State
    #: From its function down to where it waits or is.
    frames: list[Frame] = field(default_factory=list)
    #: Trio's scopes around it, up to its nursery, from the outermost in.
    scopes: list[Scope] = field(default_factory=list)
    #: How often asyncio's cancel() was called and not taken back.
    cancelling: int = 0
    #: The tasks whose end it waits for; what it waits for else is in its frames.
    waits_for: list[int] = field(default_factory=list)
    #: The task that holds the lock it waits for.
    blocked_by: int | None = None
    #: A context manager or an iterator that it enters, holds or leaves for code of the other side, and which of these.
    holds: str | None = None
    holding: Holding | None = None
    #: It holds it in the block of this asyncio task, and does not let go before that one says so.
    holds_for: int | None = None
    #: In debug mode, seconds since it began.
    age: float | None = None
    #: In debug mode, for how many seconds it has been running, or has not.
    in_state: float | None = None
    #: In debug mode, where it was made.
    made_at: Frame | None = None
    #: In debug mode, where the future was made that it waits for, if that is neither a task nor a call.
    awaits_made_at: Frame | None = None
    #: Keeps a loop going; not the program's.
    machinery: bool = False
    #: What it has called in the other world or in its own, tasks that it waits for and that nobody else in the tree stands above.
    calls: list[Task] = field(default_factory=list)
    nurseries: list[Nursery] = field(default_factory=list)


@dataclass(slots=True)
class Nursery:
    """A nursery of trio; that of a loop also has the loop."""

    scope: Scope
    tasks: list[Task] = field(default_factory=list)
    loop: Loop | None = None


@dataclass(slots=True)
class Loop:
    """An asyncio loop that runs. Its tasks are in its nursery, or among the `calls` of who waits for them."""

    name: str
    #: In an open_loop() block, or else driven from synchronous code.
    hosted: bool
    state: Literal["busy", "idle", "stopped"]
    turns: int
    ready: list[Call] = field(default_factory=list)
    #: By due time, cancelled ones left out.
    timers: list[Call] = field(default_factory=list)
    readers: list[Call] = field(default_factory=list)
    writers: list[Call] = field(default_factory=list)
    #: The callback that runs, if it is not a step of a task.
    running: list[Frame] = field(default_factory=list)
    debug: bool = False
    #: In debug mode, the last turns that ran something, the newest last.
    last_turns: list[Turn] = field(default_factory=list)


@dataclass(slots=True)
class Run:
    """One `trio.run`."""

    thread: str
    tasks: list[Task] = field(default_factory=list)


@dataclass(slots=True)
class TaskTree:
    """Everything that could be seen at one moment."""

    runs: list[Run] = field(default_factory=list)
    threads: list[Thread] = field(default_factory=list)
    #: Tasks that wait for each other in a circle, by number, each for the next, the last for the first.
    cycles: list[list[int]] = field(default_factory=list)

    def loops(self) -> list[Loop]:
        """Every loop."""
        return [nursery.loop for task in self.tasks() for nursery in task.nurseries if nursery.loop is not None]

    def tasks(self) -> list[Task]:
        """Every task, parents first."""
        found: list[Task] = []
        left = [task for run in reversed(self.runs) for task in reversed(run.tasks)]
        while left:
            task = left.pop()
            found.append(task)
            below = [*task.calls, *(child for nursery in task.nurseries for child in nursery.tasks)]
            left.extend(reversed(below))
        return found
