"""The model's rules of each world: trio's and asyncio's blocks, by their documentation, and tasks."""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable

from .kernel import ByAsyncio, ByTrio, Cancelled, Expired, Kernel, Scope, Steps, Task, Undecided, Wait
from .programs import Body, Flavour, Group, Nursery, Path, Records, Sleep, Timeout, child_path
from .programs import Scope as ScopeStep


class Rules(abc.ABC):
    """Each method is one kind of step as a generator that waits by `yield`; exceptions of the model stand for the real ones."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.records: Records = {}

    @abc.abstractmethod
    def body(self, task: Task, steps: Body, path: Path) -> Steps:
        """Several steps, one after the other."""

    def record(self, path: Path, what: object) -> None:
        self.records[path] = (self.kernel.now, what)

    def sleep(self, task: Task, step: Sleep) -> Steps:
        take_back = self.kernel.at(step.seconds, task.resume) if step.seconds else _nothing

        def refuse(exc: Cancelled) -> None:
            take_back()
            if step.of_trio:
                task.tell()
            task.resume(exc)

        wait = Wait(Flavour.TRIO if step.of_trio else Flavour.ASYNCIO, refuse)
        if not step.seconds:
            self.kernel.ready.append(lambda: task.resume() if task.wait is wait else None)
        yield wait

    # trio's blocks

    def scope(self, task: Task, step: ScopeStep, path: Path) -> Steps:
        kernel = self.kernel
        scope = task.scope = Scope(task.scope, shield=step.shield)
        take_back = [
            kernel.at(seconds, functools.partial(kernel.cancel_scope, scope))
            for seconds in (step.deadline, step.cancelled)
            if seconds is not None
        ]
        error = None
        try:
            yield from self.body(task, step.body, path)
        except (Undecided, GeneratorExit):
            raise
        except BaseException as exc:
            error = exc
        for back in take_back:
            back()
        _leave(task, scope, error)

    def nursery(self, task: Task, step: Nursery, path: Path) -> Steps:
        kernel = self.kernel
        scope = task.scope = Scope(task.scope)
        errors: list[BaseException] = []
        exiting: Wait | None = None

        def fail(exc: BaseException) -> None:
            errors.append(exc)
            kernel.cancel_scope(scope)

        def ended(child: Task) -> None:
            children.remove(child)
            if child.error is not None:
                fail(child.error)
            if exiting is not None and not children and task.wait is exiting:
                task.resume()

        children = [
            self.start(Flavour.TRIO, scope, ended, functools.partial(self.body, steps=body, path=child_path(path, index)))
            for index, body in enumerate(step.children)
        ]
        try:
            yield from self.body(task, step.body, path)
        except (Undecided, GeneratorExit):
            raise
        except BaseException as exc:
            fail(exc)
        if children:
            # A request of asyncio's that meets the nursery here counts as an error of its own; trio's cancellation reaches the children.
            exiting = Wait(Flavour.TRIO, lambda exc: None if isinstance(exc, ByTrio) else fail(exc))
            yield exiting
        else:
            kernel.ready.append(task.resume)
            yield Wait(None, refuse_nothing)
        _leave(task, scope, BaseExceptionGroup("", errors) if errors else None)

    # asyncio's blocks

    def timeout(self, task: Task, step: Timeout, path: Path) -> Steps:
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
        # In mixed code a nursery in the block may have put its cancellation into a group.
        grouped = task.flavour is Flavour.MIXED and _is_group_of_requests(error)
        if expired and task.uncancel() <= before and (self.is_cancelled_error(error) or grouped):
            raise Expired
        if error is not None:
            raise error

    def group(self, task: Task, step: Group, path: Path) -> Steps:
        kernel = self.kernel
        errors: list[BaseException] = []
        aborting = requested = False
        exiting: Wait | None = None

        def abort() -> None:
            nonlocal aborting
            aborting = True
            for child in children:
                child.cancel()

        def ended(child: Task) -> None:
            nonlocal requested
            children.remove(child)
            if exiting is not None and not children and task.wait is exiting:
                task.resume()
            if child.error is None or isinstance(child.error, ByAsyncio):
                return
            errors.append(child.error)
            if not aborting and not requested:
                abort()
                requested = True
                task.cancel()

        children = [
            self.start(Flavour.ASYNCIO, kernel.root, ended, functools.partial(self.task, body=body, path=child_path(path, index)))
            for index, body in enumerate(step.children)
        ]
        error = None
        try:
            yield from self.body(task, step.body, path)
        except (Undecided, GeneratorExit):
            raise
        except BaseException as exc:
            error = exc
        cancelled = error if self.is_cancelled_error(error) else None
        uncancelled = requested and not kernel.recancels
        if uncancelled and task.uncancel() == 0:
            cancelled = None
        if error is not None and not aborting:
            abort()
        while children:
            exiting = Wait(Flavour.ASYNCIO, task.resume)
            try:
                yield exiting
            except Cancelled as exc:
                if not aborting:
                    cancelled = exc
                    abort()
            exiting = None
        if requested and kernel.recancels and task.uncancel() == 0:
            cancelled = None
        if cancelled is not None and not errors:
            raise cancelled
        if error is not None and not self.is_cancelled_error(error):
            errors.append(error)
        if errors:
            if kernel.recancels and task.cancelling:
                task.uncancel()
                task.cancel()
            raise BaseExceptionGroup("", errors)

    def is_cancelled_error(self, exc: BaseException | None) -> bool:
        """Whether asyncio's blocks take `exc` for a CancelledError."""
        return type(exc) is ByAsyncio if self.kernel.exact else isinstance(exc, ByAsyncio)

    # Tasks

    def new(self, flavour: Flavour, scope: Scope, steps: Callable[[Task], Steps]) -> Task:
        task: Task
        task = Task(self.kernel, flavour, scope, _start(lambda: steps(task)))
        return task

    def start(self, flavour: Flavour, scope: Scope, ended: Callable[[Task], object], steps: Callable[[Task], Steps]) -> Task:
        """A task that runs as soon as others let it."""
        task = self.new(flavour, scope, steps)
        task.when_done.append(lambda: ended(task))
        self.kernel.ready.append(task.step)
        return task

    def task(self, task: Task, body: Body, path: Path, cancelled: int | None = None) -> Steps:
        """A body that is a task to asyncio."""
        take_back = self.kernel.at(cancelled, task.cancel) if cancelled is not None else _nothing
        try:
            yield from self.body(task, body, path)
        finally:
            take_back()
            self.record((*path, -1), task.cancelling)


def _start(steps: Callable[[], Steps]) -> Steps:
    yield from steps()


def _leave(task: Task, scope: Scope, exc: BaseException | None) -> None:
    """Leave `scope`; raise what it leaves of `exc`."""
    task.scope = scope.parent or scope
    left = scope.close(exc)
    if left is not None:
        raise left


def _nothing() -> None:
    pass


def refuse_nothing(exc: Cancelled) -> None:
    pass


def _is_group_of_requests(error: BaseException | None) -> bool:
    """A group of asyncio's cancellations and of nothing else."""
    return isinstance(error, BaseExceptionGroup) and error.split(ByAsyncio)[1] is None and error.split(ByTrio)[0] is None
