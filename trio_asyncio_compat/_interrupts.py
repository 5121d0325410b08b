"""Ctrl-C while a loop runs: KeyboardInterrupt lands in the user's code or at a safe point, never in the machinery.

A guard stands in front of the SIGINT handler for as long as a loop runs in the main thread. For a driven loop the rule is asyncio's:
the handler that was there runs, at once in a busy callback; and so for the program's handlers of other signals, which may raise as
well. For a hosted one it is trio's: the main task gets
KeyboardInterrupt at its next checkpoint; a second Ctrl-C during the same busy callback raises there.
"""

from __future__ import annotations

import inspect
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

import trio

from ._instruments import InstrumentedScheduler
from ._scheduler import Scheduler
from ._stdlib import Handle
from ._trio_private import is_interrupt_handler

if TYPE_CHECKING:
    from types import FrameType

    from ._loop import TrioEventLoop
    from ._stdlib import SelectorLoop

# The functions of the scheduler from which callbacks are called, and nothing else that could be interrupted.
CALLERS = {
    Scheduler._run_ready.__code__,
    InstrumentedScheduler.call.__code__,
    Scheduler.run_now.__code__,
}


def callback_running(frame: FrameType | None) -> FrameType | None:
    """The scheduler's frame that called the asyncio callback which `frame` is in; None in any other code."""
    deeper = False
    while frame is not None:
        if frame.f_code in CALLERS:
            return frame if deeper else None
        deeper = True
        frame = frame.f_back
    return None


class InterruptGuard:
    """A SIGINT handler in front of another.

    Taken away only if it is still in place: a handler that the program sets in the meantime is the program's.
    """

    def __init__(self, loop: SelectorLoop) -> None:
        self._loop = loop
        self._before: Any = None
        self._installed = False
        # Whether even user code is not to be interrupted now. Only a hosted loop's guard heeds it.
        self.waits_for_checkpoint = False

    @property
    def handler(self) -> Any:
        """What SIGINT should be set to where the program has no handler of its own."""
        return self.handle if self._installed else signal.default_int_handler

    def install(self) -> None:
        """Stand in front of the current handler; does nothing in other threads."""
        if threading.current_thread() is threading.main_thread():
            before = signal.getsignal(signal.SIGINT)
            if is_interrupt_handler(before) and not trio.lowlevel.in_trio_run():
                # Left by a `trio.run` that Ctrl-C has interrupted while it began: it delivers to a run that is no more.
                before = signal.default_int_handler
            if self.guards(before):
                self._before = before
                self._installed = True
                signal.signal(signal.SIGINT, self.handle)

    def remove(self) -> None:
        """Put the handler back."""
        if self._installed:
            self._installed = False
            if signal.getsignal(signal.SIGINT) == self.handle:
                signal.signal(signal.SIGINT, self._uncovered())

    def _uncovered(self) -> Any:
        """The handler behind this guard, and behind guards that were removed while another stood in front of them."""
        before = self._before
        while isinstance(guard := getattr(before, "__self__", None), InterruptGuard) and not guard._installed:
            before = guard._before
        return before

    def guards(self, handler: Any) -> bool:
        """Whether this guard belongs in front of `handler`: by default, of any that is written in Python."""
        return callable(handler) and not isinstance(handler, signal.Handlers)

    def handle(self, signum: int, frame: FrameType | None) -> None:
        """The signal handler."""
        self._before(signum, frame)


class DrivenGuard(InterruptGuard):
    """In user code the handler behind the guard runs at once, otherwise as a callback of the loop's next turn, so that what
    it raises ends the drive cleanly. What no turn has taken is delivered when the guard is removed.

    It stands in front of the handlers of all signals that the program has set before the drive: any may raise. The package's own do
    not, and are left alone.
    """

    def __init__(self, loop: TrioEventLoop) -> None:
        super().__init__(loop)
        self._driven = loop
        self._others: dict[int, Any] = {}
        # While handlers are put in place and back, which what a signal raises must not leave half done.
        self._changing = False
        # Signals that wait for the next turn, and the frames in which they came.
        self._pending: list[tuple[int, FrameType | None]] = []

    def install(self) -> None:
        self._changing = True
        super().install()
        if threading.current_thread() is threading.main_thread():
            for signum in _SIGNALS:
                handler = signal.getsignal(signum)
                if self.guards(handler) and not _is_ours(handler):
                    self._others[signum] = handler
                    signal.signal(signum, self.handle)
        self._changing = False

    def remove(self) -> None:
        self._changing = True
        for signum, handler in self._others.items():
            if signal.getsignal(signum) == self.handle:
                signal.signal(signum, handler)
        super().remove()
        while self._pending:
            self._run(*self._pending.pop(0))

    def handle(self, signum: int, frame: FrameType | None) -> None:
        in_user_code = callback_running(frame) is not None or not trio.lowlevel.currently_ki_protected()
        # Ctrl-C must break what is stuck, wherever that is; the first one raises nothing, but cancels.
        if not self._changing and in_user_code and (signum == signal.SIGINT or not _is_machinery(frame)):
            self._run(signum, frame)
        else:
            self._pending.append((signum, frame))
            self._loop._ready.append(Handle(self._deliver, (), self._loop))
            self._loop._write_to_self()

    def _deliver(self) -> None:
        if self._pending:
            try:
                self._run(*self._pending.pop(0))
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as exc:
                # Not the callback's error, which would be logged: it comes out of the drive.
                self._driven._pump.fail(exc)

    def _run(self, signum: int, frame: FrameType | None) -> None:
        (self._before if signum == signal.SIGINT else self._others[signum])(signum, frame)


def _is_machinery(frame: FrameType | None) -> bool:
    """Whether this is the machinery, ours or trio's, or what that has called of the standard library."""
    while frame is not None:
        package = frame.f_globals.get("__name__", "").partition(".")[0]
        if package in _MACHINERY:
            return True
        if package not in sys.stdlib_module_names:
            return False
        frame = frame.f_back
    return False


_MACHINERY = {__package__, "outcome", "sniffio", "trio"}
_SIGNALS = sorted(signal.valid_signals() - {signal.SIGINT})


def _is_ours(handler: Any) -> bool:
    module = getattr(handler, "__module__", None)
    return isinstance(module, str) and module.partition(".")[0] == __package__


class HostedGuard(InterruptGuard):
    """trio's handler decides, but for a second Ctrl-C: during one callback it raises there, and where asyncio code has been cancelled for
    the first and goes on, its caller does not wait for it any longer."""

    def __init__(self, loop: TrioEventLoop) -> None:
        super().__init__(loop)
        self._hosted = loop
        # The frame itself is kept, not its id: another call could get the same one.
        self._interrupted: FrameType | None = None

    def guards(self, handler: Any) -> bool:
        return is_interrupt_handler(handler) or isinstance(getattr(handler, "__self__", None), InterruptGuard)

    def remove(self) -> None:
        super().remove()
        self._interrupted = None

    def handle(self, signum: int, frame: FrameType | None) -> None:
        if self.waits_for_checkpoint:
            self._before_protected(signum)
            return
        running = callback_running(frame)
        if running is not None and (running is self._interrupted or self._hosted._scheduler.ending):
            raise KeyboardInterrupt
        self._interrupted = running
        insisted = [wait for wait in list(self._hosted._waits) if isinstance(wait.asked, KeyboardInterrupt)]
        self._before(signum, frame)
        for wait in insisted:
            # trio has told it once, and tells it no more.
            self._hosted.call_soon_threadsafe(wait.abandon, "")

    @trio.lowlevel.enable_ki_protection
    def _before_protected(self, signum: int) -> None:
        """The handler behind, told that Ctrl-C came in this frame: trio keeps it for the main task's next checkpoint."""
        self._before(signum, inspect.currentframe())
