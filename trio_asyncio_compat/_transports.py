"""The socket transport: the standard library's protocol with its users, with writing of our own.

Created by the loop's `_make_socket_transport` and under its TLS transports.
"""

from __future__ import annotations

import asyncio
import collections
import functools
import itertools
import os
import socket
from typing import Any, NoReturn

from ._stdlib import SocketTransport, logger

# What one read takes at most: twice as much as asyncio's, so that a large message is taken in few pieces. Not more: what a protocol does
# with a piece may cost more than the piece is long. Measured, medians of three interleaved rounds on 2 cores, with 256 / 512 / 1,024 KiB:
# echo of 1 MB over 4 connections, messages/s on 3.11 2,410 / 5,220 / 5,370 (asyncio 2,680), on 3.13 3,430 / 5,000 / 4,010 (2,860);
# asyncssh, which slices the rest off what it has received for each packet, 20 times 1,000 lines through `cat` on 3.13, seconds
# 1.76 / 1.96 / 2.59 (asyncio 1.79). No difference for 100 KB. What a read does not fill is given back at once, untouched.
READ_SIZE = 512 * 1024
# Larger than a read buffer; see `keep_read_buffers`.
_LARGE_BLOCK = 2 * 1024 * 1024
# Pieces that wait are joined up to this length, in bytes: each takes 360 bytes besides its own, which for small ones is many times what
# copying them costs. Measured on 3.11, 500,000 writes of 9 bytes that wait: 5 MB instead of 179, 0.4 s instead of 1.0.
JOINED_SIZE = 2048
# asyncio's threshold for logging writes to a connection that is lost.
LOG_AFTER_LOST_WRITES = 5

_HAS_SENDMSG = hasattr(socket.socket, "sendmsg")
_IOV_MAX = os.sysconf("SC_IOV_MAX") if _HAS_SENDMSG and hasattr(os, "sysconf") else 1

_Bytes = bytes | bytearray | memoryview
# A deque takes 600 bytes even if empty, a quarter of what a connection takes, and most connections never need one.
_EMPTY: collections.deque[memoryview] = collections.deque(maxlen=0)


def _size(data: object) -> int:
    """In bytes. Raises TypeError for something that is not bytes-like."""
    if isinstance(data, (bytes, bytearray)):
        # Not what `len` of a subclass may say.
        return memoryview(data).nbytes
    raise TypeError(f"data argument must be a bytes-like object, not {type(data).__name__!r}")


@functools.cache
def keep_read_buffers() -> None:
    """Have the allocator keep the memory of read buffers from one read to the next.

    The standard library reads into a fresh buffer of 256 KiB. glibc serves blocks from 128 KiB on by mmap, and gives them back at
    once: three system calls and their page faults at each read, several times the read itself. But once a program has freed
    such a block, blocks up to its size come from the heap. So one is allocated and freed, untouched. Measured, reads/s of 1 KiB /
    16 KiB / 100 KB from a socket pair: 68k / 42k / 15k before, 402k / 245k / 82k after; a smaller buffer, or one that is shared and copied
    from, is no faster at the first and slower at the last. Other allocators take no notice.
    """
    bytes(_LARGE_BLOCK)


class TrioSocketTransport(SocketTransport):
    """A stream socket whose writes copy nothing that is not sent yet, but for small pieces.

    Invariants: `_buffer` holds non-empty views of immutable bytes in the order written (none: `_EMPTY`), `_buffer_size` their
    length in bytes; the descriptor is watched for writing exactly while `_buffer` is not empty.
    """

    def __init__(
        self, loop: Any, sock: Any, protocol: Any, waiter: Any = None, extra: Any = None, server: Any = None, **options: Any
    ) -> None:
        super().__init__(loop, sock, protocol, waiter, extra, server, **options)
        self._buffer = _EMPTY
        self._buffer_size = 0
        # What one read takes at most, in bytes. In the object, since Python 3.11 is slow to look it up in the class.
        self.max_size = READ_SIZE

    def set_protocol(self, protocol: Any) -> None:
        """Have `protocol` receive what comes from now on."""
        # Not the base class's, which keeps a method of the transport in the transport: a cycle for the garbage collector.
        self._protocol = protocol
        self._protocol_connected = True
        self._fills_buffer = isinstance(protocol, asyncio.BufferedProtocol)

    def _read_ready(self) -> None:
        """Read once, for the protocol.

        The base class's way, in one call instead of two, and without looking up an attribute of the class, which Python 3.11 does slowly.
        Measured with callgrind there: 340 instructions less for each read.
        """
        if self._conn_lost:
            return
        protocol = self._protocol
        buffer = None
        if self._fills_buffer:
            try:
                buffer = protocol.get_buffer(-1)
                if not len(buffer):
                    raise RuntimeError("get_buffer() returned an empty buffer")
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as exc:
                self._fatal_error(exc, "Fatal error: protocol.get_buffer() call failed.")
                return
        try:
            # What was received, or into the protocol's buffer how much.
            received = self._sock.recv(self.max_size) if buffer is None else self._sock.recv_into(buffer)
        except (BlockingIOError, InterruptedError):
            return
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._fatal_error(exc, "Fatal read error on socket transport")
            return
        if not received:
            self._read_ready__on_eof()
            return
        try:
            if buffer is None:
                protocol.data_received(received)
            else:
                protocol.buffer_updated(received)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            method = "data_received" if buffer is None else "buffer_updated"
            self._fatal_error(exc, f"Fatal error: protocol.{method}() call failed.")

    def get_write_buffer_size(self) -> int:
        """Bytes accepted but not yet taken by the system."""
        # The base class empties the buffer when the connection is lost.
        return self._buffer_size if self._buffer else 0

    def write(self, data: _Bytes) -> None:
        """Send `data`, now as far as the system takes it, the rest when it can.

        `data` may be changed by the caller afterwards. Raises TypeError for something that is not bytes-like, RuntimeError
        after `write_eof` or while `loop.sendfile` uses the transport.
        """
        size = len(data) if type(data) is bytes else data.nbytes if type(data) is memoryview else _size(data)
        if self._eof or self._empty_waiter is not None:
            self._refuse("write")
        if not size:
            return
        if self._conn_lost:
            self._count_lost_write()
            return
        if not self._buffer:
            try:
                sent = self._sock.send(data)
                if sent == size:
                    return
            except (BlockingIOError, InterruptedError):
                sent = 0
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as exc:
                self._fatal_error(exc, "Fatal write error on socket transport")
                return
            rest = self._keep(data, sent)
            self._watch_writable()
        else:
            rest = self._keep(data, 0)
        self._append(rest)
        self._maybe_pause_protocol()

    def writelines(self, list_of_data: Any) -> None:
        """Send the pieces in order, with one system call where the system can.

        Raises TypeError, and sends none of them, if one is not bytes-like or has gaps.
        """
        if self._eof or self._empty_waiter is not None:
            self._refuse("writelines")
        pieces = [view for data in list_of_data if (view := self._keep(data, 0))]
        if not pieces:
            return
        if self._conn_lost:
            self._count_lost_write()
            return
        idle = not self._buffer
        for view in pieces:
            self._append(view)
        if idle:
            self._write_pending()
            if self._buffer:
                self._watch_writable()
        self._maybe_pause_protocol()

    def _refuse(self, method: str) -> NoReturn:
        if self._eof:
            raise RuntimeError(f"Cannot call {method}() after write_eof()")
        raise RuntimeError(f"unable to {method}; sendfile is in progress")

    def _count_lost_write(self) -> None:
        if self._conn_lost >= LOG_AFTER_LOST_WRITES:
            logger.warning("socket.send() raised exception.")
        self._conn_lost += 1

    def _keep(self, data: _Bytes, sent: int) -> memoryview:
        """What follows the first `sent` bytes of `data`; only what the caller could change is copied."""
        view = memoryview(data)
        if type(data) is not bytes:
            return memoryview(view.cast("B")[sent:].tobytes())
        return view[sent:] if sent else view

    def _append(self, view: memoryview) -> None:
        buffer = self._buffer
        if not buffer:
            buffer = self._buffer = collections.deque()
        self._buffer_size += len(view)
        if buffer and len(buffer[-1]) + len(view) <= JOINED_SIZE:
            view = memoryview(b"".join((buffer.pop(), view)))
        buffer.append(view)

    def _watch_writable(self) -> None:
        options = {"context": self._context} if hasattr(self, "_context") else {}
        self._loop._add_writer(self._sock_fd, self._write_pending, **options)

    def _write_pending(self) -> None:
        """Send what waits. The base class's `_write_ready` of several Pythons, in one."""
        if self._conn_lost:
            return
        buffer = self._buffer
        try:
            sent = self._sock.sendmsg(itertools.islice(buffer, _IOV_MAX)) if _HAS_SENDMSG else self._sock.send(buffer[0])
        except (BlockingIOError, InterruptedError):
            return
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._loop._remove_writer(self._sock_fd)
            self._buffer = _EMPTY
            self._fatal_error(exc, "Fatal write error on socket transport")
            if self._empty_waiter is not None:
                self._empty_waiter.set_exception(exc)
            return
        self._buffer_size -= sent
        while sent:
            view = buffer.popleft()
            if len(view) > sent:
                buffer.appendleft(view[sent:])
                break
            sent -= len(view)
        if not buffer:
            self._buffer = _EMPTY
        self._maybe_resume_protocol()  # may write again
        if not self._buffer:
            self._loop._remove_writer(self._sock_fd)
            if self._empty_waiter is not None:
                self._empty_waiter.set_result(None)
            if self._closing:
                if not self._conn_lost:
                    self._conn_lost += 1
                    self._call_connection_lost(None)
            elif self._eof:
                self._sock.shutdown(socket.SHUT_WR)
