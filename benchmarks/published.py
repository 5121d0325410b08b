"""What `--write-docs` writes: the measurements, and the tables and plots made from them, in README and docs.

The measurements of each Python are kept under `docs/benchmarks/`. Everything between the two markers of a page is made from all of them, so
measuring one Python again leaves the others as they are, and nothing is pasted by hand.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from . import plot, report
from .row import Row

BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"
Records = dict[str, dict[str, Any]]


def write(record: dict[str, Any], rows: list[Row], root: Path) -> list[Path]:
    """Keep `record` under `root`, and write the plots and pages anew; return the files that were written.

    Raises ValueError for a page without the two markers, before anything is written.
    """
    kept = root / "docs" / "benchmarks"
    records = {**read(kept), _python(record): record}
    ordered = {python: records[python] for python in sorted(records, key=_as_numbers)}
    pages = {root / "README.md": front(ordered, rows), root / "docs" / "benchmarks.md": full(ordered, rows)}
    files = {page: between_markers(page.read_text(), text) for page, text in pages.items()}
    for python, one in ordered.items():
        files[kept / f"{python}.json"] = json.dumps(one, separators=(",", ":")) + "\n"
        files[kept / f"{python}.svg"] = plot.draw(one)
    kept.mkdir(exist_ok=True)
    for file, text in files.items():
        file.write_text(text)
    return list(files)


def read(kept: Path) -> Records:
    """The measurements kept in that folder, by Python."""
    return {_python(record): record for file in kept.glob("*.json") for record in [json.loads(file.read_text())]}


def _python(record: dict[str, Any]) -> str:
    """The minor version."""
    return ".".join(record["python"].split(".")[:2])


def _as_numbers(python: str) -> tuple[int, ...]:
    return tuple(map(int, python.split(".")))


def between_markers(page: str, text: str) -> str:
    """`page` with `text` between its markers."""
    before, found_begin, rest = page.partition(BEGIN)
    _, found_end, after = rest.partition(END)
    if not (found_begin and found_end):
        raise ValueError(f"a page must have the lines {BEGIN!r} and {END!r}, between which the tables are written")
    return f"{before}{BEGIN}\n{text}\n{END}{after}"


def front(records: Records, rows: list[Row]) -> str:
    """For the README: the plot, and our figures and ratios, of the oldest Python."""
    python, record = next(iter(records.items()))
    results = report.read(record)
    shown = [row for row in rows if row.unit == "per second" and row.name in results]
    return "\n\n".join(
        [
            f"![Speed of each row as a multiple of the standard library's loop](docs/benchmarks/{python}.svg)",
            report.summary(shown, results),
            *_slower(shown, results),
            report.conditions(record) + ".",
        ]
    )


def _slower(rows: list[Row], results: report.Results) -> list[str]:
    ratios = {row.name: report.ratio(results[row.name].get("ours", ""), results[row.name].get("asyncio", "")) for row in rows}
    slower = [f"{name} ({found:.2f})" for name, found in ratios.items() if found is not None and found < 0.995]
    return [f"Slower than asyncio's own loop: {', '.join(slower)}."] if slower else []


def full(records: Records, rows: list[Row]) -> str:
    """For the page in docs: everything, of each Python."""
    parts: list[str] = []
    for python, record in records.items():
        results = report.read(record)
        measured = [row for row in rows if row.name in results]
        loops = list(next(iter(results.values())))
        waits = report.histograms(measured, results, loops).rstrip()
        parts += [
            f"## Python {python}",
            report.conditions(record) + ".",
            f"![Speed of each row as a multiple of the standard library's loop](benchmarks/{python}.svg)",
            *(table for unit in report.TABLES if (table := report.table(measured, results, loops, unit, markdown=True))),
            *([f"How long one side waited while the other was busy:\n\n```text\n{waits}\n```"] if waits else []),
        ]
    return "\n\n".join(parts)
