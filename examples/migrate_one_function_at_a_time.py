"""An asyncio service that moves to trio in four steps; each of them is a program that runs.

    python examples/migrate_one_function_at_a_time.py        all steps, one after the other
    python examples/migrate_one_function_at_a_time.py 3      one step

The service counts words: a server answers lines, a worker sums up now and then, a client asks. What a step changes is all that is
different in it from the one before.
"""

from __future__ import annotations

import asyncio
import functools
import sys
from collections import Counter

import trio

from trio_asyncio_compat import TrioEventLoop, aio_as_trio, run, trio_as_aio

LINES = ("one two two", "three three three", "one")


class Service:
    """The state that all steps share."""

    def __init__(self) -> None:
        self.words: Counter[str] = Counter()
        self.summaries: list[int] = []

    def answer(self, line: bytes) -> bytes:
        self.words.update(line.decode().split())
        return f"{sum(self.words.values())} words\n".encode()


# Step 1: asyncio throughout, on the loop that runs on trio. Only the way it is started has changed.


async def serve_asyncio(service: Service, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        writer.write(service.answer(line))
        await writer.drain()
    writer.close()


async def sum_up_asyncio(service: Service) -> None:
    while True:
        await asyncio.sleep(0.01)
        service.summaries.append(sum(service.words.values()))


async def ask_asyncio(port: int) -> list[str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answers = []
    for line in LINES:
        writer.write(line.encode() + b"\n")
        answers.append((await reader.readline()).decode().strip())
        await asyncio.sleep(0.01)
    writer.write_eof()
    # The server closes the connection.
    await reader.read()
    writer.close()
    await writer.wait_closed()
    return answers


async def step_1(service: Service) -> list[str]:
    server = await asyncio.start_server(functools.partial(serve_asyncio, service), "127.0.0.1", 0)
    worker = asyncio.create_task(sum_up_asyncio(service))
    try:
        return await ask_asyncio(server.sockets[0].getsockname()[1])
    finally:
        worker.cancel()
        server.close()


# Step 2: one function, the worker, is trio's. The asyncio code calls it by trio_as_aio.


async def sum_up(service: Service) -> None:
    while True:
        await trio.sleep(0.01)
        service.summaries.append(sum(service.words.values()))


async def step_2(service: Service) -> list[str]:
    server = await asyncio.start_server(functools.partial(serve_asyncio, service), "127.0.0.1", 0)
    worker = asyncio.create_task(trio_as_aio(sum_up)(service))
    try:
        return await ask_asyncio(server.sockets[0].getsockname()[1])
    finally:
        worker.cancel()
        server.close()


# Step 3: the main function is flavour-free, so the worker goes into a nursery; the server and the client are still asyncio's.


async def step_3(service: Service) -> list[str]:
    server = await asyncio.start_server(functools.partial(serve_asyncio, service), "127.0.0.1", 0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sum_up, service)
        answers = await ask_asyncio(server.sockets[0].getsockname()[1])
        nursery.cancel_scope.cancel()
    server.close()
    return answers


# Step 4: trio throughout, but for the client, a library that stays asyncio's: trio code calls it by aio_as_trio.


async def serve(service: Service, stream: trio.SocketStream) -> None:
    kept = b""
    async for data in stream:
        *lines, kept = (kept + data).split(b"\n")
        for line in lines:
            await stream.send_all(service.answer(line))


async def step_4(service: Service) -> list[str]:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(functools.partial(trio.serve_tcp, host="127.0.0.1"), functools.partial(serve, service), 0)
        nursery.start_soon(sum_up, service)
        answers = await aio_as_trio(ask_asyncio)(listeners[0].socket.getsockname()[1])
        nursery.cancel_scope.cancel()
    return answers


def start(step: int, service: Service) -> list[str]:
    """How each step is started: the second line of a program that has changed only that."""
    if step in (1, 2):
        with asyncio.Runner(loop_factory=TrioEventLoop) as runner:
            return runner.run((step_1, step_2)[step - 1](service))
    return run((step_3, step_4)[step - 3], service)


def main() -> None:
    for step in [int(sys.argv[1])] if len(sys.argv) > 1 else [1, 2, 3, 4]:
        service = Service()
        answers = start(step, service)
        print(f"step {step}: {', '.join(answers)}; summed up: {bool(service.summaries)}; {service.words.most_common(1)[0][0]} leads")


if __name__ == "__main__":
    main()
