"""The loops that are compared, each by the way its users run a program on it."""

from __future__ import annotations

import asyncio
import importlib.metadata
import sys
from collections.abc import Callable, Coroutine
from typing import Any

Main = Callable[[], Coroutine[Any, Any, Any]]


def _ours(main: Main) -> Any:
    """Hosted, called from trio code."""
    import trio

    from trio_asyncio_compat import aio_as_trio, open_loop

    async def hosted() -> Any:
        async with open_loop():
            return await aio_as_trio(main)()

    return trio.run(hosted)


def _ours_from_trio(main: Main) -> Any:
    import trio

    from trio_asyncio_compat import open_loop

    async def hosted() -> Any:
        async with open_loop():
            return await main()

    return trio.run(hosted)


def _ours_driven(main: Main) -> Any:
    from trio_asyncio_compat import TrioEventLoop

    with asyncio.Runner(loop_factory=TrioEventLoop) as runner:
        return runner.run(main())


def _asyncio(main: Main) -> Any:
    return asyncio.run(main())


def _uvloop(main: Main) -> Any:
    import uvloop

    return uvloop.run(main())


def _trio_asyncio(main: Main) -> Any:
    import trio_asyncio

    return trio_asyncio.run(trio_asyncio.aio_as_trio(main))


def _trio_asyncio_from_trio(main: Main) -> Any:
    import trio_asyncio

    return trio_asyncio.run(main)


# Runners of an asyncio-flavoured function.
RUNNERS: dict[str, Callable[[Main], Any]] = {
    "ours": _ours,
    "ours-driven": _ours_driven,
    "asyncio": _asyncio,
    "uvloop": _uvloop,
    "trio-asyncio": _trio_asyncio,
}
# Runners of a trio-flavoured function with a loop open around it.
TRIO_RUNNERS: dict[str, Callable[[Main], Any]] = {"ours": _ours_from_trio, "trio-asyncio": _trio_asyncio_from_trio}
DEFAULT = ("ours", "asyncio", "uvloop", "trio-asyncio")
DISTRIBUTIONS = {"ours": "trio-asyncio-compat", "ours-driven": "trio-asyncio-compat", "uvloop": "uvloop", "trio-asyncio": "trio-asyncio"}


def bridge() -> Any:
    """The package whose loop is open here, ours or trio-asyncio: both have the same names for crossing the border."""
    return sys.modules[type(asyncio.get_running_loop()).__module__.partition(".")[0]]


def missing(loop: str) -> bool:
    """Whether the package of `loop` is not installed."""
    if loop == "asyncio" or loop.startswith("ours"):
        return False
    try:
        importlib.metadata.version(DISTRIBUTIONS[loop])
    except importlib.metadata.PackageNotFoundError:
        return True
    return False
