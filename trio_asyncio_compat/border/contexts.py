"""Context variables across the border, where the two sides have a context each.

The callee sees what its caller has set before a call, and the caller sees afterwards what the callee has set, as with any await.
"""

from __future__ import annotations

import contextvars
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from contextvars import Context, ContextVar, Token


def carry(source: Context) -> None:
    """Set in the current context what is set otherwise in `source`."""
    ours = contextvars.copy_context()
    for variable, value in source.items():
        if variable not in ours or ours[variable] is not value:
            variable.set(value)


class Follower:
    """Keeps the current context in line with another one over several calls, so that what was set by one of them can be unset by another.

    (A context manager that sets a variable when it is entered and resets it when it is left.)
    """

    def __init__(self) -> None:
        self._tokens: dict[ContextVar[Any], Token[Any]] = {}

    def follow(self, source: Context) -> None:
        """`carry`, and unset what was set by this before and is no longer set in `source`."""
        ours = contextvars.copy_context()
        for variable, value in source.items():
            if variable not in ours:
                self._tokens[variable] = variable.set(value)
            elif ours[variable] is not value:
                variable.set(value)
        for variable in [variable for variable in self._tokens if variable not in source]:
            token = self._tokens.pop(variable)
            try:
                variable.reset(token)
            except (ValueError, RuntimeError):
                pass  # set in another context: the last call was another task's
