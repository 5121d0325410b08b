"""aiohttp, server and client, inside one trio.run, next to trio code."""

from __future__ import annotations

import asyncio

import aiohttp
import trio
from aiohttp import web

from trio_asyncio_compat import aio_as_trio, open_loop

REQUESTS = 200


async def hello(request: web.Request) -> web.Response:
    await asyncio.sleep(0.01)
    return web.Response(text=f"hello {request.match_info['name']}")


async def slow(request: web.Request) -> web.Response:
    await asyncio.sleep(3600)
    return web.Response(text="never sent")


async def echo(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        await socket.send_str(message.data.upper())
    return socket


async def start_server() -> tuple[web.AppRunner, str]:
    app = web.Application()
    app.add_routes([web.get("/hello/{name}", hello), web.get("/slow", slow), web.get("/echo", echo)])
    # Its handlers are cancelled when their client goes away.
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0]
    return runner, f"http://{host}:{port}"


async def fetch(session: aiohttp.ClientSession, url: str) -> str:
    async with session.get(url) as response:
        response.raise_for_status()
        return await response.text()


async def talk(session: aiohttp.ClientSession, url: str) -> list[str]:
    async with session.ws_connect(url) as socket:
        answers = []
        for word in ("one", "two", "three"):
            await socket.send_str(word)
            answers.append(await socket.receive_str())
        return answers


async def count_ticks(ticks: list[float]) -> None:
    """Trio's own work, going on next to all this."""
    while True:
        await trio.sleep(0.005)
        ticks.append(trio.current_time())


async def main() -> None:
    async with open_loop():
        runner, url = await aio_as_trio(start_server)()
        # asyncio's synchronous functions find the loop in trio code too: a session can be made here.
        session = aiohttp.ClientSession()
        ticks: list[float] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(count_ticks, ticks)

            pages = await aio_as_trio(asyncio.gather)(*(fetch(session, f"{url}/hello/{n}") for n in range(REQUESTS)))
            print(f"fetched {len(set(pages))} different pages, the last one says {pages[-1]!r}")

            print("the websocket answered", await aio_as_trio(talk)(session, f"{url}/echo"))

            with trio.move_on_after(0.1) as scope:
                await aio_as_trio(fetch)(session, f"{url}/slow")
            print("the slow request was", "cancelled by trio" if scope.cancelled_caught else "answered")

            nursery.cancel_scope.cancel()
        print("trio worked meanwhile:", "yes" if len(ticks) > 10 else "no")
        await aio_as_trio(session.close)()
        await aio_as_trio(runner.cleanup)()
    print("closed")


if __name__ == "__main__":
    trio.run(main)
