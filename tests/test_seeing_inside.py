"""The bugs of docs/seeing_inside.md: each program is run, and shows what the page says it does."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BUGS = sorted((ROOT / "examples" / "bugs").glob("*.py"))
PAGE = (ROOT / "docs" / "seeing_inside.md").read_text()
# Of each machine, each run, each Python: addresses, times, numbers, lines of trio and of the standard library.
CHANGES = [
    (r"0x[0-9a-f]+", "0x..."),
    (r"((?:trio|asyncio)/\S+\.py):\d+", r"\1"),
    (r"(deadline|timer) (in )?[\d.]+ s( ago)?", r"\1 ..."),
    (r"#\d+", "#"),
    (r"(these wait for each other:).*", r"\1"),
    (r"\d+ turns?", "turns"),
]


def unchanging(text: str) -> str:
    for pattern, replacement in CHANGES:
        text = re.sub(pattern, replacement, text)
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def test_there_are_three_bugs() -> None:
    assert [path.stem for path in BUGS] == ["blocking_callback", "forgotten_await", "lock_across_the_border"]


@pytest.mark.parametrize("path", BUGS, ids=lambda path: path.stem)
def test_the_page_shows_what_the_program_prints(path: Path) -> None:
    command = [sys.executable, str(path.relative_to(ROOT))]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
    match = re.search(rf"\(\.\./examples/bugs/{path.name}\).*?```text\n(.*?)```", PAGE, re.DOTALL)
    assert match is not None
    assert unchanging(re.sub(r"\S*/examples/bugs/", "examples/bugs/", done.stdout)) == unchanging(match[1])


def test_the_screenshot_shows_the_coloured_tree(tmp_path: Path) -> None:
    target = tmp_path / "tasktree.svg"
    subprocess.run([sys.executable, str(ROOT / "docs" / "screenshot.py"), str(target)], cwd=ROOT, check=True, timeout=60)
    made, kept = (ET.parse(path).getroot() for path in (target, ROOT / "docs" / "tasktree.svg"))
    for svg in (made, kept):
        text = "".join(svg.itertext())
        assert "asyncio task" in text and "trio task" in text and "the lock is held by" in text
        assert len({span.get("class") for span in svg.iter("{http://www.w3.org/2000/svg}tspan")}) > 3
