"""What the tests of the public API share: running one test on each kind of loop, and checking what it leaves behind.

The fixtures on top of this are in `conftest.py`.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import logging
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

import sniffio
import trio
from trio.testing import MockClock

from trio_asyncio_compat import TrioEventLoop, aio_as_trio, open_loop

T = TypeVar("T")

# How long a test may take before its main thread gets `Hang`.
HANG_SECONDS = 30
# From when on debug mode logs a callback: asyncio's tenth of a second is easily reached on a busy machine.
SLOW_SECONDS = 10
# How debug mode reports what took long in real time.
_TOOK_LONG = re.compile(r" took \d+\.\d+ seconds|^Trio was kept waiting for \d+\.\d+ seconds")
# What /proc calls descriptors that come and go with the interpreter, not with a loop.
_NOT_OURS = ("/dev/urandom",)

Poller = Literal["nested", "task"]


class Hang(BaseException):
    """The test hangs. Every thread's stack is on stderr."""


class Records(logging.Handler):
    """What the "asyncio" logger said at WARNING or above."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def take(self) -> list[str]:
        """The messages since the last call. The test has seen them, so they are not held against it."""
        messages = [record.getMessage() for record in self.records]
        self.records.clear()
        return messages


class Run:
    """Runs an asyncio-flavoured function to its end on one kind of loop."""

    def __init__(self, kind: str, log: Records) -> None:
        self.kind = kind
        self.log = log
        self.ours = kind != "asyncio"
        self.hosted = kind.startswith("hosted")
        self.driven = kind.startswith("driven")
        self.poller: Poller | None = None
        if self.ours:
            self.poller = "task" if kind.endswith("task") else "nested"

    def __call__(self, fn: Callable[..., Coroutine[Any, Any, T]], *args: Any, debug: bool | None = None) -> T:
        if self.hosted:
            return self.trio_run(lambda: aio_as_trio(fn)(*args), debug=debug)
        with asyncio.Runner(debug=debug, loop_factory=self.new_loop) as runner:
            runner.get_loop().slow_callback_duration = SLOW_SECONDS
            return runner.run(fn(*args))

    def trio_run(self, fn: Callable[[], Awaitable[T]], *, debug: bool | None = None, clock: trio.abc.Clock | None = None) -> T:
        """Run a trio-flavoured function inside an open loop."""

        async def main() -> T:
            async with open_loop(poller=self.poller, debug=debug) as loop:
                loop.slow_callback_duration = SLOW_SECONDS
                return await fn()

        return trio.run(main, clock=clock)

    def new_loop(self) -> asyncio.AbstractEventLoop:
        """A loop to be driven; not for the hosted kinds, which have none."""
        assert not self.hosted
        return TrioEventLoop(poller=self.poller) if self.ours else asyncio.SelectorEventLoop()


class VirtualRun(Run):
    """Hosted, on a clock that jumps to the next deadline when nothing else is left to do."""

    def __call__(self, fn: Callable[..., Coroutine[Any, Any, T]], *args: Any, debug: bool | None = None) -> T:
        return self.trio_run(lambda: aio_as_trio(fn)(*args), debug=debug, clock=MockClock(autojump_threshold=0))


@contextmanager
def hang_guard(seconds: float = HANG_SECONDS) -> Iterator[None]:
    """Raise `Hang` in the main thread when the block takes too long, again and again until it gives in."""
    alarms = 0

    def alarm(signum: int, frame: object) -> None:
        nonlocal alarms
        alarms += 1
        faulthandler.dump_traceback(file=sys.__stderr__ or 2)
        if alarms > 5:
            os._exit(70)
        raise Hang(f"no end after {seconds} s")

    before = signal.signal(signal.SIGALRM, alarm)
    signal.setitimer(signal.ITIMER_REAL, seconds, 5)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def complaints(stderr: str) -> list[str]:
    """The lines of a program's stderr, but for those about what took long: these say something of the machine only."""
    return [line for line in stderr.splitlines() if not _TOOK_LONG.search(line)]


def descriptors() -> dict[int, str]:
    """The open descriptors of this process, where the system can tell."""
    found: dict[int, str] = {}
    if os.path.isdir("/proc/self/fd"):
        for name in os.listdir("/proc/self/fd"):
            try:
                target = os.readlink(f"/proc/self/fd/{name}")
            except OSError:
                continue  # the listing's own
            if not target.startswith(_NOT_OURS):
                found[int(name)] = target
    return found


def threads() -> set[threading.Thread]:
    """The running threads but for idle ones that trio keeps for its next job."""
    return {thread for thread in threading.enumerate() if not thread.name.startswith("Trio thread")}


def state_of_thread() -> dict[str, object]:
    """What a loop sets in its thread and must put back."""
    return {
        "SIGINT handler": signal.getsignal(signal.SIGINT),
        "async generator hooks": tuple(sys.get_asyncgen_hooks()),
        "running loop": asyncio._get_running_loop(),
        "sniffio": sniffio.thread_local.name,
        "in trio": trio.lowlevel.in_trio_run(),
        "origin tracking": sys.get_coroutine_origin_tracking_depth(),
        "wakeup descriptor": wakeup_fd(),
    }


def wakeup_fd() -> int:
    """The descriptor to which Python writes the numbers of signals; -1 for none."""
    fd = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(fd)
    return fd


@contextmanager
def nothing_left_behind(log: Records) -> Iterator[None]:
    """Check that the block leaves the process as it found it: no descriptors, threads, children, handlers, log lines.

    Objects that complain when they are collected do so inside of it, where pytest turns that into a failure.
    """
    before_fds, before_threads, before_state, before_children = descriptors(), threads(), state_of_thread(), children()
    logger = logging.getLogger("asyncio")
    logger.addHandler(log)
    try:
        yield
        gc.collect()
    finally:
        logger.removeHandler(log)
    assert log.take() == []
    assert state_of_thread() == before_state
    deadline = time.monotonic() + 5
    while (left := threads() - before_threads) and time.monotonic() < deadline:
        left.pop().join(0.01)
    assert threads() - before_threads == set()
    after = descriptors()
    assert {fd: target for fd, target in after.items() if fd not in before_fds} == {}
    assert [child for child in children() if child not in before_children] == []


def children() -> list[int]:
    """Children that nobody has waited for."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:
        return []
