"""The tests of CPython's suite that are not expected to pass on our loop, each with its reason.

What belongs here: tests that mock the inside of the standard library's loop, of which ours has another. Nothing that a
user of the loop could notice. A test listed here that passes is an error, and so is an entry that names no test.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import sys

_WAKEUP = (
    "mocks asyncio.unix_events.signal to see set_wakeup_fd() called; we call it when the loop runs, and our handlers are set elsewhere"
)


@dataclasses.dataclass(frozen=True)
class Entry:
    """Tests by pattern (`module.Class.test`), for the Pythons from `since` up to and including `until`."""

    pattern: str
    reason: str
    since: tuple[int, int] = (3, 11)
    until: tuple[int, int] = (3, 99)


_SIGNALS = "test_unix_events.SelectorEventLoopSignalTests."

ENTRIES = [
    Entry(_SIGNALS + "test_add_signal_handler_setup_error", _WAKEUP),
    Entry(_SIGNALS + "test_add_signal_handler_install_error", _WAKEUP),
    Entry(_SIGNALS + "test_add_signal_handler_install_error2", _WAKEUP),
    Entry(_SIGNALS + "test_add_signal_handler_install_error3", _WAKEUP),
    Entry(_SIGNALS + "test_remove_signal_handler", _WAKEUP),
    Entry(_SIGNALS + "test_remove_signal_handler_2", _WAKEUP),
    Entry(_SIGNALS + "test_remove_signal_handler_error", _WAKEUP),
    Entry(_SIGNALS + "test_remove_signal_handler_error2", _WAKEUP),
    Entry(_SIGNALS + "test_close", _WAKEUP),
    Entry(_SIGNALS + "test_close_on_finalizing", _WAKEUP),
    Entry(
        "test_subprocess.GenericWatcherTests.test_create_subprocess_fails_with_inactive_watcher",
        "mocks a child watcher that says it is not active; our loop uses no child watcher, so nothing has to be activated",
        until=(3, 13),
    ),
    Entry(
        "test_subprocess.SubprocessThreadedWatcherTests.test_pid_not_reaped_before_exit_published",
        "looks for the thread in loop._watcher, which our loop does not use; what the test is about holds for our thread too",
        since=(3, 14),
    ),
]


def entries() -> list[Entry]:
    """The entries for the running Python."""
    return [entry for entry in ENTRIES if entry.since <= sys.version_info[:2] <= entry.until]


def reason(test: str) -> str | None:
    """Why `test` is not expected to pass; None if it is."""
    return next((entry.reason for entry in entries() if fnmatch.fnmatchcase(test, entry.pattern)), None)
