"""The private names of asyncio and trio that the package uses are there, and nowhere but where they are gathered."""

from __future__ import annotations

import ast
import asyncio
import signal
import subprocess
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, NoReturn

import outcome
import pytest
import trio
import trio.testing

import trio_asyncio_compat
from trio_asyncio_compat import _stdlib, _trio_private
from trio_asyncio_compat.border.cancellation import in_both_worlds

PACKAGE = Path(trio_asyncio_compat.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize(("owner", "name"), [(owner, name) for owner, names in _stdlib.USED_NAMES.items() for name in names])
def test_asyncio_has_the_name(owner: object, name: str) -> None:
    assert hasattr(owner, name)


def test_a_hidden_task_is_no_task_but_the_run_goes_on() -> None:
    async def main() -> None:
        event = trio.Event()
        me = trio.lowlevel.current_task()
        hidden = _trio_private.hide_current_task()
        try:
            assert hidden is me
            assert not trio.lowlevel.in_trio_task()
            assert trio.lowlevel.in_trio_run()
            event.set()
            assert trio.current_time() > 0
            with pytest.raises(RuntimeError):
                trio.lowlevel.current_task()
        finally:
            _trio_private.show_task(hidden)
        assert trio.lowlevel.current_task() is me
        await event.wait()
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        assert _trio_private.is_interrupt_handler(signal.getsignal(signal.SIGINT))

    trio.run(main)
    assert not _trio_private.is_interrupt_handler(signal.getsignal(signal.SIGINT))


def test_a_run_that_is_forgotten_does_not_stand_in_the_way_of_another() -> None:
    code = """
import trio
from trio_asyncio_compat import _trio_private

async def inner():
    await trio.sleep(0)
    print("inner ran", flush=True)

async def main():
    _trio_private.forget_run()
    assert not trio.lowlevel.in_trio_run()
    trio.run(inner)
    import os
    os._exit(0)

trio.run(main)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "inner ran\n"), done.stderr


def test_importing_the_package_changes_nothing_in_asyncio() -> None:
    code = """
import asyncio, sys, signal, threading
from asyncio import base_events, events, futures, tasks, selector_events, unix_events, runners, timeouts, taskgroups, locks, queues
import trio, sniffio

def snapshot():
    state = {}
    for name, module in sorted(sys.modules.items()):
        if name.partition(".")[0] in ("asyncio", "trio", "sniffio") and module is not None:
            for key, value in vars(module).items():
                state[name, key] = id(value)
                if isinstance(value, type):
                    for attribute, member in vars(value).items():
                        state[name, key, attribute] = id(member)
    state["hooks"] = sys.get_asyncgen_hooks()
    state["excepthook"] = sys.excepthook
    state["sigint"] = signal.getsignal(signal.SIGINT)
    state["threads"] = threading.active_count()
    return state

import concurrent.futures, selectors, heapq, ssl
from asyncio import sslproto, trsock, format_helpers, subprocess
before = snapshot()
import trio_asyncio_compat
after = snapshot()
changed = [key for key in before if after.get(key) != before[key]]
added = [key for key in after if key not in before and "__annotations_cache__" not in key]
print(changed, added)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[] []\n", "")


def _imports(path: Path) -> list[tuple[str, str]]:
    """What is imported, as (module, name)."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found += [(node.module, alias.name) for alias in node.names]
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_private_modules_are_imported_only_where_they_are_gathered(path: Path) -> None:
    for module, name in _imports(path):
        parts = [*module.split("."), name]
        if parts[0] == "asyncio" and path.name != "_stdlib.py":
            assert len(parts) == 2
            assert not name.startswith("_")
        if parts[0] == "trio" and path.name != "_trio_private.py":
            assert not any(part.startswith("_") for part in parts)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_private_attributes_of_the_two_libraries_are_used_nowhere(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            root: ast.expr = node.value
            while isinstance(root, ast.Attribute):
                root = root.value
            assert not (isinstance(root, ast.Name) and root.id in ("asyncio", "trio")), ast.unparse(node)


# What `_trio_private.py` relies on: a test fails here when trio changes it.


def test_a_parked_task_can_be_aborted_with_another_exception_once() -> None:
    class Other(BaseException):
        pass

    def raise_other() -> NoReturn:
        raise Other

    async def main() -> None:
        task = trio.lowlevel.current_task()

        async def abort() -> None:
            await trio.testing.wait_all_tasks_blocked()
            assert _trio_private.abort(task, raise_other)
            assert not _trio_private.abort(task, raise_other)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(abort)
            with pytest.raises(Other):
                await trio.sleep_forever()
        assert not _trio_private.abort(task, raise_other)

    trio.run(main)


def test_the_scopes_that_a_task_feels_are_told_apart_and_end_at_a_shield() -> None:
    async def main() -> None:
        task = trio.lowlevel.current_task()
        with trio.CancelScope() as outer, trio.CancelScope() as middle, trio.CancelScope() as inner:
            assert list(_trio_private.scopes_in_cancellation(task)) == []
            assert not _trio_private.is_cancelled(task)
            outer.cancel()
            assert _trio_private.is_cancelled(task)
            # What is around the outermost is the run's own.
            assert list(_trio_private.scopes_in_cancellation(task)) == [inner, middle, outer]
            with trio.CancelScope(shield=True):
                assert list(_trio_private.scopes_in_cancellation(task)) == []
                assert not _trio_private.is_cancelled(task)
            inner.cancel()
            inner.shield = True
            assert list(_trio_private.scopes_in_cancellation(task)) == [inner]

    trio.run(main)


def test_an_exception_of_both_worlds_is_caught_by_the_scope_and_tells_the_same() -> None:
    async def main() -> None:
        with trio.CancelScope() as scope:
            scope.cancel("a reason")
            with pytest.raises(trio.Cancelled) as caught:
                await trio.lowlevel.checkpoint()
            both = in_both_worlds(caught.value)
            assert isinstance(both, asyncio.CancelledError)
            assert (both.source, both.reason, both.source_task) == (caught.value.source, "a reason", caught.value.source_task)
            assert both.args == (str(caught.value),)
            raise both
        assert scope.cancelled_caught

    trio.run(main)


def test_a_scope_can_be_cancelled_with_all_that_another_cancellation_says() -> None:
    async def main() -> None:
        with trio.CancelScope() as scope:
            _trio_private.cancel_scope(scope, "deadline", "a reason", "a task")
            with pytest.raises(trio.Cancelled) as caught:
                await trio.lowlevel.checkpoint()
            assert (caught.value.source, caught.value.reason, caught.value.source_task) == ("deadline", "a reason", "a task")

    trio.run(main)


async def _first_trap(task: trio.lowlevel.Task, coroutine: Coroutine[Any, Any, Any]) -> object:
    """Begin `coroutine` in the name of the parked `task`; what it yields."""
    me = _trio_private.hide_current_task()
    _trio_private.show_task(task)
    try:
        return coroutine.send(None)
    finally:
        _trio_private.hide_current_task()
        _trio_private.show_task(me)


@pytest.mark.parametrize("end", ["schedule point", "event", "cancelled"])
def test_a_task_can_be_parked_in_what_was_begun_in_its_name(end: str) -> None:
    received: list[outcome.Value[object] | outcome.Error] = []

    async def main() -> None:
        event, scope = trio.Event(), trio.CancelScope()
        parked: list[trio.lowlevel.Task] = []

        async def park() -> None:
            parked.append(trio.lowlevel.current_task())
            with scope:
                received.append(await outcome.acapture(trio.lowlevel.wait_task_rescheduled, lambda _: trio.lowlevel.Abort.FAILED))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(park)
            await trio.testing.wait_all_tasks_blocked()
            begun = trio.lowlevel.cancel_shielded_checkpoint() if end == "schedule point" else event.wait()
            if end == "cancelled":
                scope.cancel()
            assert _trio_private.park_in(parked[0], await _first_trap(parked[0], begun))
            if end == "event":
                await trio.testing.wait_all_tasks_blocked()
                assert received == []
                event.set()
            await trio.testing.wait_all_tasks_blocked()
            # What the task has received is the answer to what was begun.
            with pytest.raises(trio.Cancelled if end == "cancelled" else StopIteration):
                begun.send(received[0])
        assert not _trio_private.park_in(parked[0], object())

    trio.run(main)
    assert isinstance(received[0], outcome.Error if end == "cancelled" else outcome.Value)


def test_what_finishing_a_run_that_was_left_needs_is_there() -> None:
    assert {"gen", "runner"} <= set(trio.run.__code__.co_varnames)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.lowlevel.checkpoint)
            (task,) = nursery.child_tasks
            assert nursery._children == {task}
        known = _trio_private.remember_run()
        assert callable(known["runner"].io_manager.get_events)

    trio.run(main)
