"""`FlavourFreeTask`: a trio task that runs code which awaits both worlds, and what asyncio sees of it.

It drives the body's coroutine a step at a time. What the body awaits of trio (a *trap*) is passed on to trio; what it awaits of
asyncio (a future, or nothing, as `asyncio.sleep(0)` does) is waited for here. During each step the task is asyncio's current one.
Made by `flavour_free.py`.

How a cancellation reaches the body:

- A trio scope, while trio is awaited: by trio, at every checkpoint, as always.
- A trio scope, while asyncio is awaited: the future is cancelled, once for each cancelled scope, so clean-up may await.
- Both raise `CancelledInBothWorlds` in the body.
- `cancel()`, while asyncio is awaited: as in any asyncio task.
- `cancel()`, while trio is awaited: the trap is aborted, as trio would do it, and raises `asyncio.CancelledError`. A trap that cannot
  be aborted keeps the request, and so does one that is over already: it is delivered where the body waits next.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
import types
import weakref
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import outcome
import trio

from .._stdlib import Task, forget_waiter, get_running_loop, note_waiter, swap_current_task, timeout_being_left
from .._trio_private import abort, scopes_in_cancellation
from .._waiting import Wait
from .cancellation import Ended, how_it_ended, in_both_worlds, seen_by_trio

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Callable, Coroutine, Generator

    from .._loop import TrioEventLoop
    from .cancellation import Outcome
    from .generators import FlavourFreeGenerators

# Its frames are of no interest in a traceback (pytest's convention); see `_tracebacks.py`.
__tracebackhide__ = True

# What a step of a body makes it do, and how a step is made: in which context, with Ctrl-C allowed.
Next: TypeAlias = "tuple[Callable[[Any], Any], Any]"
Step: TypeAlias = "Callable[[Callable[[Any], Any], Any], Any]"


_UNCANCEL_TAKES_BACK = sys.version_info >= (3, 13)


class FlavourFreeTask(Task):
    """A flavour-free coroutine in a trio task, with the interface of `asyncio.Task`.

    Invariants: the base class is never stepped; it keeps the coroutine, the name, the context, the count of `cancelling()` and, at
    the end, the result. `_requested` is True from a `cancel()` until the body has got its CancelledError. `_awaited` is the future
    that the body waits for, if it does.
    """

    # Read by asyncio's own functions and by libraries; the base class's are about a step that never comes.
    _fut_waiter = property(lambda self: self._awaited)
    _must_cancel = property(lambda self: self._requested)

    def __init__(
        self,
        loop: TrioEventLoop,
        coroutine: Any,  # a coroutine, or what asyncio takes for one
        context: contextvars.Context,
        generators: FlavourFreeGenerators,
        *,
        name: str | None = None,
    ) -> None:
        self._awaited: Any = None
        self._requested = False
        self._requested_by_body = False
        # An adapter's wait that trio has aborted, once and for all, with a cancellation that was no news.
        self._unheeded: _BodyWait | None = None
        self._body = coroutine
        self._loop_of_body = loop
        self._generators = generators
        # The scopes that were around when the body was told of a cancellation, from the outermost cancelled one inwards. Should another of
        # them be cancelled (a nursery's, when its children end by the same cancellation), that changes nothing.
        self._told: weakref.WeakSet[trio.CancelScope] = weakref.WeakSet()
        self.context = context
        # Where the body runs; None before its first step and after its last.
        self.trio_task: trio.lowlevel.Task | None = None
        construct = super().__init__
        loop._without_first_step(self, lambda: construct(coroutine, loop=loop, name=name, context=context))

    # asyncio's side

    def cancel(self, msg: Any | None = None) -> bool:
        """Request CancelledError in the body, as `asyncio.Task.cancel` does; False if it has ended."""
        if self.done():
            return False
        super().cancel(msg)
        self._requested = True
        self._requested_by_body = asyncio.current_task(self._loop_of_body) is self
        if self._awaited is not None:
            if self._awaited.cancel(msg):
                self._requested = False
        else:
            self._abort_wait()
        return True

    def set_name(self, value: object, /) -> None:
        """Name the task."""
        # Python 3.13.0 does this to a task of a factory that was made without a name.
        if value is not None:
            super().set_name(value)

    def uncancel(self) -> int:
        """Take back one request of `cancel`; returns how many are left.

        The last one is not delivered any more: since Python 3.13 as in asyncio, before that if it came while the body waited. Together with
        what trio brings it is kept for the next await, where without this a timeout that was left in time would cancel something else.
        """
        left = super().uncancel()
        if not left and (_UNCANCEL_TAKES_BACK or not self._requested_by_body):
            self._requested = False
        answers = timeout_being_left(sys._getframe(1))
        if answers is not None and left <= answers:
            _raise_timeout_of_group(sys.exception())
        return left

    def _take_request(self) -> asyncio.CancelledError:
        """The exception that is asked for, which is delivered herewith."""
        self._requested = False
        return self._make_cancelled_error()

    def _raise_requested(self) -> NoReturn:
        raise self._take_request()

    # trio's side

    @trio.lowlevel.enable_ki_protection
    async def run(self, step: Step) -> Outcome:
        """Run the body to its end in the current trio task; return how it ended. `step` is how its coroutine is stepped."""
        self.trio_task = trio.lowlevel.current_task()
        try:
            result: Outcome = outcome.Value(await self._drive(step))
        except BaseException as exc:
            result = outcome.Error(exc.with_traceback(_outside_of_here(exc.__traceback__)))
            if not isinstance(exc, trio.Cancelled) and any(
                scope.cancel_called and scope in self._told for scope in scopes_in_cancellation(self.trio_task)
            ):
                # A body may answer trio's cancellation with a CancelledError of its own. Trio must see its own exception.
                asked = await outcome.acapture(trio.lowlevel.checkpoint_if_cancelled)
                if isinstance(asked, outcome.Error):
                    result = seen_by_trio(result, asked.error)
        finally:
            self.trio_task = None
        self._resolve(result)
        try:
            return result
        finally:
            # An error of the body keeps this frame.
            del self, step, result

    @types.coroutine
    @trio.lowlevel.enable_ki_protection
    def _drive(self, step: Step) -> Generator[Any, Any, Any]:
        """Step the body until it returns, and await what it awaits."""
        coroutine, loop, generators = self._body, self._loop_of_body, self._generators
        method: Callable[[Any], Any] = coroutine.send
        value: Any = None
        # A request is delivered in place of what an asyncio await was to bring, and before the first step, as in asyncio. What a trio
        # await brings must not be lost: there it waits.
        may_replace = True
        try:
            while True:
                if self._requested and may_replace:
                    method, value = coroutine.throw, self._take_request()
                before = swap_current_task(loop, self)
                hooks = generators.set_hooks()
                try:
                    awaited = step(method, value)
                    value = None
                except StopIteration as stop:
                    return stop.value
                except KeyboardInterrupt as exc:
                    if inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED:
                        raise
                    # It came in `step`, on the way to the body or back.
                    method, value, may_replace = coroutine.throw, exc, False
                    continue
                finally:
                    sys.set_asyncgen_hooks(*hooks)
                    swap_current_task(loop, before)
                    del before
                try:
                    if awaited is None:
                        may_replace = True
                        method, value = yield from self._wait_for_turn()
                    elif (blocking := getattr(awaited, "_asyncio_future_blocking", None)) is not None:
                        may_replace = True
                        method, value = yield from self._wait_for_future(awaited, blocking)
                    else:
                        may_replace = False
                        method, value = yield from self._wait_for_trio(awaited)
                except GeneratorExit:
                    coroutine.close()
                    raise
                finally:
                    self._unheeded = None
                    del awaited
        finally:
            # An error of the body keeps this frame, and the task keeps the error.
            del self, step, method, value

    def _wait_for_turn(self) -> Generator[Any, Any, Next]:
        """Let what is ready on the loop run, as a bare `yield` in an asyncio task does."""
        turn = self._loop_of_body.create_future()
        held = self._loop_of_body._pump.hold()
        self._loop_of_body.call_soon(turn.set_result, None)
        wait = _BodyWait(self, turn, lambda reason: None)
        failed = yield from _failure(wait.wait(held))
        return self._resume(failed, wait.asked)

    def _wait_for_future(self, future: Any, blocking: bool) -> Generator[Any, Any, Next]:
        mistake = None
        if not blocking:
            mistake = f"yield was used instead of yield from in task {self!r} with {future!r}"
        elif future.get_loop() is not self._loop_of_body:
            mistake = f"Task {self!r} got Future {future!r} attached to a different loop"
        elif future is self:
            mistake = f"Task cannot await on itself: {self!r}"
        if mistake is not None:
            return self._body.throw, RuntimeError(mistake)
        future._asyncio_future_blocking = False
        self._awaited = future
        if note_waiter is not None:
            note_waiter(future, self)
        try:
            if self._requested and future.cancel(self._cancel_message):
                self._requested = False
            wait = _BodyWait(self, future, future.cancel)
            failed = yield from _failure(wait.wait())
            if self._requested and failed is None and isinstance(_error_of(future), asyncio.CancelledError):
                # See `_wait_for_trio`.
                self._requested = False
            if failed is None and wait.asked is not None:
                seen = seen_by_trio(outcome.capture(future.result), wait.asked)
                return self._resume(seen.error if isinstance(seen, outcome.Error) else None, None)
            return self._resume(failed, None)
        finally:
            self._awaited = None
            if forget_waiter is not None:
                forget_waiter(future, self)
            del future

    def _wait_for_trio(self, trap: Any) -> Generator[Any, Any, Next]:
        if self._requested:
            if _is_in_checkpoint(self._body):
                # The half of it that trio does not let be cancelled; the whole is a checkpoint.
                return self._body.throw, self._take_request()
            # Once trio has been told of the trap, it can be aborted.
            self._loop_of_body.call_soon(self._abort_trap)
        try:
            received = yield trap
        except GeneratorExit:
            raise
        except BaseException as exc:
            return self._body.throw, exc
        if isinstance(received, outcome.Error):
            if isinstance(received.error, trio.Cancelled):
                if self.trio_task is not None:
                    self._told.update(scopes_in_cancellation(self.trio_task))
                received = outcome.Error(in_both_worlds(received.error))
            elif isinstance(received.error, asyncio.CancelledError):
                # A second request in the same step is the same cancellation, as in asyncio.
                self._requested = False
        return self._body.send, received

    def _abort_trap(self) -> None:
        if self._requested and self._awaited is None:
            self._abort_wait()

    def _abort_wait(self) -> None:
        if self.trio_task is not None and not abort(self.trio_task, self._raise_requested) and self._unheeded is not None:
            self._unheeded.ask(self._raise_requested)

    def _resume(self, failed: BaseException | None, asked: BaseException | None) -> Next:
        error = failed or asked
        return (self._body.send, None) if error is None else (self._body.throw, error)

    def _resolve(self, result: Outcome) -> None:
        """Tell asyncio how the body ended."""
        if isinstance(result, outcome.Value):
            asyncio.Future.set_result(self, result.value)
        elif how_it_ended(result, asyncio.CancelledError) is Ended.CANCELLED:
            # In a group, if it was cancelled in a nursery: that is trio's way to say it, and no error of the task.
            asyncio.Future.cancel(self, *_first_of(result.error).args[:1])
        else:
            asyncio.Future.set_exception(self, result.error)


def task_here() -> FlavourFreeTask | None:
    """The flavour-free task whose body is running here, if one is."""
    loop = get_running_loop()
    task = asyncio.current_task(loop) if loop is not None else None
    return task if isinstance(task, FlavourFreeTask) and trio.lowlevel.in_trio_task() else None


class _BodyWait(Wait):
    """The wait of a body for a future: a cancelled scope reaches the future once, however often it is met."""

    def __init__(self, task: FlavourFreeTask, future: asyncio.Future[Any], cancel: Callable[[str], object]) -> None:
        super().__init__(task._loop_of_body, future, cancel)
        self._told = task._told
        self._body_task = task

    def ask(self, raise_cancel: Callable[[], object]) -> None:
        """Cancel what is waited for, unless that is over already."""
        if not self._over and self.asked is None:
            super()._abort(raise_cancel)

    def _abort(self, raise_cancel: Callable[[], object]) -> trio.lowlevel.Abort:
        aborted = super()._abort(raise_cancel)
        if self.asked is None:
            self._body_task._unheeded = self
        return aborted

    def _heed(self, asked: BaseException) -> BaseException | None:
        if not isinstance(asked, trio.Cancelled):
            return asked
        scopes = list(scopes_in_cancellation(self._task))
        heeds = any(scope.cancel_called and scope not in self._told for scope in scopes)
        self._told.update(scopes)
        return in_both_worlds(asked) if heeds else None


def wait_here(loop: TrioEventLoop, future: asyncio.Future[Any], cancel: Callable[[str], object]) -> Wait:
    """How an adapter waits for `future`, in trio code and in flavour-free code."""
    task = task_here()
    return Wait(loop, future, cancel) if task is None else _BodyWait(task, future, cancel)


def _failure(coroutine: Coroutine[Any, Any, None]) -> Generator[Any, Any, BaseException | None]:
    """Await `coroutine`; return what it raised."""
    try:
        yield from coroutine.__await__()
    except GeneratorExit:
        raise
    except BaseException as exc:
        return exc
    return None


def _raise_timeout_of_group(error: BaseException | None) -> None:
    """What `asyncio.timeout` does if the block that it is around ended by its cancellation: but a trio nursery in there (that of
    `trio.run_process`, say) has put that into a group, and asyncio does not look into groups."""
    if not isinstance(error, BaseExceptionGroup) or how_it_ended(outcome.Error(error), asyncio.CancelledError) is not Ended.CANCELLED:
        return
    if error.split(trio.Cancelled)[0] is None:
        raise TimeoutError from error


def _error_of(future: asyncio.Future[Any]) -> BaseException | None:
    result = outcome.capture(future.result)
    return result.error if isinstance(result, outcome.Error) else None


def _first_of(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _outside_of_here(trace: types.TracebackType | None) -> types.TracebackType | None:
    """Without the frames that step the body: they would keep the task, and the task keeps its error."""
    while trace is not None and trace.tb_frame.f_globals["__name__"].startswith(f"{__package__}."):
        trace = trace.tb_next
    return trace


def _is_in_checkpoint(coroutine: Any) -> bool:
    """Whether what `coroutine` awaits is a plain `checkpoint`, as `trio.sleep(0)` is."""
    while coroutine is not None:
        if getattr(coroutine, "cr_code", None) is trio.lowlevel.checkpoint.__code__:
            return True
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
    return False
