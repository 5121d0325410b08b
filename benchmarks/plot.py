"""The plot: a line per row, a dot per loop, at its speed as a multiple of the standard library's. Drawn from what `--json` writes."""

from __future__ import annotations

import math
import statistics
from typing import Any
from xml.sax.saxutils import escape

BASE = "asyncio"
COLOURS = {"ours": "#0b6e4f", "ours-driven": "#6fae92", "uvloop": "#c44900", "trio-asyncio": "#5b5f97"}
LABELS, PLOT, VALUES = 340, 480, 60
LINE, HEAD, FOOT, MARGIN = 19, 52, 64, 12
WIDTH = MARGIN + LABELS + PLOT + VALUES


def medians(of_row: dict[str, Any]) -> dict[str, float]:
    """The median rate of each loop that has been measured."""
    return {loop: statistics.median(one["rate"] for one in found) for loop, found in of_row.items() if not isinstance(found, str)}


def lines(record: dict[str, Any]) -> list[tuple[str, dict[str, float]]]:
    """The rows that are rates and that the standard library's loop has a figure in: name, and multiple of that by loop."""
    found = []
    for name, of_row in record["results"].items():
        rates = medians(of_row)
        if record["units"].get(name) == "per second" and BASE in rates:
            multiples = {loop: rates[loop] / rates[BASE] for loop in COLOURS if loop in rates}
            if multiples:
                found.append((name, multiples))
    return found


def ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 of each power of ten from `low` to `high`."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [tick for power in powers for step in (1, 2, 5) if low <= (tick := step * 10.0**power) <= high]


def draw(record: dict[str, Any]) -> str:
    """An SVG document. Raises ValueError if there is nothing to draw."""
    rows = lines(record)
    if not rows:
        raise ValueError(f"nothing to draw: no row has a rate of {BASE} and of another loop")
    values = [value for _, multiples in rows for value in multiples.values()]
    low, high = min(0.5, *values) / 1.15, max(2, *values) * 1.15
    bottom = HEAD + LINE * len(rows)

    def x(value: float) -> float:
        return MARGIN + LABELS + PLOT * math.log(value / low) / math.log(high / low)

    def text(left: float, top: float, words: str, anchor: str = "start", colour: str = "#333") -> str:
        return f'<text x="{left:.1f}" y="{top:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(words)}</text>'

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + FOOT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{bottom + FOOT}" fill="#fff"/>',
        text(MARGIN, 20, "Speed as a multiple of the standard library's event loop (right is faster)"),
    ]
    left = float(MARGIN + LABELS)
    for loop in COLOURS:
        if any(loop in multiples for _, multiples in rows):
            parts.append(f'<circle cx="{left:.1f}" cy="36" r="5" fill="{COLOURS[loop]}"/>' + text(left + 9, 40, loop))
            left += 110
    for tick in ticks(low, high):
        colour = "#555" if tick == 1 else "#ddd"
        parts.append(f'<path d="M{x(tick):.1f} {HEAD}V{bottom}" stroke="{colour}"/>' + text(x(tick), bottom + 15, f"{tick:g}", "middle"))
    for number, (name, multiples) in enumerate(rows):
        middle = HEAD + LINE * (number + 0.5)
        parts.append(text(MARGIN + LABELS - 10, middle + 4, name, "end"))
        for loop in reversed(list(multiples)):
            value = multiples[loop]
            parts.append(
                f'<circle cx="{x(value):.1f}" cy="{middle:.1f}" r="5" fill="{COLOURS[loop]}"><title>{loop}: {value:.2f}</title></circle>'
            )
        first = next(iter(multiples))
        parts.append(text(WIDTH - 8, middle + 4, f"{multiples[first]:.2f}", "end", COLOURS[first]))
    machine = f"Python {record['python']}, {record['machine']}, {record['system']}, {record['date']}"
    method = f"revision {record['revision']}, medians of {record['rounds']} interleaved rounds of {record['seconds']:g} s"
    parts += [text(MARGIN, bottom + 38, machine, colour="#777"), text(MARGIN, bottom + 54, method, colour="#777"), "</svg>\n"]
    return "\n".join(parts)
