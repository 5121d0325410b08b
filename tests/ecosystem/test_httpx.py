"""httpx: it finds out by itself that it runs under asyncio, and in the same run that it is called from trio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
import trio

from tests.support import Run
from trio_asyncio_compat import trio_as_aio

from .support import MANY, at_once, cut_off, on_our_loop, peer
from .test_aiohttp import Site, serving

AIOHTTP = "tests.ecosystem.test_aiohttp"
NO_LIMIT = httpx.Limits(max_connections=None)


def test_many_requests_at_once(on_loop: Run) -> None:
    async def main() -> None:
        async with serving(Site()) as url, httpx.AsyncClient(base_url=url, limits=NO_LIMIT) as client:

            async def get(number: int) -> int:
                answer: int = (await client.get("/together", params={"n": number})).json()["n"]
                return answer

            assert await at_once(get) == list(range(MANY))

    on_loop(main)


def test_many_requests_at_once_from_trio_code_with_its_trio_backend(on_loop: Run) -> None:
    async def main() -> None:
        async with serving(Site()) as url:

            async def from_trio() -> None:
                answers: list[int] = []

                async def get(number: int) -> None:
                    answers.append((await client.get("/together", params={"n": number})).json()["n"])

                async with httpx.AsyncClient(base_url=url, limits=NO_LIMIT) as client, trio.open_nursery() as nursery:
                    for number in range(MANY):
                        nursery.start_soon(get, number)
                assert sorted(answers) == list(range(MANY))

            if on_our_loop():
                await trio_as_aio(from_trio)()

    on_loop(main)


def test_streaming_uploads(on_loop: Run) -> None:
    async def main() -> None:
        async with serving(Site()) as url, httpx.AsyncClient(base_url=url, limits=NO_LIMIT) as client:

            async def upload(number: int) -> int:
                async def chunks() -> AsyncIterator[bytes]:
                    for _ in range(number):
                        yield bytes(100_000)

                size: int = (await client.post("/upload", content=chunks())).json()
                return size

            assert await at_once(upload) == [100_000 * number for number in range(MANY)]

    on_loop(main)


def test_timeouts_of_its_own_and_of_both_libraries(on_loop: Run) -> None:
    async def main() -> None:
        site = Site()
        async with serving(site) as url, httpx.AsyncClient(base_url=url, limits=NO_LIMIT, timeout=None) as client:

            async def waiting(number: int) -> int:
                with pytest.raises(httpx.ReadTimeout):
                    await client.get("/hang", timeout=0.2)
                await cut_off(lambda: client.get("/hang"))
                answer: int = (await client.get("/together", params={"n": number})).json()["n"]
                return answer

            assert await at_once(waiting) == list(range(MANY))
        assert site.hanging == 0

    on_loop(main)


def test_server_dies_in_the_middle_of_its_answers(on_loop: Run) -> None:
    async def main() -> None:
        with peer(AIOHTTP) as server:
            async with httpx.AsyncClient(base_url=server.hello, limits=NO_LIMIT) as client:
                begun = asyncio.Barrier(MANY)

                async def get(number: int) -> None:
                    async with client.stream("GET", "/drip") as response:
                        body = response.aiter_raw()
                        assert await anext(body) == b"drop"
                        if await begun.wait() == 0:
                            server.kill()
                        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
                            await anext(body)

                await at_once(get)
                with pytest.raises(httpx.ConnectError):
                    await client.get("/")

    on_loop(main)
