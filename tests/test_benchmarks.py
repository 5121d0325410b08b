"""What the benchmarks make of their measurements, without measuring."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks import plot

ROOT = Path(__file__).resolve().parents[1]


def record(rates: dict[str, dict[str, list[float] | str]], unit: str = "per second") -> dict[str, Any]:
    def results(of_row: dict[str, list[float] | str]) -> dict[str, Any]:
        return {loop: r if isinstance(r, str) else [{"rate": rate, "histogram": {}} for rate in r] for loop, r in of_row.items()}

    machine = {"date": "2026-01-01", "machine": "a machine", "system": "a system", "python": "3", "revision": "abc", "versions": {}}
    units = dict.fromkeys(rates, unit)
    return {**machine, "rounds": 3, "seconds": 1, "units": units, "results": {name: results(of_row) for name, of_row in rates.items()}}


def test_the_plot_has_a_dot_for_each_loop_that_has_a_figure() -> None:
    drawing = plot.draw(record({"a < b": {"ours": [2, 4, 300], "asyncio": [2], "uvloop": "missing", "trio-asyncio": [0.5]}}))
    svg = "{http://www.w3.org/2000/svg}"
    tree = ElementTree.fromstring(drawing)
    assert sorted(title.text or "" for title in tree.iter(f"{svg}title")) == ["ours: 2.00", "trio-asyncio: 0.25"]
    assert "a < b" in [text.text for text in tree.iter(f"{svg}text")]


def test_rows_that_are_no_rates_are_not_drawn() -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        plot.draw(record({"bytes": {"ours": [1], "asyncio": [1]}}, unit="bytes each"))
    with pytest.raises(ValueError, match="nothing to draw"):
        plot.draw(record({"only ours": {"ours": [1]}}))


def test_a_table_is_made_again_from_its_json(tmp_path: Path) -> None:
    measured = tmp_path / "table.json"
    measured.write_text(json.dumps(record({"sleep(0)": {"ours": [30, 10, 20], "asyncio": [10], "uvloop": "missing"}})))
    command = [sys.executable, "-m", "benchmarks", "--from", str(measured), "--markdown", "--svg", str(tmp_path / "plot.svg")]
    table = subprocess.run([*command, "--loops", "ours,asyncio,uvloop"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert "| sleep(0) | 20 ±50% | 10 | missing | 2.00 |  |" in table
    assert (tmp_path / "plot.svg").read_text().startswith("<svg ")
