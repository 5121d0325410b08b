"""Puts our loop wherever CPython's tests want a real loop, and counts which loops ran. Only for worker processes."""

from __future__ import annotations

import asyncio
import functools
import selectors
from asyncio import base_events, unix_events
from typing import Any

from trio_asyncio_compat import TrioEventLoop


class Counts:
    """How many of our loops were made and driven, and how many of the standard library's were driven."""

    made = 0
    driven = 0
    stdlib_driven = 0


def substitute() -> None:
    """Make `asyncio.SelectorEventLoop`, `asyncio.EventLoop` and what the default policy makes our loop."""

    class SelectorEventLoop(TrioEventLoop):
        """Our loop behind the standard library's constructor: the selector decides the poller, and is not used."""

        def __init__(self, selector: Any = None) -> None:
            if selector is None:
                super().__init__()
            else:
                nested = tuple(getattr(selectors, name) for name in ("EpollSelector", "KqueueSelector") if hasattr(selectors, name))
                super().__init__(poller="nested" if isinstance(selector, nested) else "task")
                selector.close()
            Counts.made += 1

        def run_forever(self) -> None:
            Counts.driven += 1
            super().run_forever()

    modules: list[Any] = [asyncio, unix_events]
    for module in modules:
        for name in ("SelectorEventLoop", "EventLoop"):
            if hasattr(module, name):
                setattr(module, name, SelectorEventLoop)
        # Public until Python 3.13, with an underscore since.
        for name in ("DefaultEventLoopPolicy", "_DefaultEventLoopPolicy"):
            if name in vars(module):
                vars(module)[name]._loop_factory = SelectorEventLoop


def count_stdlib_loops() -> None:
    """Count the drives of the standard library's own selector loops."""
    stdlib_loop = asyncio.SelectorEventLoop
    run_forever = base_events.BaseEventLoop.run_forever

    @functools.wraps(run_forever)
    def counted(self: base_events.BaseEventLoop) -> None:
        if isinstance(self, stdlib_loop):
            Counts.stdlib_driven += 1
        run_forever(self)

    base_events.BaseEventLoop.run_forever = counted  # type: ignore[method-assign]
