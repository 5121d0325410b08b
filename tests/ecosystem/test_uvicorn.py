"""uvicorn and FastAPI: served inside of a loop that is already there, and from uvicorn's own command line with `--loop`."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import uvicorn
from fastapi import FastAPI, WebSocket
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from websockets.asyncio.client import connect

from tests.support import Run

from .support import MANY, ROOT, at_once, cut_off

NO_LIMIT = httpx.Limits(max_connections=None)


class Item(BaseModel):
    name: str
    tags: list[str] = []


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.barrier = asyncio.Barrier(MANY)
    yield


app = FastAPI(lifespan=lifespan)


@app.get("/loop")
async def name_of_the_loop() -> str:
    return type(asyncio.get_running_loop()).__name__


@app.get("/together/{number}")
async def together(number: int) -> int:
    """Answered when many such requests are there."""
    await app.state.barrier.wait()
    return number


@app.post("/items")
def in_a_thread(item: Item) -> Item:
    """FastAPI calls this in a worker thread, by anyio."""
    return Item(name=item.name.upper(), tags=sorted(item.tags))


@app.get("/hang")
async def hang() -> None:
    await asyncio.Event().wait()


@app.get("/drip")
async def drip() -> StreamingResponse:
    async def drops() -> AsyncIterator[bytes]:
        yield b"drop"
        await asyncio.Event().wait()

    return StreamingResponse(drops())


@app.websocket("/echo")
async def echo(socket: WebSocket) -> None:
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_text(text.upper())


@asynccontextmanager
async def serving() -> AsyncIterator[str]:
    """The address where a uvicorn in this loop serves the app."""
    # A listening socket takes connections before the server has begun to look.
    sock = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, loop="none", log_level="warning", timeout_graceful_shutdown=1))
    task = asyncio.create_task(server.serve(sockets=[sock]))
    try:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


@asynccontextmanager
async def command_line(*options: str) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """The address where `uvicorn --loop trio_asyncio_compat:new_event_loop` serves the app, and its process."""
    command = ["-m", "uvicorn", f"{__name__}:app", "--port", "0", "--loop", "trio_asyncio_compat:new_event_loop", *options]
    process = await asyncio.create_subprocess_exec(sys.executable, *command, stderr=PIPE, stdout=PIPE, cwd=ROOT)
    assert process.stderr is not None
    try:
        while (found := re.search(rb"running on (http://[\d.:]+)", await process.stderr.readline())) is None:
            pass
        yield found[1].decode(), process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def client_of(url: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, limits=NO_LIMIT)


def test_many_requests_at_once(on_loop: Run) -> None:
    async def main() -> None:
        async with serving() as url, client_of(url) as client:

            async def get(number: int) -> int:
                answer: int = (await client.get(f"/together/{number}")).json()
                return answer

            assert await at_once(get) == list(range(MANY))

    on_loop(main)


def test_many_requests_in_worker_threads(on_loop: Run) -> None:
    async def main() -> None:
        async with serving() as url, client_of(url) as client:

            async def post(number: int) -> object:
                return (await client.post("/items", json={"name": f"item {number}", "tags": ["b", "a"]})).json()

            assert await at_once(post) == [{"name": f"ITEM {number}", "tags": ["a", "b"]} for number in range(MANY)]

    on_loop(main)


def test_websockets(on_loop: Run) -> None:
    async def main() -> None:
        async with serving() as url:

            async def talk(number: int) -> list[object]:
                async with connect(f"{url.replace('http', 'ws')}/echo") as connection:
                    answers = []
                    for n in range(20):
                        await connection.send(f"message {n}")
                        answers.append(await connection.recv())
                    return answers

            assert await at_once(talk) == [[f"MESSAGE {n}" for n in range(20)]] * MANY

    on_loop(main)


def test_cut_off_requests_and_a_client_that_leaves(on_loop: Run) -> None:
    async def main() -> None:
        async with serving() as url:
            async with client_of(url) as client:

                async def read() -> None:
                    async with client.stream("GET", "/drip") as response:
                        async for _ in response.aiter_raw():
                            pass

                await at_once(lambda number: cut_off(read))
                # The server has noticed that its clients are gone, or it would wait for them in the end.
                assert (await client.get("/together/x")).status_code == 422

    on_loop(main)


def test_command_line_serves_on_our_loop_and_ends_cleanly(on_loop: Run) -> None:
    async def main() -> None:
        async with command_line() as (url, process):
            async with client_of(url) as client:

                async def get(number: int) -> tuple[str, int]:
                    return (await client.get("/loop")).json(), (await client.get(f"/together/{number}")).json()

                assert await at_once(get) == [("TrioEventLoop", number) for number in range(MANY)]
            process.send_signal(signal.SIGTERM)
            _, log = await process.communicate()
            # uvicorn gives the signal to itself again when it has shut down.
            assert process.returncode in (0, -signal.SIGTERM)
            lines = log.decode().splitlines()
            assert [line for line in lines if not line.startswith("INFO: ")] == []
            assert "Finished server process" in lines[-1]

    on_loop(main)


def test_command_line_is_killed_in_the_middle_of_its_answers(on_loop: Run) -> None:
    async def main() -> None:
        async with command_line() as (url, process), client_of(url) as client:
            begun = asyncio.Barrier(MANY)

            async def get(number: int) -> None:
                async with client.stream("GET", "/drip") as response:
                    body = response.aiter_raw()
                    assert await anext(body) == b"drop"
                    if await begun.wait() == 0:
                        process.kill()
                    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
                        await anext(body)

            await at_once(get)

    on_loop(main)
