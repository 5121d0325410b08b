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
    """Keeps the current context in line with others over several calls, so that what was set for one of them can be unset for another.

    (A context manager that sets a variable when it is entered and resets it when it is left; an iterator that is advanced by two tasks.)
    """

    def __init__(self) -> None:
        self._tokens: dict[ContextVar[Any], Token[Any]] = {}

    def follow(self, source: Context) -> None:
        """`carry`, and unset what was set by this before and is not set in `source`."""
        ours = contextvars.copy_context()
        for variable, value in source.items():
            if variable not in ours or ours[variable] is not value:
                self._set(variable, value, variable in ours)
        for variable in [variable for variable in self._tokens if variable not in source]:
            self._unset(variable)

    def follow_changes(self, before: Context, after: Context) -> None:
        """Change here what has changed from `before` to `after`, and nothing else."""
        ours = contextvars.copy_context()
        for variable, value in after.items():
            if variable not in before or before[variable] is not value:
                self._set(variable, value, variable in ours)
        for variable in before:
            if variable not in after:
                self._unset(variable)

    def _set(self, variable: ContextVar[Any], value: object, is_set: bool) -> None:
        token = variable.set(value)
        if not is_set:
            self._tokens[variable] = token

    def _unset(self, variable: ContextVar[Any]) -> None:
        token = self._tokens.pop(variable, None)
        if token is not None:
            try:
                variable.reset(token)
            except (ValueError, RuntimeError):
                pass  # set in another context: the last call was another task's
