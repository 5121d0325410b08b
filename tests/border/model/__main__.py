"""`python -m tests.border.model 20000 [first seed]`: try so many random programs, and show a small one for the first that fails."""

from __future__ import annotations

import pprint
import random
import signal
import sys

from .execution import execute
from .generation import Generator, shrink
from .prediction import decided, predict
from .programs import Body, Records


def _differs(program: Body) -> bool:
    predicted = predict(program)
    return predicted is not None and _run(program) != predicted and decided(program) is not None


class Hang(BaseException):
    """A program that takes a few milliseconds takes a second."""


def _hangs(signum: int, frame: object) -> None:
    raise Hang


def _run(program: Body) -> Records | str:
    signal.setitimer(signal.ITIMER_REAL, 1, 0.1)
    try:
        return execute(program)
    except (Exception, Hang) as exc:
        return repr(exc)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _show(program: Body) -> None:
    predicted, recorded = predict(program), _run(program)
    if predicted is None or isinstance(recorded, str):
        print(recorded)
        return
    for path in sorted(predicted.keys() | recorded.keys()):
        if predicted.get(path) != recorded.get(path):
            print(f"{path}: {recorded.get(path)}, and the model says {predicted.get(path)}", flush=True)


def main(count: int, first: int) -> int:
    signal.signal(signal.SIGALRM, _hangs)
    for seed in range(first, first + count):
        program = Generator(random.Random(seed)).program()
        if _differs(program):
            _show(program)
            print(f"seed {seed} fails; shrinking it", flush=True)
            program = shrink(program, _differs)
            pprint.pp(program, width=120)
            _show(program)
            return 1
    print(f"{count} programs do what the model says")
    return 0


if __name__ == "__main__":
    arguments = [int(argument) for argument in sys.argv[1:]]
    sys.exit(main(arguments[0] if arguments else 20000, arguments[1] if len(arguments) > 1 else 0))
