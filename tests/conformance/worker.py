"""One module of CPython's suite in a process of its own: `python -m tests.conformance.worker OPTIONS MODULE`.

Writes a JSON line when a test begins and one when it ends, so that a test that hangs or kills the process is known by name.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import unittest
from typing import IO, Any

from . import PREFIX
from .substitution import Counts, count_stdlib_loops, substitute


class Reporter(unittest.TestResult):
    """Writes each result as it comes. A test has one result: the worst of its subtests and its clean-up."""

    def __init__(self, lines: IO[str]) -> None:
        super().__init__()
        self._lines = lines
        self._result: tuple[str, str] = ("pass", "")

    def write(self, **record: Any) -> None:
        self._lines.write(json.dumps(record) + "\n")
        self._lines.flush()

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self._result = ("pass", "")
        self.write(begins=short_id(test))

    def stopTest(self, test: unittest.TestCase) -> None:
        super().stopTest(test)
        result, text = self._result
        self.write(ends=short_id(test), result=result, text=text)

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        super().addSkip(test, reason)
        self._result = ("skip", reason)

    def addExpectedFailure(self, test: unittest.TestCase, err: Any) -> None:
        super().addExpectedFailure(test, err)

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:
        super().addUnexpectedSuccess(test)
        self._result = ("fail", "unexpected success")

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        super().addFailure(test, err)
        self._result = ("fail", self.failures[-1][1])

    def addError(self, test: unittest.TestCase, err: Any) -> None:
        super().addError(test, err)
        self._result = ("error", self.errors[-1][1])
        if not isinstance(test, unittest.TestCase):
            # A fixture of a class or of the module: it has no beginning and no end of its own.
            self.write(ends=str(test), result="error", text=self.errors[-1][1])

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: Any) -> None:
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._result = ("fail", (self.failures + self.errors)[-1][1])


def short_id(test: unittest.TestCase) -> str:
    """`module.Class.test` without the name of the package."""
    return test.id().removeprefix(PREFIX)


def flatten(suite: unittest.TestSuite) -> list[Any]:
    """The tests of `suite`, in order."""
    return [case for test in suite for case in (flatten(test) if isinstance(test, unittest.TestSuite) else [test])]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("module")
    parser.add_argument("--stdlib", action="store_true", help="leave the standard library's loop in its place")
    parser.add_argument("--results", required=True, help="the file for the JSON lines")
    parser.add_argument("--only", nargs="*", help="run just these tests")
    parser.add_argument("--without", nargs="*", default=[], help="run all but these tests")
    options = parser.parse_args()

    faulthandler.enable()
    count_stdlib_loops()
    if not options.stdlib:
        substitute()
    with open(options.results, "a") as lines:
        reporter = Reporter(lines)
        try:
            tests = flatten(unittest.defaultTestLoader.loadTestsFromName(PREFIX + options.module))
        except unittest.SkipTest as exc:
            reporter.write(ends=options.module, result="skip", text=str(exc))
            tests = []
        chosen = [
            test for test in tests if short_id(test) not in options.without and (options.only is None or short_id(test) in options.only)
        ]
        # A suite again: it runs the fixtures of classes and of the module.
        unittest.TestSuite(chosen).run(reporter)
        reporter.write(made=Counts.made, driven=Counts.driven, stdlib_driven=Counts.stdlib_driven)


if __name__ == "__main__":
    main()
