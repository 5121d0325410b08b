"""Whose code is in a file, by the names that code objects have for it: which are not resolved, where an installation goes through links.

Asked by what shows tracebacks, stacks and places. Folders end with a separator: this package's name begins as that of trio does, and so do
others' (trio_websocket).
"""

from __future__ import annotations

import asyncio
import os

import outcome
import trio


def _folder(file: str) -> str:
    return os.path.join(os.path.dirname(file), "")


OURS = _folder(__file__)
TRIO = _folder(trio.__file__)
ASYNCIO = _folder(asyncio.__file__)
OUTCOME = outcome.capture.__code__.co_filename
# trio's scheduler, and its nurseries.
TRIO_RUN = trio.run.__code__.co_filename
