"""An asyncio event loop whose scheduler is trio: asyncio libraries run unmodified inside `trio.run`.

PYTEST_DONT_REWRITE, for pytest: there are no asserts in here. Of a package that has a plugin it would otherwise rewrite them all, and
warn where that is too late, as in `python -m trio_asyncio_compat -m pytest`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._hang import HangError
from ._instruments import LoopInstrument, LoopStatistics
from ._lifetime import open_loop, run
from ._loop import TrioEventLoop, new_event_loop
from ._policy import install
from .border.drop_in import (
    TrioAsyncioDeprecationWarning,
    TrioExecutor,
    current_loop,
    run_aio_coroutine,
    run_aio_future,
    run_aio_generator,
    run_trio,
    run_trio_task,
)
from .border.flavour_free import allow_asyncio, flavour_free_task_factory
from .border.stream_transport import StreamTransport
from .border.streams import aio_stream_as_trio, transport_as_trio_stream, trio_stream_as_aio, trio_stream_as_transport
from .border.to_asyncio import aio_as_trio, asyncio_as_trio, gather
from .border.to_trio import trio_as_aio, trio_as_asyncio
from .border.transport_stream import HalfCloseableTransportStream, TransportStream

if TYPE_CHECKING:
    from asyncio import DefaultEventLoopPolicy as EventLoopPolicy

BaseTrioEventLoop = TrioEventLoop

__all__ = [
    "BaseTrioEventLoop",
    "EventLoopPolicy",
    "HalfCloseableTransportStream",
    "HangError",
    "LoopInstrument",
    "LoopStatistics",
    "StreamTransport",
    "TransportStream",
    "TrioAsyncioDeprecationWarning",
    "TrioEventLoop",
    "TrioExecutor",
    "aio_as_trio",
    "aio_stream_as_trio",
    "allow_asyncio",
    "asyncio_as_trio",
    "current_loop",
    "flavour_free_task_factory",
    "gather",
    "install",
    "new_event_loop",
    "open_loop",
    "run",
    "run_aio_coroutine",
    "run_aio_future",
    "run_aio_generator",
    "run_trio",
    "run_trio_task",
    "transport_as_trio_stream",
    "trio_as_aio",
    "trio_as_asyncio",
    "trio_stream_as_aio",
    "trio_stream_as_transport",
]


def __getattr__(name: str) -> Any:
    # Made when it is asked for: asyncio's policies are deprecated, and an import must not touch them.
    if name == "EventLoopPolicy":
        from ._policy import event_loop_policy

        return event_loop_policy()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
