"""aiosqlite: a thread for each connection, which calls back into the loop."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiosqlite
import pytest

from tests.support import Run

from .support import MANY, at_once, be_a_peer, cut_off, peer

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"


@asynccontextmanager
async def locking_the_database() -> AsyncIterator[str]:
    """The peer: it has the lock of the database that its argument names."""
    async with aiosqlite.connect(sys.argv[1]) as connection:
        await connection.execute("BEGIN EXCLUSIVE")
        yield "locked"


async def create(path: Path) -> None:
    async with aiosqlite.connect(path) as connection:
        await connection.execute("CREATE TABLE numbers (n INTEGER)")
        await connection.commit()


def test_many_connections_write_and_read_at_once(on_loop: Run, tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "database"
        await create(path)

        async def write(number: int) -> int:
            async with aiosqlite.connect(path, timeout=30) as connection:
                await connection.executemany("INSERT INTO numbers VALUES (?)", [(number,)] * 100)
                await connection.commit()
                async with connection.execute("SELECT n FROM numbers WHERE n = ?", (number,)) as cursor:
                    return len([row async for row in cursor])

        assert await at_once(write) == [100] * MANY

    on_loop(main)


def test_cut_off_queries_end_and_their_connections_stay_good(on_loop: Run) -> None:
    async def main() -> None:
        async def searching(number: int) -> object:
            async with aiosqlite.connect(":memory:") as connection:
                enough = threading.Event()
                # Asked by SQLite in the connection's thread, now and then; interrupt() misses a query that has not begun.
                await connection.set_progress_handler(enough.is_set, 10_000)

                async def search() -> None:
                    try:
                        await connection.execute_fetchall(ENDLESS)
                    finally:
                        enough.set()
                        await connection.execute("SELECT 'the thread is free again'")
                        enough.clear()

                await cut_off(search)
                (row,) = await connection.execute_fetchall("SELECT ?", (number,))
                return row[0]

        assert await at_once(searching) == list(range(MANY))

    on_loop(main)


def test_holder_of_the_lock_dies(on_loop: Run, tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "database"
        await create(path)
        with peer(__name__, os.fspath(path)) as holder:
            assert holder.hello == "locked"
            refused = asyncio.Barrier(MANY)

            async def write(number: int) -> None:
                async with aiosqlite.connect(path, timeout=0) as connection:
                    with pytest.raises(sqlite3.OperationalError, match="locked"):
                        await connection.execute("INSERT INTO numbers VALUES (?)", (number,))
                    if await refused.wait() == 0:
                        holder.kill()
                    await refused.wait()
                    await connection.execute("PRAGMA busy_timeout = 30000")
                    await connection.execute("INSERT INTO numbers VALUES (?)", (number,))
                    await connection.commit()

            await at_once(write)
        async with aiosqlite.connect(path) as connection, connection.execute("SELECT n FROM numbers ORDER BY n") as cursor:
            assert [row[0] async for row in cursor] == list(range(MANY))

    on_loop(main)


if __name__ == "__main__":
    be_a_peer(locking_the_database)
