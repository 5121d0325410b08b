"""TLS: the standard library's protocol, which reads without running into OpenSSL's "want read" each time.

Created by the loop's `_make_ssl_transport` and `start_tls`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ._stdlib import SSL_AGAIN, SSLProtocol

if TYPE_CHECKING:
    from ._stdlib import StreamReader


class TlsProtocol(SSLProtocol):
    """`asyncio.sslproto.SSLProtocol`.

    The base class reads until OpenSSL raises, after each message: an exception is made, with what OpenSSL says of it. But when
    neither side of OpenSSL holds anything, it could only raise. (It takes records from the incoming buffer one at a time, so it keeps
    none that it has not decrypted.) Measured, a message of 1 KiB read and sent back through a socket pair: 6.0 us instead of 7.2.
    """

    def _do_read__copied(self) -> None:
        tls, incoming = self._sslobj, self._incoming
        chunks: list[bytes] = []
        chunk = None
        try:
            while chunk := tls.read(self.max_size):
                chunks.append(chunk)
                if not incoming.pending and not tls.pending():
                    break
        except SSL_AGAIN:
            chunk = None
        if chunks:
            self._app_protocol.data_received(chunks[0] if len(chunks) == 1 else b"".join(chunks))
        if chunk == b"":
            # The other side has said that nothing more comes.
            self._call_eof_received()
            self._start_shutdown()


async def upgrade(loop: asyncio.AbstractEventLoop, transport: Any, protocol: Any, context: Any, **options: Any) -> asyncio.Transport:
    """Put TLS between a transport that is connected and `protocol`; return what `protocol` is to use after the handshake.

    `options` are `TlsProtocol`'s. If the handshake fails, or this is cancelled, the transport is closed.
    """
    shaken = loop.create_future()
    tls = TlsProtocol(loop, protocol, context, shaken, call_connection_made=False, **options)
    # Nothing may be read for it before it knows its transport.
    transport.pause_reading()
    if options.get("server_side") and isinstance(protocol, asyncio.StreamReaderProtocol):
        # The beginning of the handshake may have come together with what asked for it (CPython gh-142352), and must not be taken for plain
        # text, as Pythons before 3.14 do.
        reader: StreamReader | None = getattr(protocol, "_stream_reader", None)
        if reader is not None and reader._buffer:
            tls._incoming.write(reader._buffer)
            reader._buffer.clear()
    transport.set_protocol(tls)
    first = [loop.call_soon(tls.connection_made, transport), loop.call_soon(transport.resume_reading)]
    try:
        await shaken
    except BaseException:
        transport.close()
        for handle in first:
            handle.cancel()
        raise
    return tls._app_transport
