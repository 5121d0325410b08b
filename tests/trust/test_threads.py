"""Threads, forks and the garbage collector: calls into a loop come at any instant, and none corrupts it or is lost."""

from __future__ import annotations

import asyncio
import gc
import itertools
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
import trio

from trio_asyncio_compat import TrioEventLoop, aio_as_trio, open_loop

from ..support import Records, Run

THREADS = 50


def in_threads(count: int, work: Callable[[int], None]) -> list[BaseException]:
    """Run `work(number)` in so many threads at once; what they raise."""
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            work(number)
        except BaseException as exc:
            errors.append(exc)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def test_calls_from_fifty_threads_all_run_in_the_order_of_each(run: Run) -> None:
    calls = 200

    async def main() -> None:
        loop = asyncio.get_running_loop()
        seen: dict[int, list[int]] = {number: [] for number in range(THREADS)}

        def work(number: int) -> None:
            for call in range(calls):
                loop.call_soon_threadsafe(seen[number].append, call)

        assert await loop.run_in_executor(None, in_threads, THREADS, work) == []
        await asyncio.sleep(0)
        assert seen == {number: list(range(calls)) for number in range(THREADS)}

    run(main)


def test_coroutines_from_fifty_threads_all_answer(run: Run) -> None:
    async def double(number: int) -> int:
        await asyncio.sleep(0)
        return 2 * number

    async def main() -> None:
        loop = asyncio.get_running_loop()
        answers: list[int] = []

        def work(number: int) -> None:
            answers.extend(asyncio.run_coroutine_threadsafe(double(number), loop).result(20) for _ in range(10))

        assert await loop.run_in_executor(None, in_threads, THREADS, work) == []
        assert sorted(answers) == sorted([2 * number for number in range(THREADS)] * 10)

    run(main)


def test_trio_is_called_from_worker_threads(hosted_run: Run) -> None:
    async def main() -> None:
        async def add(number: int) -> int:
            await trio.lowlevel.checkpoint()
            return number + 1

        def work(number: int) -> int:
            for _ in range(20):
                number = trio.from_thread.run(add, number)
            return number

        assert await asyncio.gather(*(asyncio.to_thread(work, number) for number in range(THREADS))) == [20 + n for n in range(THREADS)]

    hosted_run(main)


def while_loops_open_and_close(kind: str, count: int, call: Callable[[TrioEventLoop], object], *, pause: float) -> tuple[int, set[str]]:
    """Have `count` threads `call` the loop that is open, again and again, while loops open and close; how many calls were accepted, and the
    messages with which the others were refused."""
    current: list[TrioEventLoop] = []
    over = threading.Event()
    accepted: list[None] = []
    refused: set[str] = set()

    def work(number: int) -> None:
        while not over.is_set():
            for loop in current:
                try:
                    call(loop)
                    accepted.append(None)
                except RuntimeError as exc:
                    refused.add(str(exc))
            over.wait(pause)

    async def hosted() -> None:
        async with open_loop() as loop:
            current[:] = [loop]
            await aio_as_trio(asyncio.sleep)(0.002)

    errors: list[BaseException] = []
    threads = threading.Thread(target=lambda: errors.extend(in_threads(count, work)))
    threads.start()
    try:
        for _ in range(40):
            if kind == "hosted":
                trio.run(hosted)
            else:
                with asyncio.Runner(loop_factory=TrioEventLoop) as runner:
                    current[:] = [runner.get_loop()]  # type: ignore[list-item]
                    runner.run(asyncio.sleep(0.002))
                    runner.run(asyncio.sleep(0.002))
    finally:
        over.set()
        threads.join()
        current.clear()
    assert errors == []
    assert accepted
    return len(accepted), refused


@pytest.mark.parametrize("kind", ["hosted", "driven"])
def test_threads_call_while_loops_open_and_close(clean: Records, kind: str) -> None:
    """A call either runs or is refused with asyncio's RuntimeError."""
    _, refused = while_loops_open_and_close(kind, THREADS, lambda loop: loop.call_soon_threadsafe(int), pause=0.0001)
    assert refused <= {"Event loop is closed"}


@pytest.mark.parametrize("kind", ["hosted", "driven"])
def test_threads_use_the_default_executor_while_loops_open_and_close(clean: Records, kind: str) -> None:
    """What is not refused is done: begun in a run of the loop, between two, or when it has ended."""
    done = threading.Semaphore(0)
    accepted, refused = while_loops_open_and_close(kind, 10, lambda loop: loop.run_in_executor(None, done.release), pause=0.001)
    assert refused <= {"Event loop is closed", "Executor shutdown has been called"}
    for _ in range(accepted):
        assert done.acquire(timeout=20)


def test_a_loop_per_thread_in_twenty_threads(our_run: Run) -> None:
    def work(number: int) -> None:
        async def main() -> int:
            return sum(await asyncio.gather(*(asyncio.sleep(0.001, number) for _ in range(20))))

        assert our_run(main) == 20 * number

    assert in_threads(20, work) == []


class Finalised:
    """Garbage in a circle, whose end calls into the loop, wherever the collector happens to run."""

    def __init__(self, call: Callable[[], object]) -> None:
        self.call = call
        self.itself = self

    def __del__(self) -> None:
        self.call()


def test_finalisers_call_into_the_loop_whenever_they_run(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        seen: list[str] = []
        tasks = [asyncio.create_task(asyncio.sleep(3600)) for _ in range(100)]
        future = loop.create_future()
        for number in range(100):
            Finalised(lambda: loop.call_soon(seen.append, "soon"))
            Finalised(lambda: loop.call_soon_threadsafe(seen.append, "threadsafe"))
            Finalised(lambda: loop.call_later(0, seen.append, "later"))
            Finalised(lambda: loop.call_later(3600, int).cancel())
            Finalised(tasks[number].cancel)
            Finalised(future.cancel)
            await asyncio.sleep(0)
        gc.collect()
        await asyncio.wait(tasks)
        assert future.cancelled()
        while len(seen) < 300:
            await asyncio.sleep(0)
        assert {name: seen.count(name) for name in seen} == {"soon": 100, "threadsafe": 100, "later": 100}

    before = gc.get_threshold()
    gc.set_threshold(7, 2, 2)
    try:
        run(main)
    finally:
        gc.set_threshold(*before)


def test_finalisers_use_the_default_executor_whenever_they_run(our_run: Run) -> None:
    """Also in the middle of trio's own code and of the executor's. (asyncio's executor would wait for a lock that it holds itself.)"""
    calls = 300

    async def main() -> None:
        loop = asyncio.get_running_loop()
        asked, done = itertools.count(), threading.Semaphore(0)

        def submit() -> None:
            loop.run_in_executor(None, done.release)

        def collect(frame: Any, event: str, arg: object) -> None:
            if event == "call" and next(asked) < calls:
                sys.setprofile(None)
                Finalised(submit)
                gc.collect(0)
                sys.setprofile(collect)

        sys.setprofile(collect)
        try:
            while next(asked) < calls:
                await asyncio.to_thread(int)
                await asyncio.sleep(0.0001)
        finally:
            sys.setprofile(None)
        # One of the numbers may have been drawn by the loop above.
        for _ in range(calls - 100):
            while not done.acquire(blocking=False):
                await asyncio.sleep(0)

    our_run(main)


def test_a_collection_at_every_call_of_a_small_program(our_run: Run) -> None:
    """Every function that is called in this thread, ours and trio's, begins with a collection of new garbage, which calls the loop.

    asyncio's own loop would never come to an end of reading what the calls write to its self-pipe.
    """

    async def child(queue: asyncio.Queue[int]) -> int:
        async with asyncio.timeout(60):
            return await queue.get()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[int] = asyncio.Queue()
        seen: list[int] = []

        def collect(frame: Any, event: str, arg: object) -> None:
            if event == "call" and frame.f_code is not Finalised.__del__.__code__:
                Finalised(lambda: loop.is_closed() or loop.call_soon_threadsafe(seen.append, 1))
                gc.collect(0)

        sys.setprofile(collect)
        try:
            children = [asyncio.create_task(child(queue)) for _ in range(3)]
            await asyncio.sleep(0.001)
            for number in range(3):
                queue.put_nowait(number)
            assert await asyncio.gather(*children) == [0, 1, 2]
            assert await asyncio.to_thread(int) == 0
        finally:
            sys.setprofile(None)
        await asyncio.sleep(0)
        assert seen

    our_run(main)
