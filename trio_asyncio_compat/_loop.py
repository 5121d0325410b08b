"""`TrioEventLoop`: the surface of `asyncio.AbstractEventLoop`, each method one thought long.

What schedules and waits is ours (`_scheduler.py`, `_pump.py`, `_readiness.py`); transports, TLS, servers and `sock_*` are the standard
library's, on top of it. A loop is *hosted* (opened by `open_loop`, `_lifetime.py`) or *driven* (`_driven.py`).
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import signal
import socket
import sys
import threading
import time
import warnings
import weakref
from typing import TYPE_CHECKING, Any, Literal, TypeVar, TypeVarTuple

import trio

from . import _signals, _stdlib
from ._callers import Callers
from ._calls import TrioCall
from ._driven import drive
from ._flavour import run_as_asyncio
from ._handles import Handle, TimerHandle
from ._instruments import Watched
from ._interrupts import InterruptGuard
from ._processes import Children
from ._pump import Pump
from ._readiness import Poller, new_poller
from ._scheduler import Scheduler
from ._stdlib import SelectorLoop, ThreadSafeHandle, logger
from ._threads import WorkerPool
from ._tls import TlsProtocol
from ._transports import TrioSocketTransport, keep_read_buffers
from ._trio_asyncio import TrioAsyncioMethods
from ._waiting import Wait
from ._wrong_flavour import explain

if sys.platform != "win32":
    from ._stdlib import UnixSubprocessTransport

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Awaitable, Callable, Coroutine

    from .border.generators import FlavourFreeGenerators

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# The locking handles of Python 3.14 call the plain ones' constructor.
_HANDLES_LOCK = ThreadSafeHandle is not _stdlib.Handle
_THREADSAFE_FRAMES = 2 if _HANDLES_LOCK else 1
# How long the asyncio side may keep trio's other tasks waiting while it is busy, in seconds.
DEFAULT_SLICE_LENGTH = 0.001


class TrioEventLoop(TrioAsyncioMethods, Watched, SelectorLoop):
    """An asyncio event loop whose scheduler is trio.

    Called without arguments it makes a loop to be driven from synchronous code, as in
    `asyncio.Runner(loop_factory=TrioEventLoop)`: `run_until_complete` and `run_forever` each make one `trio.run`.
    Inside of trio use `trio_asyncio_compat.open_loop`, which opens a loop of this class for the length of a block.

    Args:
        poller: how descriptors are waited for. "nested": an epoll or kqueue of the loop's own, awaited by trio as one descriptor;
            "task": a trio task per descriptor, which works wherever trio does. None chooses the first where it exists.
        slice_length: seconds for which callbacks may run in a row before trio's other tasks get their turn.
            A trio task waits at most about that long, plus the length of one callback.

    Raises:
        ValueError: an unknown poller, or a slice length that is not positive.
    """

    # Until the base class's constructor has run: a loop whose arguments were refused has nothing to close.
    _closed = True

    def __init__(self, *, poller: Literal["nested", "task"] | None = None, slice_length: float = DEFAULT_SLICE_LENGTH) -> None:
        if not slice_length > 0:
            raise ValueError(f"slice_length must be a positive number of seconds, not {slice_length!r}")
        keep_read_buffers()
        self._poller: Poller = new_poller(poller)
        self._scheduler = Scheduler(self, self._poller, slice_length)
        self._pump = Pump(self, self._scheduler, self._poller)
        self._hosted = False
        self._nursery: trio.Nursery | None = None
        self._guard = InterruptGuard(self)
        self._children = Children(self)
        self._workers: WorkerPool | None = None
        self._servers: weakref.WeakSet[asyncio.AbstractServer] = weakref.WeakSet()
        self._pipes: weakref.WeakSet[Any] = weakref.WeakSet()
        self._processes: weakref.WeakSet[Any] = weakref.WeakSet()
        # Transports over streams of trio.
        self._streams: set[asyncio.Transport] = set()
        # Of trio functions that have not ended.
        self._calls: set[TrioCall] = set()
        self._callers: Callers | None = None
        # trio's hooks for async generators, while the loop runs.
        self._trio_hooks = sys.get_asyncgen_hooks()
        # Of the trio tasks that carry tasks of asyncio.
        self._carried: set[trio.CancelScope] = set()
        # Tasks of asyncio that make calls for trio code.
        self._carriers: set[asyncio.Task[Any]] = set()
        self._autoclose: set[int] = set()
        self._flavour_free_generators: FlavourFreeGenerators | None = None
        self._waits: set[Wait] = set()
        # The base class asks its selector only about registrations, and closes it.
        super().__init__(self._poller)
        self._ready = self._scheduler.ready
        self._scheduled = self._scheduler.deadlines

    # Life cycle

    def run_forever(self) -> None:
        """Run until `stop` is called, in a `trio.run` of its own.

        Raises RuntimeError inside of trio, where `open_loop` is what to use, or if a loop is running in this thread. SystemExit and
        KeyboardInterrupt of a callback come out as they are.
        """
        self._check_closed()
        self._check_running()
        drive(self)

    def run_until_complete(self, future: Any) -> Any:
        """Run until `future`, or the task of a coroutine, is done; return its result or raise its exception. See `run_forever`."""
        try:
            return super().run_until_complete(future)
        except (RuntimeError, TypeError, BaseExceptionGroup) as exc:
            explain(exc)
            raise

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Report an error that nobody waits for, as in asyncio; one from awaiting the wrong library is explained."""
        explain(context.get("exception"))
        super().call_exception_handler(context)

    def _check_running(self) -> None:
        if self._hosted:
            raise RuntimeError(
                "This is not a sync loop: it is hosted by open_loop() and runs until that block ends. "
                "In trio code, await aio_as_trio(function)(...) instead of run_until_complete(); in asyncio code, just await"
            )
        super()._check_running()
        if trio.lowlevel.in_trio_run():
            raise RuntimeError(
                "A loop cannot be driven from inside of trio.run(). Open one there with 'async with trio_asyncio_compat.open_loop()'"
            )

    def stop(self, waiter: trio.Event | None = None) -> trio.Event | None:  # type: ignore[override]
        """Stop after the current turn; callbacks that are ready now still run in it.

        On a hosted loop the asyncio side then stands still until the `open_loop` block ends; who waits for it gets RuntimeError.
        Returns, of a loop that runs, an event that is set once it has stopped: `waiter` if that is given.
        """
        self._scheduler.stopping = True
        if self._scheduler.idle:
            self._pump.wake()
        return self._pump.announce_stop(waiter)

    def close(self) -> None:
        """Close the loop for good; a second call does nothing. Raises RuntimeError while it runs."""
        if self._closed or self.is_running():
            super().close()
            return
        self._children.close()
        # Handlers first, while the base class still knows them: it would also touch the wakeup descriptor, which is trio's.
        if not sys.is_finalizing():
            for sig in list(self._signal_handlers):
                self.remove_signal_handler(sig)
        super().close()
        self._close_files()

    async def shutdown_asyncgens(self) -> None:
        """Close the async generators that are alive, each in the kind of code that has begun it."""
        await super().shutdown_asyncgens()
        if self._flavour_free_generators is not None:
            await self._flavour_free_generators.close_all()

    def time(self) -> float:
        """Seconds on the loop's clock: trio's in a hosted loop, `time.monotonic()` in a driven one."""
        return self._scheduler.time()

    # Callbacks

    def call_soon(self, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None) -> asyncio.Handle:
        """Run `callback(*args)` in the next turn, after what is queued already.

        From another thread use `call_soon_threadsafe`. Raises RuntimeError if the loop is closed.
        """
        if self._closed or self._debug:
            handle = self._debug_handle("call_soon", callback, args, context)
        else:
            handle = Handle(callback, args, self, context)
        scheduler = self._scheduler
        scheduler.ready.append(handle)
        if scheduler.idle:
            self._pump.wake()
        return handle

    def _debug_handle(
        self, method: str, callback: Callable[..., object], args: tuple[Any, ...], context: contextvars.Context | None
    ) -> _stdlib.Handle:
        """The handle of a checked call: for a loop in debug mode, and for a closed one, which raises."""
        self._check_closed()
        self._check_thread()
        self._check_callback(callback, method)
        handle = _stdlib.Handle(callback, args, self, context)
        _forget_callers(handle, 2)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """`call_soon` for other threads, signal handlers and finalisers."""
        handle: _stdlib.Handle
        if self._closed or self._debug or _HANDLES_LOCK:
            self._check_closed()
            if self._debug:
                self._check_callback(callback, "call_soon_threadsafe")
            handle = ThreadSafeHandle(callback, args, self, context)
            _forget_callers(handle, _THREADSAFE_FRAMES)
        else:
            handle = Handle(callback, args, self, context)
        scheduler = self._scheduler
        scheduler.ready.append(handle)
        if scheduler.idle:
            self._write_to_self()
        return handle

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """Run `callback(*args)` in `delay` seconds; at once, in the next turn, if that is not positive."""
        if delay is None:
            raise TypeError("delay must not be None")
        scheduler = self._scheduler
        when = scheduler.time() + delay
        if self._closed or self._debug:
            return self._debug_timer("call_later", when, callback, args, context)
        timer = TimerHandle(when, callback, args, self, context)
        scheduler.add_timer(when, timer)
        if scheduler.idle and not scheduler.deadlines[0] < when:
            self._pump.retime()
        return timer  # type: ignore[return-value]

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """Run `callback(*args)` when `time()` has reached `when`; timers of one instant run in the order they were made."""
        if when is None:
            raise TypeError("when cannot be None")
        if self._closed or self._debug:
            return self._debug_timer("call_at", when, callback, args, context)
        scheduler = self._scheduler
        timer = TimerHandle(when, callback, args, self, context)
        scheduler.add_timer(when, timer)
        if scheduler.idle and not scheduler.deadlines[0] < when:
            self._pump.retime()
        return timer  # type: ignore[return-value]

    def _debug_timer(
        self, method: str, when: float, callback: Callable[..., object], args: tuple[Any, ...], context: contextvars.Context | None
    ) -> asyncio.TimerHandle:
        """`_debug_handle` for timers."""
        self._check_closed()
        self._check_thread()
        self._check_callback(callback, method)
        timer = _stdlib.TimerHandle(when, callback, args, self, context)
        _forget_callers(timer, 2)
        scheduler = self._scheduler
        scheduler.add_timer(when, timer)
        if scheduler.idle and not scheduler.deadlines[0] < when:
            self._pump.retime()
        return timer  # type: ignore[return-value]

    def _timer_handle_cancelled(self, handle: _stdlib.TimerHandle) -> None:
        if not handle._scheduled:
            return
        scheduler = self._scheduler
        scheduler.cancelled += 1
        if scheduler.idle and threading.get_ident() == self._thread_id:
            # Nothing else would sweep now, and a clock that jumps to the next deadline must not jump to this one.
            head = scheduler.deadlines[0]
            scheduler.sweep()
            if head == handle._when:
                self._pump.retime()

    def _add_callback(self, handle: _stdlib.Handle) -> None:
        if not handle._cancelled:
            self._scheduler.ready.append(handle)
            if self._scheduler.idle:
                self._pump.wake()

    def _add_callback_signalsafe(self, handle: _stdlib.Handle) -> None:
        if not handle._cancelled:
            self._scheduler.ready.append(handle)
            if self._scheduler.idle:
                self._write_to_self()

    # Tasks

    def create_task(self, coro: Coroutine[Any, Any, T], **options: Any) -> asyncio.Task[T]:  # type: ignore[override]
        """Make a task of `coro`, by the task factory if one is set.

        Args:
            options: `name`, `context`, and where the running Python has it `eager_start`; others are for the factory.

        Raises RuntimeError if the loop is closed, TypeError for something that is no coroutine.
        """
        if self._closed:
            self._check_closed()
        if self._task_factory is None and not options.get("eager_start"):
            # The base class's way, without a call to it.
            task = asyncio.Task(coro, loop=self, **options)
            if self._debug:
                _forget_callers(task, 1)
            return task
        if not trio.lowlevel.in_trio_task():
            return super().create_task(coro, **options)
        # It may run the first step at once.
        made: list[asyncio.Task[T]] = []
        run_as_asyncio(self, lambda: made.append(super(TrioEventLoop, self).create_task(coro, **options)))
        return made.pop()

    def _read_from_self(self) -> None:
        # One call, where the base class reads until there is nothing: what is left is found by the next poll.
        try:
            self._ssock.recv(4096)
        except (BlockingIOError, InterruptedError):
            pass

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
        return (_stdlib.Handle if self._debug else Handle)(callback, args, self, context)

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

    # Threads and names

    def run_in_executor(self, executor: concurrent.futures.Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """Call `func(*args)` in `executor`; the Future is resolved with what it returns or raises.

        None means the default: the one given to `set_default_executor`, else trio's worker threads, in which
        `trio.from_thread.run` works. Cancelling the Future prevents a call that has not begun and does not stop one that has.
        """
        self._check_closed()
        if executor is not None or self._default_executor is not None:
            return super().run_in_executor(executor, func, *args)
        if self._debug:
            self._check_callback(func, "run_in_executor")
        self._check_default_executor()
        if self._workers is None:
            self._workers = WorkerPool(self)
            if self._nursery is not None:
                self._workers.start(self._nursery, abandon=not self._hosted)
        return self._workers.submit(func, args)

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # type: ignore[override, unused-ignore]
        """Let the default executor finish what it has, and end its threads; nothing more can be submitted to it.

        After `timeout` seconds a RuntimeWarning is given, and the threads are left to end by themselves.
        """
        if self._default_executor is not None:
            if sys.version_info >= (3, 12):
                await super().shutdown_default_executor(timeout)
            else:
                await super().shutdown_default_executor()
        self._executor_shutdown_called = True
        if self._workers is None:
            return
        try:
            async with asyncio.timeout(timeout):
                await self._workers.shut_down()
        except TimeoutError:
            warnings.warn(f"The executor did not finishing joining its threads within {timeout} seconds.", RuntimeWarning, stacklevel=2)

    async def getaddrinfo(self, host: Any, port: Any, *, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> list[Any]:
        """`trio.socket.getaddrinfo`, with trio's custom resolver if one is set; cancellation returns at once."""
        if not self._debug:
            infos: list[Any] = await self._call_trio(trio.socket.getaddrinfo, host, port, family, type, proto, flags)
            return infos
        logger.debug("Get address info %r:%r, family=%r, type=%r, proto=%r, flags=%r", host, port, family, type, proto, flags)
        start = time.perf_counter()
        infos = await self._call_trio(trio.socket.getaddrinfo, host, port, family, type, proto, flags)
        seconds = time.perf_counter() - start
        level = logger.info if seconds >= self.slow_callback_duration else logger.debug
        level("Getting address info %r:%r took %.3fms: %r", host, port, seconds * 1e3, infos)
        return infos

    async def getnameinfo(self, sockaddr: Any, flags: int = 0) -> Any:
        """`trio.socket.getnameinfo`."""
        return await self._call_trio(trio.socket.getnameinfo, sockaddr, flags)

    def _call_trio(self, async_fn: Callable[..., Awaitable[Any]], *args: Any) -> TrioCall:
        """Start a trio task that makes this call; see `TrioCall`."""
        call = self._running_callers().start(async_fn, args)
        self._calls_to_trio += 1
        self._calls.add(call)
        return call

    def _call_trio_now(self, async_fn: Callable[..., Awaitable[Any]], *args: Any) -> TrioCall:
        """`_call_trio`, whose first step is made at once: for asyncio code that awaits it at once."""
        call = self._running_callers().start_now(async_fn, args)
        self._calls_to_trio += 1
        if not call.done():
            self._calls.add(call)
        return call

    def _running_callers(self) -> Callers:
        if self._callers is None:
            raise RuntimeError(f"trio code can be called only while the loop runs, and {self!r} does not")
        return self._callers

    # Trio code that waits for asyncio

    def _check_serving(self) -> None:
        """RuntimeError unless what is scheduled now is going to run."""
        if self._nursery is None or self._scheduler.stopping or not self._pump.running:
            raise RuntimeError(f"{self!r} has been stopped: nothing can run on it any more. Open a loop with open_loop()")

    def _start_now(self, coroutine: Coroutine[Any, Any, Any], context: contextvars.Context) -> asyncio.Task[Any]:
        """Make a task of `coroutine` and run its first step here and now, in `context`. The pump is to be held meanwhile.

        Stepped by hand on all Pythons: a Task that starts eagerly is new in 3.12.
        """
        scheduler = self._scheduler
        self._calls_to_asyncio += 1
        task = asyncio.Task(coroutine, loop=self, context=context)
        try:
            step = self._take_first_step(task)
            run_as_asyncio(self, functools.partial(context.run, scheduler.run_now, step))
            return task
        finally:
            # What the step raised keeps this frame through its traceback, and the task keeps what it raised.
            task = step = None  # type: ignore[assignment]

    def _take_first_step(self, task: asyncio.Task[Any]) -> _stdlib.Handle:
        """Take back the step that a new `task` has just queued. Behind it may stand what a finaliser or a thread has queued meanwhile,
        and a thread may do so at any moment: so each is taken before it is looked at."""
        ready = self._scheduler.ready
        behind: list[_stdlib.Handle] = []
        while getattr((handle := ready.pop())._callback, "__self__", None) is not task:
            behind.append(handle)
        ready.extend(reversed(behind))
        return handle

    def _without_first_step(self, task: asyncio.Task[Any], construct: Callable[[], None]) -> None:
        """Call `construct`, the constructor of a `task` that somebody else steps, and take back the step that it queues."""
        held = self._pump.hold()
        try:
            construct()
            self._take_first_step(task).cancel()
        finally:
            self._pump.release(held)

    def _abandon_waits(self, message: str) -> None:
        """Nothing more is going to run: resolve every trio task that waits for this loop."""
        for wait in list(self._waits):
            wait.abandon(message)

    # Signals

    def add_signal_handler(self, sig: int, callback: Callable[..., object], *args: Any) -> None:  # type: ignore[override]
        """Run `callback(*args)` in the loop when signal `sig` arrives; a second registration replaces the first.

        Main thread only, else RuntimeError. Raises ValueError for a number that is no signal, RuntimeError for one that cannot be caught,
        TypeError for a coroutine function.
        """
        if sys.platform == "win32":
            super().add_signal_handler(sig, callback, *args)
            return
        self._check_callback(callback, "add_signal_handler")
        self._check_signal(sig)
        self._check_closed()
        before = self._signal_handlers.get(sig)
        self._signal_handlers[sig] = _stdlib.Handle(callback, args, self)
        try:
            _signals.install(sig, self._handle_signal)
        except BaseException:
            if before is None:
                del self._signal_handlers[sig]
            else:
                self._signal_handlers[sig] = before
            raise

    def _handle_signal(self, sig: int) -> None:
        if sys.platform != "win32" and sig == signal.SIGCHLD:
            self._add_callback_signalsafe(_stdlib.Handle(self._children.reap_ended, (), self))
        super()._handle_signal(sig)

    def remove_signal_handler(self, sig: int) -> bool:
        """Give `sig` back its default; tell whether there was a handler."""
        if sys.platform == "win32":
            return super().remove_signal_handler(sig)
        self._check_signal(sig)
        if self._signal_handlers.pop(sig, None) is None:
            return False
        _signals.restore(sig, self._guard.handler)
        return True


def _forget_callers(made: Any, frames: int) -> None:
    """End the source traceback of a handle or task at the code that called the loop, so many frames above the constructor."""
    if made._source_traceback:
        del made._source_traceback[-frames:]


def new_event_loop() -> TrioEventLoop:
    """A new loop, to be driven from synchronous code: the loop factory for `asyncio.Runner`, uvicorn and others."""
    return TrioEventLoop()
