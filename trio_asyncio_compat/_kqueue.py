"""kqueue behind the methods of `select.epoll` that `NestedPoller` uses. macOS and the BSDs."""

from __future__ import annotations

import select
from typing import Any

READ, WRITE = 1, 2


class Kqueue:
    """A kqueue with one mask per descriptor.

    kqueue keeps the two directions as separate filters; `_masks` holds which of them are added.
    """

    def __init__(self) -> None:
        self._select: Any = select
        self._kqueue = self._select.kqueue()
        self._masks: dict[int, int] = {}

    def fileno(self) -> int:
        """The descriptor that is readable while an event is waiting."""
        number: int = self._kqueue.fileno()
        return number

    def register(self, fd: int, events: int) -> None:
        """Watch `fd`; raises OSError if it is closed."""
        self._masks[fd] = 0
        self.modify(fd, events)

    def modify(self, fd: int, events: int) -> None:
        """Watch `fd` for exactly `events` from now on; FileNotFoundError if its filters are gone with its file."""
        before = self._masks.get(fd, 0)
        changes = []
        for bit, kind in ((READ, self._select.KQ_FILTER_READ), (WRITE, self._select.KQ_FILTER_WRITE)):
            if events & bit and not before & bit:
                changes.append(self._select.kevent(fd, kind, self._select.KQ_EV_ADD))
            elif before & bit and not events & bit:
                changes.append(self._select.kevent(fd, kind, self._select.KQ_EV_DELETE))
        self._masks[fd] = events
        try:
            self._kqueue.control(changes, 0)
        except FileNotFoundError:
            self._masks[fd] = 0
            raise
        except OSError:
            del self._masks[fd]
            raise

    def unregister(self, fd: int) -> None:
        """Stop watching `fd`; raises OSError if it is closed."""
        try:
            self.modify(fd, 0)
        finally:
            self._masks.pop(fd, None)

    def poll(self, timeout: float, max_events: int) -> list[tuple[int, int]]:
        """The events that are waiting, as `(fd, mask)`; an end of file counts as the event of its filter."""
        events = self._kqueue.control(None, max_events, timeout)
        return [(event.ident, READ if event.filter == self._select.KQ_FILTER_READ else WRITE) for event in events]

    def close(self) -> None:
        """Close the kqueue."""
        self._kqueue.close()
