"""Making ours the loop that asyncio makes by itself: a policy, where Python has policies.

A policy is the one public way to say so for a program that passes no loop factory. It is deprecated since Python 3.14, and
nothing has taken its place. Used by `install()` and by the command line; importing the package makes no policy.
"""

from __future__ import annotations

import asyncio
import functools
import warnings
from typing import Any

from ._loop import TrioEventLoop


@functools.cache
def event_loop_policy() -> Any:
    """The class `EventLoopPolicy`: asyncio's default policy, with our loop."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        default: Any = asyncio.DefaultEventLoopPolicy

        class EventLoopPolicy(default):  # type: ignore[misc]
            """asyncio's default policy, with our loop."""

            def new_event_loop(self) -> TrioEventLoop:
                """A loop to be driven."""
                return TrioEventLoop()

    EventLoopPolicy.__module__ = __package__
    EventLoopPolicy.__qualname__ = "EventLoopPolicy"
    return EventLoopPolicy


def install() -> None:
    """Make `asyncio.run`, `asyncio.Runner` and `asyncio.new_event_loop` use loops that run on trio, where no loop factory is given.

    For whole programs; a library passes `loop_factory=TrioEventLoop` instead. asyncio's policies are deprecated since Python 3.14.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        asyncio.set_event_loop_policy(event_loop_policy()())
