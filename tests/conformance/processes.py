"""Runs worker processes and collects what they report."""

from __future__ import annotations

import dataclasses
import json
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
    outcomes: dict[str, Outcome] = dataclasses.field(default_factory=dict)
    made: int = 0
    driven: int = 0
    stdlib_driven: int = 0
    seconds: float = 0.0


def run_module(module: str, *, stdlib: bool = False, only: list[str] | None = None) -> Report:
    """Run `module` of the suite, or the tests `only` of it. After a hang the rest goes on in a new process."""
    report = Report(module)
    begin = time.monotonic()
    while _run_process(report, stdlib, only):
        pass
    report.seconds = time.monotonic() - begin
    return report


def _run_process(report: Report, stdlib: bool, only: list[str] | None) -> bool:
    """One process; True if it ended before its time, so that another is needed for the rest."""
    with tempfile.TemporaryDirectory() as folder:
        results, output = Path(folder, "results"), Path(folder, "output")
        results.touch()
        command = [sys.executable, "-m", "tests.conformance.worker", report.module, "--results", str(results)]
        command += ["--stdlib"] if stdlib else []
        command += ["--only", *only] if only is not None else []
        command += ["--without", *report.outcomes]
        with output.open("wb") as stream:
            process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream)
            _watch(process, results)
        running: str | None = None
        finished = False
        for line in results.read_text().splitlines():
            record: dict[str, Any] = json.loads(line)
            if "begins" in record:
                running = record["begins"]
            elif "ends" in record:
                running = None
                report.outcomes[record["ends"]] = Outcome(record["result"], record["text"])
            else:
                finished = True
                report.made += record["made"]
                report.driven += record["driven"]
                report.stdlib_driven += record["stdlib_driven"]
        if finished:
            return False
        tail = output.read_text(errors="replace")[-4000:]
        if running is None:
            report.outcomes[f"{report.module} (outside of tests)"] = Outcome("error", tail)
            return False
        report.outcomes[running] = Outcome("hang", tail)
        return True


def _watch(process: subprocess.Popen[bytes], results: Path) -> None:
    """Wait for the end of `process`; abort it when it has not reported anything for too long."""
    size, since = 0, time.monotonic()
    while True:
        try:
            process.wait(1)
            return
        except subprocess.TimeoutExpired:
            now = results.stat().st_size
            if now != size:
                size, since = now, time.monotonic()
            elif time.monotonic() - since > PATIENCE:
                # faulthandler prints every thread's stack.
                process.send_signal(signal.SIGABRT)
                process.wait()
                return
