"""Thousands of generated programs, compared: `python -m tests.trust --examples 5000 [--seed N]`, for the night."""

from __future__ import annotations

import argparse
import gc
import random

from hypothesis import HealthCheck, Phase, given, seed, settings

from .programs import Program, programs
from .test_differential import compare
from .worlds import OURS

parser = argparse.ArgumentParser(prog="python -m tests.trust", description=__doc__)
parser.add_argument("--examples", type=int, default=5000, help="how many programs")
parser.add_argument("--seed", type=int, default=random.randrange(1_000_000_000), help="what a run before has printed, to repeat it")
parser.add_argument("--worlds", nargs="*", choices=OURS, default=list(OURS), help="kinds of loop to compare with asyncio's")
options = parser.parse_args()
count = 0
failed = False


@seed(options.seed)
@settings(
    max_examples=options.examples,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, Phase.shrink],
)
@given(programs)
def check(program: Program) -> None:
    global count, failed
    count += 1
    # What Hypothesis keeps need not be looked at in each program's collections: in the end they were nearly all of the time.
    gc.freeze()
    try:
        compare(program, options.worlds)
    except BaseException:
        if not failed:
            # To make it smaller takes up to five minutes.
            failed = True
            print(f"after {count} programs, this one fails; looking for a smaller one\n{program}", flush=True)
        raise


gc.collect()
print(f"seed {options.seed}", flush=True)
check()
print(f"{count} programs behave on {', '.join(options.worlds)} as on asyncio's own loop")
