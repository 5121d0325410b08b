"""pytest's plugin: flavour-free tests on top of pytest-trio, and whole asyncio suites on trio. pytest loads it; nothing here imports it.

It has no effect unless it is asked for: by the fixture `aio_loop`, by the mark or the ini option for flavour-free tests (these three
need pytest-trio), by `--asyncio-on-trio`, or by a timeout. See docs/testing.md.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import os
import sys
import threading
import unittest
from typing import TYPE_CHECKING, Any

import pytest
import trio

from ._lifetime import open_loop
from ._loop import TrioEventLoop
from ._policy import installed
from ._stdlib import get_running_loop
from ._test_timeout import Watch, fail_with_tree_after
from .border.flavour_free import allow_asyncio

if TYPE_CHECKING:
    import types
    from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator

# Its frames are of no interest in a traceback.
__tracebackhide__ = True

MARK = "flavour_free"
INI = "flavour_free_tests"
OPTION = "--asyncio-on-trio"
TIMEOUT = "tasktree_timeout"
TIMEOUT_OPTION = "--tasktree-timeout"


def pytest_addoption(parser: pytest.Parser) -> None:
    """pytest's hook."""
    group = parser.getgroup("trio_asyncio_compat")
    group.addoption(OPTION, action="store_true", help="run asyncio's tests on event loops whose scheduler is trio")
    help_on_timeout = "fail a test whose loop is ours with the tree of all tasks, when it has taken so many seconds"
    group.addoption(TIMEOUT_OPTION, metavar="SECONDS", help=help_on_timeout)
    parser.addini(TIMEOUT, help_on_timeout)
    parser.addini(INI, f"treat every async test of pytest-trio as if it were marked {MARK}", type="bool", default=False)


# First: other plugins may make a loop when they are configured.
@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """pytest's hook."""
    description = "run an async test, and its async fixtures, by pytest-trio in an open asyncio loop; it may await both libraries"
    config.addinivalue_line("markers", f"{MARK}: {description}")
    config.addinivalue_line("markers", f"{TIMEOUT}(seconds): {TIMEOUT_OPTION} for one test; None for no timeout")
    config.pluginmanager.register(_Timeout(config))
    if config.getoption(OPTION):
        on_trio = _AsyncioOnTrio()
        config.pluginmanager.register(on_trio)
        config.add_cleanup(on_trio.stop)


# Asyncio's tests on trio


class _AsyncioOnTrio:
    """From when it is made until it is stopped, asyncio's default loops run on trio.

    It counts them, since a suite that chooses its loops by itself does not notice it at all.
    """

    def __init__(self) -> None:
        self._made = 0
        self._policy = contextlib.ExitStack()
        self._policy.enter_context(installed(self._new_loop))

    def stop(self) -> None:
        self._policy.close()

    def _new_loop(self) -> TrioEventLoop:
        self._made += 1
        return TrioEventLoop()

    def pytest_report_header(self) -> str:
        return "asyncio: on trio, by trio_asyncio_compat"

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
        # pytest-xdist makes the loops in other processes.
        if not config.pluginmanager.hasplugin("dsession"):
            terminalreporter.write_line(f"asyncio on trio: {self._made} event loop{'s' * (self._made != 1)} made", bold=True)


# The timeout


class _Timeout:
    """Fails tests that take too long."""

    def __init__(self, config: pytest.Config) -> None:
        self._for_all = config.getoption(TIMEOUT_OPTION) or config.getini(TIMEOUT) or None
        if self._for_all is not None:
            _seconds(self._for_all)
        # pytest captures the other one.
        self._stderr = os.dup(sys.__stderr__.fileno() if sys.__stderr__ is not None else 2)
        config.add_cleanup(functools.partial(os.close, self._stderr))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, None, None]:
        return (yield from self._limited(item))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, None, None]:
        return (yield from self._limited(item, made_sure=True))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, None, None]:
        return (yield from self._limited(item))

    def _limited(self, item: pytest.Item, *, made_sure: bool = False) -> Generator[None, None, None]:
        """A phase of a test: fixtures may hang, too."""
        mark = item.get_closest_marker(TIMEOUT)
        limit = self._for_all if mark is None else _limit_of(mark)
        if limit is None:
            return (yield)
        with (
            fail_with_tree_after(_seconds(limit), item.nodeid, _codes_of(item), self._stderr) as watch,
            _made_sure(item, watch) if made_sure else contextlib.nullcontext(),
        ):
            return (yield)


@contextlib.contextmanager
def _made_sure(item: pytest.Item, watch: Watch) -> Iterator[None]:
    """Have the test's function raise the error itself where a task that is not the test's alone runs it: anyio's goes on with other tests,
    unittest's keeps what the test raises."""
    place: Any = None
    if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
        if item.cls is not None and issubclass(item.cls, unittest.IsolatedAsyncioTestCase):
            place, name = item.instance, item.name
        elif item.get_closest_marker("anyio") is not None:
            place, name = item, "obj"
    if place is None:
        yield
        return
    function = getattr(place, name)
    setattr(place, name, watch.made_sure(function))
    try:
        yield
    finally:
        setattr(place, name, function)


def _codes_of(item: pytest.Item) -> set[types.CodeType]:
    """Of the test's function and its fixtures', whatever other plugins have wrapped around them."""
    functions: list[Any] = []
    if isinstance(item, pytest.Function):
        functions.append(getattr(*_place_of_body(item)))
        functions += [definition.func for name in item.fixturenames for definition in item._fixtureinfo.name2fixturedefs.get(name, ())]
    codes = (getattr(inspect.unwrap(function), "__code__", None) for function in functions)
    return {code for code in codes if code is not None}


def _limit_of(mark: pytest.Mark) -> Any:
    if len(mark.args) == 1 and not mark.kwargs:
        return mark.args[0]
    if not mark.args and list(mark.kwargs) == ["seconds"]:
        return mark.kwargs["seconds"]
    raise pytest.UsageError(f"the mark {TIMEOUT} takes one argument: @pytest.mark.{TIMEOUT}(SECONDS)")


def _seconds(limit: Any) -> float:
    try:
        seconds = float(limit)
    except (TypeError, ValueError):
        seconds = 0.0
    if not 0 < seconds <= threading.TIMEOUT_MAX:
        raise pytest.UsageError(f"{TIMEOUT} must be a positive number of seconds, not {limit!r}")
    return seconds


# Tests of pytest-trio


@pytest.fixture
async def aio_loop() -> AsyncIterator[TrioEventLoop]:
    """An asyncio loop that is open in a test of pytest-trio, and in the fixtures that ask for this one.

    The test stays trio-flavoured: it calls asyncio by `aio_as_trio`. In a flavour-free test it is the loop that is open anyway.
    """
    async with _open_loop() as loop:
        yield loop


@contextlib.asynccontextmanager
async def _open_loop() -> AsyncIterator[TrioEventLoop]:
    """The loop that is open already, or else a new one."""
    loop = get_running_loop()
    if isinstance(loop, TrioEventLoop):
        yield loop
    else:
        async with open_loop() as loop:
            yield loop


_flavour_free = pytest.StashKey[bool]()


# Last: pytest-trio marks all async tests here, if it is told to.
@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """pytest's hook: find the flavour-free tests."""
    for item in items:
        asked = item.get_closest_marker(MARK) or (config.getini(INI) and item.get_closest_marker("trio"))
        # A mark of a class or a module is on its synchronous tests as well.
        if not (asked and isinstance(item, pytest.Function) and inspect.iscoroutinefunction(getattr(*_place_of_body(item)))):
            continue
        if not config.pluginmanager.hasplugin("trio"):
            raise pytest.UsageError(f"{item.nodeid} is marked {MARK}, and pytest-trio, which would run it, is not there")
        item.stash[_flavour_free] = True
        run = functools.partial(_run_in_loop, _runner_of(item))
        # In front: of several marks pytest-trio takes the first.
        item.add_marker(pytest.mark.trio(run=run), append=False)


def _place_of_body(item: pytest.Function) -> tuple[Any, str]:
    """The object, and the name of its attribute, where pytest-trio looks for the test's function."""
    hypothesis = getattr(item.obj, "hypothesis", None)
    return (item, "obj") if hypothesis is None else (hypothesis, "inner_test")


def _runner_of(item: pytest.Function) -> Callable[..., Any]:
    """How pytest-trio would run the test."""
    marked = [mark.kwargs["run"] for mark in item.iter_markers("trio") if mark.kwargs.get("run") is not None]
    # The option names a library that has a `run` as trio has.
    run: Callable[..., Any] = marked[0] if marked else importlib.import_module(item.config.getini("trio_run")).run
    return run


def _run_in_loop(run: Callable[..., Any], fn: Callable[[], Awaitable[object]], **options: Any) -> Any:
    """Run a test, for which `fn` also makes and ends its fixtures, as tasks under an open loop."""

    async def main() -> None:
        async with open_loop():
            await fn()

    return run(main, **options)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """pytest's hook: what pytest-trio is going to call is the test's function made flavour-free."""
    if _flavour_free not in item.stash or not isinstance(item, pytest.Function):
        return (yield)
    place, name = _place_of_body(item)
    body = getattr(place, name)

    @functools.wraps(body)
    async def test(**arguments: Any) -> None:
        # A test of Hypothesis is run by trio.run, whatever the mark says.
        async with _open_loop():
            await allow_asyncio(functools.partial(body, **arguments))

    setattr(place, name, test)
    try:
        return (yield)
    finally:
        # It may be run again.
        setattr(place, name, body)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> Generator[None, Any, Any]:
    """pytest's hook: likewise for the async fixtures of a flavour-free test."""
    func: Any = fixturedef.func
    # Under Hypothesis the loop is open in the test's function only.
    if _flavour_free not in request.node.stash or hasattr(request.node.obj, "hypothesis"):
        return (yield)
    if inspect.iscoroutinefunction(func):
        fixturedef.func = _coroutine_fixture(func)  # type: ignore[misc]
    elif inspect.isasyncgenfunction(func):
        fixturedef.func = _generator_fixture(func)  # type: ignore[misc]
    try:
        return (yield)
    finally:
        fixturedef.func = func  # type: ignore[misc]


def _coroutine_fixture(func: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def fixture(**arguments: Any) -> Any:
        return await allow_asyncio(functools.partial(func, **arguments))

    return fixture


def _generator_fixture(func: Callable[..., AsyncIterator[Any]]) -> Callable[..., AsyncIterator[Any]]:
    """`func` as one flavour-free task from beginning to end: what it has entered when it yields (`asyncio.timeout`, a scope) belongs
    to a task."""

    async def fixture(**arguments: Any) -> AsyncIterator[Any]:
        over = trio.Event()
        # pytest-trio has the test and its fixtures share one context.
        context = trio.lowlevel.current_task().context

        async def body(task_status: trio.TaskStatus[Any]) -> None:
            async with contextlib.asynccontextmanager(func)(**arguments) as value:
                task_status.started(value)
                await over.wait()

        async def task(task_status: trio.TaskStatus[Any]) -> None:
            trio.lowlevel.current_task().context = context
            # It is in effect from the next step on.
            await trio.lowlevel.cancel_shielded_checkpoint()
            await allow_asyncio(body, task_status)

        async with trio.open_nursery() as nursery:
            yield await nursery.start(task)
            over.set()

    return fixture
