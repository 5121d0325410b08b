"""An asyncio event loop whose scheduler is trio: asyncio libraries run unmodified inside `trio.run`."""

from __future__ import annotations

from ._lifetime import open_loop, run
from ._loop import TrioEventLoop, new_event_loop
from .border.flavour_free import allow_asyncio, flavour_free_task_factory
from .border.to_asyncio import aio_as_trio, asyncio_as_trio, gather
from .border.to_trio import trio_as_aio, trio_as_asyncio

__all__ = [
    "TrioEventLoop",
    "aio_as_trio",
    "allow_asyncio",
    "asyncio_as_trio",
    "flavour_free_task_factory",
    "gather",
    "new_event_loop",
    "open_loop",
    "run",
    "trio_as_aio",
    "trio_as_asyncio",
]
