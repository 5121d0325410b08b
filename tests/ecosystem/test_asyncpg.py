"""asyncpg against PostgreSQL: a pool, transactions, cursors, COPY, LISTEN, cancelled queries, a crash of the server."""

from __future__ import annotations

import asyncio
import io

import asyncpg
import pytest
import trio

from tests.support import Run
from trio_asyncio_compat import flavour_free_task_factory

from .servers import Postgres
from .support import MANY, at_once, cut_off, on_our_loop


def test_many_transactions_at_once_each_with_its_connection(on_loop: Run, postgres: Postgres) -> None:
    async def main() -> None:
        async with asyncpg.create_pool(postgres.url, min_size=MANY, max_size=MANY) as pool:
            await pool.execute("DROP TABLE IF EXISTS many; CREATE TABLE many (n int)")
            together = asyncio.Barrier(MANY)

            async def transact(number: int) -> int:
                async with pool.acquire() as connection, connection.transaction():
                    await connection.execute("INSERT INTO many VALUES ($1)", number)
                    await together.wait()
                    seen: int = await connection.fetchval("SELECT count(*) FROM many")
                    await together.wait()
                    return seen

            assert await at_once(transact) == [1] * MANY
            assert await pool.fetchval("SELECT sum(n) FROM many") == sum(range(MANY))

    on_loop(main)


def test_cursors_and_copies(on_loop: Run, postgres: Postgres) -> None:
    async def main() -> None:
        async with asyncpg.create_pool(postgres.url, min_size=1, max_size=MANY) as pool:

            async def copy(number: int) -> int:
                async with pool.acquire() as connection:
                    await connection.execute("CREATE TEMPORARY TABLE numbers (n int)")
                    await connection.copy_records_to_table("numbers", records=[(n,) for n in range(1000 * number)])
                    out = io.BytesIO()
                    await connection.copy_from_table("numbers", output=out)
                    async with connection.transaction():
                        rows = [row["n"] async for row in connection.cursor("SELECT n FROM numbers ORDER BY n")]
                    await connection.execute("DROP TABLE numbers")
                    assert rows == [int(line) for line in out.getvalue().split()]
                    return len(rows)

            assert await at_once(copy) == [1000 * number for number in range(MANY)]

    on_loop(main)


def test_notifications(on_loop: Run, postgres: Postgres) -> None:
    async def main() -> None:
        listener, speaker = await asyncpg.connect(postgres.url), await asyncpg.connect(postgres.url)
        heard: asyncio.Queue[str] = asyncio.Queue()
        await listener.add_listener("news", lambda connection, pid, channel, payload: heard.put_nowait(payload))
        for number in range(MANY):
            await speaker.execute("SELECT pg_notify('news', $1)", str(number))
        assert [await heard.get() for _ in range(MANY)] == [str(number) for number in range(MANY)]
        await listener.close()
        await speaker.close()

    on_loop(main)


def test_cut_off_queries_end_on_the_server_and_their_connections_stay_good(on_loop: Run, postgres: Postgres) -> None:
    async def main() -> None:
        async with asyncpg.create_pool(postgres.url, min_size=MANY, max_size=MANY) as pool:

            async def sleeping(number: int) -> int:
                async with pool.acquire() as connection:
                    await cut_off(lambda: connection.execute("SELECT pg_sleep(3600)"))
                    same: int = await connection.fetchval("SELECT $1::int", number)
                    return same

            assert await at_once(sleeping) == list(range(MANY))
            assert await pool.fetchval("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'") == 0

    on_loop(main)


def test_server_crashes_under_queries_and_comes_back(on_loop: Run, postgres: Postgres) -> None:
    async def main() -> None:
        async with asyncpg.create_pool(postgres.url, min_size=MANY, max_size=MANY) as pool:
            begun = asyncio.Barrier(MANY + 1)

            async def sleeping(number: int) -> None:
                async with pool.acquire() as connection:
                    query = asyncio.ensure_future(connection.execute("SELECT pg_sleep(3600)"))
                    await begun.wait()
                    with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.CrashShutdownError)):
                        await query

            async with asyncio.TaskGroup() as group:
                group.create_task(at_once(sleeping))
                await begun.wait()
                await asyncio.to_thread(postgres.crash)
            await asyncio.to_thread(postgres.start)
            assert await at_once(lambda number: pool.fetchval("SELECT $1::int", number)) == list(range(MANY))

    on_loop(main)


def test_called_directly_by_flavour_free_code(on_loop: Run, postgres: Postgres) -> None:
    async def both() -> None:
        connection = await asyncpg.connect(postgres.url)
        assert await connection.fetchval("SELECT 1") == 1
        with trio.move_on_after(0.1) as scope:
            await connection.execute("SELECT pg_sleep(60)")
        assert scope.cancelled_caught
        await trio.sleep(0.01)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await connection.execute("SELECT pg_sleep(60)")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 0.01)
            async with connection.transaction():
                assert [row["n"] async for row in connection.cursor("SELECT generate_series(1, 3) AS n")] == [1, 2, 3]
        await connection.close()

    async def main() -> None:
        if not on_our_loop():
            return
        asyncio.get_running_loop().set_task_factory(flavour_free_task_factory)
        await asyncio.gather(*(both() for _ in range(4)))

    on_loop(main)
