"""The rounds of a run: which loop is measured when.

A round of a row has a process of each loop (`worker.py`), all there at once, and lets them measure in turns, a slice each. So whatever else
the machine does in that second hits all of them alike.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from . import report
from .loops import TRIO_RUNNERS, missing
from .row import Result, Row, joined

ROOT = Path(__file__).resolve().parents[1]
# Seconds of a slice. Measured on two virtual cores that were shared with a neighbour, the speed of a loop of additions: it varied by 19 %,
# and was correlated with itself 5 ms later by 0.9, 50 ms 0.6, 250 ms 0.3, a second 0. In much less, 1,000 connections cannot all be served.
SLICE = 0.1


class MeasurementError(Exception):
    """A loop could not be measured, and why."""


@contextlib.contextmanager
def working(loop: str, row: Row) -> Iterator[Worker]:
    """A process that measures one loop in one row, until the end of the block."""
    command = [sys.executable, "-m", "benchmarks.worker", loop, row.name]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    with tempfile.TemporaryFile("w+") as errors, subprocess.Popen(command, cwd=ROOT, stderr=errors, **pipes) as process:
        try:
            yield Worker(f"{loop} in {row.name!r}", process, errors)
        finally:
            # At the end of its input it takes away what it has made ready, such as servers. Not every loop gets that far after Ctrl-C,
            # which the servers hear of themselves.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=10)
            process.kill()


class Worker:
    """What `working` gives."""

    def __init__(self, name: str, process: subprocess.Popen[str], errors: IO[str]) -> None:
        self._name = name
        self._process = process
        self._errors = errors

    def wait_until_ready(self) -> None:
        """Raises MeasurementError if it never is."""
        self._answer(60)

    def measure(self, seconds: float) -> Result:
        """One slice. Raises MeasurementError if there is no result."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{seconds}\n")
        # Some work (100k timers) is longer than `seconds` by itself.
        return report.result(json.loads(self._answer(10 * seconds + 60)))

    def _answer(self, patience: float) -> str:
        """The next line. It answers each question with one, so nothing is in the buffer before."""
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], patience)[0]:
            self._process.kill()
            raise MeasurementError(f"{self._name} hung")
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._errors.seek(0)
            raise MeasurementError(f"{self._name} failed:\n{self._errors.read()[-2000:]}")
        return line


def measure(row: Row, loops: list[str], seconds: float) -> dict[str, Result | MeasurementError]:
    """One round of one row: what each of these loops has measured in so many seconds."""
    found: dict[str, list[Result]] = {loop: [] for loop in loops}
    failed: dict[str, Result | MeasurementError] = {}
    length = min(SLICE, seconds) if row.sliced else seconds

    @contextlib.contextmanager
    def attempt(loop: str) -> Iterator[None]:
        try:
            yield
        except MeasurementError as exc:
            failed[loop] = exc
            del found[loop]

    def is_short(slices: list[Result]) -> bool:
        return not slices or (row.sliced and sum(one.seconds for one in slices) < seconds - length / 2)

    with contextlib.ExitStack() as stack:
        # All of them begin before the first is waited for.
        workers = {loop: stack.enter_context(working(loop, row)) for loop in loops}
        for loop, worker in workers.items():
            with attempt(loop):
                worker.wait_until_ready()
        while left := [loop for loop, slices in found.items() if is_short(slices)]:
            for loop in left:
                with attempt(loop):
                    found[loop].append(workers[loop].measure(length))
    return {**{loop: joined(slices) for loop, slices in found.items()}, **failed}


def not_measured(row: Row, loop: str) -> str | None:
    """Why `loop` has no figure in `row`; None if it can be measured."""
    if loop == "ceiling":
        return None if row.ceiling is not None else ""
    if missing(loop) or not all(map(importlib.util.find_spec, row.packages)) or not all(map(shutil.which, row.programs)):
        return "missing"
    return None if row.flavour == "asyncio" or loop in TRIO_RUNNERS else ""


class Progress:
    """Where the run is, on stderr: one line that changes on a terminal, else a line per row and round."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._start = time.monotonic()

    def show(self, where: str) -> None:
        left = f", {(time.monotonic() - self._start) / self._done * (self._total - self._done) / 60:.0f} min left" if self._done else ""
        self._done += 1
        start, end = ("\r\033[K", "") if sys.stderr.isatty() else ("", "\n")
        print(f"{start}{where}{left}", end=end, file=sys.stderr, flush=True)

    def end(self) -> None:
        if sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr)


def run(rows: list[Row], loops: list[str], rounds: int, seconds: float) -> report.Results:
    """All measurements. Ctrl-C ends them early, and what is there counts."""
    results: dict[str, dict[str, Any]] = {row.name: {loop: not_measured(row, loop) for loop in loops} for row in rows}
    for of_row in results.values():
        of_row.update({loop: [] for loop, reason in of_row.items() if reason is None})
    progress = Progress(rounds * len(rows))
    try:
        for number in range(rounds):
            # Each round begins with another loop.
            turned = loops[number % len(loops) :] + loops[: number % len(loops)]
            for row in rows:
                of_row = results[row.name]
                progress.show(f"round {number + 1} of {rounds}: {row.name}")
                for loop, found in measure(row, [loop for loop in turned if isinstance(of_row[loop], list)], seconds).items():
                    if isinstance(found, MeasurementError):
                        print(f"\n{found}", file=sys.stderr)
                        # Once is enough to know.
                        of_row[loop] = "failed"
                    else:
                        of_row[loop].append(found)
    except KeyboardInterrupt:
        print("\ninterrupted: the table is of what was measured until here", file=sys.stderr)
    progress.end()
    return {name: {loop: found or "" for loop, found in of_row.items()} for name, of_row in results.items()}
