"""Ctrl-C at any instant: the program always ends, always with KeyboardInterrupt, and its `finally` blocks have run.

`interrupted.py` is the child process that is interrupted. Other signals are not lost under load.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import subprocess
import sys
from typing import Any

import pytest
import trio

from trio_asyncio_compat import open_loop

from ..support import Run

# Five hundred in all.
BATCHES, BATCH = 5, 100
# So often, in a batch, Python may drop the KeyboardInterrupt itself, since it came in a finaliser or a weak reference's callback, and
# `trio.run` be interrupted where it begins or ends, so that it leaves its hooks behind.
MOST_SWALLOWED = MOST_LEFT_BY_TRIO = 3


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(BATCHES))
def test_ctrl_c_at_a_random_instant(seed: int) -> None:
    command = [sys.executable, "-m", "tests.trust.interrupted", str(seed), str(BATCH)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    runs: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr
    assert len(runs) == BATCH
    bad = [run for run in runs if run["raised"] != "KeyboardInterrupt" or run["changed"] or run["open blocks"] or run["threads"]]
    assert not bad, bad
    swallowed = [where for run in runs for where in run["swallowed"]]
    assert len(swallowed) <= MOST_SWALLOWED, swallowed
    assert [where for where in swallowed if "trio_asyncio_compat" in where] == []
    assert sum(run.get("hooks left by trio", False) for run in runs) <= MOST_LEFT_BY_TRIO


def test_ctrl_c_between_the_end_of_the_block_and_the_first_step_of_leaving_it(hosted_run: Run) -> None:
    """Python can raise there, where no `try` of the program nor of the loop would see it."""
    steps: list[str] = []

    async def main() -> None:
        manager = open_loop(poller=hosted_run.poller)
        await manager.__aenter__()
        leaving = manager.__aexit__(None, None, None)
        signal.raise_signal(signal.SIGINT)
        steps.append("not interrupted here")
        try:
            await leaving
        finally:
            steps.append("the loop has been left")
            assert asyncio._get_running_loop() is None
        await trio.sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
    assert steps == ["not interrupted here", "the loop has been left"]


STUCK = """
import asyncio, sys, time, trio
from trio_asyncio_compat import TrioEventLoop, aio_as_trio, open_loop

async def stuck():
    print("stuck", flush=True)
    try:
        while True:
            pass
    finally:
        print("broken", flush=True)

async def hosted():
    async with open_loop():
        await aio_as_trio(stuck)()

try:
    if sys.argv[1] == "hosted":
        trio.run(hosted)
    else:
        with asyncio.Runner(loop_factory=TrioEventLoop) as runner:
            runner.run(stuck())
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.parametrize("kind", ["hosted", "driven"])
def test_the_second_ctrl_c_breaks_a_stuck_callback(kind: str) -> None:
    with subprocess.Popen([sys.executable, "-c", STUCK, kind], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "stuck\n"
        # Two that come at once count as one: the second only when the first has had its second.
        while not select.select([child.stdout], [], [], 1)[0]:
            child.send_signal(signal.SIGINT)
        assert child.stdout.read().splitlines() == ["broken", "interrupted"]
        assert child.wait() == 0


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGCHLD])
def test_handlers_are_not_lost_under_load(run: Run, sig: signal.Signals) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        seen = asyncio.Semaphore(0)
        busy = True

        def again() -> None:
            if busy:
                loop.call_soon(again)

        for _ in range(10):
            again()
        loop.add_signal_handler(sig, seen.release)
        for _ in range(300):
            # Each is answered before the next is sent: two that come at once are one, says the system.
            os.kill(os.getpid(), sig)
            await seen.acquire()
        assert loop.remove_signal_handler(sig)
        busy = False
        assert seen.locked()

    run(main)


def test_children_that_end_under_load_are_all_noticed(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        seen: list[None] = []
        loop.add_signal_handler(signal.SIGCHLD, seen.append, None)
        children = [await asyncio.create_subprocess_exec("true") for _ in range(10)]
        assert await asyncio.gather(*(child.wait() for child in children)) == [0] * 10
        assert loop.remove_signal_handler(signal.SIGCHLD)
        assert 1 <= len(seen) <= 10

    run(main)
