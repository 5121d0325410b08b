"""Which library code is told that it runs on, in every flavour; httpx, aiohttp and anyio used from several at once in one `trio.run`."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import aiohttp
import aiohttp.web
import anyio
import anyio.lowlevel
import httpx
import pytest
import sniffio
import trio

from trio_asyncio_compat import aio_as_trio, allow_asyncio, flavour_free_task_factory, trio_as_aio

from .support import Border, Odd, forever


def library() -> str:
    """What sniffio says, and anyio."""
    name = sniffio.current_async_library()
    assert anyio.get_current_task().name is not None
    return name


def library_in_a_callback() -> str:
    return sniffio.current_async_library()


async def here() -> str:
    """A function of any flavour."""
    await anyio.lowlevel.checkpoint()
    return library()


def test_every_flavour_is_told_its_own(border: Border) -> None:
    async def both() -> None:
        assert library() == "trio"
        await asyncio.sleep(0)
        assert library() == "trio"
        await trio.sleep(0)
        assert library() == "trio"
        assert await here() == "trio"

    async def main() -> None:
        assert await here() == "trio"
        assert await aio_as_trio(here)() == "asyncio"
        await allow_asyncio(both)
        assert await here() == "trio"

    async def asyncio_main() -> None:
        assert await here() == "asyncio"
        assert await trio_as_aio(here)() == "trio"
        assert await trio_as_aio(aio_as_trio(here))() == "asyncio"
        assert await asyncio.create_task(here()) == "asyncio"
        await flavour_free_task_factory(asyncio.get_running_loop(), both())
        assert await here() == "asyncio"

    border.trio(main)
    border.asyncio(asyncio_main)
    border.task(both)


def test_callbacks_are_asyncios(border: Border) -> None:
    seen: list[str] = []

    def callback(*args: object) -> None:
        seen.append(library_in_a_callback())

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(callback)
        loop.call_later(1, callback)
        loop.call_soon_threadsafe(callback)
        future = loop.create_future()
        future.add_done_callback(callback)
        future.set_result(None)
        await trio.sleep(2)
        assert seen == ["asyncio"] * 4
        assert library() == "trio"

    border.trio(main)
    seen.clear()
    border.both(main)


def test_managers_and_iterators_are_told_their_own(border: Border) -> None:
    seen: list[str] = []

    @contextlib.asynccontextmanager
    async def managed() -> AsyncIterator[None]:
        seen.append(library())
        await anyio.lowlevel.checkpoint()
        try:
            yield
        finally:
            seen.append(await here())

    async def generate() -> AsyncIterator[int]:
        try:
            seen.append(await here())
            yield 1
            yield 2
        finally:
            seen.append(await here())

    async def use(cross: Callable[[Any], Any]) -> None:
        async with cross(managed()):
            await here()
        async with contextlib.aclosing(cross(generate)()) as values:
            async for _ in values:
                break

    async def main() -> None:
        await use(aio_as_trio)
        assert seen == ["asyncio"] * 4
        seen.clear()
        await aio_as_trio(use)(trio_as_aio)
        assert seen == ["trio"] * 4

    border.trio(main)


@pytest.mark.parametrize("dropped", [True, False])
def test_the_finaliser_of_a_generator_is_told_who_began_it(border: Border, dropped: bool) -> None:
    seen: list[tuple[str, str]] = []

    async def generate(name: str) -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            seen.append((name, sniffio.current_async_library()))

    kept: list[object] = []

    async def begin(name: str) -> None:
        values = generate(name)
        await anext(values)
        if not dropped:
            kept.append(values)

    async def main() -> None:
        # trio's is warned of.
        warnings.simplefilter("ignore", ResourceWarning)
        await begin("trio")
        await aio_as_trio(begin)("asyncio")
        if dropped:
            gc.collect()
            await trio.sleep(1)

    with warnings.catch_warnings():
        border.trio(main)
    if dropped:
        assert sorted(seen) == [("asyncio", "asyncio"), ("trio", "trio")]
    else:
        assert ("asyncio", "asyncio") in seen
    kept.clear()


# anyio


async def use_anyio() -> str:
    """What anyio's users do: task groups, cancel scopes, streams, locks, timeouts, threads."""
    results: list[object] = []
    send, receive = anyio.create_memory_object_stream[int](0)
    lock, event = anyio.Lock(), anyio.Event()

    async def produce() -> None:
        async with send:
            for number in range(3):
                await send.send(number)
        event.set()

    async with anyio.create_task_group() as group:
        group.start_soon(produce)
        async with receive:
            async for number in receive:
                async with lock:
                    results.append(number)
        await event.wait()
        group.start_soon(anyio.sleep_forever)
        group.cancel_scope.cancel()
    with anyio.move_on_after(0.01) as scope:
        await anyio.sleep(60)
    assert scope.cancelled_caught
    with pytest.raises(TimeoutError):
        with anyio.fail_after(0.01):
            await anyio.sleep(60)
    with pytest.RaisesGroup(Odd):
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep_forever)
            group.start_soon(_fail)
    assert await anyio.to_thread.run_sync(lambda: anyio.from_thread.run(here)) == sniffio.current_async_library()
    with anyio.CancelScope(shield=True):
        await anyio.lowlevel.checkpoint()
    assert results == [0, 1, 2]
    return sniffio.current_async_library()


async def _fail() -> None:
    await anyio.sleep(0)
    raise Odd


def test_anyio_in_each_flavour(real_border: Border) -> None:
    real_border.trio(use_anyio)
    assert real_border.asyncio(use_anyio) == "asyncio"
    assert real_border.both(use_anyio) == "trio"
    assert real_border.task(use_anyio) == "trio"


def test_anyio_in_all_flavours_at_once(real_border: Border) -> None:
    async def main() -> None:
        results: list[str] = []

        async def run(function: Callable[[], Coroutine[Any, Any, str]]) -> None:
            results.append(await function())

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(run, use_anyio)
                nursery.start_soon(run, aio_as_trio(use_anyio))
                nursery.start_soon(run, lambda: allow_asyncio(use_anyio))
                nursery.start_soon(run, lambda: aio_as_trio(trio_as_aio(use_anyio))())
        assert sorted(results) == ["asyncio"] * 3 + ["trio"] * 9

    real_border.trio(main)


def test_trio_cancels_anyio_on_asyncio(border: Border) -> None:
    ended: list[str] = []

    async def child() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(1)
            ended.append("child")

    async def code() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(child)
            await anyio.sleep_forever()

    async def main() -> None:
        with trio.move_on_after(1) as scope:
            await aio_as_trio(code)()
        assert scope.cancelled_caught
        assert ended == ["child"]

    border.trio(main)


def test_asyncio_cancels_anyio_on_trio(border: Border) -> None:
    ended: list[str] = []

    async def child() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(1)
            ended.append("child")

    async def code() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(child)
            await anyio.sleep_forever()

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await trio_as_aio(code)()
        assert ended == ["child"]
        task = asyncio.current_task()
        assert task is not None and task.cancelling() == 0

    border.asyncio(main)


def test_anyios_scopes_in_flavour_free_code_cancel_asyncios_awaits(border: Border) -> None:
    async def main() -> None:
        with anyio.move_on_after(1) as scope:
            await forever()
        assert scope.cancelled_caught
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep_forever)
            await asyncio.sleep(1)
            group.cancel_scope.cancel()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await anyio.sleep(5)

    border.both(main)
    border.task(main)


# HTTP


@contextlib.asynccontextmanager
async def server() -> AsyncIterator[str]:
    """An aiohttp server; the value is its address. Asyncio-flavoured."""

    async def handler(request: aiohttp.web.Request) -> aiohttp.web.Response:
        await asyncio.sleep(0)
        if request.path == "/slow":
            # aiohttp lets a handler go on when its client has gone.
            await closing.wait()
        return aiohttp.web.Response(text=f"hello {request.query_string}")

    closing = asyncio.Event()
    app = aiohttp.web.Application()
    app.router.add_get("/{name}", handler)
    runner = aiohttp.web.AppRunner(app)
    await runner.setup()
    site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        assert runner.addresses
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        closing.set()
        await runner.cleanup()


async def by_httpx(url: str) -> str:
    async with httpx.AsyncClient(trust_env=False) as client:
        one = await client.get(f"{url}/one?httpx")
        assert (await client.get(f"{url}/two?httpx")).status_code == 200
        with pytest.raises(httpx.ReadTimeout):
            await client.get(f"{url}/slow", timeout=0.05)
    assert one.text == "hello httpx"
    return sniffio.current_async_library()


async def by_aiohttp(url: str) -> str:
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{url}/one?aiohttp") as response:
            assert await response.text() == "hello aiohttp"
        with pytest.raises(TimeoutError):
            await session.get(f"{url}/slow", timeout=aiohttp.ClientTimeout(0.05))
    return sniffio.current_async_library()


def test_http_from_all_flavours_at_once(real_border: Border) -> None:
    async def main() -> None:
        results: list[tuple[str, str]] = []

        async def run(name: str, function: Callable[[str], Coroutine[Any, Any, str]], url: str) -> None:
            results.append((name, await function(url)))

        async def flavour_free(function: Callable[[str], Coroutine[Any, Any, str]], url: str) -> str:
            return await allow_asyncio(function, url)

        async with aio_as_trio(server()) as url:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run, "httpx in trio", by_httpx, url)
                nursery.start_soon(run, "httpx in asyncio", aio_as_trio(by_httpx), url)
                nursery.start_soon(run, "httpx in both", lambda url: flavour_free(by_httpx, url), url)
                nursery.start_soon(run, "aiohttp in asyncio", aio_as_trio(by_aiohttp), url)
                nursery.start_soon(run, "aiohttp in both", lambda url: flavour_free(by_aiohttp, url), url)
        assert sorted(results) == [
            ("aiohttp in asyncio", "asyncio"),
            ("aiohttp in both", "trio"),
            ("httpx in asyncio", "asyncio"),
            ("httpx in both", "trio"),
            ("httpx in trio", "trio"),
        ]

    real_border.trio(main)


def test_an_aiohttp_server_and_client_of_flavour_free_tasks(real_border: Border) -> None:
    async def handler(request: aiohttp.web.Request) -> aiohttp.web.Response:
        # aiohttp makes the handler's task, and on Python 3.12 and newer not by the factory.
        return await asyncio.create_task(answer())

    async def answer() -> aiohttp.web.Response:
        await trio.sleep(0.001)
        with trio.move_on_after(0.001):
            await asyncio.sleep(60)
        return aiohttp.web.Response(text="trio in a handler")

    async def main() -> None:
        app = aiohttp.web.Application()
        app.router.add_get("/", handler)
        runner = aiohttp.web.AppRunner(app)
        await runner.setup()
        await aiohttp.web.TCPSite(runner, "127.0.0.1", 0).start()
        async with aiohttp.ClientSession() as session:
            with trio.fail_after(10):
                async with session.get(f"http://127.0.0.1:{runner.addresses[0][1]}/") as response:
                    assert await response.text() == "trio in a handler"
        await runner.cleanup()

    real_border.task(main)


@pytest.mark.parametrize("use", [by_httpx, by_aiohttp])
def test_trio_cancels_a_request(real_border: Border, use: Any) -> None:
    async def request(url: str) -> None:
        if use is by_httpx:
            async with httpx.AsyncClient(trust_env=False) as client:
                await client.get(f"{url}/slow")
        else:
            async with aiohttp.ClientSession() as session:
                await session.get(f"{url}/slow")

    async def main() -> None:
        async with aio_as_trio(server()) as url:
            for call in (aio_as_trio(request), lambda url: allow_asyncio(request, url)):
                with trio.move_on_after(0.05) as scope:
                    await call(url)
                assert scope.cancelled_caught

    real_border.trio(main)
