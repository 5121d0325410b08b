"""Sockets whose system calls fail on a script, for `test_faults.py`. They stand in for the system at the public seam, `sock=`."""

from __future__ import annotations

import collections
import errno
import os
import socket
from collections.abc import Iterable
from typing import Any

# One step of a script: the number of an error to raise, or at most so many bytes to let through, negative.
Step = int


def error(number: int) -> OSError:
    """The exception for an error's number, of the class that Python gives it."""
    return OSError(number, os.strerror(number))


class FaultySocket(socket.socket):
    """A socket that follows a script for each of its calls, and is an ordinary one when that is at its end."""

    script: dict[str, collections.deque[Step]]

    @classmethod
    def over(cls, sock: socket.socket, **script: Iterable[Step]) -> FaultySocket:
        """Take the descriptor of `sock` over."""
        family, kind, proto = sock.family, sock.type, sock.proto
        faulty = cls(family, kind, proto, fileno=sock.detach())
        faulty.setblocking(False)
        faulty.script = {name: collections.deque(steps) for name, steps in script.items()}
        return faulty

    def _step(self, name: str) -> Step:
        script = self.script.get(name)
        step = script.popleft() if script else 0
        if step > 0:
            raise error(step)
        return -step

    def recv(self, size: int, flags: int = 0) -> bytes:
        return super().recv(self._step("recv") or size, flags)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        return super().recv_into(buffer, self._step("recv") or nbytes, flags)

    def send(self, data: Any, flags: int = 0) -> int:
        limit = self._step("send")
        return super().send(memoryview(data)[:limit] if limit else data, flags)

    def sendmsg(self, buffers: Iterable[Any], *args: Any) -> int:
        limit = self._step("send")
        pieces = list(buffers)
        if limit:
            return super().send(b"".join(pieces)[:limit])
        return super().sendmsg(pieces, *args)

    def accept(self) -> tuple[socket.socket, Any]:
        self._step("accept")
        return super().accept()

    def sendto(self, data: Any, *args: Any) -> int:
        self._step("send")
        return super().sendto(data, *args)

    def recvfrom(self, size: int, flags: int = 0) -> tuple[bytes, Any]:
        self._step("recv")
        return super().recvfrom(size, flags)

    def shutdown(self, how: int) -> None:
        self._step("shutdown")
        super().shutdown(how)


STORM = [errno.EAGAIN, errno.EINTR] * 20
# What each direction may meet: its name, the script.
FAULTS: dict[str, dict[str, list[Step]]] = {
    "none": {},
    "reads: a storm of EAGAIN and EINTR": {"recv": STORM},
    "writes: a storm of EAGAIN and EINTR": {"send": STORM},
    "reads of one byte": {"recv": [-1] * 50},
    "writes of one byte": {"send": [-1] * 50},
    "short writes and EAGAIN": {"send": [-1000, errno.EAGAIN, -1, errno.EINTR, -70_000] * 4},
    "a read meets ECONNRESET": {"recv": [0, errno.ECONNRESET]},
    "the first read meets ECONNRESET": {"recv": [errno.ECONNRESET]},
    "a read meets ETIMEDOUT": {"recv": [errno.ETIMEDOUT]},
    "a read meets EIO": {"recv": [0, errno.EIO]},
    "a write meets EPIPE": {"send": [errno.EPIPE]},
    "a late write meets EPIPE": {"send": [-1000, errno.EPIPE]},
    "a write meets ECONNRESET": {"send": [errno.ECONNRESET]},
    "a write meets ENOBUFS": {"send": [-1000, errno.ENOBUFS]},
    "a read meets ENOMEM": {"recv": [errno.ENOMEM]},
}

ACCEPT_FAULTS: dict[str, list[Step]] = {
    "EMFILE": [errno.EMFILE],
    "ENFILE twice": [errno.ENFILE, errno.ENFILE],
    "ENOBUFS": [errno.ENOBUFS],
    "ENOMEM": [errno.ENOMEM],
    "ECONNABORTED": [errno.ECONNABORTED] * 3,
    "a storm of EAGAIN and EINTR": STORM,
}
