"""asyncpg, a driver for PostgreSQL that is asyncio's, used by trio code.

    python examples/asyncpg_from_trio.py postgresql://user@host/database

One class knows that the driver is asyncio's. The rest of the program is trio's: its nurseries make transactions at the same time, and its
scopes cut off a query, which the server then stops.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import trio

from trio_asyncio_compat import aio_as_trio, open_loop


class Connection:
    """A connection of asyncpg's, for trio code."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self.execute = aio_as_trio(connection.execute)
        self.fetchval = aio_as_trio(connection.fetchval)

    def transaction(self) -> Any:
        return aio_as_trio(self._connection.transaction())


class Database:
    """A pool of asyncpg's, for trio code."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str) -> AsyncIterator[Database]:
        async with aio_as_trio(asyncpg.create_pool(url, min_size=1, max_size=5)) as pool:
            yield cls(pool)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Connection]:
        async with aio_as_trio(self._pool.acquire()) as connection:
            yield Connection(connection)


async def deposit(database: Database, amount: int) -> None:
    async with database.connect() as connection, connection.transaction():
        await connection.execute("UPDATE account SET balance = balance + $1", amount)


async def main(url: str) -> None:
    async with open_loop(), Database.open(url) as database, database.connect() as connection:
        await connection.execute("DROP TABLE IF EXISTS account")
        await connection.execute("CREATE TABLE account (balance integer NOT NULL CHECK (balance >= 0))")
        await connection.execute("INSERT INTO account VALUES (0)")

        async with trio.open_nursery() as nursery:
            for amount in range(1, 21):
                nursery.start_soon(deposit, database, amount)
        print("twenty deposits at once:", await connection.fetchval("SELECT balance FROM account"))

        try:
            await deposit(database, -1000)
        except asyncpg.CheckViolationError:
            print("an overdraft is refused, and its transaction rolled back:", await connection.fetchval("SELECT balance FROM account"))

        with trio.move_on_after(0.1) as scope:
            await connection.execute("SELECT pg_sleep(3600)")
        print("a slow query was cut off by a scope:", scope.cancelled_caught)
        print("its connection is still good:", await connection.fetchval("SELECT 1 + 1"))
        await connection.execute("DROP TABLE account")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: asyncpg_from_trio.py postgresql://user@host/database")
    trio.run(main, sys.argv[1])
