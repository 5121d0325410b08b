"""A bug: trio code holds a lock while it calls asyncio code, which calls trio code, which wants the lock."""

from __future__ import annotations

import trio

from trio_asyncio_compat import HangError, aio_as_trio, run, trio_as_aio

lock = trio.Lock()


async def write_log(line: str) -> None:
    async with lock:
        print(line)


async def handle_request() -> None:
    await trio_as_aio(write_log)("a request")


async def rotate_log() -> None:
    async with lock:
        await aio_as_trio(handle_request)()


async def main() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(rotate_log)
        nursery.start_soon(trio.sleep_forever)


try:
    run(main, deadlock_after=0.5)
except HangError as error:
    print(error)
