"""Async generators that flavour-free code has begun: closed as flavour-free code, whoever drops them.

Python tells the hooks that are set when a generator is first iterated. trio's would close it in a trio task and asyncio's in an asyncio
task, where its clean-up cannot await the other world. So each step of flavour-free code has hooks of its own. Used by `task.py`.
"""

from __future__ import annotations

import asyncio
import sys
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine

    from .._loop import TrioEventLoop

    Hooks = tuple[Callable[[Any], None] | None, Callable[[Any], None] | None]


class FlavourFreeGenerators:
    """The generators of one loop.

    Invariant: `_alive` has those that were begun, are not dropped, and that the end of the loop has not taken to close. `_start` makes a
    flavour-free task of a coroutine.
    """

    def __init__(self, loop: TrioEventLoop, start: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]) -> None:
        self._loop = loop
        self._start = start
        self._alive: weakref.WeakSet[AsyncGenerator[Any, Any]] = weakref.WeakSet()

    def set_hooks(self) -> Hooks:
        """Be told of generators that are begun from now on; return the hooks that were there."""
        # Unpacked, as in `run_as_asyncio`: who is interrupted keeps them.
        firstiter, finalizer = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(self._alive.add, self._dropped)
        return firstiter, finalizer

    def _dropped(self, generator: AsyncGenerator[Any, Any]) -> None:
        # Called by the interpreter, anywhere.
        self._alive.discard(generator)
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._close_dropped, generator)

    def _close_dropped(self, generator: AsyncGenerator[Any, Any]) -> None:
        if self._loop._nursery is not None:
            self._start(self._close(generator))

    async def close_all(self) -> None:
        """Close those that are alive, together. Asyncio-flavoured: part of `shutdown_asyncgens`."""
        alive, self._alive = list(self._alive), weakref.WeakSet()
        if alive and self._loop._nursery is not None:
            await asyncio.wait([self._start(self._close(generator)) for generator in alive])

    async def _close(self, generator: AsyncGenerator[Any, Any]) -> None:
        try:
            await generator.aclose()
        except Exception as exc:
            message = f"an error occurred while closing the asynchronous generator {generator!r}"
            self._loop.call_exception_handler({"message": message, "exception": exc, "asyncgen": generator})
