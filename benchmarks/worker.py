"""One loop and one row in a process of its own: `python -m benchmarks.worker LOOP ROW`.

It makes ready, prints an empty line, and then measures for as many seconds as each line of its input says, printing a `Result` as JSON each
time. Until the next line it waits in the middle of its loop, so that it takes no time from another process which is measured meanwhile.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys

from .loops import RUNNERS, TRIO_RUNNERS
from .rows import ROWS


def main() -> None:
    loop, row = sys.argv[1], ROWS[sys.argv[2]]
    # What a library prints must not get between the results.
    results = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    if row.one_core and hasattr(os, "sched_setaffinity"):
        # Inherited by the load generator, which is a child.
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

    ready = row.ceiling if loop == "ceiling" else row.ready
    if ready is None:
        raise SystemExit(f"{row.name!r} has no ceiling")

    async def measure() -> None:
        async with ready() as measure:
            print(file=results)
            while line := sys.stdin.readline():
                print(json.dumps(dataclasses.asdict(await measure(float(line)))), file=results)

    runners = TRIO_RUNNERS if row.flavour == "trio" else RUNNERS
    # The ceiling's event loop only starts processes.
    runners["asyncio" if loop == "ceiling" else loop](measure)


if __name__ == "__main__":
    main()
