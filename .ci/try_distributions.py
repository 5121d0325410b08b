"""Builds the sdist, and out of that the wheel, into dist/; installs each in a new environment and tries it there.

Run by `make dist`, with a Python that has `build`. Of the wheel the package and both commands are tried; of the sdist that everything is
in it, its types, the pytest plugin, an example, and some of its tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"

PROGRAM = """
import asyncio
import importlib.metadata

import trio
import trio_asyncio_compat

async def main():
    await trio_asyncio_compat.trio_as_aio(trio.sleep)(0)
    print(type(asyncio.get_running_loop()).__name__)

if __name__ == "__main__":
    asyncio.run(main())
    data = importlib.metadata.metadata("trio-asyncio-compat")
    assert data["License-Expression"] == "MIT OR Apache-2.0", data["License-Expression"]
    assert sorted(data.get_all("License-File")) == ["LICENSE", "LICENSE.APACHE2", "LICENSE.MIT"]
    assert data["Description-Content-Type"] == "text/markdown"
"""
TYPED = """
from typing import assert_type

from trio_asyncio_compat import aio_as_trio

async def f(x: int) -> str:
    return str(x)

async def g() -> None:
    assert_type(await aio_as_trio(f)(1), str)
"""
TEST = """
import asyncio, pytest, trio

@pytest.mark.flavour_free
async def test_both():
    await trio.sleep(0)
    await asyncio.sleep(0)
"""
# What the sdist has besides the package. A file of each.
IN_SDIST = [
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "LICENSE.APACHE2",
    "LICENSE.MIT",
    "Makefile",
    "README.md",
    "benchmarks/load.c",
    "docs/conf.py",
    "docs/border.md",
    "docs/tasktree.svg",
    "docs/reference/border.rst",
    "examples/mixed_functions.py",
    "examples/bugs/forgotten_await.py",
    "tests/conftest.py",
    "tests/ecosystem/install_servers",
    "tox.ini",
]


def run(*command: str | Path, folder: Path) -> str:
    """What the command prints; it must succeed, and say nothing on stderr."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    result = subprocess.run([os.fspath(word) for word in command], cwd=folder, env=environment, capture_output=True, text=True)
    if result.returncode != 0 or result.stderr:
        raise SystemExit(f"{' '.join(map(str, command))}\nended with {result.returncode} and said\n{result.stdout}{result.stderr}")
    return result.stdout


def new_environment(folder: Path, *packages: str) -> Path:
    """The `bin` of a new virtual environment that has these packages."""
    run(sys.executable, "-m", "venv", folder, folder=folder.parent)
    # What pip says of an index that it cannot read, or of a newer pip, is not of the package.
    run(folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--quiet", *packages, folder=folder.parent)
    return folder / "bin"


def try_wheel(wheel: Path, folder: Path) -> None:
    """Alone, as `pip install` gets it: nothing but its own dependencies."""
    names = zipfile.ZipFile(wheel).namelist()
    assert "trio_asyncio_compat/py.typed" in names
    others = {name.split("/")[0] for name in names} - {"trio_asyncio_compat"}
    assert all(name.endswith(".dist-info") for name in others), others
    programs = new_environment(folder / "wheel", os.fspath(wheel))
    (folder / "app.py").write_text(PROGRAM)
    for command in ([programs / "python", "-m", "trio_asyncio_compat"], [programs / "trio-asyncio-compat"]):
        assert run(*command, "app.py", folder=folder) == "TrioEventLoop\n"


def try_sdist(sdist: Path, folder: Path) -> None:
    """Unpacked, installed from there with the tests' libraries: the plugin, the types, an example, and the tests that it has."""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    unpacked = folder / sdist.name.removesuffix(".tar.gz")
    missing = [name for name in IN_SDIST if not (unpacked / name).is_file()]
    assert not missing, missing
    programs = new_environment(folder / "sdist", f"{unpacked}[test]", "mypy")
    python = programs / "python"
    (folder / "typed.py").write_text(TYPED)
    assert "no issues found" in run(python, "-m", "mypy", "--strict", "typed.py", folder=folder)
    (folder / "test_both.py").write_text(TEST)
    assert "1 passed" in run(python, "-m", "pytest", "-q", "-p", "no:asyncio", "test_both.py", folder=folder)
    assert "is done" in run(python, unpacked / "examples" / "mixed_functions.py", folder=folder)
    assert " passed" in run(python, "-m", "pytest", "-q", "tests/test_scheduler.py", "tests/test_hosting.py", folder=unpacked)


def main() -> None:
    shutil.rmtree(DIST, ignore_errors=True)
    # The wheel is made of the sdist.
    subprocess.run([sys.executable, "-m", "build", "--outdir", DIST, ROOT], check=True, stdout=subprocess.DEVNULL)
    (sdist,), (wheel,) = DIST.glob("*.tar.gz"), DIST.glob("*.whl")
    with tempfile.TemporaryDirectory() as folder:
        try_wheel(wheel, Path(folder))
        try_sdist(sdist, Path(folder))
    print(f"{sdist.name} and {wheel.name} work")


if __name__ == "__main__":
    main()
