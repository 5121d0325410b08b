"""Suites that libraries ship in their sdists, unchanged, by the pytest plugin: what passes on asyncio's own loop passes on ours."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import NamedTuple

import pytest


class Suite(NamedTuple):
    """How a library's suite is run, and how many tests of it pass at least, lest nothing was run."""

    name: str
    at_least: int
    options: tuple[str, ...] = ()
    tests: tuple[str, ...] = ("tests",)
    slow: bool = False


SUITES = [
    # Its configuration asks for pytest-cov, its benchmarks for a plugin of theirs.
    Suite("janus", 90, ("-o", "addopts=", "--ignore=tests/test_benchmarks.py")),
    Suite("aiofiles", 200),
    # What its backend rests on; the whole suite takes minutes. Half of it needs eager tasks, which Python 3.11 has not.
    Suite(
        "anyio",
        300,
        ("-k", "asyncio and not uvloop"),
        tuple(f"tests/{name}" for name in ("test_taskgroups.py", "test_synchronization.py", "test_subprocesses.py", "streams")),
        slow=True,
    ),
]


@pytest.mark.parametrize("suite", [pytest.param(suite, id=suite.name, marks=[pytest.mark.slow] * suite.slow) for suite in SUITES])
def test_suite_of_a_library_passes_on_our_loop(suite: Suite, tmp_path: Path) -> None:
    folder = sources(suite.name, tmp_path)
    stock, _ = outcomes(folder, *suite.options, *suite.tests)
    ours, shown = outcomes(folder, "--asyncio-on-trio", *suite.options, *suite.tests)
    passed = {test for test, outcome in stock.items() if outcome == "passed"}
    assert {test: ours.get(test) for test in passed if ours.get(test) != "passed"} == {}
    assert len(passed) >= suite.at_least
    made = re.search(r"asyncio on trio: (\d+) event loops made", shown)
    assert made is not None
    assert int(made[1]) >= suite.at_least


def sources(name: str, folder: Path) -> Path:
    """The unpacked sdist of the version that is installed."""
    wanted = f"{name}=={importlib.metadata.version(name)}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", name, "--dest", str(folder), wanted]
    subprocess.run(command, check=True)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


def outcomes(folder: Path, *options: str) -> tuple[dict[str, str], str]:
    """What became of each test of the suite, and what pytest said."""
    report = folder / "report.xml"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--junitxml={report}", *options]
    result = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    # Some fail on either loop, for reasons of their own (a test of permissions, for root).
    assert result.returncode in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED), result.stdout
    cases = ElementTree.parse(report).iter("testcase")
    return {f"{case.get('classname')}.{case.get('name')}": outcome(case) for case in cases}, result.stdout


def outcome(case: ElementTree.Element) -> str:
    said = {child.tag for child in case} & {"failure", "error", "skipped"}
    return min(said, default="passed")
