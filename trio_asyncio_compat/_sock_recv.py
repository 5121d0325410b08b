"""`sock_recv`, in fewer steps; the other `sock_*` methods are the standard library's.

A base of `TrioEventLoop`. The standard library's version resolves a future, has a callback of that future take the reader away in the next
turn, and lets the task go on behind it. Here the callback that has received takes the reader away itself, which saves a callback for each
wait. Measured, an echo of 1 KiB by `sock_recv` and `sock_sendall`, processor time with its driver: 9.0 us instead of 11.0 on Python 3.11,
9.1 instead of 11.5 on 3.13.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from ._stdlib import SelectorLoop

if TYPE_CHECKING:
    import asyncio


class SockRecv(SelectorLoop):
    """See the module."""

    async def sock_recv(self, sock: socket.socket, n: int) -> bytes:
        """Receive at most `n` bytes from a socket that does not block; none at its end. As in asyncio."""
        if self._debug or type(sock) is not socket.socket:
            # Which checks more: that the socket does not block, and is not one of `ssl`.
            return await super().sock_recv(sock, n)
        try:
            return sock.recv(n)
        except (BlockingIOError, InterruptedError):
            pass
        received = self.create_future()
        fd = sock.fileno()
        self._ensure_fd_no_transport(fd)
        handle = self._add_reader(fd, self._receive, fd, received, sock, n)
        try:
            data: bytes = await received
            return data
        finally:
            # Cancelled, or failed. A handle that is cancelled has been taken away, or somebody else waits for the descriptor now.
            if not handle._cancelled:
                self._remove_reader(fd)

    def _receive(self, fd: int, received: asyncio.Future[Any], sock: socket.socket, n: int) -> None:
        if received.done():
            return
        try:
            data = sock.recv(n)
        except (BlockingIOError, InterruptedError):
            return
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            received.set_exception(exc)
        else:
            self._remove_reader(fd)
            received.set_result(data)
