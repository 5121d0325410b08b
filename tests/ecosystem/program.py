"""A program that uses every library: the first test of each file, in one process. `test_program.py` runs it, and looks at how it ends.

Its arguments: the kind of loop, the URLs of PostgreSQL and Redis, and an empty folder.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.support import Records, Run

from .results import LIBRARIES


def main(kind: str, postgres: str, redis: str, folder: str) -> None:
    for file in LIBRARIES:
        module = importlib.import_module(f"{__package__}.{file}")
        test = next(value for name, value in vars(module).items() if name.startswith("test_"))
        own = Path(folder, file)
        own.mkdir()
        fixtures: dict[str, Any] = {
            "on_loop": Run(kind, Records()),
            "postgres": SimpleNamespace(url=postgres),
            "redis": SimpleNamespace(url=redis),
            "tmp_path": own,
        }
        test(**{name: fixtures[name] for name in inspect.signature(test).parameters})
        print(file, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
