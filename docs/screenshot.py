"""Draws docs/tasktree.svg: the coloured task tree of a program that does a little of everything. `python docs/screenshot.py [FILE]`."""

from __future__ import annotations

import asyncio
import html
import re
import sys
import time
from pathlib import Path

import trio

from trio_asyncio_compat import aio_as_trio, run, trio_as_aio
from trio_asyncio_compat.tasktree import format_task_tree

lock = trio.Lock()


async def write_log() -> None:
    async with lock:
        pass


async def crawl() -> None:
    async with asyncio.TaskGroup() as group:
        for _ in range(25):
            group.create_task(asyncio.sleep(30))
        group.create_task(asyncio.to_thread(time.sleep, 1))
        group.create_task(trio_as_aio(write_log)(), name="logger")


async def worker() -> None:
    with trio.move_on_after(20):
        await aio_as_trio(crawl)()


async def main() -> str:
    async with trio.open_nursery() as nursery, lock:
        nursery.start_soon(worker)
        await trio.sleep(0.2)
        text = format_task_tree(color=True)
        nursery.cancel_scope.cancel()
    return text


STYLES = {
    "1": "font-weight:bold",
    "2": "fill:#8b949e",
    "32": "fill:#56d364",
    "35": "fill:#d2a8ff",
    "36": "fill:#56d4dd",
    "1;31": "fill:#ff7b72;font-weight:bold",
    "1;33": "fill:#e3b341;font-weight:bold",
    "1;34": "fill:#79c0ff;font-weight:bold",
}


def as_svg(text: str) -> str:
    """The lines of a terminal as a picture."""
    lines = text.splitlines()
    columns = max(len(re.sub(r"\033\[[\d;]*m", "", line)) for line in lines)
    rules = "".join(f".s{code.replace(';', '-')}{{{style}}}" for code, style in STYLES.items())
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{columns * 8 + 32}" height="{len(lines) * 18 + 32}">',
        f"<style>text{{font:13px monospace;fill:#e6edf3;white-space:pre}}{rules}</style>",
        '<rect width="100%" height="100%" rx="8" fill="#0d1117"/>',
    ]
    for number, line in enumerate(lines):
        spans = [
            f'<tspan class="s{code.replace(";", "-")}">{html.escape(inside)}</tspan>' if code else html.escape(outside)
            for code, inside, outside in re.findall(r"\033\[([\d;]+)m(.*?)\033\[0m|([^\033]+)", line)
        ]
        parts.append(f'<text x="16" y="{number * 18 + 28}" xml:space="preserve">{"".join(spans)}</text>')
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("tasktree.svg")
    target.write_text(as_svg(run(main)), encoding="utf-8")
