"""One connection, two worlds: asyncio accepts it and reads the greeting, trio does the work, asyncio says goodbye.

The client sends everything at once, so whoever reads has always read some of what is the next one's already. No byte is lost.
"""

from __future__ import annotations

import asyncio
import hashlib
from functools import partial

import trio

from trio_asyncio_compat import aio_as_trio, aio_stream_as_trio, open_loop, trio_as_aio, trio_stream_as_aio

UPLOAD = bytes(range(256)) * 4096


async def receive_upload(stream: trio.abc.Stream, size: int) -> str:
    """Trio-flavoured. It may take as long as it likes, but must get on."""
    digest = hashlib.sha256()
    while size:
        with trio.fail_after(10):
            piece = await stream.receive_some(min(size, 65536))
        if not piece:
            raise EOFError("the client has left")
        digest.update(piece)
        size -= len(piece)
    return digest.hexdigest()


async def handle(done: asyncio.Event, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Asyncio-flavoured: what `asyncio.start_server` calls."""
    name, size = (await reader.readline()).split()
    print(f"asyncio: {name.decode()} wants to send {int(size)} bytes")

    stream = aio_stream_as_trio(reader, writer)
    print("trio: received", await trio_as_aio(receive_upload)(stream, int(size)))

    reader, writer = trio_stream_as_aio(stream)
    last_words = await reader.readline()
    print("asyncio: the client's last words are", last_words.decode().strip())
    writer.write(b"goodbye\n")
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    done.set()


async def serve(task_status: trio.TaskStatus[int]) -> None:
    """Asyncio-flavoured, but for telling trio its port."""
    done = asyncio.Event()
    server = await asyncio.start_server(partial(handle, done), "127.0.0.1", 0)
    task_status.started(server.sockets[0].getsockname()[1])
    await done.wait()
    server.close()
    await server.wait_closed()


async def main() -> None:
    async with open_loop(), trio.open_nursery() as nursery:
        port = await nursery.start(lambda task_status: aio_as_trio(serve)(task_status))
        client = await trio.open_tcp_stream("127.0.0.1", port)
        await client.send_all(b"alice %d\n" % len(UPLOAD) + UPLOAD + b"that is all\n")
        answer = b"".join([bytes(piece) async for piece in client])
        print("the client was told", answer.decode().strip())
        await client.aclose()
    print("sent    ", hashlib.sha256(UPLOAD).hexdigest())


trio.run(main)
