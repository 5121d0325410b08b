"""pyzmq's asyncio sockets: edge-triggered descriptors that the loop waits for."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import zmq
import zmq.asyncio

from tests.support import Run

from .servers import free_port
from .support import MANY, at_once, be_a_peer, cut_off, peer


async def answer(socket: zmq.asyncio.Socket) -> None:
    while True:
        *address, message = await socket.recv_multipart()
        await socket.send_multipart([*address, message.upper()])


@asynccontextmanager
async def answering(address: str = "tcp://127.0.0.1:*") -> AsyncIterator[str]:
    """Where an answering server is."""
    with zmq.asyncio.Context() as context, context.socket(zmq.ROUTER) as socket:
        socket.linger = 0
        socket.bind(address)
        server = asyncio.create_task(answer(socket))
        yield socket.getsockopt_string(zmq.LAST_ENDPOINT)
        server.cancel()
        await asyncio.wait([server])


def test_many_requests_at_once(on_loop: Run) -> None:
    async def main() -> None:
        async with answering() as address:
            with zmq.asyncio.Context() as context:

                async def ask(number: int) -> list[bytes]:
                    with context.socket(zmq.REQ) as socket:
                        socket.connect(address)
                        answers = []
                        for n in range(50):
                            await socket.send(f"question {n} of {number}".encode())
                            answers.append(await socket.recv())
                        return answers

                assert await at_once(ask) == [[f"QUESTION {n} OF {number}".encode() for n in range(50)] for number in range(MANY)]

    on_loop(main)


def test_publish_and_subscribe(on_loop: Run) -> None:
    async def main() -> None:
        with zmq.asyncio.Context() as context, context.socket(zmq.XPUB) as publisher:
            publisher.bind("tcp://127.0.0.1:*")
            address = publisher.getsockopt_string(zmq.LAST_ENDPOINT)
            publisher.setsockopt(zmq.XPUB_VERBOSE, 1)

            async def listen(number: int) -> list[bytes]:
                with context.socket(zmq.SUB) as socket:
                    socket.connect(address)
                    socket.subscribe(b"")
                    return [await socket.recv() for _ in range(100)]

            async with asyncio.TaskGroup() as group:
                listeners = group.create_task(at_once(listen))
                for _ in range(MANY):
                    assert await publisher.recv() == b"\1"
                for number in range(100):
                    await publisher.send(str(number).encode())
            assert listeners.result() == [[str(number).encode() for number in range(100)]] * MANY

    on_loop(main)


def test_cut_off_receives_and_polls_lose_no_message(on_loop: Run) -> None:
    async def main() -> None:
        async with answering() as address:
            with zmq.asyncio.Context() as context:

                async def ask(number: int) -> bytes:
                    with context.socket(zmq.DEALER) as socket:
                        socket.connect(address)
                        await cut_off(socket.recv)
                        await cut_off(socket.poll)
                        await socket.send(f"question {number}".encode())
                        message: bytes = await socket.recv()
                        return message

                assert await at_once(ask) == [f"QUESTION {number}".encode() for number in range(MANY)]

    on_loop(main)


def test_server_dies_and_another_takes_its_place(on_loop: Run) -> None:
    async def main() -> None:
        address = f"tcp://127.0.0.1:{free_port()}"
        with zmq.asyncio.Context() as context, context.socket(zmq.DEALER) as socket:
            socket.linger = 0
            with socket.get_monitor_socket(zmq.EVENT_DISCONNECTED | zmq.EVENT_CONNECTED) as monitor:

                async def connected() -> int:
                    event, _ = await monitor.recv_multipart()
                    return int.from_bytes(event[:2], sys.byteorder)

                socket.connect(address)
                for _ in range(2):
                    with peer(__name__, address) as server:
                        assert server.hello == address
                        assert await connected() == zmq.EVENT_CONNECTED
                        for number in range(MANY):
                            await socket.send(f"question {number}".encode())
                        assert [await socket.recv() for _ in range(MANY)] == [f"QUESTION {number}".encode() for number in range(MANY)]
                        server.kill()
                        assert await connected() == zmq.EVENT_DISCONNECTED
                socket.disable_monitor()

    on_loop(main)


if __name__ == "__main__":
    be_a_peer(lambda: answering(sys.argv[1]))
