"""The portable poller: one trio task per descriptor and direction. Windows, and wherever epoll and kqueue are missing."""

from __future__ import annotations

import errno
import os
import stat
import sys
from typing import TYPE_CHECKING, Any

import trio

from ._readiness import Poller

if TYPE_CHECKING:
    import collections

    from ._stdlib import Handle


class _Watch:
    """A trio task that waits for one direction of one descriptor, again and again.

    After each event it waits until the event's callback has had its turn: the descriptor stays ready until then.
    """

    def __init__(self, poller: TaskPoller, fd: int, write: bool) -> None:
        self.fd = fd
        self.write = write
        self.scope = trio.CancelScope(shield=True)
        self._poller = poller
        self._rearmed = trio.Event()

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        wait = trio.lowlevel.wait_writable if self.write else trio.lowlevel.wait_readable
        with self.scope:
            while True:
                try:
                    await wait(self.fd)
                except (OSError, trio.BusyResourceError, trio.ClosedResourceError):
                    # Closed while it was watched: as with epoll, nothing more is heard of it.
                    return
                self._rearmed = trio.Event()
                self._poller.fire(self)
                await self._rearmed.wait()

    def rearm(self) -> None:
        self._rearmed.set()


class TaskPoller(Poller):
    """Watches by `(fd, write)`.

    Registrations only mark what is wanted, since they come from anywhere (a finaliser, a signal handler);
    tasks are started and cancelled by `poll` and `before_idle`, which the pump calls.
    """

    def __init__(self) -> None:
        super().__init__()
        self._watches: dict[tuple[int, bool], _Watch] = {}
        self._renewed: set[tuple[int, bool]] = set()
        self._changed = False
        self._fired: list[_Watch] = []
        self._delivered: list[_Watch] = []
        self._wakeup = trio.Event()
        self._nursery: trio.Nursery | None = None

    lazy = True

    async def settle(self) -> None:
        self._update()
        if len(self._watches) > 1:  # more than the self-pipe
            # A task begins its wait in trio's next step, and trio sees the event before the one after that, in which the task may
            # run behind the pump.
            for _ in range(3):
                await trio.lowlevel.cancel_shielded_checkpoint()

    def watch(self, fd: int, read: bool, write: bool) -> None:
        if read or write:
            self._check(fd)
        self._changed = True

    def _add(self, table: dict[int, Handle], fileobj: Any, handle: Handle) -> None:
        super()._add(table, fileobj, handle)
        # Perhaps a number that was closed and given out again, of which the task that waits hears nothing: a new task.
        self._renewed.add((self._number(fileobj), table is self.writers))

    def _check(self, fd: int) -> None:
        """Refuse at the call what epoll refuses, instead of failing in a task later."""
        if sys.platform != "win32":
            mode = os.fstat(fd).st_mode
            if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
                raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    def fire(self, watch: _Watch) -> None:
        """A watch has seen an event."""
        self._fired.append(watch)
        self._wakeup.set()

    def poll(self, ready: collections.deque[Handle]) -> int:
        self._update()
        fired, self._fired = self._fired, []
        for watch in fired:
            if self._watches.get((watch.fd, watch.write)) is watch:
                self._delivered.append(watch)
                table = self.writers if watch.write else self.readers
                handle = table.get(watch.fd)
                if handle is not None and handle._cancelled:
                    self._remove(table, self.readers if watch.write else self.writers, watch.fd)
                elif handle is not None:
                    ready.append(handle)
        return len(fired)

    def before_idle(self) -> None:
        self._update()

    def _update(self) -> None:
        """Let the tasks whose callbacks have run wait again, and bring the tasks in line with the registrations."""
        delivered, self._delivered = self._delivered, []
        for watch in delivered:
            watch.rearm()
        if not self._changed or self._nursery is None:
            return
        self._changed = False
        renewed, self._renewed = self._renewed, set()
        wanted = {(fd, False) for fd in self.readers} | {(fd, True) for fd in self.writers}
        for key, watch in list(self._watches.items()):
            if key not in wanted or key in renewed:
                watch.scope.cancel()
                del self._watches[key]
        for key in wanted - self._watches.keys():
            watch = self._watches[key] = _Watch(self, *key)
            self._nursery.start_soon(watch.run, name=f"{'writer' if key[1] else 'reader'} of descriptor {key[0]}")

    async def wait(self) -> None:
        if not self._fired:
            self._wakeup = trio.Event()
            await self._wakeup.wait()
        else:
            await trio.lowlevel.checkpoint()

    def start(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._changed = True

    def stop(self) -> None:
        self._nursery = None
        for watch in self._watches.values():
            watch.scope.cancel()
        self._watches.clear()
        self._fired.clear()
        self._delivered.clear()

    def close(self) -> None:
        super().close()
        self.stop()
