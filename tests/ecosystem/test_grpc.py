"""grpc.aio: its own threads and descriptors next to the loop; unary calls, streams, deadlines, cancellation."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

from tests.support import Run, descriptors

from .support import MANY, at_once, be_a_peer, cut_off, peer


@pytest.fixture(autouse=True)
def core_has_ended(clean: object) -> Iterator[None]:
    """gRPC's C core ends in a thread of its own, some time after its last channel and server: then its descriptors are closed."""
    before = descriptors().keys()
    yield
    gc.collect()
    deadline = time.monotonic() + 5
    while descriptors().keys() - before and time.monotonic() < deadline:
        time.sleep(0.01)


class Service:
    """Methods that take and give bytes; it knows how many calls are hanging."""

    def __init__(self) -> None:
        self.hanging = 0
        self.barrier = asyncio.Barrier(MANY)

    async def together(self, request: bytes, context: Any) -> bytes:
        """Answered when many such calls are there."""
        await self.barrier.wait()
        return request.upper()

    async def echo(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request.upper()

    async def hang(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        """The first part of an answer that never ends."""
        self.hanging += 1
        try:
            yield b"begun"
            await asyncio.Event().wait()
        finally:
            self.hanging -= 1


@asynccontextmanager
async def serving(service: Service) -> AsyncIterator[str]:
    """The address where the service is."""
    server = grpc.aio.server()
    methods = {
        "together": grpc.unary_unary_rpc_method_handler(service.together),
        "echo": grpc.stream_stream_rpc_method_handler(service.echo),
        "hang": grpc.unary_stream_rpc_method_handler(service.hang),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(10)


def test_many_calls_at_once(on_loop: Run) -> None:
    async def main() -> None:
        async with serving(Service()) as address, grpc.aio.insecure_channel(address) as channel:
            together = channel.unary_unary("/test/together")

            async def call(number: int) -> bytes:
                answer: bytes = await together(f"call {number}".encode())
                return answer

            assert await at_once(call) == [f"CALL {number}".encode() for number in range(MANY)]

    on_loop(main)


def test_streams_in_both_directions(on_loop: Run) -> None:
    async def main() -> None:
        async with serving(Service()) as address, grpc.aio.insecure_channel(address) as channel:
            echo = channel.stream_stream("/test/echo")

            async def talk(number: int) -> list[bytes]:
                async def requests() -> AsyncIterator[bytes]:
                    for n in range(50):
                        yield f"request {n}".encode()

                return [answer async for answer in echo(requests())]

            assert await at_once(talk) == [[f"REQUEST {n}".encode() for n in range(50)]] * MANY

    on_loop(main)


def test_deadlines_and_cut_off_calls_end_on_the_server_too(on_loop: Run) -> None:
    async def main() -> None:
        service = Service()
        async with serving(service) as address, grpc.aio.insecure_channel(address) as channel:
            hang = channel.unary_stream("/test/hang")

            async def wait() -> None:
                async for answer in hang(b""):
                    assert answer == b"begun"

            async def waiting(number: int) -> None:
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    async for _ in hang(b"", timeout=0.2):
                        pass
                assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
                await cut_off(wait)

            await at_once(waiting)
        assert service.hanging == 0

    on_loop(main)


def test_server_dies_in_the_middle_of_its_answers(on_loop: Run) -> None:
    async def main() -> None:
        with peer(__name__) as server:
            async with grpc.aio.insecure_channel(server.hello) as channel:
                hang = channel.unary_stream("/test/hang")
                begun = asyncio.Barrier(MANY)

                async def call(number: int) -> None:
                    answers = hang(b"")
                    assert await answers.read() == b"begun"
                    if await begun.wait() == 0:
                        server.kill()
                    with pytest.raises(grpc.aio.AioRpcError) as caught:
                        await answers.read()
                    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE

                await at_once(call)

    on_loop(main)


if __name__ == "__main__":
    be_a_peer(lambda: serving(Service()))
