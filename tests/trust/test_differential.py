"""Generated asyncio programs behave on our loop as on the standard library's: order, results, exceptions, reports."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from ..support import hang_guard
from .interpreter import observe
from .programs import Program, programs
from .worlds import OURS, on_asyncio


def compare(program: Program, worlds: list[str]) -> None:
    """Assert that `program` cannot tell our loop from asyncio's."""
    with hang_guard(10):
        expected = observe(on_asyncio, program)
        for world in worlds:
            assert (world, *observe(OURS[world], program)) == (world, *expected)


@pytest.mark.parametrize("world", OURS)
def test_generated_programs_cannot_tell_the_loops_apart(world: str, cheap_collections: None) -> None:
    # Made smaller by `python -m tests.trust`, which has the time.
    @settings(
        max_examples=150,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(programs)
    def check(program: Program) -> None:
        compare(program, [world])

    check()


# Programs that once told the loops apart, or came close: an accident of asyncio's that the comparison has to know of.
KEPT = {
    "lines written after the end of writing": Program((("write_eof", 0), ("write_lines", 0))),
    "lines written to a closed transport": Program((("close", 0), ("write_lines", 0))),
    "the end of waiting for a close is cancelled": Program(
        (("reschedule", 0.0, -1.0, (("sock_send", 3), ("close", 3))), ("thread", "value"), ("write_lines", 2))
    ),
    "a timer that is started at the end, while a thread ends": Program(
        (
            ("spawn", (("try", (("await_event", 0),), "BaseException", "swallow", (("call_later", 0.5, (("mark",),)),)),)),
            ("thread", "value"),
        )
    ),
    "timers of one instant, among others": Program(
        (("group", ((("call_later", -1.0, ()), ("call_later", -1.0, ()), ("sleep", 0.125)), (("sleep", 0.125),)), (("mark",),)),)
    ),
    "a callback starts a task when the program is over": Program(
        (("call_later", -1.0, (("cancel_future", 0),)), ("when_resolved", 0, (("spawn", (("mark",), ("yield", 1), ("mark",))),)))
    ),
    "a task that waits for the one that waits for it": Program((("gather", ((("join", 1),), (("join", 2),)), False),)),
}


@pytest.mark.parametrize("world", OURS)
@pytest.mark.parametrize("program", KEPT.values(), ids=list(KEPT))
def test_programs_that_are_kept(program: Program, world: str) -> None:
    compare(program, [world])
