"""`python -m tests.conformance`: CPython's asyncio tests on our loop, by hand."""

from __future__ import annotations

import argparse
import concurrent.futures
import sys

from .processes import Report, run_module
from .verdict import Verdict, judge, modules


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description="Run CPython's test.test_asyncio on our loop.")
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="for example test_events; default: all")
    parser.add_argument("-j", "--jobs", type=int, default=2, help="processes at a time (default: 2)")
    parser.add_argument("-v", "--verbose", action="store_true", help="show the tracebacks of differences")
    parser.add_argument("--baseline", action="store_true", help="run on the standard library's loop, and only show what fails")
    options = parser.parse_args()
    try:
        names = options.modules or modules()
    except ModuleNotFoundError as exc:
        print(exc, file=sys.stderr)
        return 2
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        if options.baseline:
            return _show_baseline([pool.submit(run_module, name, stdlib=True) for name in names])
        verdicts = []
        for future in concurrent.futures.as_completed([pool.submit(judge, name) for name in names]):
            verdicts.append(future.result())
            print(verdicts[-1], flush=True)
            if options.verbose:
                print("".join(f"\n{test}\n{text}\n" for test, text in verdicts[-1].differences.items()))
    return _summary(verdicts)


def _show_baseline(futures: list[concurrent.futures.Future[Report]]) -> int:
    for future in concurrent.futures.as_completed(futures):
        report = future.result()
        bad = [test for test, outcome in report.outcomes.items() if outcome.bad]
        print(f"{report.module}: {len(report.outcomes)} tests, stdlib loops driven {report.stdlib_driven}")
        print("".join(f"  fails: {test}\n" for test in bad), end="", flush=True)
    return 0


def _summary(verdicts: list[Verdict]) -> int:
    outcomes = [outcome for verdict in verdicts for outcome in verdict.report.outcomes.values()]
    passed = sum(outcome.result == "pass" for outcome in outcomes)
    print(
        f"\nPython {sys.version.split()[0]}: {len(outcomes)} tests, {passed} passed, "
        f"{sum(len(v.expected) for v in verdicts)} not expected to pass, "
        f"{sum(len(v.fails_on_stdlib) for v in verdicts)} fail on the standard library's loop too, "
        f"{sum(len(v.flaky) for v in verdicts)} passed only the second time, "
        f"{sum(len(v.differences) for v in verdicts)} differ; "
        f"our loop was driven {sum(v.report.driven for v in verdicts)} times"
    )
    return 0 if all(verdict.good for verdict in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
