"""Which signals have arrived: what Python's handlers say, and the descriptor to which Python writes the number of each.

A handler at Python's level alone would not do: the program may set another in its place, as servers do while they serve, and on asyncio's
loops the callback of `add_signal_handler` runs as well. The descriptor alone would not do either: there is one for the process, which
belongs to trio, and to us only while a loop with handlers runs in the main thread. Everything here happens in the main thread.

Some facts, and what follows. Python writes the number when the signal arrives, and calls the handler later, between two bytecodes: so when
a handler of ours runs, its number can be read, unless the pipe was full. Then the handler counts. It may run in the middle of the code that
reads.
"""

from __future__ import annotations

import collections
import contextlib
import os
import signal
import weakref
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from types import FrameType

    from ._signals import SignalHandlers


class Wakeup:
    """The signals of this process.

    Invariants: `_loops` has the loops that have handlers, and perhaps some that had; `_holders` those for which we have the wakeup
    descriptor. `_reader` and `_writer` are a pipe exactly while there are such, and `_before` is then what the wakeup descriptor was.
    `_called` has the signals whose handler has run, until it is known whether their number was read.
    """

    def __init__(self) -> None:
        self._loops: weakref.WeakSet[SignalHandlers] = weakref.WeakSet()
        self._holders: set[SignalHandlers] = set()
        self._reader = self._writer = self._before = -1
        self._called: collections.deque[int] = collections.deque()
        self._busy = False

    def add(self, loop: SignalHandlers) -> None:
        """`loop` has handlers."""
        self._loops.add(loop)

    def others_with(self, sig: int, loop: SignalHandlers) -> bool:
        """Whether a loop that is not `loop` has a handler for `sig`."""
        return any(sig in other._signal_handlers for other in self._loops if other is not loop)

    def handler(self, signum: int, frame: FrameType | None) -> None:
        """What Python calls for each signal that a loop has a handler for, unless the program has replaced it."""
        self._called.append(signum)
        self._dispatch_all()

    def hold(self, loop: SignalHandlers) -> None:
        """Have the descriptor until `release`, for a loop that runs in the main thread."""
        if not self._holders:
            self._reader, self._writer = os.pipe()
            os.set_blocking(self._reader, False)
            os.set_blocking(self._writer, False)
            self._before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
            # Not a reader of the loop, which may have been stopped while trio goes on.
            trio.lowlevel.spawn_system_task(self._read, self._reader, name="trio_asyncio_compat: signals")
        self._holders.add(loop)

    def release(self, loop: SignalHandlers) -> None:
        """`loop` stops running."""
        if loop not in self._holders:
            return
        self._holders.discard(loop)
        if self._holders:
            return
        current = signal.set_wakeup_fd(-1)
        # Another one was set by the program in the meantime, or by a run of trio that has ended before its tasks.
        after = self._before if current == self._writer else current
        if after >= 0:
            signal.set_wakeup_fd(after, warn_on_full_buffer=False)
        self._dispatch_all()
        trio.lowlevel.notify_closing(self._reader)
        self._close()

    def forget(self) -> None:
        """For the child of a fork: the pipe is the parent's, and what is written to it would run the parent's callbacks."""
        if self._holders:
            with contextlib.suppress(ValueError):
                signal.set_wakeup_fd(-1)
            self._holders.clear()
            self._close()

    def _close(self) -> None:
        reader, writer, self._reader, self._writer = self._reader, self._writer, -1, -1
        os.close(reader)
        os.close(writer)

    async def _read(self, reader: int) -> None:
        with contextlib.suppress(trio.ClosedResourceError):
            while reader == self._reader:
                await trio.lowlevel.wait_readable(reader)
                self._dispatch_all()

    def _dispatch_all(self) -> None:
        """Tell the loops of the signals that have arrived."""
        # Called in the middle of itself, it leaves the work to who is at it already, who looks again.
        while not self._busy:
            self._busy = True
            try:
                self._dispatch()
            finally:
                self._busy = False
            if not self._called:
                return

    def _dispatch(self) -> None:
        written: set[int] = set()
        while True:
            called = len(self._called)
            numbers = self._numbers()
            written.update(numbers)
            for signum in numbers:
                self._tell_loops(signum)
            for _ in range(called):
                if (signum := self._called.popleft()) not in written:
                    self._tell_loops(signum)
            # Once more behind a number: its handler has been called just now.
            if not numbers:
                return

    def _tell_loops(self, signum: int) -> None:
        for loop in list(self._loops):
            loop._signal_came(signum)

    def _numbers(self) -> bytes:
        if self._reader < 0:
            return b""
        try:
            numbers = os.read(self._reader, 4096)
        except BlockingIOError:
            return b""
        if self._before >= 0:
            # As if it had been written there: trio wakes up, and asyncio does if trio is its guest.
            with contextlib.suppress(OSError):
                os.write(self._before, numbers)
        return numbers


WAKEUP = Wakeup()
