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
