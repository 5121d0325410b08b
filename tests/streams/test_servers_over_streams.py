"""Servers of asyncio over trio streams: a protocol needs no network to be run."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import pytest
import trio
import trio.testing
from aiohttp import web

from trio_asyncio_compat import aio_as_trio, trio_stream_as_aio, trio_stream_as_transport

from ..support import Run

DATA = hashlib.shake_256(b"servers").digest(1_000_000)


async def hello(request: web.Request) -> web.Response:
    body = await request.read()
    return web.Response(body=request.match_info["name"].encode() + b": " + body)


async def exchange(stream: trio.abc.Stream, request: bytes, answer: bytes) -> None:
    """Send `request`; `answer` is what comes back at last."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.send_all, request)
        got = bytearray()
        while not got.endswith(answer) and (piece := await stream.receive_some()):
            got += piece
    assert got.startswith(b"HTTP/1.1 200 OK\r\n")
    assert got.endswith(b"\r\n\r\n" + answer)


def post(path: str, body: bytes, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: here", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def test_aiohttp_serves_a_memory_stream(hosted_run: Run) -> None:
    async def main() -> None:
        app = web.Application(client_max_size=2_000_000)
        app.add_routes([web.post("/{name}", hello)])
        runner = web.AppRunner(app)
        await aio_as_trio(runner.setup)()
        ours, client = trio.testing.memory_stream_pair()
        trio_stream_as_transport(ours, runner.server)  # type: ignore[arg-type]
        # Twice over the same connection, the second time with more than any buffer holds.
        await exchange(client, post("/small", b"x"), b"small: x")
        await exchange(client, post("/large", DATA, "Connection: close"), b"large: " + DATA)
        assert await client.receive_some() == b""
        await client.aclose()
        await aio_as_trio(runner.cleanup)()

    hosted_run.trio_run(main)


def test_aiohttp_sends_a_file_over_a_memory_stream(hosted_run: Run, tmp_path: Any) -> None:
    path = tmp_path / "file"
    path.write_bytes(DATA)

    async def send_file(request: web.Request) -> web.FileResponse:
        return web.FileResponse(path)

    async def main() -> None:
        app = web.Application()
        app.add_routes([web.post("/file", send_file)])
        runner = web.AppRunner(app)
        await aio_as_trio(runner.setup)()
        ours, client = trio.testing.memory_stream_pair()
        trio_stream_as_transport(ours, runner.server)  # type: ignore[arg-type]
        await exchange(client, post("/file", b""), DATA)
        await client.aclose()
        await aio_as_trio(runner.cleanup)()

    hosted_run.trio_run(main)


def test_uvicorn_serves_a_memory_stream(hosted_run: Run) -> None:
    pytest.importorskip("uvicorn")
    from uvicorn.config import Config
    from uvicorn.protocols.http.h11_impl import H11Protocol
    from uvicorn.server import ServerState

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            body += message["body"]
            if not message["more_body"]:
                break
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def main() -> None:
        config = Config(app, lifespan="off", log_config=None, access_log=False)
        state = ServerState()
        ours, client = trio.testing.memory_stream_pair()
        trio_stream_as_transport(ours, lambda: H11Protocol(config, state, {}))
        await exchange(client, post("/", b"x"), b"x")
        await exchange(client, post("/", DATA, "Connection: close"), DATA)
        assert await client.receive_some() == b""
        await client.aclose()
        while state.connections:
            await trio.lowlevel.checkpoint()

    hosted_run.trio_run(main)


def test_a_client_by_streams_talks_to_aiohttp(our_run: Run) -> None:
    async def main() -> None:
        app = web.Application()
        app.add_routes([web.post("/{name}", hello)])
        runner = web.AppRunner(app)
        await runner.setup()
        ours, client = trio.testing.memory_stream_pair()
        trio_stream_as_transport(ours, runner.server)  # type: ignore[arg-type]
        reader, writer = trio_stream_as_aio(client)
        for name in ("one", "two"):
            writer.write(post(f"/{name}", b"body"))
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 OK\r\n")
            assert await reader.readexactly(9) == name.encode() + b": body"
        writer.close()
        await writer.wait_closed()
        await runner.cleanup()

    our_run(main)


def test_a_protocol_of_ones_own_is_tested_without_a_network(virtual_run: Run) -> None:
    """What this is good for: an asyncio protocol, its timeouts included, in virtual time."""

    class Impatient(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            transport.write(b"say something\n")
            self.timer = asyncio.get_running_loop().call_later(60, transport.close)

        def connection_lost(self, exc: Exception | None) -> None:
            self.timer.cancel()

    async def main() -> None:
        ours, client = trio.testing.memory_stream_pair()
        start = trio.current_time()
        trio_stream_as_transport(ours, Impatient)
        assert b"".join([bytes(piece) async for piece in client]) == b"say something\n"
        assert trio.current_time() - start == 60
        await client.aclose()

    from trio.testing import MockClock

    virtual_run.trio_run(main, clock=MockClock(autojump_threshold=0))
