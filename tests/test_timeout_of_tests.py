"""The timeout of the pytest plugin: a test that hangs fails with the task tree, whichever loop of ours it has."""

from __future__ import annotations

import subprocess
import sys

import pytest

from .test_pytest_plugin import CONFIGURATION, passes, suite

__all__ = ["suite"]  # a fixture

pytest_plugins = ["pytester"]

HANGS = {
    "flavour-free": """
import asyncio, pytest, trio

@pytest.mark.flavour_free
async def test_hangs():
    try:
        await asyncio.Event().wait()
    finally:
        print("cleaned up")
""",
    "in a fixture's loop": """
import asyncio, pytest, trio

@pytest.mark.trio
async def test_hangs(aio_loop):
    try:
        await trio.Event().wait()
    finally:
        print("cleaned up")
""",
    "asyncio's": """
import asyncio

async def waits():
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)
        print("cleaned up")

def test_hangs():
    asyncio.run(waits())
""",
}


def test_a_fixture_that_hangs_fails_with_the_task_tree(suite: pytest.Pytester) -> None:
    suite.makepyfile("""
import asyncio, pytest

async def waits():
    await asyncio.Event().wait()

@pytest.fixture
def hangs():
    asyncio.run(waits())

@pytest.fixture
def hangs_at_the_end():
    yield
    asyncio.run(waits())

def test_one(hangs):
    pass

def test_other(hangs_at_the_end):
    pass
""")
    shown = passes(suite, "--asyncio-on-trio", "--tasktree-timeout=0.1", passed=1, errors=2)
    assert shown.count("HangError: ") >= 2
    assert "Event.wait" in shown


def test_the_mark_takes_its_argument_by_name_and_nothing_else(suite: pytest.Pytester) -> None:
    suite.makepyfile("""
import asyncio, pytest

async def waits():
    await asyncio.Event().wait()

@pytest.mark.tasktree_timeout(seconds=0.1)
def test_hangs():
    asyncio.run(waits())

@pytest.mark.tasktree_timeout
def test_wrong():
    pass
""")
    result = suite.runpytest_inprocess("--asyncio-on-trio")
    shown = result.stdout.str() + result.stderr.str()
    assert "test_hangs has taken more than 0.1 s" in shown
    assert "@pytest.mark.tasktree_timeout(SECONDS)" in shown


@pytest.mark.parametrize("kind", HANGS)
def test_a_test_that_takes_too_long_fails_with_the_task_tree(kind: str, suite: pytest.Pytester) -> None:
    suite.makepyfile(HANGS[kind])
    shown = passes(suite, "--asyncio-on-trio", "--tasktree-timeout=0.1", failed=1)
    assert "HangError: " in shown
    assert "test_hangs has taken more than 0.1 s" in shown
    assert "trio run in MainThread" in shown
    assert "Event.wait" in shown
    assert "cleaned up" in shown


def test_the_timeout_may_be_set_for_all_tests_and_for_one(suite: pytest.Pytester) -> None:
    suite.makeini(f"{CONFIGURATION}tasktree_timeout = 0.1\n")
    suite.makepyfile("""
import asyncio, pytest

@pytest.mark.flavour_free
async def test_hangs():
    await asyncio.sleep(3600)

@pytest.mark.flavour_free
@pytest.mark.tasktree_timeout(None)
async def test_takes_its_time():
    await asyncio.sleep(0.2)

@pytest.mark.flavour_free
async def test_is_quick():
    await asyncio.sleep(0)

def test_is_synchronous():
    pass
""")
    passes(suite, passed=3, failed=1)


def test_a_callback_that_blocks_is_shown_while_it_does(suite: pytest.Pytester) -> None:
    suite.makepyfile("""
import asyncio, pytest, time

@pytest.mark.flavour_free
async def test_blocks():
    while True:
        time.sleep(0.01)
""")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--tasktree-timeout=0.1"]
    with subprocess.Popen(command, cwd=suite.path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            shown = ""
            while "time.sleep" not in shown and "test_blocks  " not in shown:
                line = process.stderr.readline()
                assert line, shown
                shown += line
        finally:
            process.kill()
    assert "test_blocks has taken more than 0.1 s" in shown


@pytest.mark.parametrize("value", ["0", "soon", "inf", "nan"])
def test_the_timeout_must_be_a_positive_number(value: str, suite: pytest.Pytester) -> None:
    result = suite.runpytest_inprocess(f"--tasktree-timeout={value}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert f"tasktree_timeout must be a positive number of seconds, not '{value}'" in result.stderr.str()


SHARED_LOOPS = {
    "pytest-asyncio": """
import asyncio, pytest, pytest_asyncio

pytestmark = pytest.mark.asyncio(loop_scope="session")
cleaned_up = []

@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def background():
    task = asyncio.create_task(asyncio.sleep(3600))
    yield task
    task.cancel()
""",
    "anyio": """
import asyncio, pytest

pytestmark = pytest.mark.anyio
cleaned_up = []

@pytest.fixture(scope="session")
def anyio_backend():
    return "asyncio"

@pytest.fixture(scope="session")
async def background():
    task = asyncio.create_task(asyncio.sleep(3600))
    yield task
    task.cancel()
""",
}
TESTS_IN_A_SHARED_LOOP = """
async def test_hangs(background):
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)
        cleaned_up.append(1)

async def test_goes_on(background):
    assert cleaned_up == [1]
    await asyncio.sleep(0)
    assert not background.done()
    left = [task.get_coro().__qualname__ for task in asyncio.all_tasks()]
    assert not any("hangs" in name for name in left), left
"""


@pytest.mark.parametrize("plugin", SHARED_LOOPS)
def test_a_loop_that_several_tests_share_goes_on(plugin: str, suite: pytest.Pytester) -> None:
    suite.makepyfile(SHARED_LOOPS[plugin] + TESTS_IN_A_SHARED_LOOP)
    shown = passes(suite, "--asyncio-on-trio", "--tasktree-timeout=0.2", passed=1, failed=1)
    assert "test_hangs has taken more than 0.2 s" in shown


def test_a_loop_goes_on_behind_a_fixture_that_hangs(suite: pytest.Pytester) -> None:
    suite.makepyfile(f"""{SHARED_LOOPS["pytest-asyncio"]}
@pytest_asyncio.fixture(loop_scope="session")
async def hangs():
    await asyncio.Event().wait()

async def test_hangs(hangs):
    pass

async def test_goes_on(background):
    assert {{background, asyncio.current_task()}} == asyncio.all_tasks()
""")
    passes(suite, "--asyncio-on-trio", "--tasktree-timeout=0.2", passed=1, errors=1)


def test_a_test_fails_even_if_it_takes_the_error_for_its_own(suite: pytest.Pytester) -> None:
    suite.makepyfile("""
import asyncio, pytest

async def waits():
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        pass

def test_expects_something():
    with pytest.raises(Exception):
        asyncio.run(waits())

async def swallows():
    await waits()

def test_swallows():
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(swallows())
    finally:
        loop.close()
""")
    shown = passes(suite, "--asyncio-on-trio", "--tasktree-timeout=0.1", failed=2)
    assert "test_expects_something has taken more than 0.1 s" in shown


@pytest.mark.parametrize("end", ["pytest.skip('no answer')", "pytest.fail('no answer')", "pytest.xfail('no answer')"])
def test_what_else_a_test_says_while_it_cleans_up_does_not_count(end: str, suite: pytest.Pytester) -> None:
    suite.makepyfile(f"""
import asyncio, pytest

@pytest.mark.asyncio
async def test_hangs():
    try:
        await asyncio.Event().wait()
    finally:
        {end}
""")
    shown = passes(suite, "--asyncio-on-trio", "--tasktree-timeout=0.1", failed=1)
    assert "test_hangs has taken more than 0.1 s" in shown


def test_a_test_of_unittest_fails_with_the_tree_too(suite: pytest.Pytester) -> None:
    suite.makepyfile("""
import asyncio, unittest

class Tests(unittest.IsolatedAsyncioTestCase):
    async def asyncTearDown(self):
        await asyncio.sleep(0)

    async def test_hangs(self):
        await asyncio.Event().wait()

    async def test_goes_on(self):
        await asyncio.sleep(0)
""")
    shown = passes(suite, "--asyncio-on-trio", "--tasktree-timeout=0.2", passed=1, failed=1)
    assert "test_hangs has taken more than 0.2 s" in shown
    assert "Event.wait" in shown


def test_loops_that_a_test_has_not_opened_go_on(suite: pytest.Pytester) -> None:
    suite.makepyfile("""
import asyncio, threading
import pytest
import trio_asyncio_compat

async def serve(started):
    started.append((asyncio.get_running_loop(), asyncio.Event()))
    up.set()
    await started[0][1].wait()

up = threading.Event()

@pytest.fixture(scope="session")
def server():
    started = []
    thread = threading.Thread(target=trio_asyncio_compat.run, args=(serve, started))
    thread.start()
    up.wait()
    yield thread
    loop, event = started[0]
    loop.call_soon_threadsafe(event.set)
    thread.join()

def test_hangs(server):
    async def hangs():
        await asyncio.Event().wait()
    trio_asyncio_compat.run(hangs)

def test_goes_on(server):
    assert server.is_alive()
""")
    passes(suite, "--tasktree-timeout=0.1", passed=1, failed=1)
