"""What becomes of a cancellation that crosses the border: the rules, as tables, and nothing that waits.

Theory of operation. A call from one world into the other has a caller, who may *ask* for its cancellation (a cancelled trio scope; a
cancelled asyncio future), and a callee, which *ends* in one of four ways. The caller always waits until the callee has ended, since
only then is it known what the callee has done. What the caller then sees depends on these two things alone: that is one row of
a table below. The tables differ because the worlds do. In asyncio a cancellation is an exception that is thrown once, and anybody may
swallow it or raise one; in trio it is a state of a scope, and only the scope may end it.

This is a leaf: it knows neither loop nor task. `_waiting.py` (trio code waits for asyncio), `_calls.py` (asyncio code waits for trio)
and the other modules of the border ask it.
"""

from __future__ import annotations

import asyncio
import enum
import signal
from typing import TYPE_CHECKING, Any

import outcome
import trio

from .._trio_private import Derivable, new_cancelled
from .reasons import reason_of

if TYPE_CHECKING:
    from typing import TypeAlias

    # `outcome.Outcome`, as the union that it is.
    Outcome: TypeAlias = outcome.Value[Any] | outcome.Error


class Ended(enum.Enum):
    """How a call ended on its own side."""

    VALUE = "with a value"
    ERROR = "with an error"
    CANCELLED = "cancelled: in its own world's exception, or a group of nothing else"
    MIXED = "in a group of errors and cancellations"


class Seen(enum.Enum):
    """What the caller sees of it."""

    RESULT = "the value or the error, as it is"
    UNCHANGED = "the callee's own exception, as it is"
    CANCELLED = "the cancellation of the caller's own world, which it asked for"
    SPLIT = "a group in which the caller's own cancellation stands for the callee's, and the errors stay"
    ERRORS = "a group of the errors alone"


# (Has the caller asked for cancellation?, how did the call end?) -> what the caller sees.

# Trio code calls asyncio. That asyncio code was cancelled proves nothing by itself: only if trio asked is it trio's cancellation.
# A cancellation that came too late, so that the call ended otherwise, is lost on purpose; the scope is still cancelled, and the
# next checkpoint says so.
TO_ASYNCIO: dict[tuple[bool, Ended], Seen] = {
    (False, Ended.VALUE): Seen.RESULT,
    (False, Ended.ERROR): Seen.RESULT,
    (False, Ended.CANCELLED): Seen.UNCHANGED,
    (False, Ended.MIXED): Seen.UNCHANGED,
    (True, Ended.VALUE): Seen.RESULT,
    (True, Ended.ERROR): Seen.RESULT,
    (True, Ended.CANCELLED): Seen.CANCELLED,
    (True, Ended.MIXED): Seen.SPLIT,
}

# Asyncio code calls trio. A call ends in `trio.Cancelled` only if its scope was cancelled, by the caller or by the end of
# everything around it: for asyncio both are CancelledError. The scope takes its own part out of a group, as in all trio code, so errors
# while unwinding win. A value that came in spite of the cancellation counts, and that is lost, as if it were swallowed; except where
# the value says nothing (a block has been left, an iterator is at its end: `trio_carrier.py`).
TO_TRIO: dict[tuple[bool, Ended], Seen] = {
    (False, Ended.VALUE): Seen.RESULT,
    (False, Ended.ERROR): Seen.RESULT,
    (False, Ended.CANCELLED): Seen.CANCELLED,
    (False, Ended.MIXED): Seen.ERRORS,
    (True, Ended.VALUE): Seen.RESULT,
    (True, Ended.ERROR): Seen.RESULT,
    (True, Ended.CANCELLED): Seen.CANCELLED,
    (True, Ended.MIXED): Seen.ERRORS,
}


def how_it_ended(result: Outcome, cancelled: type[BaseException] | tuple[type[BaseException], ...]) -> Ended:
    """The row of the table that `result` belongs to, where `cancelled` are the callee's exceptions of cancellation."""
    if isinstance(result, outcome.Value):
        return Ended.VALUE
    error = result.error
    # By its type: an exception may not let itself be asked for its class.
    if issubclass(type(error), cancelled):
        return Ended.CANCELLED
    of_cancellation, rest = _split(error, cancelled)
    if of_cancellation is not None:
        return Ended.CANCELLED if rest is None else Ended.MIXED
    return Ended.ERROR


def _split(
    error: BaseException, cancelled: type[BaseException] | tuple[type[BaseException], ...]
) -> tuple[BaseException | None, BaseExceptionGroup[BaseException] | None]:
    """`error.split(cancelled)`, if it is a group. One whose `derive` fails is an error as it is: no call may be left without an end."""
    if issubclass(type(error), BaseExceptionGroup):
        try:
            parts: tuple[BaseException | None, BaseExceptionGroup[BaseException] | None] = error.split(cancelled)  # type: ignore[attr-defined]
            return parts
        except Exception:
            pass
    return None, None


def seen_by_trio(result: Outcome, asked: BaseException | None) -> Outcome:
    """What trio code sees of a call into asyncio that ended with `result`.

    `asked` is the exception with which trio wanted to cancel the call (Cancelled, or KeyboardInterrupt after Ctrl-C), or None.
    """
    if asked is None:
        return result
    seen = TO_ASYNCIO[True, how_it_ended(result, asyncio.CancelledError)]
    if seen is Seen.CANCELLED:
        return outcome.Error(without_context(asked))
    if seen is Seen.SPLIT and isinstance(result, outcome.Error):
        _, rest = _split(result.error, asyncio.CancelledError)
        if rest is not None:
            return outcome.Error(without_context(rest.derive([*rest.exceptions, asked])))
    interrupt_later(asked)
    return result


def seen_by_asyncio(result: Outcome, asked: asyncio.CancelledError | None) -> Outcome:
    """What asyncio code sees of a call into trio that ended with `result`.

    `asked` is the exception for the cancellation that the caller asked for, or None.
    """
    if isinstance(result, outcome.Value):
        return result
    seen = TO_TRIO[asked is not None, how_it_ended(result, trio.Cancelled)]
    if seen is Seen.CANCELLED:
        return outcome.Error(asked or asyncio.CancelledError(reason_of(result.error)))
    if seen is Seen.ERRORS:
        _, rest = _split(result.error, trio.Cancelled)
        if rest is not None:
            return outcome.Error(without_context(rest))
    return result


class CancelledInBothWorlds(Derivable, trio.Cancelled, asyncio.CancelledError):  # type: ignore[misc]
    """What a cancelled trio scope throws into flavour-free code.

    It is both: asyncio's code cleans up in its `except asyncio.CancelledError`, and the scope catches it as `trio.Cancelled`. To be
    thrown only while a trio scope really is cancelled: a nursery swallows it otherwise.
    """


def in_both_worlds(error: trio.Cancelled) -> CancelledInBothWorlds:
    """`error`, as an exception of both worlds."""
    if isinstance(error, CancelledInBothWorlds):
        return error
    both = new_cancelled(CancelledInBothWorlds, error)
    # As asyncio has it: the message is the argument.
    both.args = (reason_of(error),)
    return both


def interrupt_later(asked: BaseException | None) -> None:
    """Ctrl-C was taken from trio to cancel a call that then ended otherwise: give it back, for the next checkpoint."""
    if isinstance(asked, KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def without_context(error: BaseException) -> BaseException:
    """`error`, shown without the callee's cancellation that it stands for."""
    # Past an exception's own `__setattr__`, which may refuse (a frozen dataclass).
    BaseException.__setattr__(error, "__cause__", None)
    BaseException.__setattr__(error, "__suppress_context__", True)
    return error
