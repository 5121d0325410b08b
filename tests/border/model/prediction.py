"""The model: what a program should do, by the rules of trio, of asyncio, and of the border between them.

Each method is one kind of step as a generator that waits by `yield`; exceptions of the model stand for the real ones.
"""

from __future__ import annotations

import asyncio
import functools
import sys

from .kernel import ByAsyncio, ByTrio, Cancelled, Expired, InBoth, Kernel, Scope, Steps, Task, Undecided, Wait
from .programs import (
    Allow,
    Body,
    CallAsyncio,
    CallTrio,
    Fail,
    Finally,
    Flavour,
    Group,
    Nursery,
    Path,
    Records,
    ScopeFromAsyncio,
    Sleep,
    Step,
    Swallow,
    Timeout,
    TimeoutFromTrio,
    cleanup_path,
)
from .programs import Scope as ScopeStep
from .rules import Rules, refuse_nothing

# How many orders of what happens at one instant are tried.
_ORDERS = 8
# And before a difference is believed.
_ALL_ORDERS = 200


class Failure(Exception):
    """What a `Fail` raises."""


def describe(exc: BaseException | None) -> object:
    """An exception of the model; the same words as in `execution.py`."""
    match exc:
        case None:
            return "value"
        case BaseExceptionGroup():
            return ("group", *sorted((describe(inner) for inner in exc.exceptions), key=repr))
        case InBoth():
            return "cancelled in both worlds"
        case ByTrio():
            return "cancelled by trio"
        case ByAsyncio():
            return "cancelled by asyncio"
        case Expired():
            return "timeout"
        case Failure():
            return f"failure {exc.args[0]}"
        case _:
            raise exc


def seen_by_trio(exc: BaseException | None, asked: Cancelled | None) -> BaseException | None:
    """What a caller who has asked for cancellation sees of asyncio code that ended with `exc`: the first table of section 6."""
    if asked is None or exc is None:
        return exc
    if isinstance(exc, ByAsyncio):
        return asked
    if isinstance(exc, BaseExceptionGroup):
        cancelled, rest = exc.split(ByAsyncio)
        if cancelled is not None:
            return asked if rest is None else rest.derive([*rest.exceptions, asked])
    return exc


class Prediction(Rules):
    """One run of one program."""

    def program(self, task: Task, body: Body) -> Steps:
        error: BaseException | None = None
        try:
            yield from self.body(task, body, ())
        except Undecided:
            raise
        except BaseException as exc:
            error = exc
        self.record((), describe(error))

    def body(self, task: Task, steps: Body, path: Path) -> Steps:
        for index, step in enumerate(steps):
            try:
                yield from self.step(task, step, (*path, index))
            except (Undecided, GeneratorExit):
                raise
            except BaseException as exc:
                self.record((*path, index), describe(exc))
                raise
            self.record((*path, index), describe(None))

    def step(self, task: Task, step: Step, path: Path) -> Steps:
        match step:
            case Sleep():
                yield from self.sleep(task, step)
            case Fail(number):
                raise Failure(number)
            case ScopeStep():
                yield from self.scope(task, step, path)
            case Nursery():
                yield from self.nursery(task, step, path)
            case Timeout():
                yield from self.timeout(task, step, path)
            case Group():
                yield from self.group(task, step, path)
            case CallAsyncio():
                yield from self.call_asyncio(task, step, path)
            case CallTrio():
                yield from self.call_trio(task, step, path)
            case Allow():
                yield from self.allow(task, step, path)
            case TimeoutFromTrio():
                yield from self.timeout_from_trio(task, step, path)
            case ScopeFromAsyncio():
                yield from self.scope_from_asyncio(task, step, path)
            case Finally(body, cleanup):
                try:
                    yield from self.body(task, body, path)
                except (Undecided, GeneratorExit):
                    raise
                except BaseException:
                    yield from self.body(task, cleanup, cleanup_path(path))
                    raise
                yield from self.body(task, cleanup, cleanup_path(path))
            case Swallow(body):
                try:
                    yield from self.body(task, body, path)
                except Cancelled:
                    pass

    # The border

    def call_asyncio(self, task: Task, step: CallAsyncio, path: Path) -> Steps:
        callee = self.new(Flavour.ASYNCIO, self.kernel.root, lambda callee: self.task(callee, step.body, path, step.cancelled))
        # Its first step is the caller's.
        callee.step()
        wait = Wait(Flavour.TRIO, lambda exc: callee.cancel(), once=True)
        if not callee.done:
            callee.when_done.append(task.resume)
            yield wait
        seen = seen_by_trio(callee.error, wait.asked)
        if seen is not None:
            raise seen

    def call_trio(self, task: Task, step: CallTrio, path: Path) -> Steps:
        kernel = self.kernel
        scope = Scope(kernel.root, shield=True)
        callee = self.start(Flavour.TRIO, scope, lambda callee: task.resume(), lambda callee: self.body(callee, step.body, path))
        wait = Wait(Flavour.ASYNCIO, lambda exc: kernel.cancel_scope(scope))
        yield wait
        if wait.asked is not None and not callee.waited:
            # Its first step may be made where it is called. Then it has ended before the cancellation, which finds nobody waiting.
            raise Undecided
        error = callee.error
        left = scope.close(error)
        if error is not None and left is None:
            left = ByAsyncio()
        if isinstance(wait.asked, ByTrio):
            left = seen_by_trio(left, wait.asked)
        if left is not None:
            raise left

    def allow(self, task: Task, step: Allow, path: Path) -> Steps:
        task.flavour, task.cancelling, task.pending, task.told = Flavour.MIXED, 0, False, set()
        error: BaseException | None = None
        try:
            yield from self.task(task, step.body, path, step.cancelled)
        except (Undecided, GeneratorExit):
            raise
        except BaseException as exc:
            error = exc
        task.flavour, task.pending = Flavour.TRIO, False
        if error is not None and not isinstance(error, ByTrio) and any(scope in task.told for scope in task.scope.cancelled_around()):
            error = seen_by_trio(error, ByTrio())
        if error is not None:
            raise error

    def timeout_from_trio(self, task: Task, step: TimeoutFromTrio, path: Path) -> Steps:
        scope = task.scope = Scope(task.scope)
        take_back = self.kernel.at(step.deadline, functools.partial(self.kernel.cancel_scope, scope))
        error = None
        try:
            yield from self.body(task, step.body, path)
        except (Undecided, GeneratorExit):
            raise
        except BaseException as exc:
            error = exc
        take_back()
        task.scope = scope.parent or scope
        left = scope.close(error)
        yield from self.hop(task, Flavour.TRIO)
        # Of two cancellations that are under way the other one wins, as in asyncio.
        cancelled_alone = type(left) is ByAsyncio and not task.scope.felt()
        if scope.cancelled and (cancelled_alone or (left is None and error is not None)):
            raise Expired
        if left is not None:
            raise left

    def hop(self, task: Task, of: Flavour) -> Steps:
        """A wait for the manager on the other side, which takes no time, so nothing but a cancelled scope can be met there."""
        # As often as not somebody else comes first, since really this takes several steps.
        for _ in range(3):
            self.kernel.ready.append(task.resume)
            yield Wait(of, refuse_nothing if of is Flavour.TRIO else _undecided, once=True)

    def scope_from_asyncio(self, task: Task, step: ScopeFromAsyncio, path: Path) -> Steps:
        yield from self.hop(task, Flavour.ASYNCIO)
        before = task.cancelling
        expired = False

        def expire() -> None:
            nonlocal expired
            expired = True
            task.cancel()

        take_back = self.kernel.at(step.deadline, expire)
        error = None
        try:
            yield from self.body(task, step.body, path)
        except (Undecided, GeneratorExit):
            raise
        except BaseException as exc:
            error = exc
        take_back()
        if expired and task.uncancel() <= before and type(error) is ByAsyncio:
            error = None
        yield from self.hop(task, Flavour.ASYNCIO)
        if expired and isinstance(error, BaseExceptionGroup):
            # A known limit: the manager, which stands elsewhere, takes all of trio's cancellations in a group for its own.
            error = error.split(ByTrio)[1]
        if error is not None:
            raise error


def _undecided(exc: Cancelled) -> None:
    raise Undecided


@functools.cache
def _knows_by_is() -> bool:
    """Whether this Python's TaskGroup takes only CancelledError itself for one, not a class derived from it."""

    class Derived(asyncio.CancelledError):
        pass

    async def main() -> bool:
        try:
            async with asyncio.TaskGroup():
                raise Derived
        except Derived:
            return False
        except BaseExceptionGroup:
            return True

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        return runner.run(main())


def predict(program: Body, orders: int = _ORDERS) -> Records | None:
    """What `execute(program)` is to record; None if no rule decides it."""
    predicted: Records | None = None
    for seed in range(orders):
        kernel = Kernel(
            seed,
            exact=_knows_by_is(),
            recancels=sys.version_info >= (3, 13),
            uncancel_takes_back=sys.version_info >= (3, 13),
        )
        prediction = Prediction(kernel)
        main = prediction.new(Flavour.TRIO, kernel.root, functools.partial(prediction.program, body=program))
        kernel.ready.append(main.step)
        try:
            kernel.run()
        except Undecided:
            return None
        if predicted is not None and prediction.records != predicted:
            return None
        predicted = prediction.records
    return predicted


def decided(program: Body) -> Records | None:
    """`predict`, in all the orders that matter."""
    return predict(program, _ALL_ORDERS)
