"""One module of CPython's suite in a process of its own: `python -m tests.conformance.worker OPTIONS MODULE`.

Writes a JSON line when a test begins and one when it ends, so that a test that hangs or kills the process is known by name.
Each ending carries the counts of loops so far, so that they survive such an end too.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import resource
import signal
import unittest
from typing import IO, Any

from . import PREFIX
from .processes import PLACES
from .substitution import Counts, count_stdlib_loops, substitute

# Bytes. A loop of mocks that is never woken keeps a record of every call, gigabytes of them before its time is up.
MEMORY = 4 << 30
# A test can have several results, of its parts and its clean-up: the worst counts.
SEVERITY = ("pass", "skip", "fail", "error")


class Reporter(unittest.TestResult):
    """Writes each result as it comes."""

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
        self.end(short_id(test), result, text)

    def end(self, test: str, result: str, text: str) -> None:
        """Write how `test` ended."""
        self.write(ends=test, result=result, text=text, counts=Counts.now())

    def _worsen(self, result: str, text: str) -> None:
        if SEVERITY.index(result) >= SEVERITY.index(self._result[0]):
            self._result = (result, text)

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        super().addSkip(test, reason)
        self._worsen("skip", reason)

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:
        super().addUnexpectedSuccess(test)
        self._worsen("fail", "unexpected success")

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        super().addFailure(test, err)
        self._worsen("fail", self.failures[-1][1])

    def addError(self, test: unittest.TestCase, err: Any) -> None:
        super().addError(test, err)
        text = self.errors[-1][1]
        if isinstance(test, unittest.TestCase):
            self._worsen("error", text)
        else:
            # A fixture of a class or of the module: it has no beginning and no end of its own.
            self.end(str(test).replace(PREFIX, ""), "error", text)

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: Any) -> None:
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._worsen("fail", (self.failures if issubclass(err[0], test.failureException) else self.errors)[-1][1])


def short_id(test: unittest.TestCase) -> str:
    """`module.Class.test` without the name of the package."""
    return test.id().removeprefix(PREFIX)


def flatten(suite: unittest.TestSuite) -> list[Any]:
    """The tests of `suite`, in order."""
    return [case for test in suite for case in (flatten(test) if isinstance(test, unittest.TestSuite) else [test])]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("module")
    parser.add_argument("--place", choices=PLACES, default="ours", help="which loop the tests get")
    parser.add_argument("--results", required=True, help="the file for the JSON lines")
    parser.add_argument("--only", nargs="*", help="run just these tests")
    parser.add_argument("--without", nargs="*", default=[], help="run all but these tests")
    options = parser.parse_args()

    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # A job in the background inherits that Ctrl-C is ignored, and tests that interrupt themselves would wait for ever.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    count_stdlib_loops()
    if options.place == "ours":
        substitute()
    elif options.place != "stdlib":
        substitute(options.place)
    with open(options.results, "a") as lines:
        reporter = Reporter(lines)
        try:
            tests = flatten(unittest.defaultTestLoader.loadTestsFromName(PREFIX + options.module))
        except unittest.SkipTest as exc:
            reporter.end(options.module, "skip", str(exc))
            tests = []
        chosen = [
            test for test in tests if short_id(test) not in options.without and (options.only is None or short_id(test) in options.only)
        ]
        reporter.write(plan=[short_id(test) for test in chosen])
        # A suite again: it runs the fixtures of classes and of the module.
        unittest.TestSuite(chosen).run(reporter)
        # Loops of the last test were perhaps closed, which drives them, after it had ended.
        reporter.write(finished=True, counts=Counts.now())


if __name__ == "__main__":
    main()
