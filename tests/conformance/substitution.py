"""Puts our loop wherever CPython's tests want a real loop, and counts which loops ran. Only for worker processes.

Tests that examine the standard library's base classes with mocks keep these classes: they want no loop that works.
"""

from __future__ import annotations

import asyncio
import functools
import selectors
from asyncio import base_events, unix_events
from typing import Any, Literal

from trio_asyncio_compat import TrioEventLoop

# Selectors that are one descriptor of the system, as our nested poller is.
_NESTED = tuple(getattr(selectors, name) for name in ("EpollSelector", "KqueueSelector") if hasattr(selectors, name))


class Counts:
    """How many of our loops were made and driven, and how many of the standard library's were driven."""

    made = 0
    driven = 0
    stdlib_driven = 0

    @classmethod
    def now(cls) -> dict[str, int]:
        """The counts by name."""
        return {"made": cls.made, "driven": cls.driven, "stdlib_driven": cls.stdlib_driven}


def substitute(forced: Literal["nested", "task"] | None = None) -> None:
    """Make `asyncio.SelectorEventLoop`, `asyncio.EventLoop` and what the default policy makes our loop.

    Its poller is the `forced` one, otherwise the one most like the selector that the test asks for.
    """

    class SelectorEventLoop(TrioEventLoop):
        """Our loop behind the standard library's constructor: the selector decides the poller, and is not used."""

        def __init__(self, selector: Any = None) -> None:
            poller = forced
            if selector is not None:
                poller = forced or ("nested" if isinstance(selector, _NESTED) else "task")
                selector.close()
            super().__init__(poller=poller)
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
