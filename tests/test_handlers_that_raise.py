"""Signal handlers that raise, while a driven loop is idle or busy, and forked children that leave it: as with asyncio's own loop.

The programs run as processes of their own, with all warnings as errors, and what they print and their exit status are compared.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork, nor timers that send signals")

# Each program takes a second or two.
KINDS = ["nested", pytest.param("task", marks=pytest.mark.slow)]

# What the programs begin with. `alarm` sets a handler, `go` has it called soon: long after the loop has become idle, on a busy machine too.
# `run` and `new_loop` are of the loop that is tested.
PRELUDE = """
import asyncio, gc, os, signal, sys, threading, time, warnings
import trio
from trio_asyncio_compat import TrioEventLoop, aio_as_trio, trio_as_aio

kind = sys.argv[1]

def new_loop():
    loop = asyncio.SelectorEventLoop() if kind == "asyncio" else TrioEventLoop(poller=kind)
    loop.slow_callback_duration = 60
    return loop

def run(fn):
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(fn())

class Late(Exception):
    pass

def too_late(signum, frame):
    raise Late("from the handler")

def alarm(handler=too_late):
    signal.signal(signal.SIGALRM, handler)

def go():
    signal.setitimer(signal.ITIMER_REAL, 0.3)

def descriptors():
    return sorted(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else []

async def cleaning_up(what=3600):
    try:
        if what:
            go()
        await asyncio.sleep(what)
    except BaseException as exc:
        print("main:", type(exc).__name__)
        raise
    finally:
        await asyncio.sleep(0.001)
        print("cleaned up")

def caught(fn, *args):
    try:
        fn(*args)
    except BaseException as exc:
        print(repr(exc), repr(exc.__context__), repr(exc.__cause__))
        exc.__traceback__ = None
    else:
        print("nothing raised")
"""

PROGRAMS = {
    "sys.exit in a handler of SIGTERM": """
signal.signal(signal.SIGTERM, lambda *args: sys.exit(5))
async def main():
    alarm(lambda *args: os.kill(os.getpid(), signal.SIGTERM))
    await cleaning_up()
run(main)
""",
    "the default handler of SIGINT on another signal": """
alarm(handler=signal.default_int_handler)
caught(run, cleaning_up)
""",
    "three timeouts in a row, and a run without": """
before = descriptors()
for _ in range(3):
    alarm()
    caught(run, cleaning_up)
run(lambda: cleaning_up(0))
gc.collect()
print(descriptors() == before, signal.getsignal(signal.SIGINT) is signal.default_int_handler, sys.get_asyncgen_hooks())
print(threading.active_count(), trio.lowlevel.in_trio_run(), asyncio._get_running_loop())
""",
    "the loop goes on where it was": """
loop = new_loop()
task = loop.create_task(asyncio.sleep(1, "slept"))
alarm()
loop.call_soon(go)
caught(loop.run_until_complete, task)
print(task.done(), loop.is_running(), loop.run_until_complete(task))
loop.call_soon(go)
caught(loop.run_forever)
loop.call_soon(loop.stop)
loop.run_forever()
loop.close()
""",
    "in the middle of a callback": """
async def busy():
    try:
        go()
        while True:
            time.sleep(0.001)
    except Late as exc:
        print("task:", repr(exc))
    alarm(lambda *args: sys.exit(3))
    go()
    while True:
        time.sleep(0.001)
loop = new_loop()
task = loop.create_task(busy())
alarm()
caught(loop.run_until_complete, task)
loop.run_until_complete(asyncio.sleep(0))
loop.close()
""",
    "idle in a server with a connection and a thread": """
async def main():
    async def talk(reader, writer):
        try:
            await reader.read()
        except asyncio.CancelledError:
            pass  # Python 3.11 would report it
        finally:
            writer.close()
    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    try:
        await asyncio.to_thread(worked.set)
        await cleaning_up()
    finally:
        writer.close()
        server.close()
worked = threading.Event()
alarm()
caught(run, main)
print(worked.is_set())
""",
    "a forked child exits": """
async def main():
    await asyncio.sleep(when)
    pid = os.fork()
    if pid == 0:
        sys.exit(7)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), await asyncio.sleep(0.01, "the parent goes on"))
for when in (0, 0.01):
    run(main)
""",
    "a forked child returns": """
async def main():
    await asyncio.sleep(0.01)
    pid = os.fork()
    if pid == 0:
        return "child"
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), await asyncio.sleep(0.01, "the parent goes on"))
if run(main) == "child":
    run(lambda: cleaning_up(0))
    sys.stdout.flush()
    os._exit(8)
""",
    "a forked child raises": """
async def main():
    await asyncio.sleep(0)
    pid = os.fork()
    if pid == 0:
        raise Late("in the child")
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
try:
    run(main)
except Late as exc:
    print(repr(exc))
    sys.exit(9)
""",
    "a forked child goes on with its loop": """
async def main():
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    loop.call_later(0.05, done.set_result, "the timer")
    pid = os.fork()
    if pid == 0:
        os.write(1, f"child: {await done}".encode() + bytes([10]))
        os._exit(6)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), await done)
run(main)
""",
}


@functools.cache
def outcome_of(program: str, kind: str) -> tuple[int, str, str]:
    """How `program` ends on a kind of loop: its exit status, and what it has written."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-W", "ignore:.*use of fork:DeprecationWarning", "-c", PRELUDE + program, kind],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_it_ends_as_with_asyncios_loop(name: str, kind: str) -> None:
    if "forked" in name and sys.version_info >= (3, 14):
        pytest.skip("asyncio's tasks cannot leave the step in which there was a fork, since its loop is not the running one in the child")
    expected = outcome_of(PROGRAMS[name], "asyncio")
    assert expected[1:] != ("", "")
    assert outcome_of(PROGRAMS[name], kind) == expected


TRIO_CODE = """
async def wait_in_trio():
    try:
        with trio.move_on_after(3600):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                await trio.sleep_forever()
    finally:
        with trio.CancelScope(shield=True):
            await trio.sleep(0.01)
        print("trio code has cleaned up")

async def main():
    try:
        await trio_as_aio(wait_in_trio)()
    finally:
        print("asyncio code has cleaned up")
"""


GOES = """
async def goes():
    asyncio.get_running_loop().call_soon(go)
    await main()
"""


@pytest.mark.parametrize("kind", KINDS)
def test_trio_code_cleans_up_when_a_handler_raises(kind: str) -> None:
    status, out, err = outcome_of(TRIO_CODE + GOES + "alarm()\ncaught(run, goes)", kind)
    assert (status, err) == (0, "")
    assert out.splitlines() == ["trio code has cleaned up", "asyncio code has cleaned up", "Late('from the handler') None None"]


# Stands for a signal handler that raises between two steps of tasks, where no signal can be made to come.
IN_TRIOS_OWN_CODE = """
class Clock(trio.abc.Clock):
    armed = False
    def start_clock(self):
        pass
    def current_time(self):
        return time.monotonic()
    def deadline_to_sleep_time(self, deadline):
        if Clock.armed:
            Clock.armed = False
            too_late(signal.SIGALRM, None)
        return deadline - time.monotonic()

from trio_asyncio_compat import _driven
_driven.MonotonicClock = Clock
"""

HURT = """
async def hurt():
    asyncio.get_running_loop().call_later(0.05, setattr, Clock, "armed", True)
    await main()
for _ in range(2):
    caught(run, hurt)
run(lambda: cleaning_up(0))
"""


@pytest.mark.parametrize("kind", KINDS)
def test_a_handler_that_raises_in_the_middle_of_trios_own_code(kind: str) -> None:
    code = TRIO_CODE.replace("            await trio.sleep(0.01)\n", "            pass\n")
    status, out, err = outcome_of(IN_TRIOS_OWN_CODE + code + HURT, kind)
    assert (status, err) == (0, "")
    ends = ["trio code has cleaned up", "asyncio code has cleaned up", "Late('from the handler') None None"]
    assert out.splitlines() == [*ends, *ends, "cleaned up"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_trio_code_raises_while_its_run_is_given_up_is_reported(kind: str) -> None:
    code = TRIO_CODE.replace("            await trio.sleep(0.01)\n", "            raise KeyError('in the clean-up')\n")
    status, out, err = outcome_of(IN_TRIOS_OWN_CODE + code + HURT, kind)
    assert status == 0
    assert out.splitlines()[-1] == "cleaned up"
    assert err.count("KeyError: 'in the clean-up'") == 2
    assert err.count("was ended, since its run was interrupted") == 2


HOSTED_FORK = """
from trio_asyncio_compat import open_loop

async def fork():
    await asyncio.sleep(0.01)
    pid = os.fork()
    if pid == 0:
        return "child"
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), await asyncio.sleep(0.01, "the parent goes on")

async def main():
    async with open_loop(poller=kind):
        return await aio_as_trio(fork)()

print(trio.run(main))
"""


@pytest.mark.parametrize("kind", KINDS)
def test_a_forked_child_that_returns_to_a_hosted_loop_fails_and_does_not_hang(kind: str) -> None:
    status, out, err = outcome_of(HOSTED_FORK, kind)
    assert (status, out) == (0, "(1, 'the parent goes on')\n")
    assert "TrioInternalError" in err
