"""Every private name of asyncio that this package uses, with its type.

asyncio has no public way to write an event loop in Python by extending its own; the names below are the ones
that alternative loops have relied on for years. They are gathered here so that one look shows what a new Python could
break, and `tests/test_private_names.py` checks each of them on the running Python.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import sys
from asyncio import base_events, constants, events, format_helpers, selector_events, sslproto, tasks, timeouts, transports, trsock
from asyncio.log import logger
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import collections
    import contextvars
    import socket
    import ssl
    import types
    import weakref
    from collections.abc import Callable

    class Handle(asyncio.Handle):
        """`asyncio.Handle` with the attributes that the loop itself reads."""

        _callback: Callable[..., object] | None
        _args: Any
        _loop: Any
        _repr: str | None
        _cancelled: bool
        _context: contextvars.Context
        _source_traceback: list[Any] | None

        def __init__(
            self,
            callback: Callable[..., object],
            args: tuple[Any, ...],
            loop: asyncio.AbstractEventLoop,
            context: contextvars.Context | None = None,
        ) -> None: ...
        def _run(self) -> None: ...

    class TimerHandle(Handle):
        """`asyncio.TimerHandle`, likewise."""

        _scheduled: bool
        _when: float

        def __init__(
            self,
            when: float,
            callback: Callable[..., object],
            args: tuple[Any, ...],
            loop: asyncio.AbstractEventLoop,
            context: contextvars.Context | None = None,
        ) -> None: ...
        def when(self) -> float: ...

    ThreadSafeHandle = Handle

    class SelectorLoop(asyncio.SelectorEventLoop):
        """`asyncio.SelectorEventLoop` with the attributes and hooks that a loop built on it uses."""

        _ready: collections.deque[Handle]
        _closed: bool
        _stopping: bool
        _debug: bool
        _thread_id: int | None
        _clock_resolution: float
        _current_handle: Handle | None
        _default_executor: concurrent.futures.Executor | None
        _executor_shutdown_called: bool
        _selector: Any
        _ssock: socket.socket
        _csock: socket.socket | None
        _transports: weakref.WeakValueDictionary[int, Any]
        _signal_handlers: dict[int, Handle]
        _task_factory: Any

        def __init__(self, selector: Any = None) -> None: ...
        def __del__(self, _warn: Any = ...) -> None: ...
        def _check_closed(self) -> None: ...
        def _check_running(self) -> None: ...
        def _check_thread(self) -> None: ...
        def _check_callback(self, callback: object, method: str) -> None: ...
        def _check_signal(self, sig: int) -> None: ...
        def _check_default_executor(self) -> None: ...
        def _add_reader(self, fd: Any, callback: Callable[..., object], *args: Any, context: Any = None) -> Handle: ...
        def _remove_reader(self, fd: Any) -> bool: ...
        def _add_writer(self, fd: Any, callback: Callable[..., object], *args: Any, context: Any = None) -> Handle: ...
        def _remove_writer(self, fd: Any) -> bool: ...
        def _handle_signal(self, sig: int) -> None: ...
        def _add_callback_signalsafe(self, handle: Handle) -> None: ...
        def _write_to_self(self) -> None: ...
        def _close_self_pipe(self) -> None: ...
        def _ensure_fd_no_transport(self, fd: object) -> None: ...
        def _set_coroutine_origin_tracking(self, enabled: bool) -> None: ...
        def _asyncgen_firstiter_hook(self, agen: Any) -> None: ...
        def _asyncgen_finalizer_hook(self, agen: Any) -> None: ...
        def _start_serving(
            self, protocol_factory: Any, sock: socket.socket, sslcontext: Any = None, server: Any = None, *args: Any, **options: Any
        ) -> None: ...
        def _make_read_pipe_transport(self, *args: Any, **options: Any) -> Any: ...
        def _make_write_pipe_transport(self, *args: Any, **options: Any) -> Any: ...

    class Task(asyncio.Task[Any]):
        """`asyncio.Task`, with what a task of another kind needs of it."""

        _must_cancel: Any
        _fut_waiter: Any
        _cancel_message: Any
        _log_traceback: bool

        def _make_cancelled_error(self) -> asyncio.CancelledError: ...

    class SocketTransport(asyncio.Transport):
        """`asyncio.selector_events._SelectorSocketTransport`."""

        _loop: Any
        _sock: socket.socket
        _sock_fd: int
        _protocol: Any
        _buffer: collections.deque[memoryview]
        _buffer_size: int
        _conn_lost: int
        _closing: bool
        _eof: bool
        _empty_waiter: asyncio.Future[None] | None

        def __init__(
            self, loop: Any, sock: Any, protocol: Any, waiter: Any = None, extra: Any = None, server: Any = None, **options: Any
        ) -> None: ...
        def _read_ready__on_eof(self) -> None: ...
        def _fatal_error(self, exc: BaseException, message: str = ...) -> None: ...
        def _maybe_pause_protocol(self) -> None: ...
        def _maybe_resume_protocol(self) -> None: ...
        def _call_connection_lost(self, exc: BaseException | None) -> None: ...

    class TransportSocket:
        """`asyncio.trsock.TransportSocket`."""

        def __init__(self, sock: socket.socket) -> None: ...

    class SSLProtocol(asyncio.BufferedProtocol):
        """`asyncio.sslproto.SSLProtocol`."""

        max_size: int
        _app_transport: asyncio.Transport
        _app_protocol: Any
        _sslobj: Any
        _incoming: ssl.MemoryBIO

        def __init__(self, *args: Any, **options: Any) -> None: ...
        def _do_read__copied(self) -> None: ...
        def _call_eof_received(self) -> None: ...
        def _start_shutdown(self) -> None: ...

    class FlowControlTransport(asyncio.Transport):
        """`asyncio.transports._FlowControlMixin`: the base of transports that pause and resume their protocol's writing."""

        _protocol_paused: bool

        def __init__(self, extra: Any = None, loop: asyncio.AbstractEventLoop | None = None) -> None: ...
        def _maybe_pause_protocol(self) -> None: ...
        def _maybe_resume_protocol(self) -> None: ...

    class StreamReader(asyncio.StreamReader):
        """`asyncio.StreamReader`, with what it has received."""

        _buffer: bytearray
        _eof: bool
        _waiter: asyncio.Future[None] | None

    class StreamReaderProtocol(asyncio.StreamReaderProtocol):
        """`asyncio.StreamReaderProtocol`, with what says that it is the server's side, and the task of that."""

        _client_connected_cb: Callable[..., object] | None
        _task: asyncio.Task[Any] | None

    class StreamWriter(asyncio.StreamWriter):
        """`asyncio.StreamWriter`, with the transport that `start_tls` replaces."""

        _transport: asyncio.WriteTransport

    class UnixSubprocessTransport(asyncio.SubprocessTransport):
        """`asyncio.unix_events._UnixSubprocessTransport`."""

        def __init__(self, *args: Any, **options: Any) -> None: ...
        def _process_exited(self, returncode: int) -> None: ...
        async def _wait(self) -> int: ...

else:
    Handle = events.Handle
    TimerHandle = events.TimerHandle
    # Handles of call_soon_threadsafe lock themselves since Python 3.14, so that one can be cancelled from its thread.
    ThreadSafeHandle = getattr(events, "_ThreadSafeHandle", events.Handle)
    Task = asyncio.Task
    SelectorLoop = asyncio.SelectorEventLoop
    SocketTransport = selector_events._SelectorSocketTransport
    TransportSocket = trsock.TransportSocket
    SSLProtocol = sslproto.SSLProtocol
    FlowControlTransport = transports._FlowControlMixin
    StreamReader = asyncio.StreamReader
    StreamReaderProtocol = asyncio.StreamReaderProtocol
    StreamWriter = asyncio.StreamWriter
    if sys.platform != "win32":
        from asyncio import unix_events

        UnixSubprocessTransport = unix_events._UnixSubprocessTransport


# How many frames debug mode keeps of where a coroutine was made. Twice as many as asyncio: about ten are ours where code of one world is
# called from the other, and it would not be seen by whom.
DEBUG_STACK_DEPTH: int = 2 * constants.DEBUG_STACK_DEPTH

# Whether ThreadSafeHandle is a class of its own.
HANDLES_LOCK = ThreadSafeHandle is not Handle

# What `loop.sendfile` asks of a transport: this one is written to in pieces.
SENDFILE_FALLBACK: Any = constants._SendfileMode.FALLBACK


# What a TLS object raises when it needs more from the other side.
SSL_AGAIN: tuple[type[Exception], ...] = sslproto.SSLAgainErrors


def set_running_loop(loop: asyncio.AbstractEventLoop | None) -> None:
    """`asyncio._set_running_loop`, looked up at each call: it exists in C and in Python, and a program may choose."""
    events._set_running_loop(loop)


def get_running_loop() -> asyncio.AbstractEventLoop | None:
    """`asyncio._get_running_loop`, likewise."""
    return events._get_running_loop()


if sys.version_info >= (3, 13):

    def swap_current_task(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any] | None) -> asyncio.Task[Any] | None:
        """Make `task` what `asyncio.current_task(loop)` returns; return what it was."""
        try:
            before: asyncio.Task[Any] | None = tasks._swap_current_task(loop, task)
        except RuntimeError:
            # Python 3.14 and later refuse a loop that is not the running one, which has no current task. Somebody else has set that:
            # a callback that meddles with `_set_running_loop`, CPython's tests of asyncio's versions in Python.
            return None
        return before
else:

    def swap_current_task(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any] | None) -> asyncio.Task[Any] | None:
        """Make `task` what `asyncio.current_task(loop)` returns; return what it was."""
        # The function of that name that Python 3.12 has raises KeyError where there is nothing to take away. `asyncio.current_task` is a
        # function in Python before 3.12, and asks for what is known here.
        before: asyncio.Task[Any] | None = tasks._current_tasks.get(loop)  # type: ignore[attr-defined]
        if before is not None:
            tasks._leave_task(loop, before)
        if task is not None:
            tasks._enter_task(loop, task)
        return before


# Tell asyncio's own tools for looking at tasks (`asyncio.print_call_graph`, `python -m asyncio pstree`) which task waits for a future, and
# that it does no more. The standard library's tasks do so in their steps.
WaiterNote: TypeAlias = "Callable[[asyncio.Future[Any], asyncio.Future[Any]], None] | None"
if sys.version_info >= (3, 14):
    note_waiter: WaiterNote = asyncio.future_add_to_awaited_by
    forget_waiter: WaiterNote = asyncio.future_discard_from_awaited_by
else:
    note_waiter: WaiterNote = None
    forget_waiter: WaiterNote = None


_LEAVE_TIMEOUT = timeouts.Timeout.__aexit__.__code__


def timeout_being_left(frame: types.FrameType) -> int | None:
    """If `frame` is that in which an expired `asyncio.timeout` asks its task about requests to cancel it: how many there may be left
    for the timeout to be the one that has cancelled the block."""
    if frame.f_code is not _LEAVE_TIMEOUT:
        return None
    left: int = frame.f_locals["self"]._cancelling
    return left


def log_slow_callback(handle: Handle, seconds: float) -> None:
    """What asyncio's debug mode says of a callback that took `seconds`."""
    module: Any = base_events
    module.logger.warning("Executing %s took %.3f seconds", module._format_handle(handle), seconds)


# Where Handle._run says which callback raised. `debug` decides since Python 3.12 whether arguments are shown.
_format_callback: Callable[..., str] = format_helpers._format_callback_source
_SHOWS_BY_DEBUG = "debug" in inspect.signature(_format_callback).parameters


def report_callback_error(handle: Handle, exc: BaseException) -> None:
    """Tell the loop's exception handler what `asyncio.Handle` tells it when its callback has raised."""
    loop = handle._loop
    options = {"debug": loop.get_debug()} if _SHOWS_BY_DEBUG else {}
    callback = _format_callback(handle._callback, handle._args, **options)
    context = {"message": f"Exception in callback {callback}", "exception": exc, "handle": handle}
    if handle._source_traceback:
        context["source_traceback"] = handle._source_traceback
    loop.call_exception_handler(context)


def awaited_by_task(task: asyncio.Task[Any]) -> asyncio.Future[Any] | None:
    """The future that `task` waits for, if it does."""
    future: asyncio.Future[Any] | None = task._fut_waiter  # type: ignore[attr-defined, unused-ignore]
    return future


def callbacks_of(future: asyncio.Future[Any] | concurrent.futures.Future[Any]) -> list[Callable[..., object]]:
    """What is going to be called when `future` is done."""
    if isinstance(future, concurrent.futures.Future):
        return list(future._done_callbacks)  # type: ignore[attr-defined]
    return [callback for callback, _ in future._callbacks or ()]


def getters_of(queue: asyncio.Queue[Any]) -> list[asyncio.Future[None]]:
    """What those wait for who wait for an item of `queue`."""
    return list(queue._getters)  # type: ignore[attr-defined]


# What the classes above must have on every Python, for the test: the loop's hooks and attributes by class.
_LOOP_NAMES = """
_check_closed _check_running _check_thread _check_callback _check_signal _check_default_executor _handle_signal _write_to_self
_close_self_pipe
_ensure_fd_no_transport _set_coroutine_origin_tracking _asyncgen_firstiter_hook _asyncgen_finalizer_hook _start_serving
_add_reader _remove_reader _add_writer _remove_writer _add_callback _add_callback_signalsafe _timer_handle_cancelled
_make_socket_transport _make_ssl_transport _make_read_pipe_transport _make_write_pipe_transport _make_subprocess_transport
"""
_TRANSPORT_NAMES = """
_read_ready _read_ready__on_eof _fatal_error _maybe_pause_protocol _maybe_resume_protocol _call_connection_lost
"""
USED_NAMES: dict[Any, list[str]] = {
    SelectorLoop: _LOOP_NAMES.split(),
    SocketTransport: _TRANSPORT_NAMES.split(),
    SSLProtocol: ["max_size", "_do_read__copied", "_call_eof_received", "_start_shutdown"],
    FlowControlTransport: ["_maybe_pause_protocol", "_maybe_resume_protocol"],
    Handle: ["_callback", "_args", "_cancelled", "_context", "_source_traceback", "_run"],
    TimerHandle: ["_scheduled", "_when"],
    Task: [
        "_must_cancel",
        "_fut_waiter",
        "_callbacks",
        "_cancel_message",
        "_make_cancelled_error",
        "_log_traceback",
        "_source_traceback",
    ],
}
if sys.version_info < (3, 13):
    USED_NAMES[tasks] = ["_current_tasks", "_enter_task", "_leave_task"]
else:
    USED_NAMES[tasks] = ["_swap_current_task"]

__all__ = ["logger"]
