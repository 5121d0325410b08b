"""Asking objects of the program, which may answer with anything, or raise: a tree must come out all the same. Called by all of the tree."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    D = TypeVar("D")
    T = TypeVar("T")

_LONGEST_REPR = 100
_LONGEST_NAME = 300


def ask(default: D, function: Callable[..., T], *args: object) -> T | D:
    """What `function(*args)` returns; `default` if it raises anything, even SystemExit or a cancellation."""
    try:
        return function(*args)
    except BaseException as exc:
        _let_out_what_a_signal_raises(exc)
        return default


def attribute(owner: object, name: str, default: Any = None) -> Any:
    """`getattr`, of an object that may raise anything."""
    try:
        return getattr(owner, name, default)
    except BaseException as exc:
        _let_out_what_a_signal_raises(exc)
        return default


def result(owner: object, method: str, default: Any) -> Any:
    """What a method without arguments returns, likewise."""
    try:
        return getattr(owner, method)()
    except BaseException as exc:
        _let_out_what_a_signal_raises(exc)
        return default


def is_a(owner: object, kind: type[T]) -> TypeGuard[T]:
    """`isinstance`, without asking the object for its `__class__`, which a proxy answers with a lie or an error."""
    return issubclass(type(owner), kind)


def in_words(owner: object) -> str:
    """`repr`, on one line that is not too long."""
    return _one_line(ask("", repr, owner) or object.__repr__(owner), _LONGEST_REPR)


def as_name(name: object) -> str:
    """A name, which ought to be a string, likewise."""
    return _one_line(name, _LONGEST_NAME) if is_a(name, str) else in_words(name)


def printable(text: str) -> str:
    """`text` without anything that could move the cursor of a terminal, or hide in it."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _one_line(text: str, longest: int) -> str:
    # Not more of it than can matter, and not with methods of its own.
    text = str.__str__(text)[: 10 * longest]
    if not text.isprintable():
        text = printable(" ".join(text.split()))
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def _let_out_what_a_signal_raises(exc: BaseException) -> None:
    """Raise `exc` if it is not the object's that was asked: Ctrl-C, or what a signal handler has raised meanwhile, as `sys.exit` does."""
    if isinstance(exc, KeyboardInterrupt):
        raise exc
    handlers = {getattr(signal.getsignal(number), "__code__", None) for number in signal.valid_signals()} - {None}
    trace = exc.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code in handlers:
            raise exc
        trace = trace.tb_next
