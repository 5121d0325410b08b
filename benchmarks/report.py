"""The table: medians, and ratios of medians."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import statistics
from typing import Any

from .loops import DISTRIBUTIONS


def machine() -> dict[str, Any]:
    """What was measured on, with which versions, and when."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as lines:
            model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    except OSError:
        pass
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
        "versions": versions,
    }


def table(results: dict[str, dict[str, list[float]]], loops: list[str]) -> str:
    """Markdown: the median of each loop, and ours over each of the others."""
    ours, peers = loops[0], [loop for loop in loops[1:] if loop != "ceiling"]
    ceiling = ["C server"] if "ceiling" in loops else []
    head = ["per second", *[ours, *peers], *ceiling, *[f"{ours} / {peer}" for peer in peers]]
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    for row, by_loop in results.items():
        medians = {loop: statistics.median(rates) for loop, rates in by_loop.items() if rates}
        line = [row, *(_number(medians.get(loop)) for loop in [ours, *peers])]
        line += [_number(medians.get("ceiling"))] if ceiling else []
        line += [f"{medians[ours] / medians[peer]:.2f}" if ours in medians and peer in medians else "" for peer in peers]
        lines.append(line)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
