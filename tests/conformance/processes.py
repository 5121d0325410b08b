"""Runs worker processes and collects what they report."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
# Seconds in which a worker must report something. The slowest test of the suite takes about 20 on a busy machine.
PATIENCE = 150.0
# What a worker can put where a test wants a loop: ours with the poller that fits the test, ours with one poller, none of ours.
PLACES = ("ours", "nested", "task", "stdlib")


@dataclasses.dataclass
class Outcome:
    """What became of one test: "pass", "skip", "fail", "error", or "hang" (the process died or stopped in it)."""

    result: str
    text: str

    @property
    def bad(self) -> bool:
        return self.result in ("fail", "error", "hang")


@dataclasses.dataclass
class Report:
    """The outcomes of one module by test, and what its processes counted."""

    module: str
    planned: list[str] = dataclasses.field(default_factory=list)
    outcomes: dict[str, Outcome] = dataclasses.field(default_factory=dict)
    made: int = 0
    driven: int = 0
    stdlib_driven: int = 0
    seconds: float = 0.0


def run_module(module: str, place: str = "ours", only: list[str] | None = None) -> Report:
    """Run `module` of the suite, or the tests `only` of it. After a hang the rest goes on in a new process."""
    report = Report(module)
    begin = time.monotonic()
    while _run_process(report, place, only):
        pass
    for test in report.planned:
        report.outcomes.setdefault(test, Outcome("skip", "was not run: what sets up its class or its module has skipped it, or failed"))
    report.seconds = time.monotonic() - begin
    return report


def run_test(test: str, place: str) -> Outcome:
    """Run one test, `module.Class.test`, by itself."""
    module = test.partition(".")[0]
    outcomes = run_module(module, place, [test]).outcomes
    # A fixture that fails, or a process that dies after the test, is this test's failure.
    bad = [outcome for outcome in outcomes.values() if outcome.bad]
    return bad[0] if bad else outcomes.get(test, Outcome("error", "the test was not found"))


def _run_process(report: Report, place: str, only: list[str] | None) -> bool:
    """One process; True if it ended before its time, so that another is needed for the rest."""
    with tempfile.TemporaryDirectory() as folder:
        results, output = Path(folder, "results"), Path(folder, "output")
        results.touch()
        command = [sys.executable, "-m", "tests.conformance.worker", report.module, "--results", str(results), "--place", place]
        command += ["--only", *only] if only is not None else []
        command += ["--without", *report.outcomes]
        with output.open("wb") as stream:
            process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True)
            _watch(process, results)
        records: list[dict[str, Any]] = [json.loads(line) for line in results.read_text().splitlines()]
        tail = f"{output.read_text(errors='replace')[-8000:]}\n(exit status {process.returncode})"
    known = len(report.outcomes)
    _collect(report, records)
    last = records[-1] if records else {}
    if "begins" in last:
        report.outcomes[last["begins"]] = Outcome("hang", tail)
        return True
    if "finished" in last and process.returncode == 0:
        return False
    # It died between two tests, before the first, or on its way out. Another one gets further only if this one got anywhere.
    progress = len(report.outcomes) > known
    report.outcomes[f"{report.module} (outside of tests)"] = Outcome("error", tail)
    return progress and "finished" not in last


def _collect(report: Report, records: list[dict[str, Any]]) -> None:
    """Add what one process wrote."""
    counts = {"made": 0, "driven": 0, "stdlib_driven": 0}
    for record in records:
        report.planned += record.get("plan", ())
        if "ends" in record:
            report.outcomes[record["ends"]] = Outcome(record["result"], record["text"])
        counts = record.get("counts", counts)
    report.made += counts["made"]
    report.driven += counts["driven"]
    report.stdlib_driven += counts["stdlib_driven"]


def _watch(process: subprocess.Popen[bytes], results: Path) -> None:
    """Wait for the end of `process`; abort it when it has not reported anything for too long."""
    size, since = 0, time.monotonic()
    while True:
        try:
            process.wait(1)
            break
        except subprocess.TimeoutExpired:
            now = results.stat().st_size
            if now != size:
                size, since = now, time.monotonic()
            elif time.monotonic() - since > PATIENCE:
                # faulthandler prints every thread's stack.
                process.send_signal(signal.SIGABRT)
                process.wait()
                break
    # A test that was cut short leaves children behind.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
