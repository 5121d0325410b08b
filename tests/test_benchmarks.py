"""What the benchmarks make of their measurements, without measuring."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks import plot, published
from benchmarks.rows import ROWS

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


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    """A project's folder with the two pages, empty between their markers."""
    (tmp_path / "docs").mkdir()
    for page in ("README.md", "docs/benchmarks.md"):
        (tmp_path / page).write_text(f"before\n{published.BEGIN}\nold\n{published.END}\nafter\n")
    return tmp_path


def test_pages_are_written_between_their_markers_and_no_further(pages: Path) -> None:
    measured = record({"sleep(0)": {"ours": [300, 100, 200], "asyncio": [400], "trio-asyncio": ""}})
    written = published.write(measured, list(ROWS.values()), pages)
    assert sorted(str(file.relative_to(pages)) for file in written) == [
        "README.md",
        "docs/benchmarks.md",
        "docs/benchmarks/3.json",
        "docs/benchmarks/3.svg",
    ]
    front, full = (pages / "README.md").read_text(), (pages / "docs" / "benchmarks.md").read_text()
    for page in (front, full):
        assert page.startswith(f"before\n{published.BEGIN}\n")
        assert page.endswith(f"\n{published.END}\nafter\n")
        assert "old" not in page
        assert "2026-01-01, revision abc, Python 3" in page
    assert "| sleep(0) | 200 | 0.50 |  |" in front
    assert "Slower than asyncio's own loop: sleep(0) (0.50)." in front
    assert "| sleep(0) | 200 ±50% | 400 |  | 0.50 |  |" in full
    assert json.loads((pages / "docs" / "benchmarks" / "3.json").read_text()) == measured


def test_measurements_of_another_python_are_kept_beside(pages: Path) -> None:
    measured = record({"sleep(0)": {"ours": [3], "asyncio": [2]}})
    for python in ("3.13.0", "3.9.1", "3.13.1"):
        published.write({**measured, "python": python}, list(ROWS.values()), pages)
    headings = [line for line in (pages / "docs" / "benchmarks.md").read_text().splitlines() if line.startswith("## ")]
    assert headings == ["## Python 3.9", "## Python 3.13"]
    assert "Python 3.13.1" in (pages / "docs" / "benchmarks.md").read_text()
    assert "docs/benchmarks/3.9.svg" in (pages / "README.md").read_text()


def test_a_page_without_markers_is_refused_before_anything_is_written(pages: Path) -> None:
    (pages / "docs" / "benchmarks.md").write_text("no markers")
    before = (pages / "README.md").read_text()
    with pytest.raises(ValueError, match="benchmarks: begin"):
        published.write(record({"sleep(0)": {"ours": [3], "asyncio": [2]}}), list(ROWS.values()), pages)
    assert (pages / "README.md").read_text() == before
    assert not (pages / "docs" / "benchmarks").exists()


def test_waits_are_published_as_histograms(pages: Path) -> None:
    name = next(row.name for row in ROWS.values() if row.unit == "waits")
    waits = record({"sleep(0)": {"ours": [3], "asyncio": [2]}, name: {"ours": [1], "asyncio": ""}})
    waits["results"][name]["ours"] = [{"rate": 1, "p50": 3, "p99": 9, "longest": 12, "histogram": {"2": 3, "4": 1}}]
    published.write(waits, list(ROWS.values()), pages)
    full = (pages / "docs" / "benchmarks.md").read_text()
    assert f"```text\n{name}, ours: p50 3 us, p99 9 us, longest 12 us\n  below         4 us  75.000%" in full


def test_the_published_pages_are_what_the_kept_measurements_give(tmp_path: Path) -> None:
    """Nobody has written between the markers by hand, and a change of the tables was published."""
    for page in ("README.md", "docs/benchmarks.md"):
        (tmp_path / page).parent.mkdir(exist_ok=True)
        (tmp_path / page).write_text((ROOT / page).read_text())
    kept = published.read(ROOT / "docs" / "benchmarks")
    assert kept
    for one in kept.values():
        written = published.write(one, list(ROWS.values()), tmp_path)
    for file in written:
        assert file.read_text() == (ROOT / file.relative_to(tmp_path)).read_text(), file
