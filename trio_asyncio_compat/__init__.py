"""An asyncio event loop whose scheduler is trio: asyncio libraries run unmodified inside `trio.run`."""

from __future__ import annotations

from ._lifetime import open_loop, run
from ._loop import TrioEventLoop, new_event_loop
from .border.to_asyncio import aio_as_trio, asyncio_as_trio

__all__ = ["TrioEventLoop", "aio_as_trio", "asyncio_as_trio", "new_event_loop", "open_loop", "run"]
