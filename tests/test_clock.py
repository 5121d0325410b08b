"""A program that has replaced `loop.time`, as test suites do: timers go by it."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import time
import weakref
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
import trio
from trio.testing import MockClock

from trio_asyncio_compat import TrioEventLoop, open_loop

from .support import Run

LONG = 10_000


class Shifted:
    """A clock that can be put forward."""

    def __init__(self, base: Callable[[], float], offset: float = 0.0) -> None:
        self.base = base
        self.offset = offset

    def __call__(self) -> float:
        return self.base() + self.offset


def replaced(loop: asyncio.AbstractEventLoop) -> Shifted:
    clock = Shifted(loop.time)
    loop.time = clock  # type: ignore[method-assign]
    return clock


def test_clock_that_is_put_forward_fires_timers(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        before, real = loop.time(), time.monotonic()
        clock = replaced(loop)
        sleeping = asyncio.ensure_future(asyncio.sleep(LONG, "slept"))
        loop.call_soon(setattr, clock, "offset", LONG + 1)
        assert await asyncio.wait_for(sleeping, 2 * LONG) == "slept"
        assert loop.time() - before > LONG
        assert time.monotonic() - real < LONG

    run(main)


def test_replaced_clock_is_waited_for_in_seconds_from_now(run: Run) -> None:
    """Its zero has nothing to do with that of trio's clock."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        clock = replaced(loop)
        clock.offset = -2 * LONG - clock.base()
        fired = loop.create_future()
        before, real = loop.time(), time.monotonic()
        assert before < -LONG
        timer = loop.call_later(0.01, fired.set_result, None)
        assert timer.when() == pytest.approx(before + 0.01, abs=1)
        await fired
        assert loop.time() >= before + 0.01
        assert time.monotonic() - real < 25

    run(main)


def test_clock_of_a_subclass(sync_run: Run) -> None:
    base: Any = TrioEventLoop if sync_run.ours else asyncio.SelectorEventLoop

    class Fast(base):  # type: ignore[misc]
        offset = 0.0

        def time(self) -> float:
            now: float = super().time()
            return now + self.offset

    async def main(loop: Fast) -> str:
        loop.call_soon(setattr, loop, "offset", LONG + 1)
        return await asyncio.sleep(LONG, "slept")

    loop = Fast(poller=sync_run.poller) if sync_run.ours else Fast()
    try:
        early = loop.call_later(LONG, print)
        assert early.when() - time.monotonic() == pytest.approx(LONG, abs=100)
        early.cancel()
        for _ in range(2):
            assert loop.run_until_complete(main(loop)) == "slept"
            assert loop.time() - base.time(loop) > LONG
            loop.offset = 0.0
    finally:
        loop.close()


def test_clock_is_put_back(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        before = loop.time()
        with mock.patch.object(loop, "time", return_value=-1.0):
            assert loop.time() == loop.call_later(0, print).when() == -1.0
        assert loop.time() >= before
        assert loop.call_later(0, print).when() >= before
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, "time", lambda: -1.0)
            assert loop.call_later(0, print).when() == -1.0
        assert loop.call_later(LONG, print).when() >= before + LONG
        loop.time = lambda: -1.0  # type: ignore[method-assign]
        del loop.time
        with pytest.raises(AttributeError):
            del loop.time
        await asyncio.sleep(0.001)
        assert loop.time() >= before + 0.001

    run(main)


def test_the_method_says_what_it_is() -> None:
    assert "trio's in a hosted loop" in (TrioEventLoop.time.__doc__ or "")


def test_hosted_loop_goes_by_trios_clock_again_once_its_clock_is_put_back(hosted_run: Run) -> None:
    async def main() -> None:
        async with open_loop(poller=hosted_run.poller) as loop:
            with mock.patch.object(loop, "time", return_value=-1.0):
                pass
            await trio.sleep(LONG)
            assert loop.time() == trio.current_time()
            assert TrioEventLoop.time(loop) == trio.current_time()

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_clock_that_is_replaced_while_the_loop_is_idle(hosted_run: Run) -> None:
    async def main() -> None:
        async with open_loop(poller=hosted_run.poller) as loop:
            fired = trio.Event()
            loop.call_later(LONG, fired.set)
            await trio.testing.wait_all_tasks_blocked()
            loop.time = Shifted(loop.time, LONG - 1)  # type: ignore[method-assign]
            before = trio.current_time()
            await fired.wait()
            assert trio.current_time() - before <= 1 + 1e-6

    trio.run(main, clock=MockClock(autojump_threshold=0))


def keep_busy() -> Callable[[], None]:
    """Have a callback in each turn from now on, until what is returned is called."""
    loop = asyncio.get_running_loop()
    busy = True

    def again() -> None:
        if busy:
            loop.call_soon(again)

    def stop() -> None:
        nonlocal busy
        busy = False

    again()
    return stop


@pytest.mark.parametrize("frozen", [False, True])
def test_timers_of_a_busy_loop_fire_in_time(run: Run, frozen: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        stop = keep_busy()
        try:
            fired = loop.create_future()
            loop.call_later(LONG, fired.set_result, "late")
            loop.call_later(0.003, fired.set_result, "in time")
            if frozen:
                # As a test suite does that freezes the time.
                monkeypatch.setattr(time, "perf_counter", lambda: 1.0)
            assert await fired == "in time"
        finally:
            stop()

    run(main)


def test_clock_that_is_replaced_while_the_loop_is_busy(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        stop = keep_busy()
        try:
            fired: list[str] = []
            loop.call_later(LONG, fired.append, "timer")
            await asyncio.sleep(0)
            replaced(loop).offset = LONG + 1
            # One turn that had begun, and one that moves the timer, which then waits for this task's step.
            for _ in range(3):
                await asyncio.sleep(0)
            assert fired == ["timer"]
        finally:
            stop()

    run(main)


class Finalised:
    """Calls `act` when it is freed."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.act = act

    def __del__(self) -> None:
        self.act()


variable: contextvars.ContextVar[object] = contextvars.ContextVar("variable")


def test_a_timer_that_a_finaliser_makes_while_timers_are_swept(our_run: Run) -> None:
    """Asyncio's own loop may go on waiting without a look at it."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        cleaned = loop.create_future()

        def make() -> None:
            # Earlier than the one that is being swept, and later.
            loop.call_later(0.001, fired.append, "earlier")
            loop.call_later(0.002, cleaned.set_result, None)
            loop.call_later(LONG, fired.append, "cancelled").cancel()

        fired: list[str] = []
        # The timer's context is what is left of it when it has been cancelled.
        context = contextvars.copy_context()
        context.run(variable.set, Finalised(make))
        loop.call_later(0.5, print, context=context).cancel()
        del context
        gc.collect()
        await cleaned
        assert fired == ["earlier"]

    our_run(main)


def test_timers_that_finalisers_make_and_cancel_among_many(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        made, fired = 0, 0

        def fire(*kept: object) -> None:
            nonlocal fired
            fired += 1

        def make() -> None:
            nonlocal made
            made += 1
            loop.call_later(0.0001 * (made % 3), fire)
            loop.call_later(0.0001, fire).cancel()

        # Freed with the timer that is cancelled, or after it has fired; in circles, whenever the collector comes.
        for round_ in range(60):
            for number in range(20):
                timer = loop.call_later(0.00001 * number, fire, Finalised(make))
                made += 1
                circle: list[object] = [Finalised(make)]
                circle.append(circle)
                if number % 3 == 0:
                    timer.cancel()
                    made -= 1
            del timer, circle
            await asyncio.sleep(0.0001 * (round_ % 2))
        gc.collect()
        await asyncio.sleep(0.01)
        assert fired == made

    before = gc.get_threshold()
    gc.set_threshold(11)
    try:
        run(main)
    finally:
        gc.set_threshold(*before)


def test_cancelled_timers_of_a_busy_loop_go_away(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        alive = loop.call_later(2 * LONG, print)
        kept = []
        for _ in range(2_000):
            timer = loop.call_later(LONG, print)
            kept.append(weakref.ref(timer))
            timer.cancel()
            await asyncio.sleep(0)
        del timer
        assert sum(ref() is not None for ref in kept) < 250
        alive.cancel()

    run(main)
