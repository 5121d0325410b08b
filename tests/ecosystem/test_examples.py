"""The programs in examples/ that need a server, or libraries of the extra `ecosystem`; tests/test_examples.py runs the others."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support import complaints

from .servers import Postgres
from .support import ROOT


def output_of(flags: list[str], name: str, *arguments: str) -> list[str]:
    """What the program prints; it must end well and leave stderr empty."""
    command = [sys.executable, *flags, str(ROOT / "examples" / name), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (result.returncode, complaints(result.stderr)) == (0, [])
    return result.stdout.splitlines()


@pytest.fixture(params=[[], ["-X", "dev", "-W", "error"]], ids=["plain", "dev"])
def flags(request: pytest.FixtureRequest) -> list[str]:
    found: list[str] = request.param
    return found


def test_fastapi_next_to_trio(flags: list[str]) -> None:
    assert output_of(flags, "serve_fastapi_next_to_trio.py") == [
        "the app starts",
        "it is at least 20 degrees: True",
        "it got warmer than 30: True",
        "will it get warmer than 100000? False",
        "what follows: ['warmer', 'warmer', 'warmer']",
        "the app ends",
        "nothing is left",
    ]


def test_asyncpg_from_trio(flags: list[str], postgres: Postgres) -> None:
    assert output_of(flags, "asyncpg_from_trio.py", postgres.url) == [
        "twenty deposits at once: 210",
        "an overdraft is refused, and its transaction rolled back: 210",
        "a slow query was cut off by a scope: True",
        "its connection is still good: 2",
    ]


def test_asyncpg_from_trio_says_what_it_needs() -> None:
    command = [sys.executable, str(ROOT / "examples" / "asyncpg_from_trio.py")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stderr) == (1, "usage: asyncpg_from_trio.py postgresql://user@host/database\n")
