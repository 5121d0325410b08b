"""The private names of trio that this package uses, and nothing else.

Callers are `_flavour.py` (which code is running here), `_fork.py` (a forked child), `_left_run.py`, `_interrupts.py`, for flavour-free code
`border/task.py` and `border/cancellation.py`, `border/reasons.py`, `border/trio_carrier.py`, and `tasktree/` and `_slowness.py`, which
only look. Everything else in the package goes through trio's public API.
`tests/test_private_names.py` fails when trio changes one of these.
"""

from __future__ import annotations

import inspect
import warnings
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import outcome
import trio
from trio._core._run import CancelReason
from trio._core._traps import CancelShieldedCheckpoint, WaitTaskRescheduled

try:
    from trio._core._run_context import GLOBAL_RUN_CONTEXT as run_context
except ImportError:  # trio before 0.32 keeps it in the run module
    from trio._core._run import GLOBAL_RUN_CONTEXT as run_context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeAlias

    from trio._core._exceptions import CancelReasonLiteral
    from trio._core._run import CancelStatus

    CancelSource: TypeAlias = CancelReasonLiteral

T = TypeVar("T")


def hide_current_task() -> trio.lowlevel.Task | None:
    """Make trio believe that no task is running in this thread; return the one that was, for `show_task`.

    trio's synchronous functions that need only the run still work afterwards. A trio function that needs a
    task raises RuntimeError at once instead of acting on a task that is not its caller's.
    """
    task: trio.lowlevel.Task | None = run_context.__dict__.pop("task", None)
    return task


def show_task(task: trio.lowlevel.Task | None) -> None:
    """Undo `hide_current_task`."""
    if task is not None:
        run_context.task = task


def forget_run() -> None:
    """Make trio believe that it does not run in this thread: for the child of a fork, where it does not."""
    run_context.__dict__.clear()


def remember_run() -> dict[str, Any]:
    """What trio knows of the run in this thread, for `show_run`."""
    return dict(run_context.__dict__)


def show_run(known: dict[str, Any]) -> None:
    """Make trio believe that this run, which has ended, is that of this thread: for the code of its tasks. Undone by `forget_run`."""
    run_context.__dict__.update(known)


def cut_off(task: trio.lowlevel.Task) -> None:
    """Make trio believe that `task` waits for nothing and that the tasks in its nurseries have ended: its run takes no more steps."""
    task._abort_func = None
    for nursery in task.child_nurseries:
        nursery._children.clear()


def go_on(error: BaseException) -> None:
    """Make the rest of the run that `error` has left while it waited for events, as `trio.run` would have.

    Raises what a signal handler raises meanwhile; the run is then ended where it is.
    """
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code is not trio.run.__code__:
        trace = trace.tb_next
    found = {} if trace is None else trace.tb_frame.f_locals
    steps = found.get("gen")
    if steps is None:
        return  # it has not begun
    events: Any = None
    try:
        if inspect.getgeneratorstate(steps) == inspect.GEN_SUSPENDED:
            events = found["runner"].io_manager.get_events(0)
        while True:
            timeout = steps.send(events)
            events = found["runner"].io_manager.get_events(timeout)
    except StopIteration:
        pass
    finally:
        with warnings.catch_warnings():
            # That a run was abandoned is known here.
            warnings.simplefilter("ignore", RuntimeWarning)
            steps.close()


def is_interrupt_handler(handler: Any) -> bool:
    """Whether `handler` is the SIGINT handler that `trio.run` installs."""
    return getattr(handler, "__module__", None) == "trio._core._ki"


def park_in(task: trio.lowlevel.Task, trap: object) -> bool:
    """Do what trio does with a `trap` that a task has yielded, for a `task` that is parked and has not yielded it.

    The task gets the answer where it is parked. False for something that is no trap.
    """
    if trap is CancelShieldedCheckpoint:
        trio.lowlevel.reschedule(task)
    elif isinstance(trap, WaitTaskRescheduled):
        task._abort_func = trap.abort_func
        task._attempt_delivery_of_any_pending_cancel()
    else:
        return False
    return True


# Flavour-free tasks (`border/task.py`) and carriers need to know more of the trio task that carries them.


def abort(task: trio.lowlevel.Task, raise_cancel: Callable[[], NoReturn]) -> bool:
    """Do what trio does to cancel the call in which `task` is blocked, with another exception; tell whether it was tried.

    A blocked call can be aborted at most once, whoever asks; it is blocked exactly while it has an abort function. One that
    cannot be aborted decides for itself what to do with `raise_cancel`.
    """
    abort_func = task._abort_func
    if abort_func is None:
        return False
    task._abort_func = None
    if abort_func(raise_cancel) is trio.lowlevel.Abort.SUCCEEDED:
        trio.lowlevel.reschedule(task, outcome.capture(raise_cancel))
    return True


def is_cancelled(task: trio.lowlevel.Task) -> bool:
    """Whether a scope that `task` feels is cancelled. trio's public way to ask looks at the deadlines of all scopes around."""
    cancelled: bool = task._cancel_status.effectively_cancelled
    return cancelled


def scopes_in_cancellation(task: trio.lowlevel.Task) -> Iterator[trio.CancelScope]:
    """The scopes around what `task` is doing, from the innermost out, up to the outermost cancelled one that it feels.

    Not all of them need be cancelled. What is outside of a shield is not felt.
    """
    status: CancelStatus | None = task._cancel_status
    while status is not None and status.effectively_cancelled:
        yield status._scope
        status = None if status._scope.shield else status.parent


def is_innermost(scope: trio.CancelScope, task: trio.lowlevel.Task) -> bool:
    """Whether `scope` is the innermost that `task` is in: it can be left without leaving one that stands inside of it."""
    status: CancelStatus | None = task._cancel_status
    return status is not None and status._scope is scope


def cancel_scope(scope: trio.CancelScope, source: CancelSource, reason: str | None, source_task: str | None) -> None:
    """`scope.cancel(reason)`, when it is another one's cancellation, which came from somewhere else, that reaches `scope`."""
    scope._cancel(CancelReason(source=source, reason=reason, source_task=source_task))


# What a picture of the tasks tells besides (`tasktree/`).


def is_scheduled(task: trio.lowlevel.Task) -> bool:
    """Whether `task` is to make its next step as soon as its turn comes."""
    return task._next_send_fn is not None


def scopes_around(task: trio.lowlevel.Task) -> Iterator[trio.CancelScope]:
    """The cancel scopes around what `task` is doing, from the innermost out, whether they are cancelled or not."""
    status: CancelStatus | None = task._cancel_status
    while status is not None:
        yield status._scope
        status = status.parent


def was_cancelled(scope: trio.CancelScope) -> bool:
    """`scope.cancel_called` for who only looks: that property cancels a scope whose time is over, and works only inside of trio."""
    return scope._cancel_called


def why_cancelled(scope: trio.CancelScope) -> str | None:
    """The reason that was given for the cancellation of `scope`."""
    reason = scope._cancel_reason
    if reason is None:
        return None
    return reason.reason or reason.source


def new_cancelled(kind: type[T], like: trio.Cancelled) -> T:
    """An instance of `kind`, a class derived from `trio.Cancelled`, that tells the same as `like`."""
    created: T = kind._create(source=like.source, reason=like.reason, source_task=like.source_task)  # type: ignore[attr-defined]
    return created


class Derivable:
    """Listed before `trio.Cancelled` as a base, it lets that final class be derived from."""

    __slots__ = ()

    def __init_subclass__(cls) -> None:
        """Instead of the one of a final class, which refuses."""
