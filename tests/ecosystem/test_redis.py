"""redis-py's asyncio client against Redis: pipelines, publish and subscribe, blocking commands, a crash of the server."""

from __future__ import annotations

import asyncio

import pytest
import redis.asyncio
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.support import Run

from .servers import Redis, redis_server
from .support import MANY, at_once, cut_off


def test_many_pipelines_at_once(on_loop: Run, redis: Redis) -> None:
    async def main() -> None:
        async with client_of(redis) as client:
            await client.flushall()

            async def count(number: int) -> list[int]:
                async with client.pipeline(transaction=number % 3 == 0) as pipeline:
                    for _ in range(100):
                        pipeline.incr(f"counter {number}")
                        pipeline.incr("all")
                    return list((await pipeline.execute())[::2])

            assert await at_once(count) == [list(range(1, 101))] * MANY
            assert int(await client.get("all")) == 100 * MANY

    on_loop(main)


def test_publish_and_subscribe(on_loop: Run, redis: Redis) -> None:
    async def main() -> None:
        async with client_of(redis) as client:
            subscribed = asyncio.Barrier(MANY)

            async def talk(number: int) -> list[int]:
                async with client.pubsub(ignore_subscribe_messages=True) as channel:
                    await channel.subscribe("talk")
                    # Confirmed by the server before anybody speaks.
                    assert await channel.get_message(timeout=10) is None
                    await subscribed.wait()
                    await client.publish("talk", number)
                    heard: list[int] = []
                    while len(heard) < MANY:
                        message = await channel.get_message(timeout=10)
                        assert message is not None
                        heard.append(int(message["data"]))
                    return heard

            everything = await at_once(talk)
            assert sorted(everything[0]) == list(range(MANY))
            assert everything == [everything[0]] * MANY

    on_loop(main)


def test_cut_off_commands_leave_a_pool_that_works(on_loop: Run, redis: Redis) -> None:
    async def main() -> None:
        async with client_of(redis) as client:

            async def waiting(number: int) -> bytes:
                # redis-py loses a cancellation that comes while it connects (on asyncio's loop too), and it connects anew after each.
                async with client.client() as first, client.client() as second, client.client() as third:
                    connected = [first, second, third]
                    for connection in connected:
                        await connection.ping()
                    await cut_off(lambda: connected.pop().blpop([f"nothing {number}"], timeout=0))
                await client.rpush(f"something {number}", number)
                _, value = await client.blpop([f"something {number}"], timeout=10)
                return bytes(value)

            assert await at_once(waiting) == [str(number).encode() for number in range(MANY)]

    on_loop(main)


def test_server_crashes_under_commands_and_comes_back(on_loop: Run) -> None:
    async def main() -> None:
        with redis_server() as server:
            async with client_of(server) as client:
                begun = asyncio.Barrier(MANY + 1)

                async def waiting(number: int) -> None:
                    async with client.client() as connection:
                        await connection.ping()
                        await begun.wait()
                        with pytest.raises(RedisConnectionError):
                            await connection.blpop([f"nothing {number}"], timeout=0)

                async with asyncio.TaskGroup() as group:
                    group.create_task(at_once(waiting))
                    await begun.wait()
                    server.crash()
                server.start()
                assert await at_once(lambda number: client.set(f"key {number}", number)) == [True] * MANY

    on_loop(main)


def client_of(server: Redis) -> redis.asyncio.Redis:
    # Retries hide that the connection was lost.
    return redis.asyncio.Redis.from_url(server.url, retry=None)
