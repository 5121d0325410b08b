"""`TransportStream`: an asyncio transport as a trio stream. Made by `streams.py`.

The stream puts a protocol of its own on the transport. Trio tasks wait for what that hears of by futures of the loop, so a loop that is
stopped leaves none of them waiting.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import operator
import warnings
import weakref
from typing import TYPE_CHECKING, Any

import trio

from .._waiting import wait_for_future
from .stream_transport import StreamTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .._loop import TrioEventLoop

# The transport is paused while more than this many bytes are waiting to be received.
RECEIVE_LIMIT = 64 * 1024
# How much of a `send_all` the transport is given at once: what is on its way still when that is cancelled.
SEND_SIZE = 256 * 1024


class TransportStream(trio.abc.Stream):
    """A `trio.abc.Stream` over an asyncio transport: over one that cannot close one direction alone, as with TLS; see
    `HalfCloseableTransportStream`.

    Invariants: `_writing` is True exactly while the transport's buffer is empty. `_sending` and `_receiving` are True while a task is in a
    method of that direction. `_size` counts the bytes in `_received`; the transport is paused exactly while they are too many, or the
    stream is taken apart.
    """

    def __init__(self, loop: TrioEventLoop, transport: asyncio.Transport, received: bytes = b"", *, eof: bool = False) -> None:
        self._loop = loop
        self._transport = transport
        self._received: collections.deque[memoryview] = collections.deque()
        self._size = 0
        self._eof = eof
        self._writing = True
        self._sent_eof = False
        # The rest of a cancelled send_all is in the transport's buffer.
        self._send_cut = False
        self._sending = False
        self._receiving = False
        self._closed = False
        # The protocol's connection_lost was called, with this; or there was nothing to put a protocol on any more.
        self._lost = transport.is_closing()
        self._error: BaseException | None = None
        # Of those who wait for news of sending, of receiving.
        self._senders: set[asyncio.Future[None]] = set()
        self._receivers: set[asyncio.Future[None]] = set()
        if not self._lost:
            transport.set_protocol(_Protocol(self))
            # So that the buffer is either empty, or we are told when it is. (TLS transports pause at the limit, others above it.)
            transport.set_write_buffer_limits(0 if transport.get_extra_info("sslcontext") is None else 1)
            self._writing = transport.get_write_buffer_size() == 0
            # Off and on again: the end of the input, which the protocol before may have seen, is reported anew.
            transport.pause_reading()
            transport.resume_reading()
        if received:
            self._push(received)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} over {self._transport!r}>"

    @property
    def transport(self) -> asyncio.Transport:
        """The asyncio transport underneath, only to look at; it must not be read from, written to, or given another protocol."""
        return self._transport

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What the transport knows under `name` ("socket", "peername", "ssl_object", ...)."""
        return self._transport.get_extra_info(name, default)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send `data`; return when the transport has nothing left in its buffer.

        If it is cancelled, some part was sent, and up to 256 KiB may be on their way still, unless the stream is closed next.

        Raises trio.BrokenResourceError if the connection is lost, trio.ClosedResourceError after `aclose` or the end was sent,
        trio.BusyResourceError if another task sends, RuntimeError if the loop has been stopped.
        """
        with self._sends():
            self._check_may_send()
            await trio.lowlevel.checkpoint()
            try:
                await self._writable()
                with memoryview(data).cast("B") as view:
                    for start in range(0, len(view), SEND_SIZE):
                        # Copied, since the transport may keep it when we are cancelled, and the caller may change it then.
                        whole = type(data) is bytes and len(view) <= SEND_SIZE
                        self._transport.write(data if whole else bytes(view[start : start + SEND_SIZE]))
                        await self._writable()
            except (trio.Cancelled, asyncio.CancelledError):
                self._send_cut = not self._writing
                raise

    async def wait_send_all_might_not_block(self) -> None:
        """Return when the transport has nothing left in its buffer. Raises as `send_all` does."""
        with self._sends():
            self._check_may_send()
            await trio.lowlevel.checkpoint()
            await self._writable()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """The next bytes that have come, `max_bytes` at most if that is given; b"" if the other side has closed its direction.

        If it is cancelled, nothing is lost. Raises trio.BrokenResourceError if the connection is lost, once what had come is received;
        trio.ClosedResourceError after `aclose`; trio.BusyResourceError if another task receives; ValueError for a `max_bytes` below 1;
        RuntimeError if the loop has been stopped.
        """
        if max_bytes is not None and operator.index(max_bytes) < 1:
            raise ValueError("max_bytes must be at least 1")
        with self._receives():
            if self._size or self._eof:
                await trio.lowlevel.checkpoint()
            await self._until(lambda: self._size > 0 or self._eof, self._receivers)
            if not self._size:
                return b""
            return self._pop(max_bytes)

    async def aclose(self) -> None:
        """Close the connection, once what is left in the transport's buffer is sent; what a cancelled `send_all` left is dropped.

        Returns when the transport's protocol has heard of it. Over TLS that takes the other side's answer, for which asyncio waits
        for 30 seconds at most. If it is cancelled, the connection is closed at once. Raises RuntimeError if the loop has been stopped,
        which closes the connection when it is closed itself.
        """
        if not self._closed:
            self._close()
            if self._send_cut:
                self._transport.abort()
            elif not self._transport.is_closing():
                # What comes still is dropped, and must not be in the way of TLS's own farewell.
                self._transport.resume_reading()
                self._transport.close()
        try:
            await trio.lowlevel.checkpoint()
            while not self._lost and not self._loop.is_closed():
                await self._news(self._senders)
        except BaseException:
            self._transport.abort()
            raise

    async def unwrap(self) -> tuple[trio.abc.Stream, bytes]:
        """Take the stream apart, down to trio's own, once the transport's buffer is sent.

        Returns a stream of trio, and the bytes that were received from it already, as `trio.SSLStream.unwrap` does. Over a
        `StreamTransport` that is the stream which this one was made of; if it is a `TransportStream`, it takes the bytes back, and
        none are returned. Over a socket transport of the loop it is a `trio.SocketStream` on a duplicate of its descriptor;
        the transport is aborted, which leaves the connection open, so servers and protocols count it as gone. If it is cancelled before
        everything is sent, nothing has changed.

        Raises TypeError if that is impossible: over TLS, whose state is the transport's. As for the rest, raises as `send_all` does.
        """
        transport = self._transport
        sock: Any = None if transport.get_extra_info("sslcontext") else transport.get_extra_info("socket")
        if not isinstance(transport, StreamTransport) and sock is None:
            raise TypeError(f"{transport!r} cannot be taken apart: use the {type(self).__name__} over it")
        with self._sends(), self._receives():
            await trio.lowlevel.checkpoint()
            await self._writable()
            if isinstance(transport, StreamTransport):
                transport.pause_reading()
                try:
                    stream, trailing = await transport.unwrap()
                except BaseException:
                    self._keep_limit()
                    raise
            else:
                stream, trailing = trio.SocketStream(trio.socket.from_stdlib_socket(sock.dup())), b""
                if self._sent_eof:
                    # Known to the socket, and now to trio's.
                    with trio.CancelScope(shield=True), contextlib.suppress(trio.BrokenResourceError):
                        await stream.send_eof()
                transport.abort()
            trailing = self._pop() + trailing
            self._close()
        if isinstance(stream, TransportStream) and trailing:
            stream._push(trailing, back=True)
            trailing = b""
        return stream, trailing

    # What trio tasks do

    @contextlib.contextmanager
    def _sends(self) -> Iterator[None]:
        if self._sending:
            raise trio.BusyResourceError(f"another task is sending on {self!r}")
        self._sending = True
        try:
            yield
        finally:
            self._sending = False

    @contextlib.contextmanager
    def _receives(self) -> Iterator[None]:
        if self._receiving:
            raise trio.BusyResourceError(f"another task is receiving from {self!r}")
        self._receiving = True
        try:
            yield
        finally:
            self._receiving = False

    async def _writable(self) -> None:
        """Wait until the transport's buffer is empty."""
        await self._until(lambda: self._writing and not self._lost and not self._transport.is_closing(), self._senders)

    async def _until(self, condition: Callable[[], bool], waiters: set[asyncio.Future[None]]) -> None:
        """Wait for `condition`, which only what the protocol hears of can bring about."""
        while True:
            self._check_not_closed()
            if condition():
                return
            if self._lost or (waiters is self._senders and self._transport.is_closing()):
                raise self._broken()
            await self._news(waiters)

    def _check_may_send(self) -> None:
        if self._sent_eof:
            raise trio.ClosedResourceError("cannot send after the end was sent")

    def _check_not_closed(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError(f"{self!r} was closed")

    def _broken(self) -> trio.BrokenResourceError:
        error = trio.BrokenResourceError(f"the connection was lost: {self._error or 'the asyncio side closed it'}")
        error.__cause__ = self._error
        return error

    async def _news(self, waiters: set[asyncio.Future[None]]) -> None:
        future: asyncio.Future[None] = self._loop.create_future()
        waiters.add(future)
        try:
            await wait_for_future(self._loop, future)
        finally:
            waiters.discard(future)

    def _close(self) -> None:
        self._closed = True
        self._received.clear()
        self._size = 0
        _wake(self._senders)
        _wake(self._receivers)

    def __del__(self) -> None:
        if not self._closed and not self._lost:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)
            if not self._loop.is_closed():
                self._transport.abort()

    # What was received

    def _push(self, data: bytes, *, back: bool = False) -> None:
        """Keep `data`, behind what is there or, if it was taken out before, in front of it."""
        (self._received.appendleft if back else self._received.append)(memoryview(data))
        self._size += len(data)
        self._keep_limit()
        _wake(self._receivers)

    def _pop(self, max_bytes: int | None = None) -> bytes:
        """All that is there, or as much of the first piece."""
        if max_bytes is None:
            data = b"".join(self._received)
            self._received.clear()
        else:
            first = self._received.popleft()
            data = bytes(first[:max_bytes])
            if len(first) > max_bytes:
                self._received.appendleft(first[max_bytes:])
        self._size -= len(data)
        self._keep_limit()
        return data

    def _keep_limit(self) -> None:
        transport = self._transport
        if not transport.is_closing() and transport.is_reading() != (self._size <= RECEIVE_LIMIT):
            if self._size > RECEIVE_LIMIT:
                transport.pause_reading()
            else:
                transport.resume_reading()


class HalfCloseableTransportStream(TransportStream, trio.abc.HalfCloseableStream):
    """A `TransportStream` that can close its sending direction alone."""

    async def send_eof(self) -> None:
        """Tell the other side that nothing more will be sent. A second time does nothing. Raises as `send_all` does."""
        if self._sent_eof and not self._closed:
            await trio.lowlevel.checkpoint()
            return
        with self._sends():
            await trio.lowlevel.checkpoint()
            self._check_not_closed()
            if self._transport.is_closing():
                raise self._broken()
            self._sent_eof = True
            self._transport.write_eof()


class _Protocol(asyncio.Protocol):
    """What the transport tells, told to the stream, if that is still there."""

    def __init__(self, stream: TransportStream) -> None:
        self._stream = weakref.ref(stream)

    def data_received(self, data: bytes) -> None:
        stream = self._stream()
        if stream is not None and not stream._closed:
            stream._push(data)

    def eof_received(self) -> bool:
        stream = self._stream()
        if stream is None:
            return False
        stream._eof = True
        _wake(stream._receivers)
        return isinstance(stream, HalfCloseableTransportStream)

    def pause_writing(self) -> None:
        stream = self._stream()
        if stream is not None:
            stream._writing = False

    def resume_writing(self) -> None:
        stream = self._stream()
        if stream is not None:
            stream._writing = True
            stream._send_cut = False
            _wake(stream._senders)

    def connection_lost(self, exc: BaseException | None) -> None:
        stream = self._stream()
        if stream is not None:
            stream._lost = True
            stream._error = exc
            _wake(stream._senders)
            _wake(stream._receivers)


def _wake(waiters: set[asyncio.Future[None]]) -> None:
    for future in waiters:
        if not future.done():
            future.set_result(None)
