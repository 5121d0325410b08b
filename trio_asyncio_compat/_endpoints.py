"""Descriptors, transports and child processes: the methods of a loop that have to do with what is outside of the process.

A base of `TrioEventLoop`. The standard library's methods for connections, servers, datagrams, pipes and subprocesses end up here.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from typing import TYPE_CHECKING, Any

from . import _stdlib
from ._handles import new_handle
from ._sock_recv import SockRecv
from ._tls import TlsProtocol, upgrade
from ._transports import TrioSocketTransport

if sys.platform != "win32":
    from ._stdlib import UnixSubprocessTransport

if TYPE_CHECKING:
    import socket
    import weakref
    from collections.abc import Callable

    from ._processes import Children
    from ._pump import Pump
    from ._readiness import Poller
    from ._scheduler import Scheduler


class Endpoints(SockRecv):
    """See the module. Servers, pipes and processes are kept weakly, to be closed when a hosted loop ends."""

    _poller: Poller
    _scheduler: Scheduler
    _pump: Pump
    _children: Children
    _servers: weakref.WeakSet[asyncio.AbstractServer]
    _pipes: weakref.WeakSet[Any]
    _processes: weakref.WeakSet[Any]

    # Descriptors

    def _add_reader(self, fd: Any, callback: Callable[..., object], *args: Any, context: Any = None) -> _stdlib.Handle:
        self._check_closed()
        handle = self._descriptor_handle(callback, args, context)
        self._poller.add_reader(fd, handle)
        if self._poller.lazy:
            self._registrations_changed()
        return handle

    def _remove_reader(self, fd: Any) -> bool:
        return not self._closed and self._poller.remove_reader(fd)

    def _add_writer(self, fd: Any, callback: Callable[..., object], *args: Any, context: Any = None) -> _stdlib.Handle:
        self._check_closed()
        handle = self._descriptor_handle(callback, args, context)
        self._poller.add_writer(fd, handle)
        if self._poller.lazy:
            self._registrations_changed()
        return handle

    def _remove_writer(self, fd: Any) -> bool:
        return not self._closed and self._poller.remove_writer(fd)

    def _descriptor_handle(self, callback: Callable[..., object], args: tuple[Any, ...], context: Any) -> _stdlib.Handle:
        # In debug mode with a traceback of where it was made.
        return (_stdlib.Handle if self._debug else new_handle)(callback, args, self, context)

    def _registrations_changed(self) -> None:
        if self._scheduler.idle:
            self._pump.wake()

    # Transports

    def _make_socket_transport(
        self, sock: socket.socket, protocol: Any, waiter: Any = None, *, extra: Any = None, server: Any = None, **options: Any
    ) -> TrioSocketTransport:
        self._ensure_fd_no_transport(sock)
        return TrioSocketTransport(self, sock, protocol, waiter, extra, server, **options)

    def _make_ssl_transport(
        self,
        rawsock: socket.socket,
        protocol: Any,
        sslcontext: Any,
        waiter: Any = None,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        extra: Any = None,
        server: Any = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        **options: Any,
    ) -> asyncio.Transport:
        self._ensure_fd_no_transport(rawsock)
        tls = TlsProtocol(
            self,
            protocol,
            sslcontext,
            waiter,
            server_side,
            server_hostname,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
        )
        TrioSocketTransport(self, rawsock, tls, extra=extra, server=server, **options)
        return tls._app_transport

    async def start_tls(self, transport: Any, protocol: Any, sslcontext: Any, **options: Any) -> asyncio.Transport | None:
        """Put TLS between a live connection and its protocol, as in asyncio; return the transport that the protocol is to use now."""
        if not isinstance(sslcontext, ssl.SSLContext) or not getattr(transport, "_start_tls_compatible", False):
            # Which says what is wrong.
            return await super().start_tls(transport, protocol, sslcontext, **options)
        return await upgrade(self, transport, protocol, sslcontext, **options)

    async def sendfile(self, transport: Any, file: Any, offset: int = 0, count: int | None = None, *, fallback: bool = True) -> int:
        """Send a file over a transport, as in asyncio; return how many bytes were sent."""
        sent = await super().sendfile(transport, file, offset, count, fallback=fallback)
        if getattr(transport, "_protocol_paused", False):
            # Where it writes itself, asyncio gives the protocol back as one that may write, also if the transport is full then; the
            # transport would later resume a protocol that was never paused, which asyncio's own and aiohttp's refuse.
            transport.get_protocol().pause_writing()
        return sent

    def _start_serving(
        self, protocol_factory: Any, sock: socket.socket, sslcontext: Any = None, server: Any = None, *args: Any, **options: Any
    ) -> None:
        if server is not None:
            self._servers.add(server)
        super()._start_serving(protocol_factory, sock, sslcontext, server, *args, **options)

    def _make_read_pipe_transport(self, *args: Any, **options: Any) -> Any:
        transport = super()._make_read_pipe_transport(*args, **options)
        self._pipes.add(transport)
        return transport

    def _make_write_pipe_transport(self, *args: Any, **options: Any) -> Any:
        transport = super()._make_write_pipe_transport(*args, **options)
        self._pipes.add(transport)
        return transport

    if sys.platform != "win32":

        async def _make_subprocess_transport(
            self,
            protocol: Any,
            args: Any,
            shell: Any,
            stdin: Any,
            stdout: Any,
            stderr: Any,
            bufsize: Any,
            extra: Any = None,
            **options: Any,
        ) -> UnixSubprocessTransport:
            waiter = self.create_future()
            transport = UnixSubprocessTransport(
                self, protocol, args, shell, stdin, stdout, stderr, bufsize, waiter=waiter, extra=extra, **options
            )
            self._processes.add(transport)
            ended = self._children.notify_exit(transport.get_pid(), transport._process_exited)
            try:
                await waiter
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException:
                transport.close()
                try:
                    # Not for the transport, which ends only after its pipes, and those may never have been connected.
                    await asyncio.shield(ended)
                finally:
                    process = transport.get_extra_info("subprocess")
                    for pipe in (process.stdin, process.stdout, process.stderr):
                        if pipe is not None:
                            pipe.close()
                raise
            return transport
