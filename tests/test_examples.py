"""Every program in examples/ runs, says what it should, and leaves stderr empty.

Those that need a server, or more libraries than the tests, are run by tests/ecosystem/test_examples.py.
"""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .support import complaints

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
ELSEWHERE = {"asyncpg_from_trio.py", "serve_fastapi_next_to_trio.py"}

# What pytest says last.
TIME = re.compile(r" in \d+\.\d+s$")
SAYS = {
    "aiohttp_under_trio.py": [
        "fetched 200 different pages, the last one says 'hello 199'",
        "the websocket answered ['ONE', 'TWO', 'THREE']",
        "the slow request was cancelled by trio",
        "trio worked meanwhile: yes",
        "closed",
    ],
    "handover.py": [
        "asyncio: alice wants to send 1048576 bytes",
        "trio: received fbbab289f7f94b25736c58be46a994c441fd02552cc6022352e3d86d2fab7c83",
        "asyncio: the client's last words are that is all",
        "the client was told goodbye",
        "sent     fbbab289f7f94b25736c58be46a994c441fd02552cc6022352e3d86d2fab7c83",
    ],
    "migrate_one_function_at_a_time.py": [f"step {step}: 3 words, 6 words, 7 words; summed up: True; three leads" for step in (1, 2, 3, 4)],
    "mixed_functions.py": [
        "both: page of four and page of five",
        "trio calls asyncio: page of one",
        "several at once: ['page of two', 'page of three']",
        "a trio scope cancelled the slow one: True",
        "asyncio.timeout around trio code: TimeoutError",
        "asyncio receives from a trio channel: 0",
        "asyncio receives from a trio channel: 1",
        "asyncio receives from a trio channel: 2",
        "trio.move_on_after around asyncio code: True",
        f"{sys.implementation.name} is done",
    ],
    "prometheus_metrics.py": ["the loop made turns: True", "callbacks were measured: True"],
    "trio_code_in_an_asyncio_app.py": [
        "quick: answer of a",
        "  c need not answer any more",
        "slow: answer of d",
        "broken: answer of f",
        "down: nobody has answered: g is down, h is down",
        "  i need not answer any more",
        "hopeless: no answer in time",
        "on TrioEventLoop",
    ],
    "virtual_time.py": [f"{'...':73}[100%]", "3 passed", "more than a day, in less than a minute: True"],
}


def test_each_example_is_listed() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == SAYS.keys() | ELSEWHERE


@pytest.mark.parametrize("name", SAYS)
@pytest.mark.parametrize("flags", [[], ["-X", "dev", "-W", "error"]], ids=["plain", "dev"])
def test_example_runs_and_stderr_stays_empty(name: str, flags: list[str]) -> None:
    command = [sys.executable, *flags, str(EXAMPLES / name)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (result.returncode, complaints(result.stderr)) == (0, [])
    assert [TIME.sub("", line) for line in result.stdout.splitlines()] == SAYS[name]


def test_the_prometheus_example_measures_a_callback_in_the_middle_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio.run", lambda main: None)
    example = runpy.run_path(str(EXAMPLES / "prometheus_metrics.py"))
    registry = example["CollectorRegistry"]()
    instrument = example["CallbackSeconds"](registry)
    times = iter([0.0, 1.0, 3.0, 10.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(times))
    handle: Any = object()
    instrument.before_callback(handle)
    instrument.before_callback(handle)
    instrument.after_callback(handle)
    instrument.after_callback(handle)
    # Of one that was there before.
    instrument.after_callback(handle)
    monkeypatch.undo()
    assert registry.get_sample_value("loop_callback_seconds_count") == 2
    assert registry.get_sample_value("loop_callback_seconds_sum") == 10 + 2
