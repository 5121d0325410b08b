"""What type checkers make of the adapters: `make types` looks at the `assert_type`s here, and the tests show that it is true."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import AbstractAsyncContextManager
from typing import Any, assert_type

import trio

from trio_asyncio_compat import aio_as_trio, trio_as_aio

from ..support import Run


class Request:
    """Awaited it gives a number, entered a text, as with aiohttp's requests."""

    def __await__(self) -> Generator[Any, Any, int]:
        yield from asyncio.sleep(0).__await__()
        return 1

    async def __aenter__(self) -> str:
        await asyncio.sleep(0)
        return "entered"

    async def __aexit__(self, *exc_info: object) -> None:
        await asyncio.sleep(0)


async def function(number: int) -> str:
    await asyncio.sleep(0)
    return str(number)


async def generator() -> AsyncIterator[int]:
    await asyncio.sleep(0)
    yield 1


def test_functions_awaitables_managers_and_iterators_of_asyncio(hosted_run: Run) -> None:
    async def main() -> None:
        assert assert_type(await aio_as_trio(function)(1), str) == "1"
        assert assert_type(await aio_as_trio(function(1)), str) == "1"
        async with aio_as_trio(asyncio.timeout(1)) as timeout:
            assert not assert_type(timeout, asyncio.Timeout).expired()
        made: Callable[[float | None], AbstractAsyncContextManager[asyncio.Timeout]] = aio_as_trio(asyncio.timeout)
        async with made(1) as timeout:
            assert not assert_type(timeout, asyncio.Timeout).expired()
        assert [assert_type(number, int) async for number in aio_as_trio(generator())] == [1]
        assert [assert_type(number, int) async for number in aio_as_trio(generator)()] == [1]

    hosted_run.trio_run(main)


def test_what_is_awaited_or_entered(hosted_run: Run) -> None:
    async def main() -> None:
        assert assert_type(await aio_as_trio(Request()), int) == 1
        async with aio_as_trio(Request()) as value:
            assert assert_type(value, str) == "entered"

    hosted_run.trio_run(main)


def test_what_is_iterated_over_or_entered(our_run: Run) -> None:
    async def main() -> None:
        send, receive = trio.open_memory_channel[int](2)
        send.send_nowait(1)
        send.send_nowait(2)
        send.close()
        async with trio_as_aio(receive) as channel:
            assert assert_type(channel, trio.MemoryReceiveChannel[int]) is receive
            assert assert_type(await trio_as_aio(channel.receive)(), int) == 1
            assert [assert_type(number, int) async for number in trio_as_aio(channel)] == [2]

    our_run(main)
