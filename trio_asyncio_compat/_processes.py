"""How the end of a child process is noticed: by a pidfd on the loop's poller, else by a thread that waits.

No child watcher and no SIGCHLD handler, so subprocesses work in any thread and beside other code that has children.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
from typing import TYPE_CHECKING

import trio

from ._stdlib import logger

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    import outcome

# What asyncio reports for a child that somebody else has reaped, and what it logs: from 3.12 on it has pidfds too.
UNKNOWN_STATUS = 255
_UNKNOWN = "Unknown child process pid %d, will report returncode %d"
_UNKNOWN_BY_PIDFD = "child process pid %d exit status already read:  will report returncode %d" if sys.version_info >= (3, 12) else _UNKNOWN


class Children:
    """The child processes of one loop that are still running.

    Invariants: the pidfds are open and have a reader in the loop; `running` has a future, not done, for each child.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._by_pidfd: dict[int, tuple[int, Callable[[int], object]]] = {}
        self.running: set[asyncio.Future[None]] = set()

    def notify_exit(self, pid: int, process_exited: Callable[[int], object]) -> asyncio.Future[None]:
        """Call `process_exited(returncode)` in the loop once the child `pid` has ended; the future is done then.

        It is done whatever becomes of the child's pipes, for which the standard library's transport waits too.
        """
        ended: asyncio.Future[None] = self._loop.create_future()
        self.running.add(ended)

        def exited(returncode: int) -> None:
            self.running.discard(ended)
            if not ended.done():
                ended.set_result(None)
            process_exited(returncode)

        try:
            pidfd = os.pidfd_open(pid)
        except (AttributeError, OSError):
            # No such call on this system, or no descriptor left.
            self._wait_in_thread(pid, exited)
            return ended

        self._loop.add_reader(pidfd, self._reap, pidfd)
        self._by_pidfd[pidfd] = (pid, exited)
        return ended

    def reap_ended(self) -> None:
        """Reap the children that have ended already.

        Before the program's own SIGCHLD handler, that is: it may be one that reaps whatever has ended (asyncio's
        FastChildWatcher, the first process of a container), and the exit status can be had only once.
        """
        poll = select.poll()
        for pidfd in self._by_pidfd:
            poll.register(pidfd, select.POLLIN)
        for pidfd, _ in poll.poll(0):
            self._reap(pidfd)

    def close(self) -> None:
        """Stop noticing: the loop closes."""
        for pidfd in list(self._by_pidfd):
            self._forget(pidfd)

    def _reap(self, pidfd: int) -> None:
        pid, exited = self._forget(pidfd)
        exited(_wait(pid, _UNKNOWN_BY_PIDFD))

    def _forget(self, pidfd: int) -> tuple[int, Callable[[int], object]]:
        self._loop.remove_reader(pidfd)
        os.close(pidfd)
        return self._by_pidfd.pop(pidfd)

    def _wait_in_thread(self, pid: int, exited: Callable[[int], object]) -> None:
        loop = self._loop

        def wait_for_end() -> None:
            # Not reaped here: until the loop does it, the number stays the child's, and may be sent a signal.
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

        def deliver(ended: outcome.Outcome[None]) -> None:
            try:
                loop.call_soon_threadsafe(lambda: exited(_wait(pid)))
            except RuntimeError:
                if not loop.is_closed():
                    raise
                _wait(pid)
                logger.warning("Loop %r that handles pid %r is closed", loop, pid)

        trio.lowlevel.start_thread_soon(wait_for_end, deliver, name=f"waitpid-{pid}")


def _wait(pid: int, unknown: str = _UNKNOWN) -> int:
    try:
        _, status = os.waitpid(pid, 0)
    except ChildProcessError:
        logger.warning(unknown, pid, UNKNOWN_STATUS)
        return UNKNOWN_STATUS
    try:
        return os.waitstatus_to_exitcode(status)
    except ValueError:
        return status
