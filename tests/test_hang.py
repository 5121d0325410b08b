"""`run(deadlock_after=...)`: a program that hangs fails with the task tree; one that makes progress does not."""

from __future__ import annotations

import asyncio
import contextlib
import io
import sys
import threading
import time
import traceback
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from trio_asyncio_compat import HangError, aio_as_trio, run, trio_as_aio

from .support import Records


async def trio_deadlock() -> None:
    await trio.Event().wait()


async def asyncio_deadlock() -> None:
    await asyncio.get_running_loop().create_future()


async def deadlock_across_the_border() -> None:
    lock = trio.Lock()

    async def wants_lock() -> None:
        async with lock:
            pass

    async with lock:
        await aio_as_trio(trio_as_aio(wants_lock))()


@pytest.mark.parametrize("fn", [trio_deadlock, asyncio_deadlock])
def test_a_program_in_which_nothing_moves_fails_with_the_tree(fn: object, clean: Records) -> None:
    with pytest.raises(HangError, match="nothing has moved") as caught:
        run(fn, deadlock_after=0.05)  # type: ignore[arg-type]
    assert fn.__name__ in caught.value.tree  # type: ignore[attr-defined]


def test_a_lock_held_across_the_border_is_named(clean: Records) -> None:
    async def main() -> None:
        await deadlock_across_the_border()

    with pytest.raises(HangError) as caught:
        run(main, deadlock_after=0.05)
    assert "the lock is held by #" in caught.value.tree
    assert "these wait for each other: #" in caught.value.tree


def test_a_callback_that_blocks_is_shown_at_once_and_fails_when_it_ends(clean: Records, capsys: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_soon(block)
        await trio.sleep_forever()

    def block() -> None:
        # As long as nothing has been printed about it.
        deadline = time.monotonic() + 10
        while "block" not in (text := capsys.readouterr().err) and time.monotonic() < deadline:
            threading.Event().wait(0.01)
        printed.append(text)

    printed: list[str] = []
    with pytest.raises(HangError, match="has taken more than") as caught:
        run(main, deadlock_after=0.05)
    assert "running  test_a_callback" in printed[0]
    assert caught.value.tree in printed[0]


def test_a_pending_timer_is_no_hang(clean: Records) -> None:
    async def main() -> str:
        await trio.sleep(0.1)
        await asyncio.sleep(0.1)
        return "done"

    assert run(main, deadlock_after=0.03) == "done"


def test_virtual_time_is_no_hang(clean: Records) -> None:
    async def main() -> str:
        await asyncio.sleep(3600)
        return "done"

    assert run(main, deadlock_after=5, clock=trio.testing.MockClock(autojump_threshold=0)) == "done"


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_the_time_must_be_positive(seconds: float) -> None:
    with pytest.raises(ValueError, match="deadlock_after must be"):
        run(trio_deadlock, deadlock_after=seconds)


async def left_timeout() -> None:
    async with asyncio.timeout(5):
        await asyncio.sleep(0)


async def left_wait_for() -> None:
    await asyncio.wait_for(asyncio.sleep(0), 5)


@pytest.mark.parametrize("leave", [left_timeout, left_wait_for])
def test_a_timeout_that_was_left_is_no_pending_timer(leave: Callable[[], Awaitable[None]], clean: Records) -> None:
    async def main() -> None:
        await leave()
        await asyncio.Event().wait()

    began = time.monotonic()
    with pytest.raises(HangError, match="nothing has moved"):
        run(main, deadlock_after=0.05)
    assert time.monotonic() - began < 4


# A program that does not end when it is cancelled


class ReleasingStderr(io.StringIO):
    """When `often` texts have been written to it, it sets the event that the program is waiting for."""

    def __init__(self, often: int) -> None:
        super().__init__()
        self.release = trio.Event()
        self._left = often
        self._token = trio.lowlevel.current_trio_token()

    def write(self, text: str) -> int:
        self._left -= 1
        if not self._left:
            self._token.run_sync_soon(self.release.set)
        return super().write(text)


async def waits_in_a_shielded_scope(release: trio.Event) -> None:
    with trio.CancelScope(shield=True):
        await release.wait()


async def swallows_its_cancellation(release: trio.Event) -> None:
    async def swallows() -> None:
        waiting = trio_as_aio(waits_in_a_shielded_scope)(release)
        with contextlib.suppress(asyncio.CancelledError):
            await waiting

    await aio_as_trio(swallows)()


async def waits_for_a_thread(release: trio.Event) -> None:
    await trio.to_thread.run_sync(trio.from_thread.run, waits_in_a_shielded_scope, release)


async def has_a_task_that_hangs_at_the_end(release: trio.Event) -> None:
    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await trio_as_aio(waits_in_a_shielded_scope)(release)

    keep.append(asyncio.create_task(stubborn()))
    await asyncio.sleep(0)


keep: list[object] = []


@pytest.mark.parametrize(
    "hangs", [waits_in_a_shielded_scope, swallows_its_cancellation, waits_for_a_thread, has_a_task_that_hangs_at_the_end]
)
def test_hangs_that_cancellation_does_not_end_are_printed(
    hangs: Callable[[trio.Event], Awaitable[None]], clean: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    stderrs: list[ReleasingStderr] = []

    async def main() -> None:
        stderrs.append(ReleasingStderr(2))
        monkeypatch.setattr(sys, "stderr", stderrs[0])
        await hangs(stderrs[0].release)

    try:
        with pytest.raises(HangError, match="nothing has moved") as caught:
            run(main, deadlock_after=0.1)
    finally:
        keep.clear()
    text = stderrs[0].getvalue()
    first, _, second = text.partition("and while it ends because of that, ")
    assert first == str(caught.value)
    assert second.startswith("nothing has moved for 0.1 s") and "waits_in_a_shielded_scope" in second


def test_the_tree_is_printed_if_clean_up_takes_long_though_it_makes_progress(clean: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_asyncio_compat._hang._GRACE", 0.02)
    stderrs: list[ReleasingStderr] = []

    async def main() -> None:
        stderrs.append(ReleasingStderr(1))
        monkeypatch.setattr(sys, "stderr", stderrs[0])
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                while not stderrs[0].release.is_set():
                    await trio.sleep(0.001)

    with pytest.raises(HangError) as caught:
        run(main, deadlock_after=0.1)
    assert stderrs[0].getvalue().startswith(str(caught.value))


def test_what_clean_up_raises_does_not_hide_the_hang(clean: Records) -> None:
    async def main() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ZeroDivisionError

    with pytest.raises(HangError, match="nothing has moved") as caught:
        run(main, deadlock_after=0.05)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    shown = "".join(traceback.format_exception(caught.value))
    assert "trio_asyncio_compat/_" not in shown


def test_an_exit_while_the_program_ends_comes_out_and_the_hang_is_printed(clean: Records, capsys: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise SystemExit(3)

    with pytest.raises(SystemExit):
        run(main, deadlock_after=0.05)
    assert capsys.readouterr().err.startswith("nothing has moved for 0.05 s")


def test_a_traceback_of_a_hang_has_no_frames_of_ours(clean: Records) -> None:
    with pytest.raises(HangError) as caught:
        run(trio_deadlock, deadlock_after=0.05)
    assert [frame.name for frame in traceback.extract_tb(caught.tb)] == ["test_a_traceback_of_a_hang_has_no_frames_of_ours"]


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit])
def test_an_object_that_raises_where_it_is_to_be_shown_does_not_hide_the_hang(
    error: type[BaseException], clean: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> str:
        raise error

    monkeypatch.setattr("trio_asyncio_compat.tasktree.format_task_tree", fail)
    with pytest.raises(HangError, match=f"there is no task tree: {error.__name__}"):
        run(trio_deadlock, deadlock_after=0.05)


def test_that_the_tree_of_a_hang_takes_long_is_no_hang(
    clean: Records, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trees: list[str] = []

    def takes_long() -> str:
        trees.append("a tree")
        time.sleep(0.2)
        return trees[-1]

    monkeypatch.setattr("trio_asyncio_compat._hang._tree", takes_long)
    with pytest.raises(HangError, match="nothing has moved"):
        run(trio_deadlock, deadlock_after=0.05)
    assert (trees, capsys.readouterr().err) == (["a tree"], "")


def test_a_stderr_that_cannot_be_written_to_does_not_hide_the_hang(clean: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = threading.Event()

    class Closed:
        def write(self, text: str) -> None:
            tried.set()
            raise ValueError("I/O operation on closed file")

    async def main() -> None:
        monkeypatch.setattr(sys, "stderr", Closed())
        tried.wait(10)  # blocks

    with pytest.raises(HangError, match="has taken more than"):
        run(main, deadlock_after=0.05)
