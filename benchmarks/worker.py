"""One measurement in a process of its own: `python -m benchmarks.worker LOOP ROW SECONDS` prints a `Result` as JSON."""

from __future__ import annotations

import dataclasses
import json
import os
import sys

from .loops import RUNNERS, TRIO_RUNNERS
from .row import Result
from .rows import ROWS


def main() -> None:
    loop, row, seconds = sys.argv[1], ROWS[sys.argv[2]], float(sys.argv[3])
    if row.one_core and hasattr(os, "sched_setaffinity"):
        # Inherited by the load generator, which is a child.
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

    work = row.ceiling if loop == "ceiling" else row.measure
    if work is None:
        raise SystemExit(f"{row.name!r} has no ceiling")

    async def measure() -> Result:
        return await work(seconds)

    runners = TRIO_RUNNERS if row.flavour == "trio" else RUNNERS
    # The ceiling's event loop only starts processes.
    result = runners["asyncio" if loop == "ceiling" else loop](measure)
    print(json.dumps(dataclasses.asdict(result)))


if __name__ == "__main__":
    main()
