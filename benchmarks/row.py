"""What a row of the table is, and how work that runs inside the measured process is timed.

The modules that hold rows (`rows.py` lists them) make `Row`s; `worker.py` runs one; `report.py` prints what came out.
"""

from __future__ import annotations

import ctypes
import dataclasses
import math
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Literal

MEMORY = Path("/proc/self/statm")


@dataclasses.dataclass
class Result:
    """What one measurement found.

    `rate` is what the row's unit says: so many per second, or bytes each. `histogram` counts waits by the power of two of microseconds
    that they stayed below; only a row about waits has one.
    """

    rate: float
    p50: float | None = None
    p99: float | None = None
    longest: float | None = None
    histogram: dict[int, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table.

    `flavour` says in which world `measure` runs: "asyncio" under every loop, "trio" under those that have both. `ceiling`, where a row has
    one, measures the load generator against a server in C. `one_core` keeps both ends of a measurement on one core: for work that
    goes to and fro, where the ends never run at once and the kernel's choice of cores would be most of the figure. `unit` says what
    is measured: rates and bytes are shown in a table, waits as a histogram. `packages` and `programs` are what the row needs besides.
    """

    group: str
    name: str
    measure: Callable[[float], Awaitable[Result]]
    ceiling: Callable[[float], Awaitable[Result]] | None = None
    flavour: Literal["asyncio", "trio"] = "asyncio"
    one_core: bool = False
    unit: Literal["per second", "bytes each", "waits"] = "per second"
    packages: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()


def repeated(work: Callable[[int], Awaitable[None]]) -> Callable[[float], Awaitable[Result]]:
    """The measurement of `work`, which is given a count and does its thing that often."""

    async def measure(seconds: float) -> Result:
        # The warm-up finds the count that makes reading the clock cheap.
        count = 1
        while True:
            start = time.perf_counter()
            await work(count)
            if time.perf_counter() - start >= seconds / 10:
                break
            count *= 2
        done = 0
        start = time.perf_counter()
        while (now := time.perf_counter()) < start + seconds:
            await work(count)
            done += count
        now = time.perf_counter()
        return Result(done / (now - start))

    return measure


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
