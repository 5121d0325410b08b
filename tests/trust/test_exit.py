"""The program's end waits for what threads are doing for a loop, as it does on the standard library's."""

from __future__ import annotations

import subprocess
import sys

import pytest

SETUP = """
import asyncio, os, sys, threading, time, trio
from trio_asyncio_compat import TrioEventLoop, open_loop

def write(what):
    time.sleep(0.02)
    os.write(1, what + b"\\n")

async def main():
    for _ in range(40):
        asyncio.get_running_loop().run_in_executor(None, write, b"written")

loop = TrioEventLoop() if sys.argv[1] == "ours" else asyncio.new_event_loop()
"""

# Each is what a program does last.
ENDS = {
    "closed": "loop.run_until_complete(main()); loop.close()",
    "not closed": "loop.run_until_complete(main())",
    "never run": "for _ in range(40): loop.run_in_executor(None, write, b'written')",
    "never run and closed": "for _ in range(40): loop.run_in_executor(None, write, b'written')\nloop.close()",
    "run again and again": "for _ in range(3): loop.run_until_complete(main())",
    "in a thread": "thread = threading.Thread(target=lambda: loop.run_until_complete(main())); thread.start(); thread.join()",
}


def run_program(program: str, *args: str) -> list[str]:
    """What it has written; it must end well and without complaint."""
    done = subprocess.run([sys.executable, "-c", program, *args], capture_output=True, text=True, timeout=20, check=False)
    # What a loop that is closed is told too late, the standard library logs.
    errors = [line for line in done.stderr.splitlines() if "Error" in line and "Event loop is closed" not in line]
    assert (done.returncode, errors) == (0, []), done.stderr + done.stdout
    return done.stdout.split()


@pytest.mark.parametrize("kind", ["asyncio", "ours"])
@pytest.mark.parametrize("end", ENDS)
def test_calls_in_threads_are_finished(end: str, kind: str) -> None:
    written = run_program(SETUP + ENDS[end], kind)
    assert written == ["written"] * (120 if "again" in end else 40)


def test_calls_in_threads_of_a_hosted_loop_are_finished_though_its_end_was_interrupted() -> None:
    program = """
import signal
gate = threading.Event()

def write_late():
    gate.wait()
    write(b"written")

async def interrupted():
    async with open_loop() as loop:
        # It is told that waiting for the executor was given up. Threads that have begun are waited for in any case.
        loop.set_exception_handler(lambda *_: gate.set())
        for _ in range(40):
            loop.run_in_executor(None, write_late)

        def interrupt():
            signal.raise_signal(signal.SIGINT)
            loop.call_later(0.01, interrupt)

        # The first ends the program, the second the waiting for its threads.
        loop.call_soon(interrupt)
        await trio.sleep_forever()

try:
    trio.run(interrupted)
except KeyboardInterrupt:
    pass
"""
    written = run_program(SETUP + program, "ours")
    assert written == ["written"] * 40


def test_a_forked_child_does_not_wait_for_the_threads_of_its_parent() -> None:
    program = """
gate = threading.Event()

async def begin():
    asyncio.get_running_loop().run_in_executor(None, gate.wait)

loop.run_until_complete(begin())
child = os.fork()
if child:
    os.waitpid(child, 0)
    gate.set()
print("child" if not child else "parent")
"""
    assert run_program(SETUP + program, "ours") == ["child", "parent"]
