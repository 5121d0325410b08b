"""What a row of the table is, and how work that runs inside the measured process is timed.

The modules that hold rows (`rows.py` lists them) make `Row`s; `worker.py` runs one, and `rounds.py` says when; `report.py` prints what came
out.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import math
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Literal

MEMORY = Path("/proc/self/statm")


@dataclasses.dataclass
class Result:
    """What one measurement found.

    `rate` is what the row's unit says: so many per second, or bytes each. `seconds` is how long it was measured, if that is of interest.
    `histogram` counts waits by the power of two of microseconds that they stayed below; only a row about waits has one.
    """

    rate: float
    seconds: float = 0.0
    p50: float | None = None
    p99: float | None = None
    longest: float | None = None
    histogram: dict[int, int] = dataclasses.field(default_factory=dict)


# Measures for so many seconds, and may be called again.
Measure = Callable[[float], Awaitable[Result]]
# Makes what is measured ready (a server, its load, a client), and takes it away in the end. Between two calls of what it gives nothing
# moves.
Ready = Callable[[], AbstractAsyncContextManager[Measure]]


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table.

    `flavour` says in which world `ready` runs: "asyncio" under every loop, "trio" under those that have both. `ceiling`, where a row has
    one, is about the load generator and a server in C. `one_core` keeps both ends of a measurement on one core: for work that
    goes to and fro, where the ends never run at once and the kernel's choice of cores would be most of the figure. `unit` says what
    is measured: rates and bytes are shown in a table, waits as a histogram. `packages` and `programs` are what the row needs besides.
    """

    group: str
    name: str
    ready: Ready
    ceiling: Ready | None = None
    flavour: Literal["asyncio", "trio"] = "asyncio"
    one_core: bool = False
    unit: Literal["per second", "bytes each", "waits"] = "per second"
    packages: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()

    @property
    def sliced(self) -> bool:
        """Whether a measurement may be cut into slices: a rate, unlike what happens once."""
        return self.unit == "per second"


def once(measure: Measure) -> Ready:
    """For what needs nothing made ready."""

    @contextlib.asynccontextmanager
    async def ready() -> AsyncIterator[Measure]:
        yield measure

    return ready


async def timed(work: Callable[[int], Awaitable[None]], count: int) -> float:
    """How many seconds `work` takes."""
    start = time.perf_counter()
    await work(count)
    return time.perf_counter() - start


def repeating(work: Callable[[int], Awaitable[None]]) -> Measure:
    """The measurement of `work`, which is given a count and does its thing that often."""
    count = 0

    async def measure(seconds: float) -> Result:
        nonlocal count
        if not count:
            # As much as makes reading the clock cheap.
            count = 1
            while await timed(work, count) < seconds / 10:
                count *= 2
        elif count > 1:
            # Others had the core meanwhile, and its caches. What takes long by itself needs no warm-up.
            await work(count)
        done = 0
        start = time.perf_counter()
        while time.perf_counter() < start + seconds:
            await work(count)
            done += count
        spent = time.perf_counter() - start
        return Result(done / spent, spent)

    return measure


def repeated(work: Callable[[int], Awaitable[None]]) -> Ready:
    """`repeating`, for what needs nothing made ready."""
    return once(repeating(work))


def joined(slices: list[Result]) -> Result:
    """The result of a measurement that was made in slices."""
    if len(slices) == 1:
        return slices[0]
    seconds = sum(one.seconds for one in slices)
    return Result(sum(one.rate * one.seconds for one in slices) / seconds, seconds)


def memory() -> int:
    """Bytes of this process that are in memory now. Linux only, like the rows that ask."""
    # What glibc keeps for later is given back first: it says how much was in use at some moment before. Measured, an idle connection on
    # Python 3.11, ours and asyncio's: 1,956 and 1,837 bytes without, +-9 %; 1,865 and 2,126 with; Python allocates 1,413 and 1,620 of them.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    return int(MEMORY.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def of_waits(waits: list[float]) -> Result:
    """The result of a row that is about how long something waited, in seconds each."""
    waits.sort()
    microseconds = [wait * 1e6 for wait in waits]
    return Result(
        rate=len(waits) / sum(waits),
        p50=microseconds[len(waits) // 2],
        p99=microseconds[len(waits) * 99 // 100],
        longest=microseconds[-1],
        histogram=dict(Counter(max(0, math.frexp(wait)[1]) for wait in microseconds)),
    )
