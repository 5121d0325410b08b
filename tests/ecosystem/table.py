"""`python -m tests.ecosystem.table`: the compatibility table of docs/compatibility.md, from what the tests wrote down about themselves."""

from __future__ import annotations

import argparse
from pathlib import Path

from .results import FOLDER, LIBRARIES, PATTERN, RunOfTests, read
from .support import ROOT

PAGE = ROOT / "docs" / "compatibility.md"
BEGIN, END = "<!-- written by python -m tests.ecosystem.table -->", "<!-- end of what it has written -->"
# Those of a whole run; `--stock-asyncio` adds another, which says nothing about us.
KINDS = {"hosted", "driven"}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.ecosystem.table", description="Writes the compatibility table into the docs.")
    parser.add_argument("results", nargs="*", type=Path, help="files that the tests have written; by default all of them, in build/")
    files = parser.parse_args().results or sorted(FOLDER.glob(PATTERN.format("*")))
    if not files:
        parser.error("there are no results: run python -m pytest tests/ecosystem")
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{table([read(file) for file in files])}\n{END}{after}")


def table(runs: list[RunOfTests]) -> str:
    """A row for each library: its version, what was done with it, and the Pythons on which all of that passed, hosted and driven."""
    lines = ["| library | what was done | passed on Python |", "| --- | --- | --- |"]
    for file, names in LIBRARIES.items():
        done = {result.test: None for run in runs for result in run.results if result.file == file}
        versions = [", ".join(f"{name} {run.versions[name]}" for name in names) or "subprocesses of asyncio" for run in runs]
        what = "; ".join(test.removeprefix("test_").replace("_", " ") for test in done)
        where = ", ".join(_verdict(run, file, set(done)) for run in runs)
        lines.append(f"| {' / '.join(dict.fromkeys(versions))} | {what} | {where} |")
    trios = " / ".join(dict.fromkeys(run.versions["trio"] for run in runs))
    return "\n".join([*lines, "", f"With trio {trios}; each row hosted in `trio.run` and driven by `asyncio.Runner`."])


def _verdict(run: RunOfTests, file: str, tests: set[str]) -> str:
    if not tests:
        return f"not {run.python} (not run)"
    ran = {(result.test, result.kind) for result in run.results if result.file == file}
    failed = {result.test for result in run.results if result.file == file and not result.passed and result.kind in KINDS}
    failed |= {test for test in tests for kind in KINDS if (test, kind) not in ran}
    return run.python if not failed else f"not {run.python} ({', '.join(sorted(failed))})"


if __name__ == "__main__":
    main()
