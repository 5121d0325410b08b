"""The last turns of a loop, in debug mode: which callbacks ran in them, and for how long. The task tree shows them.

Made by `_debug_mode.py`, as an instrument of the loop.
"""

from __future__ import annotations

import collections
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ._instruments import LoopInstrument

if TYPE_CHECKING:
    import asyncio

    from ._loop import TrioEventLoop
    from .tasktree.model import Call

# So many turns are kept, and of each so many callbacks.
TURNS = 16
CALLBACKS = 8

_now = time.perf_counter


@dataclass(slots=True)
class CallbackRun:
    """A callback that runs or has run, in words: it is not kept alive."""

    call: Call
    began: float
    seconds: float | None = None


@dataclass(slots=True)
class TurnRun:
    """A turn that had something to run. `number` is None for what was called outside of one."""

    number: int | None
    began: float
    seconds: float | None = None
    callbacks: list[CallbackRun] = field(default_factory=list)
    # Callbacks that are not in the list.
    more: int = 0


class LastTurns(LoopInstrument):
    """See the module.

    Invariants: `_turn` is the record of the turn, or of the callback outside of one, that is going on and has run something; `_running`
    has its callbacks that run, None for those that are only counted.
    """

    def __init__(self, loop: TrioEventLoop) -> None:
        # Here, since few programs need it.
        from .tasktree.frames import describe_call

        self._describe = describe_call
        self._loop = loop
        self._turns: collections.deque[TurnRun] = collections.deque(maxlen=TURNS)
        self._in_turn = False
        self._turn: TurnRun | None = None
        self._running: list[CallbackRun | None] = []

    def records(self) -> list[TurnRun]:
        """The turns, the newest last. From any thread."""
        return list(self._turns)

    def forget(self) -> None:
        """What happens from now on is not known any more."""
        self._turns.clear()
        self._running.clear()
        self._in_turn, self._turn = False, None

    def before_turn(self) -> None:
        self._in_turn = True
        self._running.clear()

    def after_turn(self) -> None:
        self._in_turn = False
        self._end()

    def before_callback(self, handle: Any) -> None:
        now = _now()
        if self._turn is None:
            self._turn = TurnRun(self._loop._scheduler.turns if self._in_turn else None, now)
            self._turns.append(self._turn)
        callback = None
        if len(self._turn.callbacks) < CALLBACKS:
            callback = CallbackRun(self._describe(handle._callback), now)
            self._turn.callbacks.append(callback)
        else:
            self._turn.more += 1
        self._running.append(callback)

    def after_callback(self, handle: asyncio.Handle) -> None:
        if not self._running:
            # It has switched debug mode on.
            return
        callback = self._running.pop()
        if callback is not None:
            callback.seconds = _now() - callback.began
        if not self._in_turn and not self._running:
            self._end()

    def _end(self) -> None:
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.seconds = _now() - turn.began
