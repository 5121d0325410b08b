"""Hosting a loop inside of trio: `open_loop`, `run`, and the order of shutting down."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import outcome
import trio

from ._interrupts import HostedGuard
from ._loop import DEFAULT_SLICE_LENGTH, TrioEventLoop
from ._running import running, serving
from ._shutdown import shut_down
from ._strict import StrictReports
from ._tracebacks import tidy
from ._waiting import wait_undisturbed
from ._wrong_flavour import explain
from .border.cancellation import Ended, how_it_ended

if TYPE_CHECKING:
    import types
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

    from ._interrupts import InterruptGuard

# Its frames are of no interest in a traceback (pytest's convention); see `_tracebacks.py`.
__tracebackhide__ = True

T = TypeVar("T")


def open_loop(
    queue_len: int | None = None,
    *,
    debug: bool | None = None,
    task_factory: Any = None,
    poller: Literal["nested", "task"] | None = None,
    slice_length: float = DEFAULT_SLICE_LENGTH,
    strict: bool = False,
) -> contextlib.AbstractAsyncContextManager[TrioEventLoop]:
    """Run an asyncio loop for the length of a block of trio code.

    Inside, `asyncio.get_running_loop()` finds the loop, synchronous functions of asyncio work as they do in asyncio code, and
    `await aio_as_trio(function)(...)` calls asyncio's async functions. Several loops may be open, nested or side by side.

    When the block ends, in whatever way, callbacks queued at that moment run once; then the loop's tasks are cancelled and
    waited for; then async generators, the default executor, and transports are closed; then the loop is. This is shielded from
    cancellation. An exception of the block comes out as it is.

    Args:
        debug: asyncio's debug mode; None decides as asyncio does (`-X dev`, `PYTHONASYNCIODEBUG`).
        task_factory: see `asyncio.loop.set_task_factory`.
        queue_len, poller, slice_length: see `TrioEventLoop`.
        strict: whatever reaches the loop's exception handler, such as a task's exception that nobody has retrieved, leaves the block as
            an ExceptionGroup instead of being logged. Each error has a note that says what asyncio would have, the task and where it
            was made (in debug mode).

    Raises:
        ExceptionGroup: see `strict`; what the block itself raised is in it too.
        SystemExit, KeyboardInterrupt: raised by an asyncio callback or task. The block is cancelled.
        RuntimeError: not inside of trio.
    """
    unchanged: list[BaseException] = []
    return _Protected(_hosted(debug, task_factory, poller, slice_length, strict, unchanged), unchanged)


class _Protected(contextlib.AbstractAsyncContextManager["TrioEventLoop", "bool | None"]):
    """A context manager whose coming and going Ctrl-C does not interrupt.

    Those of `contextlib` are code like any other: a KeyboardInterrupt on the way into the generator would leave it unfinished, and
    the run would wait for its nursery for ever. On leaving, Python may also raise it in the program's frame, between the making of the
    coroutine here and its first step, which then never comes: so from the one to the other the guard has Ctrl-C wait for a checkpoint.

    An exception that comes out as it went in comes in `unchanged`: raised through `contextlib` it would have its traceback set, which it
    may refuse (a frozen dataclass), and then the refusal would be raised in its place.
    """

    def __init__(self, manager: contextlib.AbstractAsyncContextManager[TrioEventLoop, bool | None], unchanged: list[BaseException]) -> None:
        self._manager = manager
        self._unchanged = unchanged
        self._guard: InterruptGuard | None = None

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> TrioEventLoop:
        loop = await self._manager.__aenter__()
        self._guard = loop._guard
        return loop

    @trio.lowlevel.enable_ki_protection
    def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: types.TracebackType | None
    ) -> Coroutine[Any, Any, bool | None]:
        if self._guard is not None:
            self._guard.waits_for_checkpoint = True
        return self._leave(kind, exc, trace)

    @trio.lowlevel.enable_ki_protection
    async def _leave(self, kind: type[BaseException] | None, exc: BaseException | None, trace: types.TracebackType | None) -> bool | None:
        if self._guard is not None:
            self._guard.waits_for_checkpoint = False
        try:
            swallowed = await self._manager.__aexit__(kind, exc, trace)
            if not self._unchanged:
                return swallowed
            BaseException.with_traceback(self._unchanged.pop(), trace)
            return False
        finally:
            # The error keeps this frame.
            del exc, trace


@contextlib.asynccontextmanager
@trio.lowlevel.enable_ki_protection
async def _hosted(
    debug: bool | None,
    task_factory: Any,
    poller: Literal["nested", "task"] | None,
    slice_length: float,
    strict: bool,
    unchanged: list[BaseException],
) -> AsyncIterator[TrioEventLoop]:
    if not trio.lowlevel.in_trio_task():
        raise RuntimeError("open_loop() works inside of trio: call it in a function that trio.run() runs, or use trio_asyncio_compat.run()")
    loop = TrioEventLoop(poller=poller, slice_length=slice_length)
    if debug is not None:
        loop.set_debug(debug)
    loop.set_task_factory(task_factory)
    host = _Host(loop)
    guard = HostedGuard(loop)
    reports = StrictReports() if strict else None
    if reports is not None:
        reports.watch(loop)
    error: BaseException | None = None
    of_block: BaseException | None = None
    late: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            with (
                running(loop, guard, trio.lowlevel.current_clock().current_time),
                serving(loop, nursery, abandon_threads=False) as callers,
            ):
                loop._hosted = True
                await callers.prepared()
                nursery.start_soon(host.pump, name=f"pump of {loop!r}")
                try:
                    with host.body:
                        yield loop
                except BaseException as exc:
                    error = exc
                interrupted = await host.close(nursery)
            for scope in list(loop._carried):
                scope.cancel("the event loop has ended")
            # Those that are left have been told to end. Waiting in the nursery's own exit would let Ctrl-C in.
            while nursery.child_tasks:
                await trio.lowlevel.cancel_shielded_checkpoint()
        loop._hosted = False
        loop.close()
        if (
            host.crash is not None
            and error is not None
            and error is not host.crash
            and how_it_ended(outcome.Error(error), trio.Cancelled) is not Ended.CANCELLED
        ):
            loop.call_exception_handler({"message": "the block of open_loop() raised, while the loop was ending", "exception": error})
        # What signal handlers raise that had to wait until now.
        late = getattr(outcome.capture(guard.deliver_rest), "error", None)
        # By identity: an exception may be false.
        of_block, error = error, next((one for one in (host.crash, error, interrupted, late) if one is not None), None)
        if reports is not None:
            error = reports.joined(error)
        if error is not None:
            explain(error)
            tidy(error)
            if error is of_block:
                unchanged.append(error)
            else:
                context = error.__context__
                try:
                    raise error
                finally:
                    # Python takes what ended the block for its context. Past an exception's own `__setattr__`, which may refuse.
                    BaseException.__setattr__(error, "__context__", context)
                    del context
    finally:
        del error, of_block, late


class _Host:
    """What keeps a hosted loop going, and what ended it."""

    def __init__(self, loop: TrioEventLoop) -> None:
        self.body = trio.CancelScope()
        self.crash: BaseException | None = None
        self._loop = loop
        self._running = True
        self._closing = False
        self._closed = False

    # A task does not inherit its parent's protection: Ctrl-C in its first step would end it, and nobody would serve the loop.
    @trio.lowlevel.enable_ki_protection
    async def pump(self) -> None:
        """Pump until the loop is closed, or until it is stopped before; once more, to close it."""
        loop = self._loop
        while not self._closed:
            try:
                await loop._pump.run()
            except BaseException as exc:
                # SystemExit or KeyboardInterrupt of a callback.
                self._end(exc)
                loop._scheduler.stopping = False
                # So that the end, which may need many turns, comes even if each raises.
                await trio.lowlevel.cancel_shielded_checkpoint()
                continue
            loop._scheduler.stopping = False
            if not self._closing:
                break
        self._running = loop._pump.running = False
        loop._abandon_waits("Event loop stopped before Future completed.")

    def _end(self, error: BaseException) -> None:
        """End the block, because of an error of a callback; the loop goes on, since what unwinds may need it."""
        loop = self._loop
        loop._pump.running = True
        if self.crash is None:
            self.crash = error
            loop._scheduler.ending = True
        elif isinstance(error, Exception):
            loop.call_exception_handler({"message": "another error, while the loop was ending with one", "exception": error})
        if not self._closing:
            self.body.cancel(f"{type(error).__name__} in a callback of the event loop")
            # Who waits behind a shield, or outside of the block, has not heard of it.
            loop._end_waits(f"{type(error).__name__} in a callback of the event loop")

    async def close(self, nursery: trio.Nursery) -> BaseException | None:
        """Shut the loop down; return the KeyboardInterrupt that came meanwhile, if one did."""
        loop = self._loop
        self._closing = True
        # A request to stop that the pump has not come to is no longer needed; meanwhile calls would be refused, which unwinding tasks make.
        loop._scheduler.stopping = False
        if not self._running:
            self._running = loop._pump.running = True
            nursery.start_soon(self.pump, name=f"pump of {loop!r}")
        # A plain task: the factory of the program may make tasks that themselves need closing.
        task = asyncio.Task(shut_down(loop), loop=loop, name="shutdown of the loop")
        interrupted = None
        while not task.done():
            interrupt = await wait_undisturbed(loop, task)
            if interrupt is not None and interrupted is not None:
                # Ctrl-C again: what is being waited for does not end.
                task.cancel()
            interrupted = interrupt or interrupted
        self._closed = True
        loop.stop()
        while self._running:
            await trio.lowlevel.cancel_shielded_checkpoint()
        return interrupted


def run(
    fn: Callable[..., Awaitable[T]] | Coroutine[Any, Any, T],
    *args: Any,
    debug: bool | None = None,
    queue_len: int | None = None,
    deadlock_after: float | None = None,
    **options: Any,
) -> T:
    """`trio.run` with a loop open: the main function of a program that uses both libraries.

    Args:
        fn: an async function, called with `args`. It is flavour-free: it may await trio and asyncio (see `allow_asyncio`). Or a
            coroutine object of asyncio, as `asyncio.run` takes it, which becomes a task of the loop: it may await asyncio only, as its task
            is one of asyncio's. Give the function instead of the coroutine to await both.
        debug, queue_len: see `open_loop`.
        deadlock_after: fail with `HangError`, which shows the task tree, when nothing has moved in either world for so many
            seconds of real time and no timer is pending, or when one callback or step takes so long (then the tree is also printed at
            once). The program is cancelled, and the error comes when it has ended; if it has not after a second, the tree is printed,
            and that of each hang of its clean-up. What it raises meanwhile is the error's cause. Waiting for the network or for a
            thread counts as hanging, since nobody can know whether it is going to end: for tests and for finding bugs, not for servers.
        options: for `trio.run`: `clock`, `instruments`, ...

    Raises what the function raises, as it is. TypeError for anything but an async function or a coroutine object.
    """
    from ._hang import HangError, fail_on_hang
    from .border.flavour_free import allow_asyncio
    from .border.to_asyncio import aio_as_trio

    if inspect.iscoroutine(fn):
        if args:
            fn.close()
            raise TypeError("run() takes arguments for an async function, not for a coroutine object, which has its own")
    elif not callable(fn):
        raise TypeError(f"run() takes an async function or a coroutine object, not {fn!r}")

    async def main() -> T:
        # None of contextlib's if there is nothing to look for: see `_Protected`.
        with contextlib.nullcontext() if deadlock_after is None else fail_on_hang(deadlock_after):
            async with open_loop(debug=debug):
                result: T = await (aio_as_trio(fn) if inspect.iscoroutine(fn) else allow_asyncio(fn, *args))
        return result

    try:
        return trio.run(main, **options)
    except BaseException as exc:
        tidy(exc)
        if isinstance(exc, HangError):
            # Where it was raised says nothing: its tree does.
            exc.__traceback__ = None
        raise
    finally:
        if inspect.iscoroutine(fn):
            # Not begun, if trio could not start.
            fn.close()
