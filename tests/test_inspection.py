"""asyncio's own ways of looking at tasks work on ours: in the program, and from another process (since Python 3.14)."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
import trio
import trio.testing

from trio_asyncio_compat import aio_as_trio, allow_asyncio, trio_as_aio

from .support import Run, hang_guard

needs_call_graphs = pytest.mark.skipif(sys.version_info < (3, 14), reason="call graphs came with Python 3.14")


async def leaf() -> None:
    await asyncio.sleep(3600)


async def group() -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(leaf(), name="child")


async def waits_for_task() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.set_name("flavour-free")
    child = asyncio.create_task(leaf(), name="its child")
    try:
        await child
    finally:
        child.cancel()


def test_all_tasks_has_those_of_both_worlds(hosted_run: Run) -> None:
    async def main() -> set[str]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(aio_as_trio(group))
            nursery.start_soon(allow_asyncio, waits_for_task)
            await trio.testing.wait_all_tasks_blocked()
            names = {task.get_name() for task in asyncio.all_tasks()}
            nursery.cancel_scope.cancel()
        return names

    assert hosted_run.trio_run(main) >= {"child", "flavour-free", "its child"}


@needs_call_graphs
def test_call_graphs_show_the_await_chain_and_who_waits(hosted_run: Run) -> None:
    async def main() -> dict[str, str]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(aio_as_trio(group))
            nursery.start_soon(allow_asyncio, waits_for_task)
            for _ in range(3):
                await trio.testing.wait_all_tasks_blocked()
            graphs = {task.get_name(): asyncio.format_call_graph(task) for task in asyncio.all_tasks()}  # type: ignore[attr-defined, unused-ignore]
            nursery.cancel_scope.cancel()
        return graphs

    graphs = hosted_run.trio_run(main)
    for name, waiter in (("child", "group()"), ("its child", "waits_for_task()")):
        chain, _, awaited_by = graphs[name].partition("Awaited by:")
        assert "async leaf()" in chain
        assert waiter in awaited_by
    assert "Task(name='flavour-free'" in graphs["its child"]
    assert "async waits_for_task()" in graphs["flavour-free"]


@needs_call_graphs
def test_the_current_task_is_found_in_both_worlds(our_run: Run) -> None:
    def names() -> list[str]:
        graph = asyncio.capture_call_graph()  # type: ignore[attr-defined, unused-ignore]
        return [entry.frame.f_code.co_name for entry in graph.call_stack]

    async def in_asyncio() -> list[str]:
        return names()

    async def in_trio() -> list[str]:
        return await allow_asyncio(in_both)

    async def in_both() -> list[str]:
        return names()

    async def main() -> tuple[list[str], list[str]]:
        return await asyncio.create_task(in_asyncio()), await trio_as_aio(in_trio)()

    of_asyncio, of_both = our_run(main)
    assert "in_asyncio" in of_asyncio
    assert "in_both" in of_both


PROGRAM = """
import asyncio, trio
from trio_asyncio_compat import aio_as_trio, allow_asyncio, open_loop

async def leaf():
    await asyncio.sleep(3600)

async def group():
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(leaf(), name="child")

async def body():
    asyncio.current_task().set_name("flavour-free")
    await leaf()

async def main():
    async with open_loop(), trio.open_nursery() as nursery:
        nursery.start_soon(aio_as_trio(group))
        nursery.start_soon(allow_asyncio, body)
        await trio.testing.wait_all_tasks_blocked()
        print("ready", flush=True)

import trio.testing
trio.run(main)
"""


@needs_call_graphs
@pytest.mark.parametrize("command", ["ps", "pstree"])
def test_another_process_sees_the_tasks(command: str, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(PROGRAM)
    with hang_guard(), subprocess.Popen([sys.executable, "app.py"], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as app:
        try:
            assert app.stdout is not None
            assert app.stdout.readline() == "ready\n"
            look = [sys.executable, "-m", "asyncio", command, str(app.pid)]
            done = subprocess.run(look, capture_output=True, text=True, check=False, env={**os.environ, "PYTHON_COLORS": "0"})
        finally:
            app.kill()
    if done.returncode and ("Permission" in done.stderr or "permitted" in done.stderr):
        pytest.skip("this system does not let one process look into another")
    assert done.returncode == 0, done.stderr
    for part in ("child", "flavour-free", "leaf", "body", "group"):
        assert part in done.stdout
