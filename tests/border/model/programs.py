"""What a program of the model is: data, made of steps that wait or fail and of blocks around other steps.

A body is a tuple of steps, and is written in one *flavour*: trio's, asyncio's, or both ("mixed": flavour-free code). A block that
calls the other world changes the flavour of the body inside. All times are whole seconds of virtual time, counted from when the
block is entered.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias


class Flavour(enum.Enum):
    TRIO = "trio"
    ASYNCIO = "asyncio"
    MIXED = "mixed"


@dataclass(frozen=True)
class Sleep:
    """`trio.sleep` or `asyncio.sleep`, in mixed code by choice."""

    seconds: int
    of_trio: bool


@dataclass(frozen=True)
class Fail:
    """Raise an error with this number."""

    number: int


@dataclass(frozen=True)
class Scope:
    """`trio.CancelScope`, cancelled by its deadline, or after a while by somebody else (an asyncio callback, or a trio task)."""

    body: Body
    deadline: int | None = None
    cancelled: int | None = None
    by_trio: bool = False
    shield: bool = False


@dataclass(frozen=True)
class Nursery:
    """`trio.open_nursery`, with a trio-flavoured task for each child."""

    body: Body
    children: tuple[Body, ...]


@dataclass(frozen=True)
class Timeout:
    """`asyncio.timeout`."""

    body: Body
    deadline: int


@dataclass(frozen=True)
class Group:
    """`asyncio.TaskGroup`, with an asyncio task for each child."""

    body: Body
    children: tuple[Body, ...]


@dataclass(frozen=True)
class CallAsyncio:
    """`aio_as_trio(function)()`; its asyncio task may be cancelled after a while by somebody else (an asyncio callback, or a trio task)."""

    body: Body
    cancelled: int | None = None
    by_trio: bool = False


@dataclass(frozen=True)
class CallTrio:
    """`trio_as_aio(function)()`."""

    body: Body


@dataclass(frozen=True)
class Allow:
    """`allow_asyncio(function)`; its task may be cancelled after a while by somebody else (an asyncio callback, or a trio task)."""

    body: Body
    cancelled: int | None = None
    by_trio: bool = False


@dataclass(frozen=True)
class TimeoutFromTrio:
    """`async with aio_as_trio(asyncio.timeout(...))`."""

    body: Body
    deadline: int


@dataclass(frozen=True)
class ScopeFromAsyncio:
    """`async with trio_as_aio(trio.move_on_after(...))`."""

    body: Body
    deadline: int


@dataclass(frozen=True)
class Finally:
    """`try`/`finally`."""

    body: Body
    cleanup: Body


@dataclass(frozen=True)
class Swallow:
    """`try`, and an `except` for a cancellation of either world that does nothing."""

    body: Body


Leaf: TypeAlias = Sleep | Fail
Block: TypeAlias = (
    Scope | Nursery | Timeout | Group | CallAsyncio | CallTrio | Allow | TimeoutFromTrio | ScopeFromAsyncio | Finally | Swallow
)
Step: TypeAlias = Leaf | Block
Body: TypeAlias = tuple[Step, ...]

# Where a step stands in its program: its index, the index of the step within that, ...; a child of a nursery or group counts
# on from 100, 200, ..., a clean-up from 50.
Path: TypeAlias = tuple[int, ...]

# What is observed of a step: when it ended, and how (see `describe` in `execution.py`).
Record: TypeAlias = "tuple[float, object]"
Records: TypeAlias = dict[Path, Record]


def child_path(path: Path, index: int) -> Path:
    """Of a child of the nursery or group at `path`."""
    return (*path, 100 * (index + 1))


def cleanup_path(path: Path) -> Path:
    """Of the clean-up of the `Finally` at `path`."""
    return (*path, 50)


def steps_of(body: Body) -> Iterator[Step]:
    """All steps in it, at any depth."""
    for step in body:
        yield step
        yield from steps_of(getattr(step, "body", ()))
        yield from steps_of(getattr(step, "cleanup", ()))
        for child in getattr(step, "children", ()):
            yield from steps_of(child)
