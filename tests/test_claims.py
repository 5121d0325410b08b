"""The measurements behind docs/why_it_is_fast.md measure something. What they find is a matter of the machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.claims import IDEAS

ROOT = Path(__file__).resolve().parents[1]
# All in one process that is not this one: one of them changes the allocator.
PROGRAM = """
from benchmarks.claims import IDEAS
for idea, variants in IDEAS.items():
    for measure in variants:
        print(0 < measure(0.01) < 1, idea)
"""


def test_each_idea_is_measured_with_it_and_without_it() -> None:
    command = [sys.executable, "-W", "error", "-c", PROGRAM]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [f"True {idea}" for idea in IDEAS for variant in ("with", "without")]


def test_page_shows_what_the_command_prints() -> None:
    page = (ROOT / "docs" / "why_it_is_fast.md").read_text()
    assert [idea for idea in IDEAS if idea not in page] == []
