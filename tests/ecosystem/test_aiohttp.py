"""aiohttp: its server and its client, websockets, streaming uploads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from tests.support import Run

from .support import MANY, at_once, be_a_peer, cut_off, peer


class Site:
    """A web site; it knows how many requests it is serving."""

    def __init__(self) -> None:
        self.app = web.Application(client_max_size=2**26)
        self.app.router.add_get("/together", self.together)
        self.app.router.add_get("/hang", self.hang)
        self.app.router.add_get("/drip", self.drip)
        self.app.router.add_post("/upload", self.upload)
        self.app.router.add_get("/echo", self.echo)
        self.hanging = 0
        self.barrier = asyncio.Barrier(MANY)

    async def together(self, request: web.Request) -> web.Response:
        """Answered when many such requests are there."""
        await self.barrier.wait()
        return web.json_response({"n": int(request.query["n"])})

    async def hang(self, request: web.Request) -> web.Response:
        self.hanging += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.hanging -= 1
        raise AssertionError("nobody has set the event")

    async def drip(self, request: web.Request) -> web.StreamResponse:
        """The first part of a body that never ends."""
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"drop")
        await asyncio.Event().wait()
        return response

    async def upload(self, request: web.Request) -> web.Response:
        size = 0
        async for chunk in request.content.iter_any():
            size += len(chunk)
        return web.json_response(size)

    async def echo(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data.upper())
        return socket


@asynccontextmanager
async def serving(site: Site) -> AsyncIterator[str]:
    """The address at which the site is served."""
    runner = web.AppRunner(site.app, handler_cancellation=True, access_log=None, shutdown_timeout=1)
    await runner.setup()
    server = web.TCPSite(runner, "127.0.0.1", 0)
    await server.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield session


def test_many_requests_are_served_at_once(on_loop: Run) -> None:
    async def main() -> None:
        async with serving(Site()) as url, client() as session:

            async def get(number: int) -> int:
                async with session.get(f"{url}/together", params={"n": number}) as response:
                    answer: int = (await response.json())["n"]
                    return answer

            assert await at_once(get) == list(range(MANY))

    on_loop(main)


def test_streaming_uploads(on_loop: Run) -> None:
    async def main() -> None:
        async with serving(Site()) as url, client() as session:

            async def upload(number: int) -> int:
                async def chunks() -> AsyncIterator[bytes]:
                    for _ in range(number):
                        yield bytes(100_000)

                async with session.post(f"{url}/upload", data=chunks()) as response:
                    size: int = await response.json()
                    return size

            assert await at_once(upload) == [100_000 * number for number in range(MANY)]

    on_loop(main)


def test_websockets(on_loop: Run) -> None:
    async def main() -> None:
        async with serving(Site()) as url, client() as session:

            async def talk(number: int) -> list[str]:
                async with session.ws_connect(f"{url}/echo") as socket:
                    answers = []
                    for n in range(20):
                        await socket.send_str(f"message {n}")
                        answers.append(await socket.receive_str())
                    return answers

            assert await at_once(talk) == [[f"MESSAGE {n}" for n in range(20)]] * MANY

    on_loop(main)


def test_requests_are_cut_off_and_their_handlers_too(on_loop: Run) -> None:
    async def main() -> None:
        site = Site()
        async with serving(site) as url, client() as session:

            async def hang() -> None:
                async with session.get(f"{url}/hang"):
                    raise AssertionError("it never answers")

            async def waiting(number: int) -> None:
                await cut_off(hang)

            await at_once(waiting)
            async with session.get(f"{url}/echo", headers={"Connection": "close"}) as response:
                assert response.status == 400
        assert site.hanging == 0

    on_loop(main)


def test_server_dies_in_the_middle_of_its_answers(on_loop: Run) -> None:
    async def main() -> None:
        with peer(__name__) as server:
            async with client() as session:
                begun = asyncio.Barrier(MANY)

                async def get(number: int) -> None:
                    async with session.get(f"{server.hello}/drip") as response:
                        assert await response.content.readexactly(4) == b"drop"
                        if await begun.wait() == 0:
                            server.kill()
                        with pytest.raises((aiohttp.ClientPayloadError, aiohttp.ClientOSError)):
                            await response.content.read()

                await at_once(get)
                with pytest.raises(aiohttp.ClientConnectorError):
                    await session.get(server.hello)

    on_loop(main)


if __name__ == "__main__":
    be_a_peer(lambda: serving(Site()))
