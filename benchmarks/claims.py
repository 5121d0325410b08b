"""`python -m benchmarks.claims`: the measurements behind docs/why_it_is_fast.md, each of one idea alone, with it and without it.

What is measured is the idea, in as little code as shows it: the loop's own where that can be told to do without, otherwise a few
lines that do as the loop does. Nothing here is called by the table of `python -m benchmarks`, which measures whole loops.
"""

from __future__ import annotations

import argparse
import asyncio
import contextvars
import ctypes
import functools
import heapq
import random
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import trio

from trio_asyncio_compat import TrioEventLoop, aio_as_trio, open_loop, run_trio, trio_as_aio
from trio_asyncio_compat._transports import keep_read_buffers

# Of glibc, with their values at the start of a process: above what size memory is given back at once, and blocks are served by mmap.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3

# A measurement returns seconds for each operation.
Measurement = Callable[[float], float]


def timed(work: Callable[[], object], seconds: float) -> float:
    """Seconds of the processor for each call of `work`, called over and over for so long. Nothing here waits; others may be busy."""
    work()
    count, start = 0, time.process_time()
    while (spent := time.process_time() - start) < seconds:
        work()
        count += 1
    return spent / count


async def timed_calls(call: Callable[[], object], seconds: float) -> float:
    """Likewise, of an async function, a thousand times in a row."""
    count, start = 0, time.process_time()
    while (spent := time.process_time() - start) < seconds:
        for _ in range(1000):
            await call()  # type: ignore[misc]
        count += 1000
    return spent / count


# Many turns for one step of trio's scheduler


def callback(slice_length: float) -> Measurement:
    async def spin(seconds: float) -> float:
        return await timed_calls(lambda: asyncio.sleep(0), seconds)

    async def main(seconds: float) -> float:
        async with open_loop(slice_length=slice_length):
            return await aio_as_trio(spin)(seconds)

    return lambda seconds: trio.run(main, seconds)


# The first step of a call is made where it is called


async def nothing() -> None:
    """What is called."""


def trio_calls_asyncio(at_once: bool) -> Measurement:
    async def as_task() -> None:
        await aio_as_trio(asyncio.get_running_loop().create_task(nothing()))

    async def main(seconds: float) -> float:
        async with open_loop():
            return await timed_calls(aio_as_trio(nothing) if at_once else as_task, seconds)

    return lambda seconds: trio.run(main, seconds)


def asyncio_calls_trio(at_once: bool) -> Measurement:
    async def calls(seconds: float) -> float:
        return await timed_calls(trio_as_aio(nothing) if at_once else lambda: run_trio(nothing), seconds)

    def measure(seconds: float) -> float:
        with asyncio.Runner(loop_factory=TrioEventLoop) as runner:
            return runner.run(calls(seconds))

    return measure


# The allocator keeps the memory of read buffers


def read(kept: bool) -> Measurement:
    def measure(seconds: float) -> float:
        if kept:
            keep_read_buffers()
        else:
            # As in a process that has freed no large block so far, whatever the imports of this one have freed.
            libc = ctypes.CDLL(None)
            for parameter in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
                libc.mallopt(parameter, 128 * 1024)
        left, right = socket.socketpair()
        with left, right:
            message = bytes(1024)

            def message_comes() -> None:
                left.send(message)
                right.recv(256 * 1024)

            return timed(message_comes, seconds)

    return measure


# A heap of numbers


def timer(numbers: bool) -> Measurement:
    def in_numbers(times: list[float], loop: asyncio.AbstractEventLoop) -> None:
        heap: list[float] = []
        by_deadline = {}
        for when in times:
            by_deadline[when] = asyncio.TimerHandle(when, print, (), loop)
            heapq.heappush(heap, when)
        while heap:
            del by_deadline[heapq.heappop(heap)]

    def in_handles(times: list[float], loop: asyncio.AbstractEventLoop) -> None:
        heap: list[asyncio.TimerHandle] = []
        for when in times:
            heapq.heappush(heap, asyncio.TimerHandle(when, print, (), loop))
        while heap:
            heapq.heappop(heap)

    def measure(seconds: float) -> float:
        seed = random.Random(0)
        times = [seed.random() for _ in range(100_000)]
        loop = asyncio.SelectorEventLoop()
        try:
            return timed(functools.partial(in_numbers if numbers else in_handles, times, loop), seconds) / len(times)
        finally:
            loop.close()

    return measure


# A callback with one argument is called without building a list


def call(written_out: bool) -> Measurement:
    run, args = contextvars.Context().run, (1,)

    def thousand_written_out() -> None:
        for _ in range(1000):
            run(id, args[0])

    def thousand() -> None:
        for _ in range(1000):
            run(id, *args)

    return lambda seconds: timed(thousand_written_out if written_out else thousand, seconds) / 1000


IDEAS: dict[str, tuple[Measurement, Measurement]] = {
    "sleep(0), with slices of 1 ms and without": (callback(0.001), callback(1e-9)),
    "trio calls asyncio: first step at once, or in a task": (trio_calls_asyncio(True), trio_calls_asyncio(False)),
    "asyncio calls trio: first step at once, or in a task": (asyncio_calls_trio(True), asyncio_calls_trio(False)),
    "a read of 1 KiB: memory kept, or not": (read(True), read(False)),
    "a timer made and taken out: heap of numbers, or of handles": (timer(True), timer(False)),
    "a callback with one argument: written out, or with *": (call(True), call(False)),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.claims", description="Measure each idea that makes the loop fast, with it and without it."
    )
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each (default: %(default)s); shown are medians")
    parser.add_argument("--seconds", type=float, default=0.5, help="length of a measurement (default: %(default)s)")
    parser.add_argument("--one", nargs=2, metavar=("IDEA", "VARIANT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        idea, variant = options.one
        print(IDEAS[idea][int(variant)](options.seconds))
        return
    for idea in IDEAS:
        found: tuple[list[float], list[float]] = ([], [])
        for _ in range(options.rounds):
            for variant in (0, 1):
                found[variant].append(_in_new_process(idea, variant, options.seconds))
        with_it, without = (statistics.median(times) * 1e6 for times in found)
        print(f"{idea:60} {with_it:8.2f} us {without:8.2f} us {without / with_it:8.2f} times", flush=True)


def _in_new_process(idea: str, variant: int, seconds: float) -> float:
    # What one measurement has done to the allocator must not help the next.
    command = [sys.executable, "-m", "benchmarks.claims", "--seconds", str(seconds), "--one", idea, str(variant)]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


if __name__ == "__main__":
    main()
