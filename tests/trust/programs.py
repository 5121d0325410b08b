"""Asyncio programs as data: a small grammar, and Hypothesis strategies that write in it.

A program is nested tuples, so that one which found a bug can be printed, kept and run again (`test_differential.py`).
`interpreter.py` says what each statement does. Durations are eighths of a second, which virtual clocks add without rounding.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

Statement = tuple[Any, ...]
Block = tuple[Statement, ...]


@dataclass(frozen=True)
class Program:
    """What the main task does, and in which mode of the loop."""

    main: Block
    debug: bool = False
    eager: bool = False

    def uses(self, *words: str) -> bool:
        """Whether one of these statements occurs anywhere."""

        def find(part: Any) -> bool:
            return isinstance(part, tuple) and ((bool(part) and part[0] in words) or any(find(inner) for inner in part))

        return find(self.main)


# How deep blocks are nested; a program of three levels already has some thirty statements.
DEPTH = 3
numbers = st.integers(0, 3)
# Also in the past, and at the same instant: several of these fall together.
durations = st.sampled_from([-1.0, 0.0, 0.125, 0.25, 0.25, 0.5, 1.0])
errors = st.sampled_from(["ValueError", "KeyError", "CancelledError", "TimeoutError", "Odd", "Group"])
caught = st.sampled_from(["ValueError", "Exception", "CancelledError", "BaseException"])
reactions = st.sampled_from(["swallow", "reraise", "replace", "chain", "uncancel"])

# What a plain callback can do.
_simple_calls = st.one_of(
    st.tuples(st.just("mark")),
    st.tuples(st.just("set"), numbers),
    st.tuples(st.just("clear"), numbers),
    st.tuples(st.just("cancel"), numbers),
    st.tuples(st.just("cancel_timer"), numbers),
    st.tuples(st.just("cancel_future"), numbers),
    st.tuples(st.just("resolve"), numbers),
    st.tuples(st.just("fail"), numbers, errors),
    st.tuples(st.just("put_nowait"), numbers),
    st.tuples(st.just("get_nowait"), numbers),
    st.tuples(st.just("release"), numbers),
    st.tuples(st.just("raise"), errors),
    st.tuples(st.just("from_thread")),
)
calls = st.lists(
    st.one_of(
        _simple_calls,
        st.tuples(st.just("call_soon"), st.lists(_simple_calls, max_size=2).map(tuple)),
        st.tuples(st.just("call_later"), durations, st.lists(_simple_calls, max_size=2).map(tuple)),
        st.tuples(st.just("spawn"), st.just((("mark",), ("yield", 1), ("mark",)))),
    ),
    max_size=3,
).map(tuple)

_plain_statements = st.one_of(
    _simple_calls,
    st.tuples(st.just("yield"), st.integers(1, 3)),
    st.tuples(st.just("sleep"), durations),
    st.tuples(st.just("call_soon"), calls),
    st.tuples(st.just("call_later"), durations, calls),
    st.tuples(st.just("call_at"), durations, calls),
    st.tuples(st.just("when_done"), numbers, calls),
    st.tuples(st.just("when_resolved"), numbers, calls),
    st.tuples(st.just("join"), numbers),
    st.tuples(st.just("await_future"), numbers),
    st.tuples(st.just("await_event"), numbers),
    st.tuples(st.just("put"), numbers),
    st.tuples(st.just("get"), numbers),
    st.tuples(st.just("join_queue"), numbers),
    st.tuples(st.just("acquire"), numbers),
    st.tuples(st.just("notify"), numbers),
    st.tuples(st.just("await_condition")),
    st.tuples(st.just("set_variable"), numbers),
    st.tuples(st.just("uncancel")),
    st.tuples(st.just("thread"), st.sampled_from(["value", "error", "cancelled"])),
    st.tuples(st.just("generator"), st.integers(0, 2), st.sampled_from(["drop", "close", "exhaust"])),
    st.tuples(st.just("write"), numbers, st.sampled_from([1, 100, 4000])),
    st.tuples(st.just("write_lines"), numbers),
    st.tuples(st.just("read"), numbers, st.sampled_from([1, 100, 4000])),
    st.tuples(st.just("read_line"), numbers),
    st.tuples(st.just("write_eof"), numbers),
    st.tuples(st.just("close"), numbers),
    st.tuples(st.just("abort"), numbers),
    st.tuples(st.just("sock_send"), numbers),
    st.tuples(st.just("sock_recv"), numbers),
)


def blocks(depth: int) -> st.SearchStrategy[Block]:
    """Blocks whose statements have blocks of up to `depth` levels in them."""
    if depth == 0:
        return st.lists(_plain_statements, min_size=1, max_size=4).map(tuple)
    inner = st.deferred(lambda: blocks(depth - 1))
    some = st.lists(inner, min_size=1, max_size=3).map(tuple)
    compound = st.one_of(
        st.tuples(st.just("spawn"), inner),
        st.tuples(st.just("try"), inner, caught, reactions, inner),
        st.tuples(st.just("finally"), inner, inner),
        st.tuples(st.just("timeout"), durations, inner),
        st.tuples(st.just("reschedule"), durations, durations, inner),
        st.tuples(st.just("wait_for"), durations, inner),
        st.tuples(st.just("shield"), inner),
        st.tuples(st.just("gather"), some, st.booleans()),
        st.tuples(st.just("wait"), some, st.sampled_from(["FIRST_COMPLETED", "FIRST_EXCEPTION", "ALL_COMPLETED"]), durations),
        st.tuples(st.just("as_completed"), some, durations),
        st.tuples(st.just("group"), some, inner),
        st.tuples(st.just("lock"), inner),
        st.tuples(st.just("semaphore"), inner),
        st.tuples(st.just("repeat"), st.integers(2, 3), inner),
        st.tuples(st.just("context"), inner),
        st.tuples(st.just("run_coroutine_threadsafe"), inner),
    )
    return st.lists(st.one_of(_plain_statements, compound, compound), min_size=1, max_size=5).map(tuple)


programs = st.builds(
    Program,
    main=blocks(DEPTH),
    debug=st.sampled_from([False, False, True]),
    # Tasks that start eagerly exist since 3.12.
    eager=st.sampled_from([False, False, True]) if sys.version_info >= (3, 12) else st.just(False),
)
