"""Making ours the loop that asyncio makes by itself: a policy, where Python has policies.

A policy is the one public way to say so for a program that passes no loop factory. It is deprecated since Python 3.14, and
nothing has taken its place. Used by `install()`, by the command line and by the pytest plugin; importing the package makes no policy.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import warnings
from typing import TYPE_CHECKING, Any

from ._loop import TrioEventLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@functools.cache
def event_loop_policy() -> Any:
    """The class `EventLoopPolicy`: asyncio's default policy, with our loop."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        default: Any = asyncio.DefaultEventLoopPolicy

        class EventLoopPolicy(default):  # type: ignore[misc]
            """asyncio's default policy, with our loop."""

            def __init__(self, loop_factory: Callable[[], TrioEventLoop] = TrioEventLoop) -> None:
                super().__init__()
                self._new_loop = loop_factory

            def new_event_loop(self) -> TrioEventLoop:
                """A loop to be driven."""
                return self._new_loop()

    EventLoopPolicy.__module__ = __package__
    EventLoopPolicy.__qualname__ = "EventLoopPolicy"
    return EventLoopPolicy


def install(loop_factory: Callable[[], TrioEventLoop] = TrioEventLoop) -> None:
    """Make `asyncio.run`, `asyncio.Runner` and `asyncio.new_event_loop` use loops that run on trio, where no loop factory is given.

    For whole programs; a library passes `loop_factory=TrioEventLoop` instead. asyncio's policies are deprecated since Python 3.14.

    Args:
        loop_factory: makes each loop, for a program whose loops have options.
    """
    _set_policy(event_loop_policy()(loop_factory))


@contextlib.contextmanager
def installed(loop_factory: Callable[[], TrioEventLoop]) -> Iterator[None]:
    """`install` for the length of a block."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        before = asyncio.get_event_loop_policy()
    install(loop_factory)
    try:
        yield
    finally:
        _set_policy(before)


def _set_policy(policy: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        asyncio.set_event_loop_policy(policy)
