"""`StreamTransport`: a trio stream as the transport of an asyncio protocol. Made by `streams.py`.

One trio task in the loop's nursery carries it: it sends what was written, a child of it receives, and when it ends the stream is closed.
Methods of the protocol are called in callbacks of the loop only. The task and the callbacks tell each other of news by two parking lots;
a transport's methods may be called by finalisers, in the middle of trio's own code, so they go through `call_soon`.
"""

from __future__ import annotations

import asyncio
import collections
import contextvars
from typing import TYPE_CHECKING, Any

import trio

from .._stdlib import SENDFILE_FALLBACK, FlowControlTransport, logger
from .._transports import LOG_AFTER_LOST_WRITES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .._loop import TrioEventLoop

# Bytes asked for at once, as asyncio's socket transport does.
RECEIVE_SIZE = 256 * 1024
# Bytes given to `send_all` at once, unless one write was larger: what was written in small pieces goes out together, and the size
# of the buffer follows what is sent of a large one.
SEND_SIZE = 64 * 1024
# How long a stream may take to close in an orderly way; asyncio's for TLS.
CLOSE_SECONDS = 30.0


class StreamTransport(FlowControlTransport):
    """An `asyncio.Transport` over a trio stream.

    Invariants: `_received` is what the stream has given and the protocol has not got yet (b"" is the end); nothing more is received
    while it is there, so that is never more than RECEIVE_SIZE bytes. `_size` counts the bytes that `send_all` has not returned for.
    `_lost` is True from when `connection_lost` is certain, which is then called once.
    """

    _start_tls_compatible = True
    _sendfile_compatible = SENDFILE_FALLBACK

    def __init__(self, loop: TrioEventLoop, stream: trio.abc.Stream, protocol: asyncio.BaseProtocol, extra: dict[str, Any]) -> None:
        super().__init__(extra, loop)
        if loop._nursery is None:
            raise RuntimeError(f"a trio stream can be used by asyncio only while the loop runs, and {loop!r} does not")
        self._trio_loop = loop
        self._stream = stream
        self._protocol: Any = protocol
        self._context = contextvars.copy_context()
        self._made = False
        self._paused = False
        self._at_eof = False
        self._received: bytes | memoryview | None = None
        self._pieces: collections.deque[memoryview] = collections.deque()
        self._size = 0
        self._eof = False
        self._closing = False
        self._lost = False
        # Counted with the loss itself, as in asyncio.
        self._lost_writes = 1
        self._releasing = False
        self._released = False
        self._stream_closed = False
        self._ended = trio.Event()
        self._scope = trio.CancelScope(shield=True)
        self._receiver = trio.lowlevel.ParkingLot()
        self._sender = trio.lowlevel.ParkingLot()
        self._call_soon(self._connection_made, protocol)
        # The scope is cancelled when a driven loop's drive ends; a hosted loop aborts the transport when it shuts down.
        loop._streams.add(self)
        loop._carried.add(self._scope)
        loop._nursery.start_soon(self._carry, name=repr(self))

    def __repr__(self) -> str:
        state = "closed" if self._lost else "closing" if self._closing else "open"
        return f"<{type(self).__name__} {state} over {self._stream!r}>"

    # What the protocol calls

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Have `protocol` get what comes from now on."""
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """The protocol; None after `connection_lost`."""
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    def is_closing(self) -> bool:
        """Whether the transport is closed, or is going to be once all is sent."""
        return self._closing

    def is_reading(self) -> bool:
        """Whether the protocol gets what comes."""
        return not self._closing and not self._paused

    def pause_reading(self) -> None:
        """Give the protocol nothing more until `resume_reading`. At most one piece is received and kept meanwhile."""
        self._paused = self._paused or not self._closing

    def resume_reading(self) -> None:
        """Go on after `pause_reading`."""
        if self._paused and not self._closing:
            self._paused = False
            # As with a socket: a protocol that was set after the end of the input hears of it.
            self._at_eof = False
            self._call_soon(self._deliver)

    def get_write_buffer_size(self) -> int:
        """Bytes written that the stream has not taken yet."""
        return self._size

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send `data` when the stream takes it. Raises TypeError for something that is not bytes-like, RuntimeError after `write_eof`."""
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"data argument must be a bytes-like object, not {type(data).__name__!r}")
        self.writelines((data,))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """`write` for each of several pieces."""
        if self._eof:
            raise RuntimeError("Cannot write to a transport after write_eof()")
        pieces = [memoryview(data if isinstance(data, bytes) else bytes(data)) for data in list_of_data if data]
        if not pieces:
            return
        # After a close, what is written joins what is still to be sent, if there is any.
        if self._lost or (self._closing and not self._size):
            if self._lost_writes >= LOG_AFTER_LOST_WRITES:
                logger.warning("%r was written to after its connection was lost", self)
            self._lost_writes += 1
            return
        self._pieces.extend(pieces)
        self._size += sum(map(len, pieces))
        self._maybe_pause_protocol()
        self._wake_sender()

    def can_write_eof(self) -> bool:
        """Whether the stream can be closed in one direction."""
        return isinstance(self._stream, trio.abc.HalfCloseableStream)

    def write_eof(self) -> None:
        """Close the sending direction after what was written. NotImplementedError if `can_write_eof` is False."""
        if not self.can_write_eof():
            raise NotImplementedError(f"{self._stream!r} cannot be closed in one direction")
        if not self._closing:
            self._eof = True
            self._wake_sender()

    def close(self) -> None:
        """Receive nothing more; close the stream once all is sent, then call the protocol's `connection_lost(None)`."""
        if not self._closing:
            self._closing = True
            self._wake_sender()

    def abort(self) -> None:
        """Close the stream at once. What is not sent is lost."""
        self._force_close(None)

    async def unwrap(self) -> tuple[trio.abc.Stream, bytes]:
        """Take the stream back, once all is sent that was written.

        Trio-flavoured. For the protocol this is a `close`. Returns the stream, and the bytes that were received from it and not given to
        the protocol, as `trio.SSLStream.unwrap` does. If it is cancelled before everything is sent, the transport goes on.

        Raises trio.ClosedResourceError if the transport is closed or closing, trio.BrokenResourceError if the connection breaks before
        all is sent, trio.BusyResourceError if another task unwraps it.
        """
        if self._closing:
            raise trio.ClosedResourceError(f"{self!r} is closed")
        if self._releasing:
            raise trio.BusyResourceError(f"another task unwraps {self!r}")
        self._releasing = True
        self._sender.unpark_all()
        try:
            await self._ended.wait()
        except (trio.Cancelled, asyncio.CancelledError):
            self._releasing = False
            if not self._released:
                raise
            # Too late: only the receiver has still to be stopped.
            with trio.CancelScope(shield=True):
                await self._ended.wait()
        if not self._released:
            raise trio.BrokenResourceError(f"the connection of {self!r} was lost before everything was sent")
        return self._stream, bytes(self._received or b"")

    # Callbacks of the loop

    def _call_soon(self, callback: Any, *args: Any) -> None:
        self._trio_loop.call_soon(callback, *args, context=self._context)

    def _connection_made(self, protocol: asyncio.BaseProtocol) -> None:
        try:
            # The first one's, also if another was set meanwhile, as in asyncio.
            protocol.connection_made(self)
        finally:
            self._made = True
            self._receiver.unpark_all()

    def _deliver(self) -> None:
        """Give the protocol what was received, as far as it wants it."""
        method = ""
        try:
            while self._received is not None and self.is_reading():
                data, protocol = self._received, self._protocol
                if not data:
                    self._received = None
                    self._at_eof = True
                    method = "eof_received"
                    if not protocol.eof_received():
                        self.close()
                elif isinstance(protocol, asyncio.BufferedProtocol):
                    method = "get_buffer"
                    buffer = memoryview(protocol.get_buffer(len(data)))
                    if not buffer:
                        raise RuntimeError("get_buffer() returned an empty buffer")
                    size = min(len(buffer), len(data))
                    buffer[:size] = data[:size]
                    self._received = memoryview(data)[size:] if size < len(data) else None
                    method = "buffer_updated"
                    protocol.buffer_updated(size)
                else:
                    self._received = None
                    method = "data_received"
                    protocol.data_received(bytes(data))
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._fatal_error(exc, f"Fatal error: protocol.{method}() call failed.")
        self._receiver.unpark_all()

    def _resume_writing(self) -> None:
        # The connection may have been lost since this was called for.
        if self._protocol is not None:
            self._maybe_resume_protocol()

    def _wake_sender(self) -> None:
        if self._sender:
            self._call_soon(self._sender.unpark_all)
        # Otherwise it looks for something to send before it parks.

    def _fatal_error(self, exc: BaseException, message: str) -> None:
        if not isinstance(exc, OSError):
            self._trio_loop.call_exception_handler({"message": message, "exception": exc, "transport": self, "protocol": self._protocol})
        self._force_close(exc)

    def _force_close(self, exc: BaseException | None) -> None:
        if not self._lost:
            self._closing = True
            self._pieces.clear()
            self._size = 0
            self._lose(exc)

    def _lose(self, exc: BaseException | None) -> None:
        self._closing = self._lost = True
        self._call_soon(self._connection_lost, exc)

    def _connection_lost(self, exc: BaseException | None) -> None:
        try:
            self._protocol.connection_lost(exc)
        finally:
            self._protocol = None
            self._scope.cancel("the transport over the stream is closed")

    # The trio task

    @trio.lowlevel.enable_ki_protection
    async def _carry(self) -> None:
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._receive)
                    await self._send()
                    nursery.cancel_scope.cancel()
                if not self._released:
                    await self._close_stream()
        finally:
            if not self._lost:
                self._lose(None if self._released else ConnectionAbortedError("the drive of the event loop has ended"))
            if not self._released and not self._stream_closed:
                with trio.CancelScope(shield=True):
                    await self._close_forcefully()
            self._ended.set()
            self._trio_loop._streams.discard(self)
            self._trio_loop._carried.discard(self._scope)

    @trio.lowlevel.enable_ki_protection
    async def _receive(self) -> None:
        while True:
            while self._received is not None or self._at_eof or not self._made or not self.is_reading():
                await self._receiver.park()
            try:
                self._received = bytes(await self._stream.receive_some(RECEIVE_SIZE))
            except Exception as exc:
                self._fatal_error(_for_asyncio(exc, ConnectionResetError), "Fatal read error on trio stream")
                return
            self._call_soon(self._deliver)

    async def _send(self) -> None:
        """Send what is written until the transport is closing and all is sent, or until the stream breaks."""
        eof_sent = False
        try:
            while not self._lost:
                if self._pieces:
                    data = self._next_pieces()
                    await self._stream.send_all(data)
                    self._size = max(0, self._size - len(data))
                    if self._protocol_paused:
                        self._call_soon(self._resume_writing)
                elif self._eof and not eof_sent and isinstance(self._stream, trio.abc.HalfCloseableStream):
                    eof_sent = True
                    await self._stream.send_eof()
                elif self._closing:
                    return
                elif self._releasing:
                    self._released = self._closing = True
                    return
                else:
                    await self._sender.park()
        except Exception as exc:
            self._fatal_error(_for_asyncio(exc, BrokenPipeError), "Fatal write error on trio stream")

    def _next_pieces(self) -> bytes | memoryview:
        pieces = self._pieces
        first = pieces.popleft()
        if len(first) > SEND_SIZE:
            pieces.appendleft(first[SEND_SIZE:])
            return first[:SEND_SIZE]
        taken, size = [first], len(first)
        while pieces and size + len(pieces[0]) <= SEND_SIZE:
            size += len(pieces[0])
            taken.append(pieces.popleft())
        return first if len(taken) == 1 else b"".join(taken)

    async def _close_stream(self) -> None:
        """Close the stream in an orderly way, after all was sent. Does nothing if it is to be closed by force."""
        error: BaseException | None = None
        if self._lost:
            return
        try:
            with trio.move_on_after(CLOSE_SECONDS) as scope:
                await self._stream.aclose()
            if scope.cancelled_caught:
                error = TimeoutError(f"{self._stream!r} did not close within {CLOSE_SECONDS} seconds")
        except Exception as exc:
            error = _for_asyncio(exc, ConnectionResetError)
        self._stream_closed = True
        if not self._lost:
            self._lose(error)

    async def _close_forcefully(self) -> None:
        try:
            await trio.aclose_forcefully(self._stream)
        except Exception as exc:
            self._trio_loop.call_exception_handler({"message": "error while closing a trio stream", "exception": exc, "transport": self})


def _for_asyncio(exc: BaseException, kind: type[ConnectionError]) -> BaseException:
    """What asyncio is told when the stream raises `exc`: the operating system's own error if there was one, else a `kind`."""
    if isinstance(exc, trio.ClosedResourceError):
        return ConnectionAbortedError(f"the trio stream was closed: {exc}")
    if isinstance(exc, trio.BrokenResourceError):
        cause: BaseException | None = exc
        while cause is not None:
            if isinstance(cause, OSError):
                return cause
            cause = cause.__cause__
        error = kind(f"the trio stream is broken: {exc}")
        error.__cause__ = exc
        return error
    return exc
