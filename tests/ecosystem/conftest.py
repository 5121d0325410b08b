"""Fixtures of the tests of real libraries, and what is written down about their results.

They need the extra `ecosystem` and two servers, so they run only when this folder, or a file of it, is named on pytest's command line.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("tests.ecosystem.support")

from tests.support import Records, Run, hang_guard, nothing_left_behind  # noqa: E402, asserts are rewritten at import

from .results import Results  # noqa: E402
from .servers import Postgres, Redis, postgres_server, redis_server  # noqa: E402

HERE = Path(__file__).parent
_results = Results()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--stock-asyncio", action="store_true", help="run each test on asyncio's own loop too: whose fault is a failure?")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    named = [Path(config.invocation_params.dir, arg.split("::")[0]).resolve() for arg in config.args]
    return None if any(path.is_relative_to(HERE) for path in named) else True


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "on_loop" in metafunc.fixturenames:
        stock = ["asyncio"] if metafunc.config.getoption("--stock-asyncio") else []
        metafunc.parametrize("on_loop", ["hosted", "driven", *stock], indirect=True)


@pytest.fixture
def clean(cheap_collections: None) -> Iterator[Records]:
    """As for the other tests; but starting processes takes its time on a busy machine."""
    log = Records()
    with hang_guard(120), nothing_left_behind(log):
        yield log


@pytest.fixture
def on_loop(request: pytest.FixtureRequest, capfd: pytest.CaptureFixture[str], clean: Records) -> Iterator[Run]:
    """Runs a scenario hosted (trio calls it with `aio_as_trio`) or driven (`asyncio.Runner`). Nothing may be said on stderr."""
    yield Run(request.param if request.param == "asyncio" else f"{request.param}-nested", clean)
    assert capfd.readouterr().err == ""


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def redis() -> Iterator[Redis]:
    with redis_server() as server:
        yield server


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _results.add(Path(report.location[0]).stem, report.location[2], report.passed)


def pytest_sessionfinish(session: pytest.Session) -> None:
    _results.write()
