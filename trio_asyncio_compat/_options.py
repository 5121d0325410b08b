"""The options of `python -m trio_asyncio_compat`, and the loops that a program gets by them. Used by `__main__.py`."""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
from typing import TYPE_CHECKING

from ._loop import DEFAULT_SLICE_LENGTH, TrioEventLoop
from ._strict import StrictReports

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

_WITH_VALUE = ("--loop-slice", "--slow-callback", "--tasktree-on")
_WITHOUT = ("--debug", "--flavour-free", "--strict")
# Python's own, which may stand in one word: some without a value, then one with a value or the program itself. Not `-x`, which tells python
# to skip the first line of the file that it opens, nor `-h` and `-V`.
_OF_PYTHON = re.compile(r"-(?P<without>[bBdEiIOPqsSuv]*)(?:[WX](?P<value>.*)|(?P<program>[mc].*))?", re.DOTALL)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Tell the parser about the options."""
    parser.add_argument("--debug", action="store_true", help="asyncio's debug mode, in every loop")
    parser.add_argument(
        "--slow-callback", metavar="SECONDS", type=_seconds, help="log callbacks that take so long or longer; turns --debug on"
    )
    parser.add_argument(
        "--loop-slice",
        metavar="SECONDS",
        type=_slice_length,
        default=DEFAULT_SLICE_LENGTH,
        help="how long callbacks may run in a row before trio's tasks get their turn (default: %(default)s)",
    )
    parser.add_argument("--flavour-free", action="store_true", help="let every asyncio task await both asyncio and trio")
    parser.add_argument(
        "--strict", action="store_true", help="fail at the end, with all of them, if there were errors that asyncio would only log"
    )
    parser.add_argument(
        "--tasktree-on", metavar="SIGNAL", type=_signal, help="print the tree of all tasks to stderr whenever the signal comes"
    )


def split(argv: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """What stands before the program and is for us, what is for python, and the rest."""
    ours: list[str] = []
    pythons: list[str] = []
    rest = list(argv)
    while rest:
        name, equals, _ = rest[0].partition("=")
        if name in _WITH_VALUE + _WITHOUT:
            count = 2 if name in _WITH_VALUE and not equals else 1
            ours += rest[:count]
        elif rest[0] != "-" and (option := _OF_PYTHON.fullmatch(rest[0])):
            if option["program"]:
                if option["without"]:
                    pythons.append("-" + option["without"])
                rest[0] = "-" + option["program"]
                break
            count = 2 if option["value"] == "" else 1
            if len(rest) < count:
                break
            pythons += rest[:count]
        else:
            break
        del rest[:count]
    return ours, pythons, rest


def start_again(pythons: Sequence[str], ours: Sequence[str], program: Sequence[str], parser: argparse.ArgumentParser) -> NoReturn:
    """Replace this process by the same command in a python that has these options: most of them cannot be had later."""
    arguments = sys.argv[1:]
    count = len(sys.orig_argv) - len(arguments)
    if not sys.executable or sys.orig_argv[count:] != arguments or sys.platform == "win32":
        # Another program has called the command, with arguments it has made up; or who waits for this process would not wait for the other.
        parser.error(f"{' '.join(pythons)}: give this to python itself, before '-m trio_asyncio_compat'")
    os.execv(sys.executable, [sys.executable, *pythons, *sys.orig_argv[1:count], *ours, *program])


def _seconds(text: str) -> float:
    seconds = float(text)
    if not seconds >= 0:
        raise argparse.ArgumentTypeError(f"a number of seconds is needed, not {text}")
    return seconds


def _slice_length(text: str) -> float:
    seconds = _seconds(text)
    if not seconds:
        raise argparse.ArgumentTypeError("it must be longer than 0")
    return seconds


def _signal(name: str) -> signal.Signals:
    signum = getattr(signal, name, None)
    if not isinstance(signum, signal.Signals):
        raise argparse.ArgumentTypeError(f"{name!r} is no signal of this system; SIGUSR1 is one on most")
    return signum


class Loops:
    """Makes the program's loops as the options say. `strict` has the errors of all of them, if it was asked for."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self.strict = StrictReports() if options.strict else None

    def __call__(self) -> TrioEventLoop:
        options = self._options
        loop = TrioEventLoop(slice_length=options.loop_slice)
        if options.slow_callback is not None:
            loop.slow_callback_duration = options.slow_callback
        if options.debug or options.slow_callback is not None:
            loop.set_debug(True)
        if options.flavour_free:
            # Here, since most programs are run without.
            from .border.flavour_free import flavour_free_task_factory

            loop.set_task_factory(flavour_free_task_factory)
        if self.strict is not None:
            self.strict.watch(loop)
        return loop
