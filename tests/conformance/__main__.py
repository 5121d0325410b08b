"""`python -m tests.conformance`: CPython's asyncio tests on our loop, by hand."""

from __future__ import annotations

import argparse
import concurrent.futures
import sys

from .not_expected import reason
from .processes import Report, run_module
from .verdict import Verdict, entries_without_module, judge, modules


def main() -> int:
    try:
        known = modules()
    except ModuleNotFoundError as exc:
        print(exc, file=sys.stderr)
        return 2
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description="Run CPython's test.test_asyncio on our loop.")
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="for example test_events; default: all")
    parser.add_argument("-j", "--jobs", type=int, default=2, help="processes at a time (default: 2)")
    parser.add_argument("-v", "--verbose", action="store_true", help="show why tests are skipped or not expected to pass")
    parser.add_argument("--baseline", action="store_true", help="run on the standard library's loop, and only show what fails")
    parser.add_argument("--poller", choices=("nested", "task"), help="give every loop this poller, not the one most like its selector")
    options = parser.parse_args()
    if unknown := set(options.modules) - set(known):
        parser.error(f"this Python's test.test_asyncio has no {', '.join(sorted(unknown))}")
    names = options.modules or known
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        if options.baseline:
            return _show_baseline([pool.submit(run_module, name, "stdlib") for name in names])
        verdicts = []
        for future in concurrent.futures.as_completed([pool.submit(judge, name, options.poller or "ours") for name in names]):
            verdicts.append(future.result())
            print(verdicts[-1], flush=True)
            if options.verbose:
                _show_reasons(verdicts[-1])
    return _summary(verdicts, [] if options.modules else entries_without_module())


def _show_baseline(futures: list[concurrent.futures.Future[Report]]) -> int:
    for future in concurrent.futures.as_completed(futures):
        report = future.result()
        passed, skipped = (sum(o.result == result for o in report.outcomes.values()) for result in ("pass", "skip"))
        print(
            f"{report.module}: {passed} pass, {skipped} skip; our loops made {report.made}, "
            f"stdlib loops driven {report.stdlib_driven}; {report.seconds:.0f} s"
        )
        print("".join(f"  fails: {test}\n" for test, outcome in report.outcomes.items() if outcome.bad), end="", flush=True)
    return 0


def _show_reasons(verdict: Verdict) -> None:
    for test, outcome in verdict.report.outcomes.items():
        if outcome.result == "skip":
            print(f"  skipped: {test}: {outcome.text}")
        elif test in verdict.expected:
            print(f"  not expected to pass: {test}: {reason(test)}")


def _summary(verdicts: list[Verdict], stale: list[str]) -> int:
    for verdict in verdicts:
        for title, tests in (("flaky", verdict.flaky), ("difference", verdict.differences)):
            print("".join(f"\n=== {title}: {test}\n{text}" for test, text in tests.items()), end="")
    print("".join(f"\nnot_expected.py lists {pattern}, and this Python's suite has no such module" for pattern in stale), end="")
    outcomes = [outcome for verdict in verdicts for outcome in verdict.report.outcomes.values()]
    driven = sum(verdict.report.driven for verdict in verdicts)
    good = sum(verdict.good for verdict in verdicts)
    print(
        f"\nPython {sys.version.split()[0]}: {len(outcomes)} tests, "
        f"{sum(outcome.result == 'pass' for outcome in outcomes)} passed, "
        f"{sum(outcome.result == 'skip' for outcome in outcomes)} skipped, "
        f"{sum(len(v.expected) for v in verdicts)} not expected to pass, "
        f"{sum(len(v.fails_on_stdlib) for v in verdicts)} fail on the standard library's loop too, "
        f"{sum(len(v.flaky) for v in verdicts)} flaky, "
        f"{sum(len(v.differences) for v in verdicts)} differ; our loop was driven {driven} times; "
        f"{good} of {len(verdicts)} modules are as they should be"
    )
    return 0 if good == len(verdicts) and not stale else 1


if __name__ == "__main__":
    sys.exit(main())
