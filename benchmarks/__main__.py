"""`python -m benchmarks`: the whole table, or the chosen rows of it."""

from __future__ import annotations

import argparse
import fnmatch
import json
import subprocess
import sys
from pathlib import Path

from . import cpu, echo, report
from .loops import DEFAULT, RUNNERS, missing

ROOT = Path(__file__).resolve().parents[1]


def measure(loop: str, row: str, seconds: float) -> float | None:
    """One measurement; None, with the reason on stderr, if it failed."""
    command = [sys.executable, "-m", "benchmarks.worker", loop, row, str(seconds)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if result.returncode:
        print(f"\n{loop} failed at {row!r}:\n{result.stderr[-2000:]}", file=sys.stderr)
        return None
    return float(result.stdout.split()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure our loop beside others. Each measurement is a process of its own; rounds are interleaved; "
        "what counts are ratios of medians from one run.",
    )
    parser.add_argument("--rows", nargs="+", default=["*"], metavar="PATTERN", help="rows whose name contains or matches this")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each loop in each row (default: 5)")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a measurement (default: 1)")
    parser.add_argument(
        "--loops", default=",".join(DEFAULT), help=f"of {', '.join(RUNNERS)} (default: %(default)s); ratios are of the first"
    )
    parser.add_argument("--ceiling", action="store_true", help="also measure an echo server in C: the load generator's own limit")
    parser.add_argument("--json", metavar="FILE", help="write all measurements here")
    parser.add_argument("--list", action="store_true", help="only list the rows")
    options = parser.parse_args()

    rows = [row for row in [*cpu.ROWS, *echo.ROWS] if any(part in row or fnmatch.fnmatchcase(row, part) for part in options.rows)]
    if options.list:
        print("\n".join(rows))
        return 0
    loops = options.loops.split(",")
    if unknown := set(loops) - RUNNERS.keys():
        parser.error(f"no such loop: {', '.join(sorted(unknown))}")
    for loop in filter(missing, loops):
        print(f"{loop} is not installed and left out (pip install '.[bench]')", file=sys.stderr)
    loops = [loop for loop in loops if not missing(loop)]
    if options.ceiling:
        loops.append("ceiling")

    results: dict[str, dict[str, list[float]]] = {row: {loop: [] for loop in loops} for row in rows}
    for number in range(options.rounds):
        for row in rows:
            # Each round begins with another loop, so that none always runs on a machine warmed up by the same neighbour.
            for loop in loops[number % len(loops) :] + loops[: number % len(loops)]:
                if loop == "ceiling" and row not in echo.ROWS:
                    continue
                print(f"\r\033[Kround {number + 1} of {options.rounds}: {row}, {loop}", end="", file=sys.stderr, flush=True)
                rate = measure(loop, row, options.seconds)
                if rate is not None:
                    results[row][loop].append(rate)
    print("\r\033[K", end="", file=sys.stderr)
    machine = report.machine()
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    print(report.table(results, loops))
    print(
        f"\n{machine['date']}, Python {machine['python']}, {versions}; {machine['machine']}, {machine['system']}; "
        f"medians of {options.rounds} interleaved rounds of {options.seconds:g} s"
    )
    if options.json:
        record = {**machine, "rounds": options.rounds, "seconds": options.seconds, "results": results}
        Path(options.json).write_text(json.dumps(record, indent=1) + "\n")
    return 0 if all(rates for by_loop in results.values() for loop, rates in by_loop.items() if loop != "ceiling") else 1


if __name__ == "__main__":
    sys.exit(main())
