"""FastAPI, served by uvicorn, next to trio tasks: requests are answered by asyncio code and by trio code, from state that trio tasks keep.

Needs fastapi, uvicorn and httpx.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import trio
import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from trio_asyncio_compat import aio_as_trio, open_loop, trio_as_aio


class Thermometer:
    """Trio-flavoured: a task that measures, and whoever waits for what it measures."""

    def __init__(self) -> None:
        self.degrees = 20
        self._changed = trio.Condition()

    async def measure(self) -> None:
        while True:
            await trio.sleep(0.01)
            async with self._changed:
                self.degrees += 1
                self._changed.notify_all()

    async def wait_until(self, degrees: int) -> int:
        async with self._changed:
            while self.degrees < degrees:
                await self._changed.wait()
        return self.degrees


thermometer = Thermometer()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    print("the app starts")
    yield
    print("the app ends")


app = FastAPI(lifespan=lifespan)


@app.get("/now")
async def now() -> int:
    """Asyncio-flavoured, as all that FastAPI awaits is. What is not awaited can be used as it is."""
    await asyncio.sleep(0)
    return thermometer.degrees


@app.get("/wait/{degrees}")
@trio_as_aio
async def wait(degrees: int) -> bool:
    """Trio-flavoured: FastAPI sees the asyncio function that the decorator makes of it."""
    with trio.move_on_after(1):
        return await thermometer.wait_until(degrees) >= degrees
    return False


@app.get("/follow/{count}")
async def follow(count: int) -> StreamingResponse:
    """A body that a generator of trio's makes."""

    async def changes() -> AsyncIterator[str]:
        for _ in range(count):
            await thermometer.wait_until(thermometer.degrees + 1)
            yield "warmer\n"

    return StreamingResponse(trio_as_aio(changes()))


async def main() -> None:
    # It takes connections from now on; they are served once the server has started.
    listener = socket.create_server(("127.0.0.1", 0))
    # "none": uvicorn makes no loop, it runs in the one that is there.
    server = uvicorn.Server(uvicorn.Config(app, loop="none", log_level="warning"))
    async with open_loop(), trio.open_nursery() as nursery:
        nursery.start_soon(thermometer.measure)
        async with trio.open_nursery() as serving:
            serving.start_soon(aio_as_trio(server.serve), [listener])
            # The client is trio's: httpx sees that trio code calls it.
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            async with httpx.AsyncClient(base_url=url) as client:
                print("it is at least 20 degrees:", (await client.get("/now")).json() >= 20)
                print("it got warmer than 30:", (await client.get("/wait/30")).json())
                print("will it get warmer than 100000?", (await client.get("/wait/100000")).json())
                print("what follows:", (await client.get("/follow/3")).text.split())
            # It finishes what it serves, and ends; so does the inner nursery.
            server.should_exit = True
        nursery.cancel_scope.cancel()
    print("nothing is left")


trio.run(main)
