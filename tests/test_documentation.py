"""Every code block of README and docs is run, but for one page's, which need more libraries than the package's tests. Links lead
somewhere, as they are read on GitHub; what Sphinx makes of the pages, `make docs` checks. The reference has every public name."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import trio_asyncio_compat
from trio_asyncio_compat import pytest_plugin, tasktree

from .support import complaints

ROOT = Path(__file__).resolve().parents[1]
# What is on this page needs the extra `ecosystem`; tests/ecosystem/test_servers_and_tools.py runs it.
ELSEWHERE = {ROOT / "docs" / "servers_and_tools.md"}
TOP = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"]
PAGES = [*TOP, *sorted({*(ROOT / "docs").rglob("*.md")} - ELSEWHERE), ROOT / "benchmarks" / "README.md"]
REFERENCE = ROOT / "docs" / "reference"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]+))?\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def blocks(language: str) -> list[object]:
    """The code blocks in `language`, each with its page and number as the test's name."""
    return [
        pytest.param(match[2], id=f"{page.relative_to(ROOT)}-{number}")
        for page in PAGES
        for number, match in enumerate(BLOCK.finditer(page.read_text()))
        if match[1] == language
    ]


def test_every_block_ends() -> None:
    assert [page for page in [*PAGES, *ELSEWHERE] if re.search(r"^ *```", BLOCK.sub("", page.read_text()), re.MULTILINE)] == []


def test_blocks_are_of_known_kinds() -> None:
    kinds = {match[1] for page in PAGES for match in BLOCK.finditer(page.read_text())}
    assert kinds <= {"python", "console", "text"}


@pytest.mark.parametrize("code", blocks("python"))
def test_python_block_runs_without_a_warning(code: str, tmp_path: Path) -> None:
    (tmp_path / "block.py").write_text(code)
    command = [sys.executable, "-X", "dev", "-W", "error", "block.py"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (result.returncode, complaints(result.stderr)) == (0, [])
    assert result.stdout or "print" not in code


@pytest.mark.parametrize("text", blocks("console"))
def test_console_block_names_commands_that_exist(text: str) -> None:
    for line in text.splitlines():
        assert line.startswith("$ "), line
        words = line[2:].split()
        if words[0] == "make":
            # What a target runs is run elsewhere: `demo` by test_examples, `test` is this.
            listed = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True, timeout=60)
            assert listed.returncode == 0, listed.stderr
        else:
            assert words[:2] == ["python", "-m"], line
            shown = subprocess.run([sys.executable, "-m", words[2], "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60)
            assert shown.returncode == 0, shown.stderr
            for option in (word for word in words[3:] if word.startswith("--")):
                assert option in shown.stdout, f"{option} is no option of {words[2]}"


def anchors(page: Path) -> set[str]:
    """GitHub's names for the headings of a page."""
    headings = HEADING.findall(BLOCK.sub("", page.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, *ELSEWHERE], ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    for target, anchor in LINK.findall(BLOCK.sub("", page.read_text())):
        file = (page.parent / target).resolve() if target else page
        assert file.is_file(), target
        assert not anchor or anchor in anchors(file), f"{target}#{anchor}"


def test_reference_has_every_public_name() -> None:
    reference = "".join(page.read_text() for page in REFERENCE.glob("*.rst"))
    names = [*trio_asyncio_compat.__all__, *tasktree.__all__, pytest_plugin.MARK, pytest_plugin.INI, pytest_plugin.OPTION, "aio_loop"]
    assert [name for name in names if not re.search(rf"(?<!\w){name}(?!\w)", reference)] == []


def test_reference_has_every_option_of_the_command() -> None:
    command = [sys.executable, "-m", "trio_asyncio_compat", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    options = {*re.findall(r"(--[a-z-]+)", shown)} - {"--help"}
    assert {*re.findall(r"^\.\. option:: (--[a-z-]+)", (REFERENCE / "command.rst").read_text(), re.MULTILINE)} == options
