"""After a fork the child may start loops of its own, and the parent's goes on."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import traceback
from collections.abc import Callable

import pytest
import trio

from trio_asyncio_compat import TrioEventLoop, aio_as_trio, open_loop

from .support import Run

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
    # Worker threads of trio may be there; the child uses none of what they hold.
    pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning"),
]


def in_child(function: Callable[[], object]) -> int:
    """The exit status of a forked child that calls `function`: 0 if that returned."""
    pid = os.fork()
    if pid == 0:
        try:
            function()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


async def work() -> int:
    """A bit of everything: callbacks, timers, descriptors, threads."""
    await asyncio.sleep(0.001)
    read, write = os.pipe()
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    loop.add_reader(read, done.set_result, None)
    os.write(write, b"x")
    await done
    loop.remove_reader(read)
    os.close(read)
    os.close(write)
    return await asyncio.to_thread(abs, -7)


def drive_a_loop() -> None:
    with asyncio.Runner(loop_factory=TrioEventLoop) as runner:
        assert runner.run(work()) == 7


def host_a_loop() -> None:
    async def main() -> None:
        async with open_loop():
            assert await aio_as_trio(work)() == 7

    trio.run(main)


def stdlib_loop() -> None:
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        assert runner.run(work()) == 7


def plain_trio() -> None:
    async def main() -> None:
        await trio.sleep(0.001)
        assert await trio.to_thread.run_sync(abs, -7) == 7

    trio.run(main)


CHILDREN = [drive_a_loop, host_a_loop, stdlib_loop, plain_trio]


@pytest.mark.parametrize("child", CHILDREN)
def test_a_child_forked_in_asyncio_code_starts_its_own_loop(our_run: Run, child: Callable[[], None]) -> None:
    async def main() -> None:
        await asyncio.sleep(0)
        for _ in range(2):
            assert in_child(child) == 0
        # The parent's goes on as if nothing had been.
        assert await work() == 7
        assert in_child(child) == 0

    our_run(main)


@pytest.mark.parametrize("child", CHILDREN)
def test_a_child_forked_in_trio_code_starts_its_own_loop(hosted_run: Run, child: Callable[[], None]) -> None:
    async def main() -> None:
        await trio.sleep(0)
        assert in_child(child) == 0
        assert await aio_as_trio(work)() == 7

    hosted_run.trio_run(main)


def test_a_forked_child_may_fork_again(our_run: Run) -> None:
    async def main() -> None:
        assert in_child(lambda: exit_with(in_child(drive_a_loop))) == 0

    def exit_with(status: int) -> None:
        assert status == 0

    our_run(main)


def test_multiprocessing_by_fork(our_run: Run) -> None:
    async def main() -> None:
        process = multiprocessing.get_context("fork").Process(target=drive_a_loop)
        process.start()
        await asyncio.to_thread(process.join)
        assert process.exitcode == 0
        process.close()

    our_run(main)


def test_ctrl_c_in_a_forked_child_is_pythons(our_run: Run) -> None:
    import signal

    def child() -> None:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)

    async def main() -> None:
        assert in_child(child) == 0

    our_run(main)
