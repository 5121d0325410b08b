"""Every program in examples/ runs, says what it should, and leaves stderr empty."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"

SLOW = re.compile(r"Executing <.*> took \d+\.\d+ seconds")
SAYS = {
    "aiohttp_under_trio.py": [
        "fetched 200 different pages, the last one says 'hello 199'",
        "the websocket answered ['ONE', 'TWO', 'THREE']",
        "the slow request was cancelled by trio",
        "trio worked meanwhile: yes",
        "closed",
    ],
    "prometheus_metrics.py": ["the loop made turns: True", "callbacks were measured: True"],
}


def test_each_example_is_listed() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == SAYS.keys()


@pytest.mark.parametrize("name", SAYS)
@pytest.mark.parametrize("flags", [[], ["-X", "dev", "-W", "error"]], ids=["plain", "dev"])
def test_example_runs_and_stderr_stays_empty(name: str, flags: list[str]) -> None:
    command = [sys.executable, *flags, str(EXAMPLES / name)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    # Debug mode reports callbacks that took long in real time, which says something of the machine only.
    complaints = [line for line in result.stderr.splitlines() if not SLOW.fullmatch(line)]
    assert (result.returncode, complaints) == (0, [])
    assert result.stdout.splitlines() == SAYS[name]
