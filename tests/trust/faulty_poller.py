"""An epoll whose calls fail on a script, for `test_faults.py`. It stands in for the system's, behind asyncio's selector and our poller."""

from __future__ import annotations

import collections
import contextlib
import select
import selectors
from collections.abc import Iterable, Iterator
from typing import Any
from unittest import mock

from trio_asyncio_compat import _readiness

from .faulty import error

# One step of a poll's script: the number of an error to raise, or what to do with the events that were found.
ORDINARY, NOTHING, EVERYTHING, STRANGERS, TWICE, HANG_UP = "ordinary", "nothing", "everything", "strangers", "twice", "hang up"
Step = int | str
# A descriptor that nobody has registered.
NOBODY = 1_000_000


class FaultyEpoll:
    """Follows a script in its polls and registrations, and is an ordinary epoll when that is at its end.

    A step is taken only once somebody but the loop itself has registered something.
    """

    def __init__(self, polls: Iterable[Step] = (), registrations: Iterable[int] = ()) -> None:
        self._epoll = select.epoll()
        self._polls = collections.deque(polls)
        self._registrations = collections.deque(registrations)
        self._watched: dict[int, int] = {}

    def register(self, fd: int, events: int) -> None:
        # The self-pipe comes first.
        if self._watched and self._registrations and (number := self._registrations.popleft()):
            raise error(number)
        self._epoll.register(fd, events)
        self._watched[fd] = events

    def modify(self, fd: int, events: int) -> None:
        self._epoll.modify(fd, events)
        self._watched[fd] = events

    def unregister(self, fd: int) -> None:
        self._watched.pop(fd, None)
        self._epoll.unregister(fd)

    def poll(self, timeout: float | None = None, maxevents: int = -1) -> list[tuple[int, int]]:
        step = self._polls.popleft() if self._polls and len(self._watched) > 1 else None
        if step in (None, ORDINARY):
            return self._epoll.poll(timeout, maxevents)
        if isinstance(step, int):
            raise error(step)
        found = self._epoll.poll(0, maxevents)
        return {
            NOTHING: [],
            # Spurious: what is watched is said to be ready.
            EVERYTHING: list(self._watched.items()),
            STRANGERS: [(NOBODY, select.EPOLLIN | select.EPOLLOUT), *found],
            TWICE: found * 2,
            HANG_UP: [(fd, select.EPOLLHUP | select.EPOLLERR) for fd in self._watched],
        }[step]

    def fileno(self) -> int:
        return self._epoll.fileno()

    def close(self) -> None:
        self._epoll.close()


@contextlib.contextmanager
def faulty_pollers(**script: Any) -> Iterator[None]:
    """Give the loops that are made in the block such an epoll."""

    def make(*_: Any) -> FaultyEpoll:
        return FaultyEpoll(**script)

    with mock.patch.object(_readiness, "_new_queue", make), mock.patch.object(selectors.EpollSelector, "_selector_cls", make):
        yield
