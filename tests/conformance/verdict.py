"""What a module's report means: differences to the standard library's loop, after second runs of what did not pass."""

from __future__ import annotations

import dataclasses
import fnmatch
import importlib.util
import pkgutil

from .not_expected import entries, reason
from .processes import Report, run_module, run_test

# Modules that test the abstract parts with mocks, or another platform: no real loop is driven in them
# (in test_runners from Python 3.13 one is).
WITHOUT_LOOP = {
    "test_futures",
    "test_pep492",
    "test_protocols",
    "test_runners",
    "test_transports",
    "test_proactor_events",
    "test_selector_events",
    "test_windows_events",
    "test_windows_utils",
    "test_tools",
}


@dataclasses.dataclass
class Verdict:
    """A module's report and what is wrong with it: `differences` and `problems` must be empty."""

    report: Report
    differences: dict[str, str] = dataclasses.field(default_factory=dict)
    problems: list[str] = dataclasses.field(default_factory=list)
    expected: list[str] = dataclasses.field(default_factory=list)
    fails_on_stdlib: list[str] = dataclasses.field(default_factory=list)
    flaky: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def good(self) -> bool:
        return not self.differences and not self.problems

    def __str__(self) -> str:
        report = self.report
        count = dict.fromkeys(("pass", "skip", "fail", "error", "hang"), 0)
        for outcome in report.outcomes.values():
            count[outcome.result] += 1
        results = ", ".join(f"{number} {name}" for name, number in count.items() if number)
        line = (
            f"{report.module}: {results}; our loops made {report.made}, driven {report.driven}, "
            f"stdlib loops driven {report.stdlib_driven}; {report.seconds:.0f} s"
        )
        for title, names in (
            ("not expected to pass", self.expected),
            ("fails on the stdlib's loop too", self.fails_on_stdlib),
            ("FLAKY, passed only the second time", self.flaky),
            ("PROBLEM", self.problems),
            ("DIFFERENCE", self.differences),
        ):
            line += "".join(f"\n  {title}: {name}" for name in names)
        return line


def modules() -> list[str]:
    """The modules of the running Python's suite, those that take longest first. Raises ModuleNotFoundError without one."""
    if importlib.util.find_spec("test") is None or (spec := importlib.util.find_spec("test.test_asyncio")) is None:
        raise ModuleNotFoundError(
            "this Python comes without its test suite (the package test.test_asyncio); "
            "install it, for example Debian's libpython3-testsuite, or use a Python built from source"
        )
    names = [module.name for module in pkgutil.iter_modules(spec.submodule_search_locations) if module.name.startswith("test_")]
    slow = ["test_ssl", "test_tasks", "test_events", "test_subprocess", "test_taskgroups"]
    return [name for name in slow if name in names] + [name for name in names if name not in slow]


def entries_without_module() -> list[str]:
    """The patterns of not_expected.py that name no module of the running Python's suite, for which nobody judges them."""
    known = modules()
    return [entry.pattern for entry in entries() if entry.pattern.partition(".")[0] not in known]


def judge(module: str, place: str = "ours") -> Verdict:
    """Run `module` on our loop and compare."""
    report = run_module(module, place)
    verdict = Verdict(report)
    for test, outcome in report.outcomes.items():
        if reason(test) is not None:
            if outcome.result == "pass":
                verdict.problems.append(f"{test} passed, although it is listed in not_expected.py")
            elif outcome.bad:
                verdict.expected.append(test)
        elif outcome.bad:
            _look_again(verdict, test, outcome.text, place)
    _compare_skipped(verdict)
    verdict.problems += [
        f"not_expected.py lists {entry.pattern}, which this Python's suite does not have"
        for entry in entries()
        if entry.pattern.startswith(module + ".") and not fnmatch.filter(report.outcomes, entry.pattern)
    ]
    if module not in WITHOUT_LOOP and not report.driven and any(o.result == "pass" for o in report.outcomes.values()):
        verdict.problems.append("our loop was never driven")
    if report.stdlib_driven:
        verdict.problems.append(f"loops of the standard library were driven {report.stdlib_driven} times")
    return verdict


def _look_again(verdict: Verdict, test: str, text: str, place: str) -> None:
    """A test has failed on our loop: does it by itself, and on the standard library's loop?"""
    if " " in test or not test.startswith(verdict.report.module + "."):
        # A fixture, or the process: nothing that can be run by itself.
        verdict.differences[test] = text
    elif not run_test(test, place).bad:
        verdict.flaky[test] = text
    elif run_test(test, "stdlib").bad:
        verdict.fails_on_stdlib.append(test)
    else:
        verdict.differences[test] = text


def _compare_skipped(verdict: Verdict) -> None:
    """A test that skips itself on our loop must not pass on the standard library's."""
    outcomes = verdict.report.outcomes
    skipped = [test for test, outcome in outcomes.items() if outcome.result == "skip"]
    if skipped:
        others = run_module(verdict.report.module, "stdlib", skipped).outcomes
        for test in skipped:
            if test in others and others[test].result == "pass":
                verdict.differences[test] = f"is skipped on our loop, and passes on the standard library's: {outcomes[test].text}"
