"""Asking objects of the program, which may answer with anything, or raise: a tree must come out all the same. Called by all of the tree."""

from __future__ import annotations

from typing import Any

_LONGEST_REPR = 100
_LONGEST_NAME = 300


def attribute(owner: object, name: str, default: Any = None) -> Any:
    """`getattr`, of an object that may raise anything."""
    try:
        return getattr(owner, name, default)
    except Exception:
        return default


def result(owner: object, method: str, default: Any) -> Any:
    """What a method without arguments returns, likewise."""
    try:
        return getattr(owner, method)()
    except Exception:
        return default


def in_words(owner: object) -> str:
    """`repr`, on one line that is not too long."""
    try:
        return _one_line(repr(owner), _LONGEST_REPR)
    except Exception:
        kind = type(owner)
        return f"<{kind.__module__}.{kind.__qualname__} object at {id(owner):#x}>"


def as_name(text: str) -> str:
    """A name, likewise."""
    return _one_line(text, _LONGEST_NAME)


def _one_line(text: str, longest: int) -> str:
    # Nothing in it may move the cursor of a terminal.
    text = " ".join(text.split())
    text = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    return text if len(text) <= longest else f"{text[: longest - 3]}..."
