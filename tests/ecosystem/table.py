"""`python -m tests.ecosystem.table`: the compatibility tables of docs/compatibility.md and README.md, from what the tests wrote down about
themselves."""

from __future__ import annotations

import argparse
from pathlib import Path

from .results import FOLDER, LIBRARIES, PATTERN, RunOfTests, read
from .support import ROOT

PAGE = ROOT / "docs" / "compatibility.md"
README = ROOT / "README.md"
BEGIN, END = "<!-- written by python -m tests.ecosystem.table -->", "<!-- end of what it has written -->"
# Those of a whole run; `--stock-asyncio` adds another, which says nothing about us.
KINDS = {"hosted", "driven"}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.ecosystem.table", description="Writes the compatibility tables into the docs and README."
    )
    parser.add_argument("results", nargs="*", type=Path, help="files that the tests have written; by default all of them, in build/")
    files = parser.parse_args().results or sorted(FOLDER.glob(PATTERN.format("*")))
    if not files:
        parser.error("there are no results: run python -m pytest tests/ecosystem")
    runs = [read(file) for file in files]
    _write(PAGE, table(runs))
    _write(README, short_table(runs))


def _write(page: Path, text: str) -> None:
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


def table(runs: list[RunOfTests]) -> str:
    """A row for each library: its version, what was done with it, and the Pythons on which all of that passed, hosted and driven."""
    lines = ["| library | what was done | passed on Python |", "| --- | --- | --- |"]
    for file in LIBRARIES:
        done = _done(runs, file)
        what = "; ".join(test.removeprefix("test_").replace("_", " ") for test in done)
        where = ", ".join(_verdict(run, file, set(done)) for run in runs)
        lines.append(f"| {_library(runs, file)} | {what} | {where} |")
    return "\n".join([*lines, "", f"With {_trio(runs)}; each row hosted in `trio.run` and driven by `asyncio.Runner`."])


def short_table(runs: list[RunOfTests]) -> str:
    """The libraries by the Pythons on which they have passed."""
    libraries: dict[str, list[str]] = {}
    for file in LIBRARIES:
        where = ", ".join(_verdict(run, file, set(_done(runs, file))) for run in runs)
        libraries.setdefault(where, []).append(_library(runs, file))
    rows = [f"| {', '.join(each)} | {where} |" for where, each in libraries.items()]
    return "\n".join([f"| libraries, with {_trio(runs)} | passed on Python |", "| --- | --- |", *rows])


def _done(runs: list[RunOfTests], file: str) -> dict[str, None]:
    return {result.test: None for run in runs for result in run.results if result.file == file}


def _library(runs: list[RunOfTests], file: str) -> str:
    names = LIBRARIES[file]
    if not names:
        return "subprocesses of asyncio"
    versions = [", ".join(f"{name} {run.versions.get(name, '')}".strip() for name in names) for run in runs]
    return " / ".join(dict.fromkeys(versions))


def _trio(runs: list[RunOfTests]) -> str:
    return f"trio {' / '.join(dict.fromkeys(run.versions['trio'] for run in runs))}"


def _verdict(run: RunOfTests, file: str, tests: set[str]) -> str:
    if not tests:
        return f"not {run.python} (not run)"
    ran = {(result.test, result.kind) for result in run.results if result.file == file}
    failed = {result.test for result in run.results if result.file == file and not result.passed and result.kind in KINDS}
    failed |= {test for test in tests for kind in KINDS if (test, kind) not in ran}
    return run.python if not failed else f"not {run.python} ({', '.join(sorted(failed))})"


if __name__ == "__main__":
    main()
