"""Which descriptors are ready: the loop's own poller, and how trio waits for it.

`NestedPoller` keeps an epoll (kqueue on macOS) of its own and lets one trio task wait for that one descriptor.
`TaskPoller` (`_task_poller.py`) has a trio task per descriptor and works wherever trio does.
The loop registers handles; the scheduler calls
`poll` once a turn; the pump awaits `wait` while it is idle.
"""

from __future__ import annotations

import abc
import select
import selectors
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import trio

if TYPE_CHECKING:
    import collections
    from collections.abc import Iterator

    from ._stdlib import Handle

# Events taken from the kernel in one poll, at first; it grows when there were more. The buffer for them, of 12 bytes each, is allocated at
# each call: by Python itself up to 512 bytes, beyond by the system. Measured, a poll that finds nothing: 0.31 us with 42, 0.40 with 512.
MAX_EVENTS = 42


class Poller(abc.ABC):
    """Handles by descriptor, in two tables; what asyncio's transports ask of a selector is answered from them.

    Invariants: a descriptor is in `readers` or `writers` exactly while the kernel is asked about that direction. The
    file object it was given as is kept, so that a closed one, whose number is gone, can still be removed. `nothing_to_find` is True only
    while a poll with callbacks to run would find nothing of interest, and may be left out.
    """

    def __init__(self) -> None:
        self.readers: dict[int, Handle] = {}
        self.writers: dict[int, Handle] = {}
        self._objects: dict[int, Any] = {}
        self.nothing_to_find = False
        # Whether one descriptor is watched at most.
        self._alone = True

    def add_reader(self, fileobj: Any, handle: Handle) -> None:
        """Have `handle` run in each turn in which `fileobj` is readable; the handle before it is cancelled.

        Raises ValueError for something that is no descriptor, OSError (EBADF) for a closed one and PermissionError
        for one that cannot be waited for, such as a regular file.
        """
        self._add(self.readers, fileobj, handle)

    def add_writer(self, fileobj: Any, handle: Handle) -> None:
        """`add_reader` for writing."""
        self._add(self.writers, fileobj, handle)

    def remove_reader(self, fileobj: Any) -> bool:
        """Forget the reader of `fileobj` and cancel its handle; tell whether there was one."""
        return self._remove(self.readers, self.writers, fileobj)

    def remove_writer(self, fileobj: Any) -> bool:
        """`remove_reader` for writing."""
        return self._remove(self.writers, self.readers, fileobj)

    def _add(self, table: dict[int, Handle], fileobj: Any, handle: Handle) -> None:
        fd = fileobj if type(fileobj) is int and fileobj >= 0 else self._number(fileobj)
        self.nothing_to_find = False
        self.watch(fd, table is self.readers or fd in self.readers, table is self.writers or fd in self.writers)
        if fileobj is not fd:
            self._objects[fd] = fileobj
        before = table.get(fd)
        table[fd] = handle
        if before is not None:
            before.cancel()
        elif self._alone:
            self._alone = len(self.readers) + len(self.writers) <= 1

    def _remove(self, table: dict[int, Handle], other: dict[int, Handle], fileobj: Any) -> bool:
        fd = fileobj if type(fileobj) is int and fileobj >= 0 else self._known_number(fileobj)
        handle = table.pop(fd, None)
        if handle is None:
            return False
        self._alone = len(table) + len(other) <= 1
        try:
            self.watch(fd, fd in self.readers, fd in self.writers)
        except OSError:
            pass  # closed before it was removed: the kernel has forgotten it already
        if self._objects and fd not in other:
            self._objects.pop(fd, None)
        handle.cancel()
        return True

    def _number(self, fileobj: Any) -> int:
        if isinstance(fileobj, int):
            fd = int(fileobj)
        else:
            try:
                fd = int(fileobj.fileno())
            except (AttributeError, TypeError, ValueError):
                raise ValueError(f"Invalid file object: {fileobj!r}") from None
        if fd < 0:
            raise ValueError(f"Invalid file descriptor: {fd}")
        return fd

    def _known_number(self, fileobj: Any) -> int:
        try:
            return self._number(fileobj)
        except ValueError:
            for fd, known in self._objects.items():
                if known is fileobj:
                    return fd
            raise

    # What the standard library's transports ask `loop._selector`, to describe themselves in their repr.

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        """The registration of `fileobj` in the form of the `selectors` module; KeyError if there is none."""
        fd = self._known_number(fileobj)
        reader, writer = self.readers.get(fd), self.writers.get(fd)
        events = (selectors.EVENT_READ if reader else 0) | (selectors.EVENT_WRITE if writer else 0)
        if not events:
            raise KeyError(f"{fileobj!r} is not registered")
        return selectors.SelectorKey(self._objects.get(fd, fd), fd, events, (reader, writer))

    def get_map(self) -> dict[int, selectors.SelectorKey]:
        """All registrations, by descriptor."""
        return {fd: self.get_key(fd) for fd in self._descriptors()}

    def _descriptors(self) -> Iterator[int]:
        yield from self.readers
        yield from (fd for fd in self.writers if fd not in self.readers)

    @abc.abstractmethod
    def watch(self, fd: int, read: bool, write: bool) -> None:
        """Ask the kernel for exactly these events of `fd` from now on. Raises OSError if it refuses. Called before the tables gain
        `fd`, and after they have lost it."""

    @abc.abstractmethod
    def poll(self, ready: collections.deque[Handle]) -> int:
        """Append the handles of what is ready now, without waiting; return the number of descriptors."""

    @abc.abstractmethod
    async def wait(self) -> None:
        """Return when the next `poll` is likely to find something. Cancelled like any trio wait."""

    # Whether registrations take effect only in `poll` and `before_idle`, and events are found only by `settle`.
    lazy = False

    async def settle(self) -> None:
        """Give trio the time to find what is ready. Awaited before each turn if the poller is lazy."""

    def before_idle(self) -> None:
        """Called when the loop is about to wait."""

    def start(self, nursery: trio.Nursery) -> None:
        """The loop begins to run; `nursery` is open until it stops."""

    def stop(self) -> None:
        """The loop stops running; what is registered stays."""

    def close(self) -> None:
        """Release what the kernel holds, and what the callbacks do: a server that nobody has closed is then nobody's any more.

        The poller is not used afterwards, but for questions.
        """
        self.readers.clear()
        self.writers.clear()
        self._objects.clear()

    def select(self, timeout: float | None = None) -> NoReturn:
        """What asyncio's selectors have, and who runs a loop of asyncio's by steps of his own calls."""
        raise RuntimeError(
            "The scheduler of this loop is trio: it cannot be run by steps from outside, as nest_asyncio does. In trio code, which may be "
            "called from asyncio code, open another loop with open_loop()"
        )


if sys.platform != "win32":
    if hasattr(select, "epoll"):
        READ, WRITE = select.EPOLLIN, select.EPOLLOUT

        def _new_queue() -> Any:
            return select.epoll()
    else:
        from ._kqueue import READ, WRITE, Kqueue

        def _new_queue() -> Any:
            return Kqueue()

    class NestedPoller(Poller):
        """An epoll of our own, awaited by trio as one descriptor.

        Some facts about epoll, and what follows. A registration belongs to the open file, not to its number: it vanishes
        when the last descriptor of the file is closed, unseen by us. So a number that we believe registered may not be, when it
        was closed and given out again; MOD then fails with ENOENT and we ADD.
        An epoll is itself readable while one of its registrations is ready, which is what trio awaits.
        """

        def __init__(self) -> None:
            super().__init__()
            self._queue = _new_queue()
            self._ask = self._queue.poll
            self._max_events = MAX_EVENTS

        def watch(self, fd: int, read: bool, write: bool) -> None:
            events = (READ if read else 0) | (WRITE if write else 0)
            if not events:
                self._queue.unregister(fd)
            elif fd in self.readers or fd in self.writers:
                try:
                    self._queue.modify(fd, events)
                except FileNotFoundError:
                    self._queue.register(fd, events)
            else:
                self._queue.register(fd, events)

        def poll(self, ready: collections.deque[Handle]) -> int:
            # With only the self-pipe watched: a thread that appends to `ready` writes to the pipe only while the loop is idle. Unless that
            # is what has ended the wait: left unread, the byte would end every wait from now on.
            self.nothing_to_find = self._alone
            # Read before it is called: Python 3.11 is slow to call an attribute that is no method.
            ask, limit = self._ask, self._max_events
            try:
                events = ask(0, limit)
                if not events:
                    return 0
                if len(events) == limit:
                    # All that are ready belong to this turn, as in asyncio. What was told is told again, behind the others.
                    self._max_events += len(self.readers) + len(self.writers)
                    told = {fd for fd, _ in events}
                    events += [event for event in ask(0, self._max_events) if event[0] not in told]
            except InterruptedError:
                return 0  # as asyncio's selectors do; the next turn asks again
            readers = self.readers
            for fd, mask in events:
                # Nearly always: readable, and nothing else. Measured with callgrind on 3.11: 700 instructions less for each event.
                if mask == READ and fd in readers and not (handle := readers[fd])._cancelled:
                    ready.append(handle)
                else:
                    self._found_more(fd, mask, ready)
            return len(events)

        def _found_more(self, fd: int, mask: int, ready: collections.deque[Handle]) -> None:
            """What `poll` has found, in full."""
            # An error or a hang-up shows to both directions, so that the callback meets it in its system call.
            if mask & ~WRITE and (handle := self.readers.get(fd)) is not None:
                if handle._cancelled:
                    self.remove_reader(fd)
                else:
                    ready.append(handle)
            if mask & ~READ and (handle := self.writers.get(fd)) is not None:
                if handle._cancelled:
                    self.remove_writer(fd)
                else:
                    ready.append(handle)

        async def wait(self) -> None:
            await trio.lowlevel.wait_readable(self._queue.fileno())
            self.nothing_to_find = False

        def close(self) -> None:
            super().close()
            self._queue.close()


def new_poller(kind: str | None) -> Poller:
    """The poller called `kind`, "nested" or "task"; None chooses the best that this platform has."""
    from ._task_poller import TaskPoller

    if kind not in (None, "nested", "task"):
        raise ValueError(f"poller must be 'nested', 'task' or None, not {kind!r}")
    if kind == "task" or sys.platform == "win32":
        return TaskPoller()
    return NestedPoller()
