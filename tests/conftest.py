"""Fixtures of the tests of the public API: each runs on the standard library's loop and on ours, hosted and driven, with both pollers.

    def test_something(run: Run) -> None:
        async def main() -> None: ...
        run(main)

A test that uses one of these fixtures is also checked for what it leaves behind, and does not hang for ever.
"""

from __future__ import annotations

import gc
import signal
from collections.abc import Generator, Iterator

import pytest

pytest.register_assert_rewrite("tests.support")

from .support import Records, Run, VirtualRun, hang_guard, nothing_left_behind  # noqa: E402, asserts are rewritten at import

# A shell starts its background jobs with SIGINT ignored, and Python leaves that alone; the tests of Ctrl-C need it as it is in front.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Objects made before the collector comes, with `--collect-often`.
OFTEN = 7
DRIVEN = ["driven-nested", "driven-task"]
HOSTED = ["hosted-nested", "hosted-task"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--collect-often", action="store_true", help="have the garbage collector come in the middle of everything")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    before = gc.get_threshold()
    if item.config.getoption("--collect-often"):
        # All generations each time: what nothing but a cycle holds is gone at once.
        gc.set_threshold(OFTEN, 1, 1)
    try:
        return (yield)
    finally:
        gc.set_threshold(*before)


@pytest.fixture
def cheap_collections() -> None:
    """Have `gc.collect()` look only at what this test makes, not at every module, nor at what pytest keeps of each test before.

    Measured, one collection after 2,500 tests: 65 ms without this for each of them, and it grows on.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture
def clean(cheap_collections: None) -> Iterator[Records]:
    """Nothing hangs and nothing is left. The value is the asyncio log, for tests that expect something in it."""
    log = Records()
    with hang_guard(), nothing_left_behind(log):
        yield log


@pytest.fixture(params=["asyncio", *DRIVEN, *HOSTED])
def run(request: pytest.FixtureRequest, clean: Records) -> Run:
    """Runs an asyncio-flavoured function on each kind of loop."""
    return Run(request.param, clean)


@pytest.fixture(params=DRIVEN + HOSTED)
def our_run(request: pytest.FixtureRequest, clean: Records) -> Run:
    """`run` for what only our loop can do."""
    return Run(request.param, clean)


@pytest.fixture(params=["asyncio", *DRIVEN])
def sync_run(request: pytest.FixtureRequest, clean: Records) -> Run:
    """`run` for loops that synchronous code drives."""
    return Run(request.param, clean)


@pytest.fixture(params=HOSTED)
def hosted_run(request: pytest.FixtureRequest, clean: Records) -> Run:
    """`run` for loops inside of trio."""
    return Run(request.param, clean)


@pytest.fixture(params=HOSTED)
def virtual_run(request: pytest.FixtureRequest, clean: Records) -> VirtualRun:
    """`hosted_run` in virtual time: a timer that nothing else is waiting for fires at once."""
    return VirtualRun(request.param, clean)
