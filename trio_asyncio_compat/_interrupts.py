"""Signals while a loop runs: what their handlers raise lands in the user's code or at a safe point, never in the machinery.

A guard stands in front of the handlers for as long as a loop runs in the main thread. For a driven loop the rule of Ctrl-C is asyncio's:
the handler that was there runs, at once in a busy callback. For a hosted one it is trio's: the main task gets KeyboardInterrupt at its next
checkpoint; a second Ctrl-C during the same busy callback raises there.
"""

from __future__ import annotations

import dis
import functools
import inspect
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, ClassVar

import trio

from ._instruments import InstrumentedScheduler
from ._readiness import Poller
from ._scheduler import Scheduler
from ._stdlib import Handle
from ._task_poller import TaskPoller
from ._timers import Timers
from ._trio_private import is_interrupt_handler

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType, FrameType

    from ._loop import TrioEventLoop

# The functions of the scheduler from which callbacks are called.
CALLERS = {
    Scheduler.slice.__code__,
    InstrumentedScheduler.call.__code__,
    Scheduler.run_now.__code__,
}
# Where the other functions are that those call.
_SCHEDULING = {function.__code__.co_filename for function in (Scheduler.slice, Timers.add_timer, Poller.add_reader, TaskPoller.poll)}


def callback_running(frame: FrameType | None) -> FrameType | None:
    """The scheduler's frame that called the asyncio callback which `frame` is in; None in any other code."""
    called = None
    while frame is not None:
        if frame.f_code in CALLERS:
            return frame if (is_callback(called) if called is not None else _is_at_a_call(frame)) else None
        called = frame
        frame = frame.f_back
    return None


def is_callback(frame: FrameType) -> bool:
    """Whether this is the first frame of a callback, not of something else, given that it was called from one of CALLERS."""
    return frame.f_code.co_filename not in _SCHEDULING


def _is_at_a_call(frame: FrameType) -> bool:
    """Whether this frame is one of CALLERS that calls a callback now, which then is a function in C and has no frame."""
    return frame.f_code in CALLERS and frame.f_lineno in _lines_of_calls(frame.f_code)


@functools.cache
def _lines_of_calls(code: CodeType) -> frozenset[int | None]:
    """The lines on which callbacks are called. Each is one statement with one call: Python looks for signals only at calls, and at the
    ends of loops, so a signal there has come in the callback, or when that had just returned."""
    return frozenset(
        instruction.positions.lineno
        for instruction in dis.get_instructions(code)
        if instruction.positions is not None
        and ((instruction.argval in ("run", "_run") and instruction.opname.startswith("LOAD")) or instruction.opname == "CALL_FUNCTION_EX")
    )


class GuardedHandler:
    """A signal's handler with a guard in front of it.

    The program gets this from `signal.signal`, and may call it from a handler of its own, give it to another signal, or keep it to set it
    again later. When the guard is gone it is the handler behind it and nothing more, and keeps no loop alive.
    """

    def __init__(self, guard: InterruptGuard, behind: Any) -> None:
        self.behind = behind
        self._guard: InterruptGuard | None = guard

    def __repr__(self) -> str:
        return f"<{'released' if self.released else 'guarded'} {self.behind!r}>"

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        """What Python calls when the signal comes."""
        if self._guard is None:
            self.behind(signum, frame)
        else:
            self._guard.handle(self.behind, signum, frame)

    @property
    def released(self) -> bool:
        """Whether the guard is gone."""
        return self._guard is None

    def release(self) -> None:
        """From now on there is no guard in front."""
        self._guard = None


def unguarded(handler: Any) -> Any:
    """`handler` without the guards in front of it that are gone: the program has set it again, or another guard stood before that one."""
    while isinstance(handler, GuardedHandler) and handler.released:
        handler = handler.behind
    return handler


class InterruptGuard:
    """Stands in front of the SIGINT handler.

    Taken away only if it is still in place: a handler that the program sets in the meantime is the program's.
    """

    # In front of the handlers of which signals; that of SIGINT first and longest.
    signals: ClassVar[Sequence[int]] = (signal.SIGINT,)

    def __init__(self) -> None:
        self._handlers: dict[int, GuardedHandler] = {}
        # Whether even user code is not to be interrupted now. Only a hosted loop's guard heeds it.
        self.waits_for_checkpoint = False

    @property
    def handler(self) -> Any:
        """What SIGINT should be set to where the program has no handler of its own."""
        return self._handlers.get(signal.SIGINT, signal.default_int_handler)

    def install(self) -> None:
        """Stand in front of the current handlers; does nothing in other threads."""
        if threading.current_thread() is threading.main_thread():
            for signum in self.signals:
                before = unguarded(signal.getsignal(signum))
                if is_interrupt_handler(before) and not trio.lowlevel.in_trio_run():
                    # Left by a `trio.run` that Ctrl-C has interrupted while it began: it delivers to a run that is no more.
                    before = signal.default_int_handler
                if self.guards(signum, before):
                    self._handlers[signum] = GuardedHandler(self, before)
                    signal.signal(signum, self._handlers[signum])

    def remove(self) -> None:
        """Put the handlers back."""
        handlers, self._handlers = self._handlers, {}
        try:
            for signum, handler in reversed(handlers.items()):
                behind = unguarded(handler.behind)
                if signal.getsignal(signum) is handler:
                    signal.signal(signum, behind)
        finally:
            # Also if one that was put back has raised at once: those left in place then do no harm.
            for handler in handlers.values():
                handler.release()

    def guards(self, signum: int, handler: Any) -> bool:
        """Whether this guard belongs in front of `handler`: by default, of any that is written in Python."""
        return callable(handler) and not isinstance(handler, signal.Handlers)

    def handle(self, behind: Any, signum: int, frame: FrameType | None) -> None:
        """A signal has come, for which the handler `behind` was set."""
        behind(signum, frame)


class HoldingGuard(InterruptGuard):
    """Holds back signals that come in the middle of the machinery: their handlers run as a callback of the loop's next turn, so that what
    they raise ends the loop cleanly.

    It stands in front of the handlers of all signals that the program has set before the loop runs: any may raise. The machinery's own do
    not, and are left alone.
    """

    signals = (signal.SIGINT, *sorted(signal.valid_signals() - {signal.SIGINT}))

    def __init__(self, loop: TrioEventLoop) -> None:
        super().__init__()
        self._of = loop
        # While handlers are put in place and back, which what a signal raises must not leave half done.
        self._changing = False
        # What waits for the next turn: handlers, signals, and the frames in which these came.
        self._pending: list[tuple[Any, int, FrameType | None]] = []

    def install(self) -> None:
        self._changing = True
        super().install()
        self._changing = False

    def remove(self) -> None:
        self._changing = True
        super().remove()

    def guards(self, signum: int, handler: Any) -> bool:
        return super().guards(signum, handler) and not _is_of_machinery(handler)

    def hold_back(self, behind: Any, signum: int, frame: FrameType | None) -> None:
        """Have `behind` called in the next turn, or by `deliver_rest`."""
        self._pending.append((behind, signum, frame))
        self._of._ready.append(Handle(self._deliver, (), self._of))
        self._of._write_to_self()

    def deliver_rest(self) -> None:
        """Call the handlers that no turn has called. Raises what they raise."""
        try:
            while self._pending:
                self._deliver_one()
        finally:
            if self._pending:
                # One has raised. The others are not lost for that.
                self.deliver_rest()

    def _deliver(self) -> None:
        if self._pending:
            try:
                self._deliver_one()
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as exc:
                # Not the callback's error, which would be logged: it comes out of the loop.
                self._of._pump.fail(exc)

    def _deliver_one(self) -> None:
        behind, signum, frame = self._pending.pop(0)
        behind(signum, frame)

    def _interrupts_user_code(self, frame: FrameType | None) -> bool:
        return not self._changing and (callback_running(frame) is not None or not trio.lowlevel.currently_ki_protected())


class DrivenGuard(HoldingGuard):
    """In user code the handler behind the guard runs at once. What no turn has taken is delivered when the guard is removed."""

    def remove(self) -> None:
        try:
            super().remove()
        finally:
            self.deliver_rest()

    def handle(self, behind: Any, signum: int, frame: FrameType | None) -> None:
        # Ctrl-C must break what is stuck, wherever that is; the first one raises nothing, but cancels.
        if self._interrupts_user_code(frame) and (signum == signal.SIGINT or not _is_machinery(frame)):
            behind(signum, frame)
        else:
            self.hold_back(behind, signum, frame)


def _is_machinery(frame: FrameType | None) -> bool:
    """Whether this is the machinery, ours or trio's, or what that has called of the standard library."""
    if frame is not None and _is_at_a_call(frame):
        return False
    while frame is not None:
        # Code that `exec` runs may have anything for a name.
        package = str(frame.f_globals.get("__name__")).partition(".")[0]
        if package in _MACHINERY:
            return True
        if package not in sys.stdlib_module_names:
            return False
        frame = frame.f_back
    return False


_MACHINERY = {__package__, "outcome", "sniffio", "trio"}


def _is_of_machinery(handler: Any) -> bool:
    module = getattr(handler, "__module__", None)
    return isinstance(module, str) and module.partition(".")[0] in _MACHINERY


class HostedGuard(HoldingGuard):
    """Of Ctrl-C trio's handler decides, but for a second one: during one callback it raises there, and where asyncio code has been
    cancelled for the first and goes on, its caller does not wait for it any longer.

    What no turn has taken is for who removes the guard to deliver, when everything is closed.
    """

    def __init__(self, loop: TrioEventLoop) -> None:
        super().__init__(loop)
        # The frame itself is kept, not its id: another call could get the same one.
        self._interrupted: FrameType | None = None

    def guards(self, signum: int, handler: Any) -> bool:
        if signum == signal.SIGINT:
            return is_interrupt_handler(handler) or isinstance(handler, GuardedHandler)
        return super().guards(signum, handler)

    def remove(self) -> None:
        super().remove()
        self._interrupted = None

    def handle(self, behind: Any, signum: int, frame: FrameType | None) -> None:
        if signum == signal.SIGINT:
            self._handle_interrupt(behind, signum, frame)
        elif self._changing or (self._of._pump.running and (_is_machinery(frame) or not self._interrupts_user_code(frame))):
            self.hold_back(behind, signum, frame)
        else:
            # The program's code, or that of a loop which has been stopped and makes no turns.
            behind(signum, frame)

    def _handle_interrupt(self, behind: Any, signum: int, frame: FrameType | None) -> None:
        if self.waits_for_checkpoint:
            _call_protected(behind, signum)
            return
        running = callback_running(frame)
        if running is not None and (running is self._interrupted or self._of._scheduler.ending):
            raise KeyboardInterrupt
        self._interrupted = running
        insisted = [wait for wait in list(self._of._waits) if isinstance(wait.asked, KeyboardInterrupt)]
        behind(signum, frame)
        for wait in insisted:
            # trio has told it once, and tells it no more.
            self._of.call_soon_threadsafe(wait.abandon, "")


@trio.lowlevel.enable_ki_protection
def _call_protected(behind: Any, signum: int) -> None:
    """Tell trio's handler that Ctrl-C came in this frame: it is kept for the main task's next checkpoint."""
    behind(signum, inspect.currentframe())
