"""The table of docs/compatibility.md says of each library what its tests said, and nothing better."""

from __future__ import annotations

from pathlib import Path

import pytest

from .ecosystem import results
from .ecosystem.results import LIBRARIES, Result, Results, RunOfTests
from .ecosystem.table import PAGE, short_table, table

VERSIONS = dict.fromkeys(["trio", *(name for names in LIBRARIES.values() for name in names)], "1.0")


def row_of(library: str, *runs: RunOfTests) -> list[str]:
    (row,) = [line for line in table(list(runs)).splitlines() if line.startswith(f"| {library} ")]
    return [cell.strip() for cell in row.strip("|").split("|")]


def run_of(*results: Result, python: str = "3.11.7") -> RunOfTests:
    return RunOfTests(python, VERSIONS, list(results))


def passing(test: str) -> list[Result]:
    return [Result("test_redis", test, kind, True) for kind in ("hosted", "driven")]


def test_row_says_what_was_done_and_where() -> None:
    run = run_of(*passing("test_publish"), *passing("test_many_at_once"))
    other = RunOfTests("3.13.0", {**VERSIONS, "redis": "2.0"}, run.results)
    assert row_of("redis", run, other) == ["redis 1.0 / redis 2.0", "publish; many at once", "3.11.7, 3.13.0"]


def test_readme_has_the_libraries_by_where_they_passed() -> None:
    failed = run_of(*passing("test_publish"), Result("test_redis", "test_publish", "driven", False))
    lines = short_table([failed]).splitlines()
    assert lines[0] == "| libraries, with trio 1.0 | passed on Python |"
    assert "| redis 1.0 | not 3.11.7 (test_publish) |" in lines
    (others,) = [line for line in lines if "pyzmq" in line]
    assert "aiohttp 1.0, aiosqlite 1.0" in others
    assert others.endswith("| not 3.11.7 (not run) |")


def test_failure_of_either_kind_is_a_failure() -> None:
    run = run_of(*passing("test_publish"), Result("test_redis", "test_publish", "driven", False))
    assert row_of("redis", run)[2] == "not 3.11.7 (test_publish)"


def test_what_did_not_run_has_not_passed() -> None:
    whole, part = run_of(*passing("test_a"), *passing("test_b")), run_of(*passing("test_a"), python="3.13.0")
    assert row_of("redis", whole, part)[2] == "3.11.7, not 3.13.0 (test_b)"
    assert row_of("pyzmq", whole)[2] == "not 3.11.7 (not run)"


def test_failure_on_the_loop_of_asyncio_says_nothing_about_ours() -> None:
    run = run_of(*passing("test_publish"), Result("test_redis", "test_publish", "asyncio", False))
    assert row_of("redis", run)[2] == "3.11.7"


def test_every_phase_of_a_test_counts() -> None:
    results = Results()
    for passed in (True, True, False):
        results.add("test_redis", "test_publish[hosted]", passed)
    results.add("test_program", "test_of_no_library[hosted]", False)
    assert results.all() == [Result("test_redis", "test_publish", "hosted", False)]


def test_every_library_of_the_table_has_its_file_and_the_other_way_round() -> None:
    files = {path.stem for path in (PAGE.parents[1] / "tests" / "ecosystem").glob("test_*.py")}
    assert files - {"test_examples", "test_program", "test_servers_and_tools", "test_suites_of_libraries"} == set(LIBRARIES)


def test_a_run_of_some_tests_keeps_what_is_known_of_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(versions: dict[str, str], *tests: str, passed: bool = True) -> RunOfTests:
        monkeypatch.setattr(results, "_versions", lambda: versions)
        run = Results()
        for test in tests:
            run.add("test_redis", f"{test}[driven]", passed)
        run.write(tmp_path)
        return results.read(next(tmp_path.iterdir()))

    run({"trio": "1.0", "redis": "1.0"}, "test_a", "test_b")
    after = run({"trio": "1.0", "redis": "1.0"}, "test_b", passed=False)
    assert sorted(after.results) == [("test_redis", "test_a", "driven", True), ("test_redis", "test_b", "driven", False)]
    after = run({"trio": "1.0", "redis": "2.0"}, "test_b")
    assert after.results == [("test_redis", "test_b", "driven", True)]


def test_a_library_that_is_not_there_has_no_version() -> None:
    assert row_of("redis", RunOfTests("3.11.7", {"trio": "1.0"}, [])) == ["redis", "", "not 3.11.7 (not run)"]
