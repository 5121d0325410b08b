"""The results of a run, as a file: `conftest.py` writes it, `table.py` makes the compatibility table from it."""

from __future__ import annotations

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

    def write(self) -> None:
        """Make the file of this Python version."""
        if self._passed:
            FOLDER.mkdir(exist_ok=True)
            run = {"python": platform.python_version(), "versions": _versions(), "results": self.all()}
            (FOLDER / PATTERN.format(platform.python_version())).write_text(json.dumps(run, indent=1))


def _versions() -> dict[str, str]:
    names = {"trio", *(name for names in LIBRARIES.values() for name in names)}
    return {name: importlib.metadata.version(name) for name in sorted(names)}


class RunOfTests(NamedTuple):
    """Such a file."""

    python: str
    versions: dict[str, str]
    results: list[Result]


def read(path: Path) -> RunOfTests:
    run = json.loads(path.read_text())
    return RunOfTests(run["python"], run["versions"], [Result(*result) for result in run["results"]])
