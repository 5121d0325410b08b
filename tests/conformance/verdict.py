"""What a module's report means: differences to the standard library's loop, after second runs of what failed."""

from __future__ import annotations

import dataclasses
import fnmatch
import importlib.util
import pkgutil

from . import PREFIX
from .not_expected import entries, reason
from .processes import Report, run_module

# Modules that test the abstract parts with mocks, or another platform: no real loop is driven in them.
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
    "test_graph",
}


@dataclasses.dataclass
class Verdict:
    """A module's report and what is wrong with it: `differences` and `problems` must be empty."""

    report: Report
    differences: dict[str, str] = dataclasses.field(default_factory=dict)
    problems: list[str] = dataclasses.field(default_factory=list)
    expected: list[str] = dataclasses.field(default_factory=list)
    fails_on_stdlib: list[str] = dataclasses.field(default_factory=list)
    flaky: list[str] = dataclasses.field(default_factory=list)

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
            ("passed only the second time", self.flaky),
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


def judge(module: str) -> Verdict:
    """Run `module` on our loop and compare."""
    report = run_module(module)
    verdict = Verdict(report)
    for test, outcome in report.outcomes.items():
        if reason(test) is not None:
            if outcome.result == "pass":
                verdict.problems.append(f"{test} passed, although it is listed in not_expected.py")
            elif outcome.bad:
                verdict.expected.append(test)
        elif outcome.bad:
            _look_again(verdict, test, outcome.text)
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


def _look_again(verdict: Verdict, test: str, text: str) -> None:
    """A test has failed on our loop: does it by itself, and on the standard library's loop?"""
    module = verdict.report.module
    if not test.startswith(module + ".") or PREFIX in test:
        verdict.differences[test] = text
    elif not run_module(module, only=[test]).outcomes[test].bad:
        verdict.flaky.append(test)
    elif run_module(module, stdlib=True, only=[test]).outcomes[test].bad:
        verdict.fails_on_stdlib.append(test)
    else:
        verdict.differences[test] = text
