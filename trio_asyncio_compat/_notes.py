"""A note on an exception of the program. It may refuse notes, and then goes its way without: nothing may replace or lose it.

Called by `_tracebacks.py`, `_wrong_flavour.py` and `_strict.py`.
"""

from __future__ import annotations


def add_note(error: BaseException, text: str) -> None:
    """Add the note, unless it is there already: the same exception may be raised again and again."""
    try:
        if text not in getattr(error, "__notes__", ()):
            error.add_note(text)
    except KeyboardInterrupt:
        raise
    except BaseException:
        # A frozen dataclass; `__notes__` that is no list; an `add_note` of the program that raises what it likes.
        pass
