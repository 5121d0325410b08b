"""The results of a run, as a file: `conftest.py` writes it, `table.py` makes the compatibility table from it."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import platform
from pathlib import Path
from typing import NamedTuple

from .support import ROOT

# The distributions that each file tests; none: what is tested is part of Python.
LIBRARIES: dict[str, tuple[str, ...]] = {
    "test_aiohttp": ("aiohttp",),
    "test_aiosqlite": ("aiosqlite",),
    "test_anyio": ("anyio",),
    "test_asyncpg": ("asyncpg",),
    "test_asyncssh": ("asyncssh",),
    "test_distributed": ("distributed",),
    "test_grpc": ("grpcio",),
    "test_httpx": ("httpx",),
    "test_prompt_toolkit": ("prompt_toolkit",),
    "test_redis": ("redis",),
    "test_sqlalchemy": ("SQLAlchemy",),
    "test_subprocesses": (),
    "test_uvicorn": ("uvicorn", "fastapi"),
    "test_websockets": ("websockets",),
    "test_zmq": ("pyzmq",),
}
FOLDER = ROOT / "build"
PATTERN = "ecosystem-{}.json"


class Result(NamedTuple):
    """What became of one test, hosted or driven."""

    file: str
    test: str
    kind: str
    passed: bool


class Results:
    """What became of the tests of a session."""

    def __init__(self) -> None:
        self._passed: dict[tuple[str, str, str], bool] = {}

    def add(self, file: str, test: str, passed: bool) -> None:
        """A phase of a test; all of them must have passed. `test` is pytest's name for it, with the kind of loop in brackets."""
        if file not in LIBRARIES:
            return
        name, _, kind = test.rstrip("]").partition("[")
        key = (file, name, kind)
        self._passed[key] = passed and self._passed.get(key, True)

    def all(self) -> list[Result]:
        return [Result(*key, passed) for key, passed in self._passed.items()]

    def write(self, folder: Path = FOLDER) -> None:
        """Make the file of this Python version; what it says of tests that have not run now, with the same versions, stays."""
        if not self._passed:
            return
        path = folder / PATTERN.format(platform.python_version())
        versions = _versions()
        if path.exists():
            before = read(path)
            for result in before.results:
                names = ("trio", *LIBRARIES.get(result.file, ()))
                if all(before.versions.get(name) == versions.get(name) for name in names):
                    self._passed.setdefault(result[:3], result.passed)
        folder.mkdir(exist_ok=True)
        run = {"python": platform.python_version(), "versions": versions, "results": self.all()}
        path.write_text(json.dumps(run, indent=1))


def _versions() -> dict[str, str]:
    """Of what is installed."""
    versions = {}
    for name in sorted({"trio", *(name for names in LIBRARIES.values() for name in names)}):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


class RunOfTests(NamedTuple):
    """Such a file."""

    python: str
    versions: dict[str, str]
    results: list[Result]


def read(path: Path) -> RunOfTests:
    run = json.loads(path.read_text())
    return RunOfTests(run["python"], run["versions"], [Result(*result) for result in run["results"]])
