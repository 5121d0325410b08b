"""`pytest_plugin.py`: flavour-free tests by pytest-trio, and asyncio's suites on trio."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .asyncio_suites import SUITES

pytest_plugins = ["pytester"]

CONFIGURATION = """
[pytest]
filterwarnings = error
addopts = --strict-markers -p no:cacheprovider -p no:hypothesispytest
asyncio_default_fixture_loop_scope = function
"""


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    """A folder for a suite, in which warnings are errors."""
    pytester.makeini(CONFIGURATION)
    return pytester


def passes(suite: pytest.Pytester, *options: str, **outcomes: int) -> str:
    """Run the suite, in this process; exactly these outcomes must come out. Returns the output."""
    result = suite.runpytest_inprocess("-v", *options)
    result.assert_outcomes(**outcomes)
    return result.stdout.str()


FLAVOUR_FREE = """
import asyncio, contextvars
import pytest, trio
from trio_asyncio_compat import TrioEventLoop

seen = contextvars.ContextVar("seen", default=())

@pytest.fixture
async def value():
    await trio.sleep(0)
    return await asyncio.sleep(0, "value")

@pytest.fixture
async def group(value):
    seen.set((*seen.get(), "set up"))
    async with asyncio.TaskGroup() as group, trio.open_nursery() as nursery, asyncio.timeout(60):
        yield group, nursery
    seen.set((*seen.get(), "over"))

async def body(value, group):
    assert value == "value" and seen.get() == ("set up",)
    async with asyncio.timeout(60):
        await trio.sleep(0)
    with trio.move_on_after(0) as scope:
        await asyncio.sleep(3600)
    assert scope.cancelled_caught
    done = []
    group[0].create_task(asyncio.sleep(0)).add_done_callback(done.append)
    group[1].start_soon(trio.sleep, 0)
    await trio.testing.wait_all_tasks_blocked()
    assert done and isinstance(asyncio.get_running_loop(), TrioEventLoop)
    assert asyncio.current_task() is not None
"""


def test_mark_makes_test_and_fixtures_flavour_free(suite: pytest.Pytester) -> None:
    suite.makepyfile(f"""{FLAVOUR_FREE}
pytestmark = pytest.mark.flavour_free

async def test_function(value, group):
    await body(value, group)

class TestClass:
    @pytest.mark.parametrize("number", [1, 2])
    async def test_method(self, value, group, number):
        await body(value, group)

def test_synchronous_one_is_left_alone():
    pass
""")
    passes(suite, passed=4)


@pytest.mark.parametrize("mark", ["pytest.mark.trio", "pytest.mark.skipif(False, reason='')"])
def test_ini_option_makes_the_tests_of_pytest_trio_flavour_free(suite: pytest.Pytester, mark: str) -> None:
    """Those that are marked, and those that its own mode marks."""
    mode = "" if mark == "pytest.mark.trio" else "trio_mode = true\n"
    suite.makeini(f"{CONFIGURATION}flavour_free_tests = true\n{mode}")
    suite.makepyfile(f"{FLAVOUR_FREE}\n@{mark}\nasync def test_function(value, group):\n    await body(value, group)\n")
    passes(suite, passed=1)


def test_failure_is_shown_with_the_frames_of_the_test_only(suite: pytest.Pytester) -> None:
    suite.makepyfile("""
import asyncio, pytest

async def fails():
    await asyncio.sleep(0)
    assert 1 + 1 == 3

@pytest.mark.flavour_free
async def test_function():
    await fails()
""")
    shown = passes(suite, failed=1)
    assert "assert (1 + 1) == 3" in shown
    assert "trio_asyncio_compat/" not in shown


def test_skip_and_expected_failure_in_a_flavour_free_test(suite: pytest.Pytester) -> None:
    suite.makepyfile("""
import pytest
pytestmark = pytest.mark.flavour_free

async def test_skips():
    pytest.skip("so")

async def test_fails_as_expected():
    pytest.xfail("so")

@pytest.fixture
async def missing():
    yield pytest.skip("so")

async def test_skips_by_its_fixture(missing):
    pass
""")
    passes(suite, skipped=2, xfailed=1)


def test_sleep_of_asyncio_returns_at_once_on_a_clock_that_jumps(suite: pytest.Pytester) -> None:
    suite.makepyfile("""
import asyncio, time
import pytest, trio
from trio_asyncio_compat import aio_as_trio

@pytest.mark.flavour_free
async def test_flavour_free(autojump_clock):
    start = asyncio.get_running_loop().time()
    await asyncio.sleep(3600)
    assert asyncio.get_running_loop().time() == start + 3600 == trio.current_time()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(3600):
            await trio.sleep_forever()

@pytest.mark.trio
async def test_with_fixture(aio_loop, autojump_clock):
    await aio_as_trio(asyncio.sleep)(3600)
    assert trio.current_time() >= 3600
""")
    passes(suite, passed=2)


def test_aio_loop_is_open_in_the_test_and_in_fixtures_that_ask_for_it(suite: pytest.Pytester) -> None:
    suite.makepyfile("""
import asyncio
import pytest
from trio_asyncio_compat import aio_as_trio, open_loop
pytestmark = pytest.mark.trio

@pytest.fixture
async def task(aio_loop):
    task = aio_loop.create_task(asyncio.sleep(0, "result"))
    yield task
    assert await aio_as_trio(task) == "result"

async def test_loop(aio_loop, task):
    assert asyncio.get_running_loop() is aio_loop
    assert await aio_as_trio(task) == "result"
    async with open_loop() as other:
        assert asyncio.get_running_loop() is other
    assert asyncio.get_running_loop() is aio_loop

async def test_without():
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()

@pytest.mark.flavour_free
async def test_flavour_free(aio_loop):
    assert asyncio.get_running_loop() is aio_loop
    await asyncio.sleep(0)
""")
    passes(suite, passed=3)


def test_runner_that_the_mark_of_pytest_trio_names_is_kept(suite: pytest.Pytester) -> None:
    suite.makepyfile("""
import asyncio
import pytest, trio

ran = []

def runner(fn, **options):
    ran.append(fn)
    return trio.run(fn, **options)

@pytest.mark.flavour_free
@pytest.mark.trio(run=runner)
async def test_function():
    await asyncio.sleep(0)
    assert len(ran) == 1
""")
    passes(suite, passed=1)


def test_hypothesis_runs_a_flavour_free_test(suite: pytest.Pytester) -> None:
    suite.makeini(CONFIGURATION.replace("-p no:hypothesispytest", ""))
    suite.makepyfile("""
import asyncio
import hypothesis, pytest, trio
from hypothesis import strategies as st

numbers = set()

@pytest.mark.flavour_free
@hypothesis.settings(max_examples=5, database=None)
@hypothesis.given(number=st.integers())
async def test_function(number):
    await trio.sleep(0)
    numbers.add(await asyncio.sleep(0, number))

def test_examples():
    assert len(numbers) > 1
""")
    passes(suite, passed=2)


def test_mark_without_pytest_trio_is_refused(suite: pytest.Pytester) -> None:
    suite.makepyfile("import pytest\n\n@pytest.mark.flavour_free\nasync def test_function(): pass\n")
    result = suite.runpytest_inprocess("-p", "no:trio")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*test_function is marked flavour_free, and pytest-trio*"])


def test_option_runs_the_suites_of_every_plugin_on_our_loop(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """And without it nothing is changed. aiohttp's plugin, which wraps every async fixture, has a process of its own."""
    for stem, code in SUITES.items():
        suite.makepyfile(**{f"test_{stem.replace('-', '_')}": code.replace("LOOP", "__import__('os').environ['LOOP']")})
    for loop, options in ("TrioEventLoop", ["--asyncio-on-trio"]), ("_UnixSelectorEventLoop", []):
        monkeypatch.setenv("LOOP", loop)
        shown = passes(suite, *options, "--ignore=test_aiohttp.py", passed=8)
        assert ("asyncio: on trio" in shown) == bool(options)
        assert ("event loops made" in shown) == bool(options)
        shown = passes(suite, *options, "-p", "aiohttp.pytest_plugin", "test_aiohttp.py", passed=2)
        assert ("asyncio on trio: 2 event loops made" in shown) == bool(options)


def test_suite_that_chooses_its_loop_is_found_out(suite: pytest.Pytester) -> None:
    suite.makepyfile("""
import asyncio

def test_run():
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(asyncio.sleep(0))
""")
    assert "asyncio on trio: 0 event loops made" in passes(suite, "--asyncio-on-trio", passed=1)


def test_option_ends_with_the_run(suite: pytest.Pytester) -> None:
    suite.makepyfile("import asyncio\n\ndef test_run(): asyncio.run(asyncio.sleep(0))")
    program = """
import asyncio, pytest
async def main(): return type(asyncio.get_running_loop()).__name__
print(int(pytest.main(["--asyncio-on-trio"])), asyncio.run(main()))
"""
    result = suite.run(sys.executable, "-c", program)
    result.stdout.fnmatch_lines(["asyncio on trio: 1 event loop made", "0 _UnixSelectorEventLoop"])


def test_package_works_without_pytest(tmp_path: Path) -> None:
    program = """
import sys
sys.modules.update({name: None for name in ("pytest", "_pytest", "pytest_trio")})
import asyncio, trio_asyncio_compat
trio_asyncio_compat.run(asyncio.sleep, 0)
print("trio_asyncio_compat.pytest_plugin" in sys.modules)
"""
    result = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (result.stdout, result.stderr) == ("False\n", "")


@pytest.mark.parametrize("start", ["nursery.start_soon(fail)", "group.create_task(fail())"])
def test_crash_in_the_background_of_a_fixture_ends_the_test(suite: pytest.Pytester, start: str) -> None:
    suite.makepyfile(f"""
import asyncio
import pytest, trio

ended = []

async def fail():
    raise ValueError("crash")

@pytest.fixture
async def background():
    try:
        async with asyncio.TaskGroup() as group, trio.open_nursery() as nursery:
            {start}
            yield
    finally:
        await asyncio.sleep(0)
        ended.append("fixture")

@pytest.mark.flavour_free
async def test_function(background):
    try:
        await asyncio.sleep(3600)
    finally:
        ended.append("test")

def test_order():
    assert sorted(ended) == ["fixture", "test"]
""")
    shown = passes(suite, failed=1, passed=1)
    assert "ValueError: crash" in shown
