"""Signal handlers of the loop: `add_signal_handler` and `remove_signal_handler`. How their signals are noticed is in `_wakeup.py`."""

from __future__ import annotations

import errno
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, ClassVar

from ._stdlib import Handle, SelectorLoop
from ._wakeup import WAKEUP

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    import trio

    from ._interrupts import InterruptGuard
    from ._processes import Children

    SystemHandler = Callable[[int, FrameType | None], Any] | int | None


def install(sig: int) -> None:
    """Have the loops told when the signal arrives.

    Raises RuntimeError outside of the main thread, or for a signal that cannot be caught.
    """
    _set(sig, WAKEUP.handler)
    if hasattr(signal, "siginterrupt"):
        # Let system calls restart, to limit EINTR. `signal.signal` has just switched that off.
        signal.siginterrupt(sig, False)


def restore(sig: int, interrupt_handler: SystemHandler) -> None:
    """Give the signal back its default; SIGINT gets `interrupt_handler`."""
    _set(sig, interrupt_handler if sig == signal.SIGINT else signal.SIG_DFL)


def _set(sig: int, handler: SystemHandler) -> None:
    try:
        signal.signal(sig, handler)
    except ValueError as exc:
        raise RuntimeError(f"signal handlers can only be set in the main thread: {exc}") from None
    except OSError as exc:
        if exc.errno == errno.EINVAL:
            raise RuntimeError(f"sig {sig} cannot be caught") from None
        raise


class SignalHandlers(SelectorLoop):
    """`add_signal_handler` and `remove_signal_handler`. A base of `TrioEventLoop`."""

    # Windows has none, and its base class no such attribute.
    _signal_handlers: ClassVar[dict[int, Handle]] = {}  # type: ignore[misc]
    _children: Children
    _nursery: trio.Nursery | None
    _guard: InterruptGuard

    def add_signal_handler(self, sig: int, callback: Callable[..., object], *args: Any) -> None:  # type: ignore[override]
        """Run `callback(*args)` in the loop when signal `sig` arrives; a second registration replaces the first.

        While a loop with handlers runs in the main thread, it runs also if the program has put another handler of Python's in the place
        of the loop's. Main thread only, else RuntimeError. Raises ValueError for a number that is no signal, RuntimeError for one that
        cannot be caught, TypeError for a coroutine function.
        """
        if sys.platform == "win32":
            super().add_signal_handler(sig, callback, *args)
            return
        self._check_callback(callback, "add_signal_handler")
        self._check_signal(sig)
        self._check_closed()
        before = self._signal_handlers.get(sig)
        self._signal_handlers[sig] = Handle(callback, args, self)
        WAKEUP.add(self)
        try:
            install(sig)
        except BaseException:
            if before is None:
                del self._signal_handlers[sig]
            else:
                self._signal_handlers[sig] = before
            raise
        self._hold_wakeup()

    def _hold_wakeup(self) -> None:
        """Have the process's wakeup descriptor for as long as the loop runs: called when it begins to, and with each handler."""
        if self._nursery is not None and self._signal_handlers and threading.current_thread() is threading.main_thread():
            WAKEUP.hold(self)

    def _signal_came(self, sig: int) -> None:
        """Look in the next turn which callback it is for: until then the program may set another, or none."""
        if sig in self._signal_handlers:
            self._add_callback_signalsafe(Handle(self._handle_signal, (sig,), self))

    def _handle_signal(self, sig: int) -> None:
        if sys.platform != "win32" and sig == signal.SIGCHLD and sig in self._signal_handlers:
            self._add_callback_signalsafe(Handle(self._children.reap_ended, (), self))
        super()._handle_signal(sig)

    def remove_signal_handler(self, sig: int) -> bool:
        """Give `sig` back its default; tell whether there was a handler."""
        if sys.platform == "win32":
            return super().remove_signal_handler(sig)
        self._check_signal(sig)
        if self._signal_handlers.pop(sig, None) is None:
            return False
        if not WAKEUP.others_with(sig, self):
            restore(sig, self._guard.handler)
        return True
