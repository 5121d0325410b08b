"""What is printed: the table of medians and their ratios, the histograms of waits, and on what it was measured."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from .loops import DISTRIBUTIONS
from .row import Result, Row

# By row, then by loop: the results of the rounds, or why there are none.
Results = dict[str, dict[str, list[Result] | str]]

# The units of what is shown in a table, each in one of its own.
TABLES = ("per second", "bytes each")
BAR = 40


def machine() -> dict[str, Any]:
    """What was measured on, with which versions, and when."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as lines:
            model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    except OSError:
        pass  # only Linux has it
    versions = {}
    for distribution in ["trio", *sorted(set(DISTRIBUTIONS.values()))]:
        try:
            versions[distribution] = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "date": datetime.date.today().isoformat(),
        "machine": f"{os.cpu_count()} cores, {model}",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        # Whose build it is tells how it was optimized.
        "build": f"{sys.base_prefix}, {platform.python_compiler()}",
        "versions": versions,
        "revision": _revision(),
    }


def _revision() -> str | None:
    """The commit that is measured, "+" if with changes; None outside of a repository."""
    command = ["git", "describe", "--always", "--dirty=+", "--abbrev=8"]
    try:
        found = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    except OSError:
        return None
    return found.stdout.strip() or None


def result(found: dict[str, Any]) -> Result:
    """A result from its JSON, which has only strings as keys."""
    return Result(**{**found, "histogram": {int(power): count for power, count in found["histogram"].items()}})


def read(record: dict[str, Any]) -> Results:
    """The results in what `--json` has written."""
    return {
        name: {loop: found if isinstance(found, str) else [result(one) for one in found] for loop, found in of_row.items()}
        for name, of_row in record["results"].items()
    }


def conditions(record: dict[str, Any]) -> str:
    """When and on what it was measured, and how."""
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    # Of measurements that were made before this was kept.
    build = f" ({record['build']})" if "build" in record else ""
    return (
        f"{record['date']}, revision {record['revision']}, Python {record['python']}{build}, {versions}; {record['machine']}, "
        f"{record['system']}; medians of {record['rounds']} interleaved rounds of {record['seconds']:g} s"
    )


def table(rows: list[Row], results: Results, loops: list[str], unit: str, *, markdown: bool) -> str:
    """The median of each loop with its spread, and the first loop's median over each of the others', for the rows with this unit."""
    ours, peers = loops[0], [loop for loop in loops[1:] if loop != "ceiling"]
    shown = [ours, *peers, *(["ceiling"] if "ceiling" in loops else [])]
    lines = [[unit, *(loop.replace("ceiling", "C server") for loop in shown), *(f"{ours} / {peer}" for peer in peers)]]
    for row in rows:
        if row.unit == unit:
            of_row = results[row.name]
            lines.append([row.name, *(_cell(of_row[loop]) for loop in shown), *(_ratio(of_row[ours], of_row[peer]) for peer in peers)])
    if len(lines) == 1:
        return ""
    if markdown:
        return _markdown(lines)
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))])
        for line in lines
    )


def summary(rows: list[Row], results: Results) -> str:
    """In Markdown: how fast the first loop of each row is, and its ratios to the others."""
    loops = list(next(iter(results.values())))
    ours, peers = loops[0], [loop for loop in loops[1:] if loop != "ceiling"]
    lines = [["per second", ours, *(f"{ours} / {peer}" for peer in peers)]]
    for row in rows:
        of_row = results[row.name]
        lines.append([row.name, _cell(of_row[ours]).partition(" ±")[0], *(_ratio(of_row[ours], of_row[peer]) for peer in peers)])
    return _markdown(lines)


def _markdown(lines: list[list[str]]) -> str:
    aligned = [lines[0], ["---", *["---:"] * (len(lines[0]) - 1)], *lines[1:]]
    return "\n".join("| " + " | ".join(line) + " |" for line in aligned)


def histograms(rows: list[Row], results: Results, loops: list[str]) -> str:
    """For the rows about waiting: percentiles (medians over the rounds), and how many waits were how long (all rounds)."""
    lines = []
    for row in rows:
        for loop in loops:
            found = results[row.name][loop]
            if row.unit != "waits" or isinstance(found, str):
                continue
            p50, p99, longest = (statistics.median(getattr(one, name) for one in found) for name in ("p50", "p99", "longest"))
            lines.append(f"{row.name}, {loop}: p50 {p50:,.0f} us, p99 {p99:,.0f} us, longest {longest:,.0f} us")
            counts = {power: sum(one.histogram.get(power, 0) for one in found) for one in found for power in one.histogram}
            total = sum(counts.values())
            for power in range(min(counts), max(counts) + 1):
                part = counts.get(power, 0) / total
                lines.append(f"  below {2**power:9,} us {part:8.3%} {'#' * round(part * BAR)}".rstrip())
            lines.append("")
    return "\n".join(lines)


def _median(found: list[Result] | str) -> float | None:
    return None if isinstance(found, str) else statistics.median(one.rate for one in found)


def _cell(found: list[Result] | str) -> str:
    if isinstance(found, str):
        return found
    rates = [one.rate for one in found]
    median = statistics.median(rates)
    number = f"{median:,.0f}" if median >= 100 else f"{median:.3g}"
    # Half the distance between the slowest and the fastest round.
    return f"{number} ±{(max(rates) - min(rates)) / 2 / median:.0%}" if len(rates) > 1 else number


def ratio(ours: list[Result] | str, peer: list[Result] | str) -> float | None:
    """Of the medians; None if there are not both."""
    mine, other = _median(ours), _median(peer)
    return mine / other if mine is not None and other is not None else None


def _ratio(ours: list[Result] | str, peer: list[Result] | str) -> str:
    found = ratio(ours, peer)
    return "" if found is None else f"{found:.2f}"
