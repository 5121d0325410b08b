"""`python -m benchmarks`: the whole table, or the chosen rows of it."""

from __future__ import annotations

import argparse
import dataclasses
import fnmatch
import json
import sys
from pathlib import Path
from typing import Any

from . import plot, published, report, rounds
from .loops import DEFAULT, RUNNERS
from .row import Row
from .rows import ROWS

ROOT = Path(__file__).resolve().parents[1]


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure our loop beside others. Each measurement has a process of its own; in a round, those of all loops take turns; "
        "what counts are ratios of medians from one run.",
    )
    parser.add_argument("--rows", nargs="+", default=["*"], metavar="PATTERN", help="rows whose name or group contains or matches this")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each loop in each row (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a measurement (default: %(default)s)")
    parser.add_argument(
        "--loops", default=",".join(DEFAULT), help=f"of {', '.join(RUNNERS)} (default: %(default)s); ratios are of the first"
    )
    parser.add_argument(
        "--ceiling",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="measure an echo server in C too: the load generator's own limit (default: yes)",
    )
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--json", metavar="FILE", help="write all measurements here")
    parser.add_argument("--svg", metavar="FILE", help="draw a plot here")
    parser.add_argument("--write-docs", action="store_true", help="keep the measurements in docs, and write README's and docs' tables anew")
    parser.add_argument("--from", dest="measured", metavar="FILE", help="measure nothing: take what --json has written")
    parser.add_argument("--list", action="store_true", help="only list the rows")
    chosen = parser.parse_args()
    chosen.loops = chosen.loops.split(",")
    if unknown := set(chosen.loops) - RUNNERS.keys():
        parser.error(f"no such loop: {', '.join(sorted(unknown))}")
    chosen.rows = [row for row in ROWS.values() if any(_matches(row, pattern) for pattern in chosen.rows)]
    if not chosen.rows:
        parser.error("no such row; see --list")
    if chosen.write_docs and len(chosen.rows) < len(ROWS):
        parser.error("--write-docs is for the whole table")
    if chosen.rounds < 1 or chosen.seconds <= 0:
        parser.error("--rounds and --seconds must be positive")
    return chosen


def _matches(row: Row, pattern: str) -> bool:
    return any(pattern in name or fnmatch.fnmatchcase(name, pattern) for name in (row.name, row.group))


def recorded(rows: list[Row], results: report.Results, number: int, seconds: float) -> dict[str, Any]:
    """What is written as JSON: everything that a table or a plot is made from."""
    measured = {
        name: {loop: found if isinstance(found, str) else [dataclasses.asdict(one) for one in found] for loop, found in of_row.items()}
        for name, of_row in results.items()
    }
    units = {row.name: row.unit for row in rows}
    return {**report.machine(), "rounds": number, "seconds": seconds, "units": units, "results": measured}


def main() -> int:
    chosen = options()
    rows: list[Row] = chosen.rows
    if chosen.list:
        for row in rows:
            print(f"{row.group:9} {row.name}")
        return 0
    loops = [*chosen.loops, *(["ceiling"] if chosen.ceiling and any(row.ceiling for row in rows) else [])]
    if chosen.measured:
        record = json.loads(Path(chosen.measured).read_text())
    else:
        record = recorded(rows, rounds.run(rows, loops, chosen.rounds, chosen.seconds), chosen.rounds, chosen.seconds)
    results = report.read(record)
    rows = [row for row in rows if row.name in results]
    loops = [loop for loop in loops if all(loop in results[row.name] for row in rows)]
    tables = [report.table(rows, results, loops, unit, markdown=chosen.markdown) for unit in report.TABLES]
    for part in (*tables, report.histograms(rows, results, loops)):
        if part:
            print(part + "\n")
    print(report.conditions(record))
    if chosen.json:
        Path(chosen.json).write_text(json.dumps(record, indent=1) + "\n")
    if chosen.svg:
        Path(chosen.svg).write_text(plot.draw(record))
    if chosen.write_docs:
        for file in published.write(record, list(ROWS.values()), ROOT):
            print(f"wrote {file.relative_to(ROOT)}", file=sys.stderr)
    return 1 if any(found == "failed" for of_row in results.values() for found in of_row.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
