"""Who has cancelled a trio call of asyncio code, and why: the reason that trio's `Cancelled` then gives.

asyncio does not say it. But `Task.cancel()` comes down to the future that the task awaits while the frames of who called it are still
there. Asked by `_calls.py` at that moment, and by `trio_carrier.py`. Costs nothing until something is cancelled.
"""

from __future__ import annotations

import asyncio
import collections
import functools
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

import trio

from .._files import ASYNCIO, OURS, TRIO
from .._stdlib import callbacks_of
from .._trio_private import cancel_scope
from .reasons import Reason, cancel_for, message_of, text_of

if TYPE_CHECKING:
    import types
    from collections.abc import Callable

_TIMEOUTS = asyncio.Timeout.__aenter__.__code__.co_filename
_TASK_GROUPS = asyncio.TaskGroup.__aenter__.__code__.co_filename
_BORDER = os.path.join(OURS, "border", "")


def cancel_call(scope: trio.CancelScope, call: asyncio.Future[Any], message: object) -> None:
    """Cancel the `scope` of `call`, whose `cancel(message)` was called by who has called this. A `message` that says why trio has
    cancelled something is handed on; so is one that is being handled."""
    handled = sys.exception()
    if message is None and isinstance(handled, asyncio.CancelledError) and isinstance(message_of(handled), Reason):
        message = message_of(handled)
    if isinstance(message, Reason):
        _in_turn(functools.partial(cancel_for, scope, message))
        return
    try:
        task = _task_that_awaits(call)
        why = _why(sys._getframe(2), handled) if message is None else ""
        reason, by = in_words(task, message) + why, asyncio.current_task(call.get_loop())
        asking = None if by is None or by is task else f"<asyncio task {_name(by)!r}>"
    except Exception:
        # Something of the program that does not let itself be shown. The cancellation is not to be lost by that.
        reason, asking = "asyncio has cancelled this call", None
    if asking is None:
        _in_turn(functools.partial(scope.cancel, reason))
    else:
        _in_turn(functools.partial(cancel_scope, scope, "explicit", reason, asking))


class _Waiting(threading.local):
    """What is to be cancelled in this thread once what is being cancelled has been; None if nothing is."""

    cancels: collections.deque[Callable[[], None]] | None = None


_waiting = _Waiting()


def _in_turn(cancel: Callable[[], None]) -> None:
    """Call `cancel`. What that cancels may have called trio in its turn, and so on: one after the other, and not one inside of the other,
    which would end in a RecursionError half-way, with calls that never hear of it."""
    if _waiting.cancels is not None:
        _waiting.cancels.append(cancel)
        return
    cancels = _waiting.cancels = collections.deque([cancel])
    try:
        while cancels:
            cancels.popleft()()
    finally:
        _waiting.cancels = None


def in_words(task: asyncio.Task[Any] | None, message: object) -> str:
    """That asyncio has cancelled `task`, and with which message."""
    what = "a call from asyncio" if task is None else f"asyncio task {_name(task)!r}"
    return f"{what} was cancelled" + ("" if message is None else f": {text_of(message)}")


def _name(task: asyncio.Task[Any]) -> str:
    return task.get_name() if hasattr(task, "get_name") else type(task).__name__


def _task_that_awaits(call: asyncio.Future[Any]) -> asyncio.Task[Any] | None:
    for callback in callbacks_of(call):
        waits = getattr(callback, "__self__", None)
        # A flavour-free task waits by an object of its own.
        task = getattr(waits, "_body_task", waits)
        if isinstance(task, asyncio.Task):
            return task
    return None


def _why(frame: types.FrameType | None, handled: BaseException | None) -> str:
    """What `frame`, or who has called that, has cancelled something for."""
    while frame is not None:
        file = frame.f_code.co_filename
        if file == _TIMEOUTS:
            return ", since an asyncio.timeout() has expired"
        if file == _TASK_GROUPS:
            return f", since {_what_ended_the_group(frame, handled)}"
        if not file.startswith((ASYNCIO, _BORDER)):
            break
        frame = frame.f_back
    if frame is None or frame.f_code.co_filename.startswith((OURS, TRIO)):
        # It was a callback itself.
        return ""
    return f" in {frame.f_code.co_qualname} ({frame.f_code.co_filename}:{frame.f_lineno})"


def _what_ended_the_group(frame: types.FrameType | None, handled: BaseException | None) -> str:
    while frame is not None and frame.f_code.co_filename == _TASK_GROUPS:
        # The locals of no other: they would be kept as long as that frame, which its error may keep.
        if frame.f_code.co_name == "_on_task_done":
            failed = frame.f_locals["task"]
            return f"task {_name(failed)!r} of its TaskGroup has failed: {failed.exception()!r}"
        frame = frame.f_back
    if isinstance(handled, asyncio.CancelledError):
        message = message_of(handled)
        return "its TaskGroup was cancelled" + ("" if message is None else f": {text_of(message)}")
    return f"the block of its TaskGroup has failed: {handled!r}"
