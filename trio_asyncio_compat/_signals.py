"""Signal handlers of the loop: `add_signal_handler` and `remove_signal_handler`.

The standard library has the signal's number written to the loop's pipe by `signal.set_wakeup_fd`. That descriptor belongs to trio, so
here a handler at Python's level queues the callback; Python runs such handlers only in the main thread, between two
bytecodes.
"""

from __future__ import annotations

import errno
import signal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    Handler = Callable[[int, FrameType | None], Any] | int | None


def install(sig: int, queue: Callable[[int], None]) -> None:
    """Have `queue(sig)` called when the signal arrives.

    Raises RuntimeError outside of the main thread, or for a signal that cannot be caught.
    """

    def handler(signum: int, frame: FrameType | None) -> None:
        queue(signum)

    _set(sig, handler)
    if hasattr(signal, "siginterrupt"):
        # Let system calls restart, to limit EINTR. `signal.signal` has just switched that off.
        signal.siginterrupt(sig, False)


def restore(sig: int, interrupt_handler: Handler) -> None:
    """Give the signal back its default; SIGINT gets `interrupt_handler`."""
    _set(sig, interrupt_handler if sig == signal.SIGINT else signal.SIG_DFL)


def _set(sig: int, handler: Handler) -> None:
    try:
        signal.signal(sig, handler)
    except ValueError as exc:
        raise RuntimeError(f"signal handlers can only be set in the main thread: {exc}") from None
    except OSError as exc:
        if exc.errno == errno.EINVAL:
            raise RuntimeError(f"sig {sig} cannot be caught") from None
        raise
