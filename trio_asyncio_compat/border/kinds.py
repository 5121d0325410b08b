"""What is of two kinds at once, for type checkers: a request of aiohttp is awaited or entered, a channel of trio iterated or entered.

Used by the overloads of `to_asyncio.py` and `to_trio.py`; at run time `crossing.py` finds out by itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Coroutine, Generator
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Protocol, TypeVar

T_co = TypeVar("T_co", covariant=True)
U_co = TypeVar("U_co", covariant=True)


class _Manager(Protocol[U_co]):
    def __aenter__(self) -> Awaitable[U_co]: ...

    def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> Awaitable[bool | None]: ...


class AwaitableManager(_Manager[U_co], Protocol[T_co, U_co]):
    """To be awaited, which gives a T, or to be entered, which gives a U."""

    def __await__(self) -> Generator[Any, Any, T_co]: ...


class IterableManager(_Manager[U_co], Protocol[T_co, U_co]):
    """To be iterated over, which gives Ts, or to be entered, which gives a U."""

    def __aiter__(self) -> AsyncIterator[T_co]: ...


class CrossedAwaitableManager(Coroutine[Any, Any, T_co], AbstractAsyncContextManager[U_co]):
    """An `AwaitableManager` on this side."""


class CrossedIterableManager(AsyncIterator[T_co], AbstractAsyncContextManager[U_co]):
    """An `IterableManager` on this side."""
