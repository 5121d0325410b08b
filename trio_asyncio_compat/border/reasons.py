"""Why something was cancelled, as that is handed on from one world to the other: once, however often it crosses.

trio's `Cancelled` has a source, a reason and the task that asked; asyncio's CancelledError has a message. The message that stands for
trio's is a `Reason`, which is taken apart where it comes back to trio: quoted in trio's next reason, and that in asyncio's next message,
it would grow with every crossing, by the backslashes exponentially.

Asked by whatever hands a cancellation on: the modules of the border, `_waiting.py`, `_calls.py`, `_threads.py`. Whatever the program has
given as a message or a reason, nothing here raises: the cancellation would be lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from .._trio_private import cancel_scope

if TYPE_CHECKING:
    from .._trio_private import CancelSource


class Reason(str):
    """What trio's `Cancelled` says, as a message of asyncio, and what that consists of."""

    source: CancelSource = "unknown"
    reason: str | None = None
    source_task: str | None = None


def reason_of(asked: BaseException | None) -> str:
    """Why trio wants to cancel, for the message of asyncio's CancelledError. `asked` may be a group of trio's cancellations."""
    while isinstance(asked, BaseExceptionGroup):
        asked = asked.exceptions[0]
    if isinstance(asked, KeyboardInterrupt):
        message = Reason("KeyboardInterrupt")
        message.source = "KeyboardInterrupt"
        return message
    message = Reason(text_of(asked))
    if isinstance(asked, trio.Cancelled):
        message.source, message.reason, message.source_task = asked.source, asked.reason, asked.source_task
    return message


def message_of(error: BaseException) -> object:
    """What `error`, asyncio's cancellation, was made with, to be handed on."""
    return error.args[0] if error.args else None


def cancel_for(scope: trio.CancelScope, message: object, otherwise: str | None = None) -> None:
    """Cancel `scope` because asyncio has cancelled something with `message`; if there is none, `otherwise` is the reason."""
    if isinstance(message, Reason):
        cancel_scope(scope, message.source, message.reason, message.source_task)
    else:
        scope.cancel(otherwise if message is None else text_of(message))


def text_of(message: object) -> str:
    """`str(message)`, of something that may refuse that."""
    try:
        return str(message)
    except Exception:
        return f"<{type(message).__name__} that cannot be shown>"
