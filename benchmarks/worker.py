"""One measurement in a process of its own: `python -m benchmarks.worker LOOP ROW SECONDS` prints a rate per second."""

from __future__ import annotations

import sys
import time
from typing import Any

from . import cpu, echo
from .loops import RUNNERS


async def measure_cpu(row: str, seconds: float) -> float:
    """Repeat the row's work until `seconds` have passed, after a round to warm up."""
    work = cpu.ROWS[row]
    count = 1
    while True:
        start = time.perf_counter()
        await work(count)
        took = time.perf_counter() - start
        if took >= seconds / 10:
            break
        count *= 2
    done = 0
    start = time.perf_counter()
    while (now := time.perf_counter()) < start + seconds:
        await work(count)
        done += count
    now = time.perf_counter()
    return done / (now - start)


def main() -> None:
    loop, row, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    if loop == "ceiling":
        print(echo.ROWS[row].ceiling(seconds))
        return

    async def measure() -> Any:
        if row in cpu.ROWS:
            return await measure_cpu(row, seconds)
        return await echo.ROWS[row].measure(seconds)

    print(RUNNERS[loop](measure))


if __name__ == "__main__":
    main()
