"""asyncio's own subprocesses, with heavy pipes in every direction."""

from __future__ import annotations

import asyncio
import hashlib
import signal
import sys
from asyncio.subprocess import PIPE

from tests.support import Run

from .support import MANY, at_once, cut_off

SIZE = 4_000_000
# Reads all the time while it writes the same to both of its outputs.
TEE = """
import sys
while data := sys.stdin.buffer.read1(65536):
    sys.stdout.buffer.write(data); sys.stderr.buffer.write(data)
"""


def test_many_processes_at_once_with_heavy_pipes(on_loop: Run) -> None:
    async def main() -> None:
        async def tee(number: int) -> None:
            data = bytes([number]) * SIZE
            process = await asyncio.create_subprocess_exec(sys.executable, "-S", "-c", TEE, stdin=PIPE, stdout=PIPE, stderr=PIPE)
            out, err = await process.communicate(data)
            assert (process.returncode, out, err) == (0, data, data)

        await at_once(tee)

    on_loop(main)


def test_slow_readers_hold_the_writers_back(on_loop: Run) -> None:
    async def main() -> None:
        async def read(number: int) -> str:
            process = await asyncio.create_subprocess_shell(f"head -c {SIZE} /dev/zero", stdout=PIPE, limit=1000)
            assert process.stdout is not None
            digest = hashlib.sha256()
            while data := await process.stdout.read(50_000):
                digest.update(data)
            assert await process.wait() == 0
            return digest.hexdigest()

        assert await at_once(read) == [hashlib.sha256(bytes(SIZE)).hexdigest()] * MANY

    on_loop(main)


def test_processes_that_are_cut_off_can_be_killed(on_loop: Run) -> None:
    async def main() -> None:
        async def hang() -> None:
            process = await asyncio.create_subprocess_exec("sleep", "3600", stdout=PIPE)
            try:
                await process.communicate()
            finally:
                process.kill()
                assert await process.wait() == -signal.SIGKILL

        await at_once(lambda number: cut_off(hang))

    on_loop(main)


def test_process_dies_while_it_is_written_to(on_loop: Run) -> None:
    async def main() -> None:
        async def write(number: int) -> None:
            process = await asyncio.create_subprocess_shell("head -c 100000 >/dev/null; kill -KILL $$", stdin=PIPE)
            assert process.stdin is not None
            try:
                while True:
                    process.stdin.write(bytes(100_000))
                    await process.stdin.drain()
            except (BrokenPipeError, ConnectionResetError):
                pass
            assert await process.wait() == -signal.SIGKILL

        await at_once(write)

    on_loop(main)
