"""A trio call seen from asyncio as a Future: how the loop itself uses trio, and what the border builds on.

Calls are made by trio tasks in the nursery that is open while the loop runs. What asyncio sees of their end is a table in
`border/cancellation.py`.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
from typing import TYPE_CHECKING, Any

import outcome
import trio

from .border.cancellation import seen_by_asyncio
from .border.canceller import cancel_call

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from ._loop import TrioEventLoop
    from .border.cancellation import Outcome

# Its frames are of no interest in a traceback (pytest's convention); see `_tracebacks.py`.
__tracebackhide__ = True

# So often a coroutine that is closed may wait.
MAX_WAITS = 100


class TrioFuture(asyncio.Future[Any]):
    """The outcome of trio code, as a Future that is resolved only when that has really finished.

    Cancelling it cancels the scope that the code runs in; it stays pending until the code has ended, and counts as cancelled only if
    the code was. A result or an error that comes late wins.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, scope: trio.CancelScope) -> None:
        super().__init__(loop=loop)
        self.scope = scope
        # What asyncio sees if the code ends cancelled, once cancellation was asked for.
        self.asked: asyncio.CancelledError | None = None

    def cancel(self, msg: Any | None = None) -> bool:
        """Ask the trio code to stop; False if it has finished already."""
        if self.done():
            return False
        self.asked = asyncio.CancelledError() if msg is None else asyncio.CancelledError(msg)
        cancel_call(self.scope, self, msg)
        return True

    def succeed(self, value: object) -> None:
        """The code has ended with a value."""
        if not self.done():
            self.set_result(value)

    def resolve(self, result: Outcome) -> None:
        """The code has ended."""
        if self.done():
            return
        if isinstance(result, outcome.Value):
            self.set_result(result.value)
        elif issubclass(type(result.error), asyncio.CancelledError):
            super().cancel(*result.error.args[:1])
        else:
            self.set_exception(_as_settable(result.error))


class TrioCall(TrioFuture):
    """A call of trio code: a coroutine, which a trio task steps (`_callers.py`) in the `context` and the scope of this.

    `protected` is for code of the loop itself, which Ctrl-C would end without anybody hearing of it.
    """

    def __init__(
        self, loop: TrioEventLoop, scope: trio.CancelScope, coroutine: Coroutine[Any, Any, Any], name: str, *, protected: bool = False
    ) -> None:
        super().__init__(loop, scope)
        self.context = contextvars.copy_context()
        self._given = coroutine
        self.coroutine = coroutine if protected else _interruptible(coroutine)
        # What trio calls a task that was started for it.
        self.name = name

    def close(self) -> None:
        """End the code where it is, as `close` does."""
        # From the inside out: to the outer one, that the inner one waits would be an error to end with.
        try:
            close(self._given)
        finally:
            self.coroutine.close()

    def fail(self, error: BaseException) -> None:
        """The code has ended with an error."""
        # Not begun, if Ctrl-C came just before.
        self._given.close()
        try:
            self.resolve(seen_by_asyncio(outcome.Error(error), self.asked))
        except BaseException as exc:
            # An error of the program that does not let itself be looked at. Whoever waits must hear of something.
            self.resolve(outcome.Error(exc))


# A coroutine, and not a function that steps it: where one coroutine awaits another, Python lets no signal come in between. In a function
# it would, on the way there or back, when what waits in trio must not be touched.
@trio.lowlevel.disable_ki_protection
async def _interruptible(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """The user's code, in which Ctrl-C is his."""
    return await coroutine


def close(coroutine: Coroutine[Any, Any, Any]) -> None:
    """End `coroutine` where it is, though it may answer by waiting for something, as a nursery does. Raises what it raises."""
    for _ in range(MAX_WAITS):
        try:
            coroutine.close()
            return
        except BaseException:
            # That it waits is an error as well.
            if inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED:
                raise


def name_of(function: Any) -> str:
    """What trio calls a task that was started for `function`."""
    while isinstance(function, functools.partial):
        function = function.func
    try:
        return f"{function.__module__}.{function.__qualname__}"
    except AttributeError:
        return repr(function)


async def made_of(async_fn: Callable[..., Awaitable[Any]], args: tuple[Any, ...]) -> Any:
    """The coroutine of a call in which the function itself is called, too."""
    return await async_fn(*args)


def _as_settable(exc: BaseException) -> BaseException:
    """A Future refuses StopIteration, since `await` could not raise it (PEP 479)."""
    if issubclass(type(exc), StopIteration):
        error = RuntimeError("a trio function called from asyncio raised StopIteration")
        error.__cause__ = exc
        return error
    return exc
