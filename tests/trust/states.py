"""What a loop may be in the middle of when it has to end: one function per state, asyncio-flavoured.

Each sets its state up and returns; what it leaves is for the loop to clear away. `test_shutdown.py` walks them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import ssl
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import trio
import trustme

from trio_asyncio_compat import aio_as_trio, flavour_free_task_factory, trio_as_aio

State = Callable[[], Awaitable[None]]
STATES: dict[str, State] = {}
# Kept where a program would keep it: in a task's frame or a module. Emptied after each test.
kept: list[Any] = []


def state(function: State) -> State:
    """Register a state under the function's name."""
    STATES[function.__name__] = function
    return function


def keep(task: asyncio.Future[Any]) -> None:
    """Keep a task or future from being collected, and take what it raises, so that nothing is reported."""
    kept.append(task)


async def _begun(*coros: Any) -> None:
    for coro in coros:
        keep(asyncio.create_task(coro))
    await asyncio.sleep(0)


@state
async def nothing() -> None:
    """An idle loop."""


@state
async def tasks_that_sleep() -> None:
    await _begun(*(asyncio.sleep(3600) for _ in range(10)))


@state
async def two_thousand_tasks() -> None:
    await _begun(*(asyncio.sleep(3600 + number) for number in range(2000)))


@state
async def tasks_that_have_not_begun() -> None:
    keep(asyncio.create_task(asyncio.sleep(3600)))


@state
async def a_task_that_swallows_cancellation_once() -> None:
    async def stubborn() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            await asyncio.sleep(1)

    await _begun(stubborn())


@state
async def a_task_that_swallows_cancellation_and_waits_on() -> None:
    async def stubborn() -> None:
        for _ in range(3):
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                pass

    await _begun(stubborn())


@state
async def tasks_that_call_trio_in_finally() -> None:
    async def resolves() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            # One of the loop's own calls to trio.
            await asyncio.get_running_loop().getaddrinfo("127.0.0.1", 80)

    await _begun(*(resolves() for _ in range(3)))


@state
async def a_task_that_calls_trio() -> None:
    await _begun(asyncio.get_running_loop().getnameinfo(("127.0.0.1", 80)))


async def _unwinds_in_trio() -> None:
    try:
        await asyncio.sleep(3600)
    finally:
        await trio_as_aio(trio.sleep)(0.01)


@state
async def tasks_that_await_trio_in_finally() -> None:
    await _begun(*(_unwinds_in_trio() for _ in range(3)))


@state
async def tasks_that_wait_in_trio() -> None:
    async def unwinds_slowly() -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(0.01)

    await _begun(trio_as_aio(trio.sleep_forever)(), trio_as_aio(unwinds_slowly)(), trio_as_aio(aio_as_trio(_unwinds_in_trio))())


@state
async def a_nursery_held_by_a_task() -> None:
    async def holds() -> None:
        async with trio_as_aio(trio.open_nursery()) as nursery:
            nursery.start_soon(trio.sleep_forever)
            await asyncio.sleep(3600)

    await _begun(holds())


@state
async def a_trio_iterator_half_way() -> None:
    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(0.01)

    iterator = trio_as_aio(numbers)()
    kept.append(iterator)
    await anext(iterator)


@state
async def flavour_free_tasks() -> None:
    async def body() -> None:
        try:
            async with asyncio.timeout(1800):
                with trio.move_on_after(1700):
                    await asyncio.sleep(0.01)
                    await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(0.01)
                await asyncio.sleep(0.01)

    loop = asyncio.get_running_loop()
    for _ in range(3):
        keep(flavour_free_task_factory(loop, body()))
    await trio_as_aio(trio.sleep)(0.02)


@state
async def tasks_that_start_tasks_while_they_unwind() -> None:
    async def parent(depth: int) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            if depth:
                keep(asyncio.create_task(parent(depth - 1)))

    await _begun(parent(5))


@state
async def tasks_that_wait_for_each_other() -> None:
    async with asyncio.Lock() as _:
        event, queue = asyncio.Event(), asyncio.Queue[int]()

        async def group() -> None:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(event.wait())
                tasks.create_task(queue.get())
                await asyncio.gather(queue.join(), asyncio.shield(asyncio.sleep(3600)))

        await _begun(group())


@state
async def a_task_with_a_timeout() -> None:
    async def limited() -> None:
        async with asyncio.timeout(1800):
            await asyncio.wait_for(asyncio.sleep(3600), 1900)

    await _begun(limited())


@state
async def a_generator_half_way() -> None:
    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(1)

    generator: Any = numbers()
    kept.append(generator)
    await anext(generator)


@state
async def callbacks_that_go_on_for_ever() -> None:
    loop = asyncio.get_running_loop()

    def again() -> None:
        if not loop.is_closed():
            loop.call_soon(again)

    again()


@state
async def timers() -> None:
    loop = asyncio.get_running_loop()
    kept.extend(loop.call_later(3600, print) for _ in range(500))
    for timer in kept[::2]:
        timer.cancel()


@state
async def a_timer_that_comes_again_and_again() -> None:
    loop = asyncio.get_running_loop()

    def again() -> None:
        if not loop.is_closed():
            loop.call_later(0.01, again)

    again()


@state
async def a_busy_thread() -> None:
    released = threading.Event()

    async def uses_thread() -> None:
        try:
            await asyncio.to_thread(released.wait)
        finally:
            released.set()

    await _begun(uses_thread())


@state
async def a_thread_that_waits_in_trio() -> None:
    begun = threading.Event()

    async def wait() -> None:
        begun.set()
        await trio.sleep_forever()

    keep(asyncio.get_running_loop().run_in_executor(None, trio.from_thread.run, wait))
    while not begun.is_set():
        await asyncio.sleep(0)


@state
async def more_calls_than_threads() -> None:
    for _ in range(100):
        keep(asyncio.get_running_loop().run_in_executor(None, int))


@state
async def idle_threads() -> None:
    await asyncio.gather(*(asyncio.to_thread(int) for _ in range(5)))


@state
async def a_subprocess() -> None:
    kept.append(await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=asyncio.subprocess.PIPE))


@state
async def a_subprocess_that_is_waited_for() -> None:
    process = await asyncio.create_subprocess_exec("sleep", "3600", stdout=asyncio.subprocess.PIPE)
    await _begun(process.communicate())


async def _pair() -> list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    return [await asyncio.open_connection(sock=sock) for sock in _sockets()]


def _sockets() -> tuple[socket.socket, socket.socket]:
    """A pair that the program closes itself in the end, if the loop was given neither."""
    pair = socket.socketpair()
    kept.extend(pair)
    return pair


@state
async def a_server_that_accepts() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Python 3.11 logs a handler that is cancelled.
        with contextlib.suppress(asyncio.CancelledError):
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    kept.append(server)
    address = server.sockets[0].getsockname()
    kept.extend([await asyncio.open_connection(*address) for _ in range(3)])
    await _begun(server.serve_forever())


@state
async def connections_nobody_has_accepted() -> None:
    server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    kept.append(server)
    for _ in range(3):
        client = socket.create_connection(server.sockets[0].getsockname())
        client.close()


@state
async def connections_with_full_buffers() -> None:
    (_, writer), other = await _pair()
    kept.append(other)
    other[1].transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(bytes(4_000_000))
    await _begun(writer.drain())


@state
async def a_connection_half_closed() -> None:
    (reader, writer), other = await _pair()
    kept.extend([writer, other])
    writer.write_eof()
    await _begun(reader.read())


_authority = trustme.CA()
_certificate = _authority.issue_cert("localhost")


def tls_contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """For a server called localhost, and for a client that trusts it."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    _certificate.configure_cert(server)
    client = ssl.create_default_context()
    _authority.configure_trust(client)
    return server, client


@state
async def a_tls_handshake_with_a_silent_peer() -> None:
    ours, _ = _sockets()
    await _begun(asyncio.open_connection(sock=ours, ssl=tls_contexts()[1], server_hostname="localhost"))


@state
async def tls_closing() -> None:
    for_server, for_client = tls_contexts()
    loop = asyncio.get_running_loop()
    left, right = _sockets()
    stream_reader = asyncio.StreamReader()
    server_side = asyncio.create_task(
        loop.connect_accepted_socket(lambda: asyncio.StreamReaderProtocol(stream_reader), sock=left, ssl=for_server)
    )
    keep(server_side)
    _, writer = await asyncio.open_connection(sock=right, ssl=for_client, server_hostname="localhost")
    transport, _ = await server_side
    transport.pause_reading()
    kept.extend([transport, writer])
    writer.write(bytes(2_000_000))
    writer.close()
    await _begun(writer.wait_closed())


@state
async def a_datagram_endpoint() -> None:
    kept.append(await asyncio.get_running_loop().create_datagram_endpoint(asyncio.DatagramProtocol, ("127.0.0.1", 0)))


@state
async def pipes() -> None:
    loop = asyncio.get_running_loop()
    reading, writing = os.pipe()
    files = [os.fdopen(reading, "rb"), os.fdopen(writing, "wb")]
    kept.extend(files)
    await loop.connect_read_pipe(asyncio.Protocol, files[0])
    await loop.connect_write_pipe(asyncio.BaseProtocol, files[1])


@state
async def a_reader_on_a_closed_descriptor() -> None:
    left, right = _sockets()
    asyncio.get_running_loop().add_reader(left, print)
    right.close()
    left.close()


@state
async def a_reader_that_is_always_ready() -> None:
    left, right = _sockets()
    right.send(b"x")
    asyncio.get_running_loop().add_reader(left, int)


@state
async def socket_methods_that_wait() -> None:
    loop = asyncio.get_running_loop()
    left, right = _sockets()
    left.setblocking(False)
    right.setblocking(False)
    await _begun(loop.sock_recv(left, 1), loop.sock_sendall(right, bytes(4_000_000)))


@state
async def a_signal_handler() -> None:
    if threading.current_thread() is threading.main_thread():
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, print)


@state
async def a_finaliser_that_calls_the_loop() -> None:
    class Finalised:
        def __init__(self) -> None:
            self.itself = self
            self.loop = asyncio.get_running_loop()

        def __del__(self) -> None:
            if not self.loop.is_closed():
                self.loop.call_soon_threadsafe(int)

    Finalised()
    kept.append(Finalised())


@state
async def a_call_from_a_thread() -> None:
    loop = asyncio.get_running_loop()
    thread = threading.Thread(target=lambda: loop.call_soon_threadsafe(asyncio.create_task, asyncio.sleep(3600)))
    thread.start()
    thread.join()
