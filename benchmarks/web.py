"""Rows with libraries that people use: web servers under load, clients of databases whose servers are processes of their own."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from .echo import Echo, Served
from .row import Measure, Result, Row, repeating

HELLO = b"Hello"
PIPELINED = 100


async def serve_aiohttp() -> Served:
    from aiohttp import web

    async def hello(request: web.Request) -> web.Response:
        return web.Response(body=HELLO)

    app = web.Application()
    app.router.add_get("/", hello)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return f"http:{runner.addresses[0][1]}", runner


async def serve_uvicorn() -> Served:
    import uvicorn

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(HELLO))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": HELLO})

    config = uvicorn.Config(app, host="127.0.0.1", port=0, http="httptools", lifespan="off", access_log=False, log_level="warning")
    server = uvicorn.Server(config)
    task = asyncio.ensure_future(server.serve())
    while not server.started and not task.done():
        await asyncio.sleep(0.01)
    return f"http:{server.servers[0].sockets[0].getsockname()[1]}", (server, task)


@contextlib.asynccontextmanager
async def process(command: list[str], connect: Callable[[], Awaitable[Any]]) -> AsyncIterator[Any]:
    """A server process, and what `connect` returns once it succeeds."""
    # Not by the loop's own subprocesses, which are not what is measured.
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for attempt in range(100):
            try:
                client = await connect()
                break
            except Exception:
                if attempt == 99 or server.poll() is not None:
                    raise
                await asyncio.sleep(0.1)
        yield client
    finally:
        server.terminate()
        server.wait()


@contextlib.asynccontextmanager
async def redis_pipelined() -> AsyncIterator[Measure]:
    import redis.asyncio

    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/redis"

        async def connect() -> Any:
            client = redis.asyncio.Redis(unix_socket_path=path)
            await client.set("key", HELLO)
            return client

        async with process(["redis-server", "--port", "0", "--unixsocket", path, "--dir", folder, "--save", ""], connect) as client:

            async def work(count: int) -> None:
                for _ in range(count):
                    async with client.pipeline(transaction=False) as pipeline:
                        for _ in range(PIPELINED):
                            pipeline.get("key")
                        await pipeline.execute()

            pipelines = repeating(work)

            async def measure(seconds: float) -> Result:
                found = await pipelines(seconds)
                return Result(found.rate * PIPELINED, found.seconds)

            yield measure
            await client.aclose()


@contextlib.asynccontextmanager
async def postgres_select() -> AsyncIterator[Measure]:
    import asyncpg

    with tempfile.TemporaryDirectory() as folder:
        # The server refuses to run as root.
        user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        if user:
            shutil.chown(folder, "postgres")
        data = f"{folder}/data"
        initdb = [*user, "initdb", "--auth=trust", "--username=postgres", "--no-sync", data]
        subprocess.run(initdb, check=True, stdin=subprocess.DEVNULL, capture_output=True)
        connect = functools.partial(asyncpg.connect, host=folder, user="postgres", database="postgres")
        async with process([*user, "postgres", "-D", data, "-k", folder, "-c", "listen_addresses=", "-F"], connect) as client:

            async def work(count: int) -> None:
                for _ in range(count):
                    await client.fetchval("select 1")

            yield repeating(work)
            await client.close()


ROWS = [
    Row("web", "aiohttp, 50 connections", Echo(serve_aiohttp, 50, 0).ready, packages=("aiohttp",)),
    Row("web", "uvicorn with httptools, 50 connections", Echo(serve_uvicorn, 50, 0).ready, packages=("uvicorn", "httptools")),
    Row("db", "redis GET, 100 in a pipeline", redis_pipelined, packages=("redis",), programs=("redis-server",), one_core=True),
    Row("db", "asyncpg select 1", postgres_select, packages=("asyncpg",), programs=("postgres", "initdb"), one_core=True),
]
