"""All of the libraries in one program, and how it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .results import LIBRARIES
from .servers import Postgres, Redis
from .support import ROOT


@pytest.mark.parametrize("kind", ["hosted-nested", "driven-nested"])
def test_program_that_uses_every_library_ends_without_a_word(kind: str, postgres: Postgres, redis: Redis, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-m", f"{__package__}.program", kind, postgres.url, redis.url, os.fspath(tmp_path)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert (result.returncode, result.stdout.split(), result.stderr) == (0, list(LIBRARIES), "")
