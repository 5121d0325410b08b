"""asyncio's handles, made in fewer steps.

Nearly everything that happens in a loop makes a handle, and the standard library's constructors take two or three Python calls. These set
the same slots in one, for a loop that is not in debug mode; in debug mode the standard library's own are used.
"""

from __future__ import annotations

from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from . import _stdlib

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context


class Handle(_stdlib.Handle):
    """`asyncio.Handle`."""

    __slots__ = ()

    def __init__(self, callback: Callable[..., object], args: tuple[Any, ...], loop: Any, context: Context | None) -> None:
        self._context = copy_context() if context is None else context
        self._loop = loop
        self._callback = callback
        self._args = args
        self._cancelled = False
        self._repr = None
        self._source_traceback = None


class TimerHandle(_stdlib.TimerHandle):
    """`asyncio.TimerHandle`."""

    __slots__ = ()

    def cancel(self) -> None:
        """Cancel the call; a second time does nothing."""
        if not self._cancelled:
            self._loop._timer_handle_cancelled(self)
            self._cancelled = True
            if self._loop._debug:
                self._repr = repr(self)
            self._callback = None
            self._args = None
