"""The clients of `test_load.py`, in a process of their own: `python -m tests.trust.crowd PORT COUNT`.

Opens the connections, a few hundred at a time, and once all stand has each of them ask and be answered twice.
"""

from __future__ import annotations

import asyncio
import resource
import sys

from trio_asyncio_compat import TrioEventLoop

AT_ONCE = 200


async def main(port: int, count: int) -> None:
    """Everything."""
    limit = asyncio.Semaphore(AT_ONCE)

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with limit:
            return await asyncio.open_connection("127.0.0.1", port)

    async def ask(number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for question in (b"%08d" % number, b"%08d" % (count - number)):
            writer.write(question)
            if await reader.readexactly(8) != question:
                raise AssertionError(f"connection {number} was given somebody else's answer")

    streams = await asyncio.gather(*(connect() for _ in range(count)))
    await asyncio.gather(*(ask(number, *stream) for number, stream in enumerate(streams)))
    for _, writer in streams:
        writer.close()
    await asyncio.gather(*(writer.wait_closed() for _, writer in streams))


def raise_descriptor_limit() -> int:
    """As many descriptors as the system lets us have; returns how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


if __name__ == "__main__":
    raise_descriptor_limit()
    with asyncio.Runner(loop_factory=TrioEventLoop) as runner:
        runner.run(main(int(sys.argv[1]), int(sys.argv[2])))
