"""`TrioEventLoop`: the surface of `asyncio.AbstractEventLoop`, each method one thought long.

What schedules and waits is ours (`_scheduler.py`, `_pump.py`, `_readiness.py`); transports, TLS, servers and `sock_*` are the standard
library's, on top of it. Here are the loop's life and its tasks; its other methods are in its bases: `_callbacks.py`, `_clock.py`,
`_endpoints.py`, `_executors.py`, `_signals.py`, `_crossings.py`, `_instruments.py`, `_debug_mode.py`, `_trio_asyncio.py`. A loop is
*hosted* (opened by `open_loop`, `_lifetime.py`) or *driven* (`_driven.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import sys
import warnings
import weakref
from typing import TYPE_CHECKING, Any, Literal, TypeVar, TypeVarTuple

import trio

from ._callbacks import Callbacks, forget_callers
from ._clock import Clocked
from ._debug_mode import Debuggable
from ._driven import drive
from ._endpoints import Endpoints
from ._executors import Executors
from ._flavour import run_as_asyncio
from ._interrupts import InterruptGuard
from ._origins import forget_machinery
from ._processes import Children
from ._pump import Pump
from ._readiness import Poller, new_poller
from ._scheduler import Scheduler
from ._signals import SignalHandlers
from ._stdlib import SelectorLoop, get_running_loop
from ._tracebacks import tidy
from ._transports import keep_read_buffers
from ._trio_asyncio import TrioAsyncioMethods
from ._wrong_flavour import explain

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from ._callers import Callers
    from ._calls import TrioCall
    from ._threads import WorkerPool
    from ._waiting import Wait
    from .border.carrier import Carrier
    from .border.generators import FlavourFreeGenerators

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# How long the asyncio side may keep trio's other tasks waiting while it is busy, in seconds.
DEFAULT_SLICE_LENGTH = 0.001


class TrioEventLoop(TrioAsyncioMethods, Debuggable, Callbacks, Endpoints, Executors, SignalHandlers, Clocked, SelectorLoop):
    """An asyncio event loop whose scheduler is trio.

    Called without arguments it makes a loop to be driven from synchronous code, as in
    `asyncio.Runner(loop_factory=TrioEventLoop)`: `run_until_complete` and `run_forever` each make one `trio.run`.
    Inside of trio use `trio_asyncio_compat.open_loop`, which opens a loop of this class for the length of a block.

    Args:
        poller: how descriptors are waited for. "nested": an epoll or kqueue of the loop's own, awaited by trio as one descriptor;
            "task": a trio task per descriptor, which works wherever trio does. None chooses the first where it exists.
        slice_length: seconds for which callbacks may run in a row before trio's other tasks get their turn.
            A trio task waits at most about that long, plus the length of one callback.
        queue_len: has no effect; trio-asyncio's callers give it. The queue of callbacks is as long as it needs to be.

    Raises:
        ValueError: an unknown poller, or a slice length that is not positive.
    """

    # Until the base class's constructor has run: a loop whose arguments were refused has nothing to close.
    _closed = True
    _constructed = False

    def __init__(
        self,
        queue_len: int | None = None,
        *,
        poller: Literal["nested", "task"] | None = None,
        slice_length: float = DEFAULT_SLICE_LENGTH,
    ) -> None:
        if not slice_length > 0:
            raise ValueError(f"slice_length must be a positive number of seconds, not {slice_length!r}")
        keep_read_buffers()
        self._poller: Poller = new_poller(poller)
        self._scheduler = Scheduler(self, self._poller, slice_length)
        self._pump = Pump(self, self._scheduler, self._poller)
        self._follow_clock(self._scheduler.trio_time)
        self._hosted = False
        self._nursery: trio.Nursery | None = None
        self._guard = InterruptGuard()
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
        self._trio_hooks: tuple[Any, Any] = (None, None)
        # Of the trio tasks that carry tasks of asyncio.
        self._carried: set[trio.CancelScope] = set()
        # Of the blocks of context managers across the border that have been entered and not left.
        self._blocks: set[Carrier] = set()
        # Tasks of asyncio, and futures that wait for some, that nothing else may hold.
        self._held: set[asyncio.Future[Any]] = set()
        self._autoclose: set[int] = set()
        self._flavour_free_generators: FlavourFreeGenerators | None = None
        self._waits: set[Wait] = set()
        # The base class asks its selector only about registrations, and closes it.
        super().__init__(self._poller)
        self._ready = self._scheduler.ready
        self._constructed = True

    def __del__(self, _warn: Any = warnings.warn) -> None:
        if self._constructed:
            super().__del__(_warn)
            return
        # Ctrl-C came in the middle of the constructor: only some of what `close` looks at is there.
        for name in ("_poller", "_ssock", "_csock"):
            if hasattr(self, name):
                getattr(self, name).close()
        self._closed = True

    # Life cycle

    def run_forever(self) -> None:
        """Run until `stop` is called, in a `trio.run` of its own.

        Raises RuntimeError inside of trio, where `open_loop` is what to use, or if a loop is running in this thread. SystemExit and
        KeyboardInterrupt of a callback come out as they are.
        """
        self._check_closed()
        self._check_running()
        try:
            drive(self)
        except BaseException as exc:
            tidy(exc)
            raise

    def run_until_complete(self, future: Any) -> Any:
        """Run until `future`, or the task of a coroutine, is done; return its result or raise its exception. See `run_forever`."""
        try:
            return super().run_until_complete(future)
        except BaseException as exc:
            explain(exc)
            tidy(exc)
            raise

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Report an error that nobody waits for, as in asyncio; one from awaiting the wrong library is explained."""
        # The context is the program's, and so may its parts be: the report is made whatever they are.
        with contextlib.suppress(Exception):
            error = context.get("exception")
            if isinstance(error, BaseException):
                explain(error)
                tidy(error, reported=True)
            forget_machinery(context.get("source_traceback"))
        super().call_exception_handler(context)

    def _check_running(self) -> None:
        if self._hosted:
            raise RuntimeError(
                "This is not a sync loop: it is hosted by open_loop() and runs until that block ends. "
                "In trio code, await aio_as_trio(function)(...) instead of run_until_complete(); in asyncio code, just await"
            )
        running = get_running_loop()
        # A driven loop that runs is what asyncio's message is about: the `trio.run` around that code is not the program's.
        driven = running is not None and not getattr(running, "_hosted", False)
        if not self.is_running() and (trio.lowlevel.in_trio_task() or (trio.lowlevel.in_trio_run() and not driven)):
            raise RuntimeError(
                "A loop cannot be driven from inside of trio.run(). Open one there with 'async with trio_asyncio_compat.open_loop()'"
            )
        super()._check_running()

    def stop(self, waiter: trio.Event | None = None) -> trio.Event:  # type: ignore[override]
        """Stop after the current turn; callbacks that are ready now still run in it.

        On a hosted loop the asyncio side then stands still until the `open_loop` block ends; who waits for it gets RuntimeError.
        Returns an event that is set once the loop has stopped, at once if it does not run: `waiter` if that is given.
        """
        self._scheduler.stopping = self._scheduler.last_turn = True
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
        self._scheduler.forget_all()
        if self._workers is not None:
            self._workers.close()
        self._close_files()
        # Each stands in a circle with the loop. Without these it is freed with the last reference to it, as asyncio's own is.
        self._guard = InterruptGuard()
        self._workers = None
        del self._scheduler._loop, self._pump._loop, self._children._loop

    async def shutdown_asyncgens(self) -> None:
        """Close the async generators that are alive, each in the kind of code that has begun it."""
        await super().shutdown_asyncgens()
        if self._flavour_free_generators is not None:
            await self._flavour_free_generators.close_all()

    # Tasks

    def create_task(self, coro: Coroutine[Any, Any, T], **options: Any) -> asyncio.Task[T]:  # type: ignore[override]
        """Make a task of `coro`, by the task factory if one is set.

        Args:
            options: those of asyncio's own loop: `name`, `context`, and in a Python that has it `eager_start`; there others are for the
                factory.

        Raises RuntimeError if the loop is closed, TypeError for something that is no coroutine, or for another option.
        """
        if self._closed:
            self._check_closed()
        if options and _TASK_OPTIONS is not None and (unknown := options.keys() - _TASK_OPTIONS):
            raise TypeError(f"create_task() got an unexpected keyword argument {min(unknown)!r}")
        if self._task_factory is None and not options.get("eager_start"):
            # The base class's way, without a call to it.
            task = asyncio.Task(coro, loop=self, **options)
            if self._debug:
                forget_callers(task, 1)
                self._has_begun(task)
            return task
        if not trio.lowlevel.in_trio_task():
            return super().create_task(coro, **options)
        # It may run the first step at once.
        return run_as_asyncio(self, functools.partial(super().create_task, coro, **options))

    def _close_self_pipe(self) -> None:
        if self._ssock.fileno() < 0:
            # A loop that nobody has closed is collected together with its sockets, and this one came first.
            if self._csock is not None:
                self._csock.close()
            return
        super()._close_self_pipe()

    def _read_from_self(self) -> None:
        # One call, where the base class reads until there is nothing: what is left is found by the next poll.
        try:
            self._ssock.recv(4096)
        except (BlockingIOError, InterruptedError):
            pass


def _task_options() -> frozenset[str] | None:
    """The options of asyncio's own `create_task`; None if it takes any."""
    parameters = inspect.signature(asyncio.BaseEventLoop.create_task).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return frozenset(parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY)


_TASK_OPTIONS = _task_options()
# For who inspects it; it costs a call nothing.
TrioEventLoop.create_task.__signature__ = inspect.signature(asyncio.BaseEventLoop.create_task)  # type: ignore[attr-defined]


def new_event_loop() -> TrioEventLoop:
    """A new loop, to be driven from synchronous code: the loop factory for `asyncio.Runner`, uvicorn and others."""
    return TrioEventLoop()
