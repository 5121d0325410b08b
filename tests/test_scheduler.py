"""Timers in the scheduler by itself, without trio."""

from __future__ import annotations

import collections
import heapq
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_asyncio_compat import TrioEventLoop
from trio_asyncio_compat._handles import TimerHandle
from trio_asyncio_compat._scheduler import Scheduler


@pytest.fixture
def loop(clean: object) -> Any:
    loop = TrioEventLoop()
    loop._ssock.setblocking(False)
    yield loop
    loop.close()


def turn(scheduler: Scheduler) -> None:
    """One turn: a slice that is over at once."""
    scheduler._slice_length = 0
    scheduler.slice()


def scheduled(scheduler: Scheduler) -> int:
    return sum(len(timers) if isinstance(timers, collections.deque) else 1 for timers in scheduler.by_deadline.values())


def check(scheduler: Scheduler) -> None:
    """The invariants of the class."""
    deadlines = scheduler.deadlines
    assert sorted(deadlines) == sorted(scheduler.by_deadline)
    assert all(deadlines[(i - 1) // 2] <= deadlines[i] for i in range(1, len(deadlines)))
    assert scheduled(scheduler) == scheduler.scheduled
    timers = [t for value in scheduler.by_deadline.values() for t in (value if isinstance(value, collections.deque) else [value])]
    assert sum(timer._cancelled for timer in timers) == scheduler.cancelled
    assert all(timer._scheduled for timer in timers)


Step = tuple[str, int]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 30)),
        st.tuples(st.just("add many"), st.integers(0, 400)),
        st.tuples(st.just("cancel"), st.integers(0, 10_000)),
        st.tuples(st.just("cancel many"), st.integers(1, 3)),
        st.tuples(st.just("advance"), st.integers(0, 300)),
    ),
    max_size=40,
)


@settings(deadline=None, max_examples=150)
@given(STEPS)
def test_timers_run_by_deadline_then_in_the_order_they_were_made(steps: list[Step]) -> None:
    """Against a model: a list of (deadline, number)."""
    loop = TrioEventLoop()
    try:
        scheduler = loop._scheduler
        now = 0.0
        loop.time = lambda: now  # type: ignore[method-assign]
        ran: list[int] = []
        model: dict[int, tuple[float, TimerHandle]] = {}
        number = 0

        def add(delay: int) -> None:
            nonlocal number
            number += 1
            model[number] = (now + delay, loop.call_at(now + delay, ran.append, number))  # type: ignore[assignment]

        for kind, value in steps:
            if kind == "add":
                add(value)
            elif kind == "add many":
                for delay in range(value):
                    add(delay * 7919 % 101)
            elif kind == "cancel" and model:
                model.pop(sorted(model)[value % len(model)])[1].cancel()
            elif kind == "cancel many":
                for key in sorted(model)[::value]:
                    model.pop(key)[1].cancel()
            elif kind == "advance":
                now += value
                ran.clear()
                turn(scheduler)
                due = sorted((when, key) for key, (when, _) in model.items() if when <= now)
                assert ran == [key for _, key in due]
                for key in ran:
                    del model[key]
            check(scheduler)
            assert scheduler.next_deadline() == min((when for when, _ in model.values()), default=math.inf)
            check(scheduler)
    finally:
        loop.close()


def test_cancelled_timers_of_one_deadline_go_away(loop: TrioEventLoop) -> None:
    timers = [loop.call_at(loop.time() + 1000, print) for _ in range(10)]
    same = [loop.call_at(timers[0].when(), print) for _ in range(10_000)]
    for timer in same:
        timer.cancel()
        loop._scheduler.next_deadline()
    assert loop._scheduler.scheduled < 200
    for timer in timers:
        timer.cancel()
    assert loop._scheduler.next_deadline() == math.inf
    assert not loop._scheduler.by_deadline


@pytest.mark.parametrize("when", [math.nan, -math.inf, 0, -5])
def test_a_strange_deadline_is_over(loop: TrioEventLoop, when: float) -> None:
    ran: list[str] = []
    loop.call_at(when, ran.append, "strange")
    loop.call_at(loop.time() - 1, ran.append, "plain")
    for _ in range(2):
        turn(loop._scheduler)
    assert sorted(ran) == ["plain", "strange"]


def test_many_timers_due_at_once_leave_the_others_in_order(loop: TrioEventLoop) -> None:
    ran: list[int] = []
    make: Callable[..., object] = loop.call_at
    for number in range(5000):
        make((number * 7919) % 5000, ran.append, (number * 7919) % 5000)
    loop.time = lambda: 3000.5  # type: ignore[method-assign]
    turn(loop._scheduler)
    assert ran == list(range(3001))
    check(loop._scheduler)
    loop.time = lambda: 1e9  # type: ignore[method-assign]
    turn(loop._scheduler)
    assert ran == list(range(5000))
    assert heapq.nsmallest(1, loop._scheduler.deadlines) == []
