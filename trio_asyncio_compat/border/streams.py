"""Streams across the border: a trio stream for asyncio code, an asyncio connection for trio code, and handing over a live one.

The functions that users call. `stream_transport.py` is the one direction, `transport_stream.py` the other.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from .._loop import TrioEventLoop
from .._stdlib import StreamReader, StreamReaderProtocol, StreamWriter, TransportSocket, get_running_loop
from .stream_transport import StreamTransport
from .transport_stream import HalfCloseableTransportStream, TransportStream

if TYPE_CHECKING:
    from collections.abc import Callable

P = TypeVar("P", bound=asyncio.BaseProtocol)

# asyncio's own default: bytes that a StreamReader buffers before the transport is paused (at twice that).
DEFAULT_LIMIT = 2**16
_PASSED_ON = ("socket", "peername", "sockname", "sslcontext", "ssl_object", "peercert", "cipher", "compression")


def trio_stream_as_transport(stream: trio.abc.Stream, protocol_factory: Callable[[], P]) -> tuple[StreamTransport, P]:
    """Run an asyncio protocol over a trio stream.

    Args:
        stream: any `trio.abc.Stream`. From now on it belongs to the transport, which closes it at its end. Of a `trio.SSLStream` the
            handshake must be done (`await stream.do_handshake()`).
        protocol_factory: called without arguments, returns an `asyncio.Protocol` or `asyncio.BufferedProtocol`.

    Returns the transport and the protocol, as `loop.create_connection` does; `connection_made` is called by the loop soon. To be called in
    trio code or in asyncio code, while a loop is open. The transport is one like any other of asyncio's: buffered writes with flow
    control, `loop.start_tls` and `loop.sendfile` work on it, `write_eof` does if the stream is a `trio.abc.HalfCloseableStream`. Whether
    the sending direction stays open after the end of the input, `eof_received` decides. `get_extra_info` knows "socket", "peername" and
    "sockname" where there is a socket underneath, and of a `trio.SSLStream` "sslcontext", "peercert", "cipher", "compression" and
    "ssl_object" (the stream, which has the methods that tell about the connection). If the stream breaks, `connection_lost` gets the
    operating system's error, or a ConnectionError. A hosted loop aborts the transport when it shuts down; in a driven
    loop it is lost (ConnectionAbortedError) with the drive that it was made in.

    `await transport.unwrap()` takes the stream back.

    Raises ValueError for an `SSLStream` without a handshake, RuntimeError where no loop of ours is open.
    """
    loop = _loop_here("trio_stream_as_transport()")
    extra = _extra_of(stream)
    protocol = protocol_factory()
    return StreamTransport(loop, stream, protocol, extra), protocol


def trio_stream_as_aio(
    stream: trio.abc.Stream, *, limit: int = DEFAULT_LIMIT, server_side: bool = False
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A trio stream as asyncio's (reader, writer), as `asyncio.open_connection` returns them; with `server_side` as `asyncio.start_server`
    gives them to its callback, so that `writer.start_tls` plays the server's part.

    `limit` is that of the `asyncio.StreamReader`, in bytes. As for the rest see `trio_stream_as_transport`. To get the stream back, with
    what the reader has buffered: `await aio_stream_as_trio(reader, writer).unwrap()`.
    """
    loop = _loop_here("trio_stream_as_aio()")
    reader = asyncio.StreamReader(limit=limit, loop=loop)
    kind = _ServersProtocol if server_side else asyncio.StreamReaderProtocol
    transport, protocol = trio_stream_as_transport(stream, lambda: kind(reader, loop=loop))
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


class _ServersProtocol(StreamReaderProtocol):
    """That of a connection which a server has accepted. `StreamWriter.start_tls` knows it by the callback for a new connection."""

    def __init__(self, reader: asyncio.StreamReader, *, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(reader, loop=loop)
        self._client_connected_cb = _accepted

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # There is a writer already.
        self._client_connected_cb = None
        super().connection_made(transport)
        self._client_connected_cb = _accepted


def _accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The connection is in use."""


def transport_as_trio_stream(transport: asyncio.BaseTransport) -> TransportStream:
    """Take over a live asyncio transport, as a trio stream.

    Args:
        transport: a transport for both directions, of a socket, of TLS, or a `StreamTransport`. It gets a protocol of the stream's own; the
            one before hears nothing more of it. What that has buffered is its own business.

    To be called in trio code or in asyncio code of the transport's loop, at any moment between two callbacks or inside of one: whatever
    comes afterwards goes to the stream, and what is in the transport's write buffer is still sent. The stream is a
    `trio.abc.HalfCloseableStream`, or over TLS only a `trio.abc.Stream`. Its `unwrap()` gives a real `trio.SocketStream` instead, if
    possible.

    Raises TypeError for a transport of another kind; ValueError for one that an `asyncio.StreamReader` reads from, which has a buffer
    (use `aio_stream_as_trio`); trio.ClosedResourceError if it is closed or closing; RuntimeError where no loop of ours is open.
    """
    loop = _loop_here("transport_as_trio_stream()")
    if not isinstance(transport, asyncio.Transport):
        raise TypeError(f"a stream needs a transport for both directions, not {transport!r}")
    try:
        transport.is_reading()
    except NotImplementedError:
        raise TypeError(f"a stream needs a transport for both directions, not {transport!r}") from None
    if transport.is_closing():
        raise trio.ClosedResourceError(f"{transport!r} is closed")
    if isinstance(transport.get_protocol(), asyncio.StreamReaderProtocol):
        raise ValueError("this transport has a StreamReader, which may have buffered something: use aio_stream_as_trio(reader, writer)")
    return _new_stream(loop, transport)


def aio_stream_as_trio(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> TransportStream:
    """Take over a live connection from asyncio's (reader, writer), as a trio stream.

    What the reader has buffered is received first. Reader and writer are of no use afterwards: reading, writing and `drain` raise
    RuntimeError; `writer.close()` and `wait_closed()` do nothing, so that clean-up code may go on as usual. As for the rest see
    `transport_as_trio_stream`. If the connection was lost already, the stream says so after what is buffered.

    Raises trio.BusyResourceError if a task is reading; TypeError for other objects; RuntimeError where no loop of ours is open.
    """
    loop = _loop_here("aio_stream_as_trio()")
    if not isinstance(reader, asyncio.StreamReader) or not isinstance(writer, asyncio.StreamWriter):
        raise TypeError(f"an asyncio.StreamReader and an asyncio.StreamWriter are needed, not {reader!r} and {writer!r}")
    return _take(loop, reader, writer)  # type: ignore[arg-type]


def _take(loop: TrioEventLoop, reader: StreamReader, writer: StreamWriter) -> TransportStream:
    transport = writer.transport
    if isinstance(transport, _HandedOver):
        raise trio.ClosedResourceError("this reader and writer were handed over before")
    if not isinstance(transport, asyncio.Transport):
        raise TypeError(f"a stream needs a transport for both directions, not {transport!r}")
    if reader._waiter is not None:
        raise trio.BusyResourceError("another task is waiting for data from this reader")
    protocol = None if transport.is_closing() else transport.get_protocol()
    received, eof = bytes(reader._buffer), reader._eof and reader.exception() is None
    reader._buffer.clear()
    stream = _new_stream(loop, transport, received, eof=eof)
    reader.set_exception(RuntimeError("the connection of this reader was handed over to trio code"))
    writer._transport = _HandedOver()
    if isinstance(protocol, StreamReaderProtocol):
        # A server's protocol holds the task of its callback while it has the connection, which that task may go on with.
        task = protocol._task
        if task is not None:
            loop._hold(task)
        # For the reader and the writer this is the end; who waits for it shall not wait for ever.
        protocol.connection_lost(None)
    return stream


def _new_stream(loop: TrioEventLoop, transport: asyncio.Transport, received: bytes = b"", *, eof: bool = False) -> TransportStream:
    kind = HalfCloseableTransportStream if transport.can_write_eof() else TransportStream
    return kind(loop, transport, received, eof=eof)


class _HandedOver(asyncio.Transport):
    """What a writer has instead of its transport, once that is trio's."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        raise RuntimeError("the connection of this writer was handed over to trio code")

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"")

    def write_eof(self) -> None:
        self.write(b"")

    def can_write_eof(self) -> bool:
        return False

    def is_closing(self) -> bool:
        return True

    def close(self) -> None:
        """The connection is somebody else's."""

    def abort(self) -> None:
        """Likewise."""


def _loop_here(caller: str) -> TrioEventLoop:
    """The loop that is open here, in code of either flavour."""
    loop = get_running_loop()
    if not isinstance(loop, TrioEventLoop) or loop._nursery is None:
        which = "no asyncio loop is open here" if loop is None else f"{loop!r} does not run on trio"
        raise RuntimeError(f"{caller} needs a loop on trio, and {which}: use 'async with trio_asyncio_compat.open_loop()' around this code")
    return loop


def _extra_of(stream: trio.abc.Stream) -> dict[str, Any]:
    """What `get_extra_info` shall know of a transport over `stream`."""
    if isinstance(stream, TransportStream):
        known = {name: stream.get_extra_info(name) for name in _PASSED_ON}
        return {name: value for name, value in known.items() if value is not None}
    if isinstance(stream, trio.SSLStream):
        below = stream.transport_stream
        extra = _extra_of(below) if isinstance(below, trio.abc.Stream) else {}
        tls: Any = stream
        try:
            extra.update(peercert=tls.getpeercert(), cipher=tls.cipher(), compression=tls.compression())
        except trio.NeedHandshakeError:
            raise ValueError("the TLS handshake has not been made: 'await stream.do_handshake()' first") from None
        return extra | {"sslcontext": tls.context, "ssl_object": stream}
    if isinstance(stream, trio.StapledStream):
        sends, receives = stream.send_stream, stream.receive_stream
        return _extra_of(sends) if sends is receives and isinstance(sends, trio.abc.Stream) else {}
    if isinstance(stream, trio.SocketStream):
        sock: Any = stream.socket
        extra = {"socket": TransportSocket(sock), "peername": None, "sockname": None}
        with contextlib.suppress(OSError):
            extra["sockname"] = sock.getsockname()
        with contextlib.suppress(OSError):
            extra["peername"] = sock.getpeername()
        return extra
    return {}
