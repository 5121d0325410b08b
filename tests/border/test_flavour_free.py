"""Functions that await both worlds: every primitive, and every way to cancel one, in `allow_asyncio` and in tasks of the task factory."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeAlias

import pytest
import trio
from trio.testing import MockClock

import trio_asyncio_compat
from trio_asyncio_compat import aio_as_trio, allow_asyncio, flavour_free_task_factory, open_loop, trio_as_aio

from ..support import Records
from .support import Border, Odd, balanced, forever, settle

Body: TypeAlias = "Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any]"

# What can be awaited: a function that never ends by itself, from each world.


async def trio_sleep() -> None:
    await trio.sleep_forever()


async def trio_sleep_long() -> None:
    await trio.sleep(1000)


async def trio_event() -> None:
    await trio.Event().wait()


async def trio_channel() -> None:
    send, receive = trio.open_memory_channel[int](0)
    with send, receive:
        await receive.receive()


async def trio_channel_send() -> None:
    send, receive = trio.open_memory_channel[int](0)
    with send, receive:
        await send.send(1)


async def trio_lock() -> None:
    lock = trio.Lock()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hold, lock)
        await trio.testing.wait_all_tasks_blocked()
        async with lock:
            raise AssertionError("is not to be got")


async def hold(lock: trio.Lock) -> None:
    async with lock:
        await trio.sleep_forever()


async def trio_condition() -> None:
    async with (condition := trio.Condition()):
        await condition.wait()


async def trio_semaphore() -> None:
    await trio.Semaphore(0).acquire()


async def trio_limiter() -> None:
    limiter = trio.CapacityLimiter(1)
    limiter.acquire_on_behalf_of_nowait("another")
    async with limiter:
        raise AssertionError("is not to be got")


async def trio_nursery() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)


async def trio_nursery_start() -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(_never_started)


async def _never_started(task_status: trio.TaskStatus[None]) -> None:
    await trio.sleep_forever()


async def trio_scope_inside() -> None:
    with trio.move_on_after(1000):
        await trio.sleep_forever()


async def trio_stream() -> None:
    one, other = trio.testing.memory_stream_pair()
    async with one, other:
        await one.receive_some()


async def trio_socket() -> None:
    one, other = trio.socket.socketpair()
    with one, other:
        await one.recv(1)


async def trio_call_of_asyncio() -> None:
    await aio_as_trio(asyncio.Event().wait)()


async def aio_sleep() -> None:
    await asyncio.sleep(1000)


async def aio_future() -> None:
    await asyncio.get_running_loop().create_future()


async def aio_event() -> None:
    await asyncio.Event().wait()


async def aio_timeout() -> None:
    async with asyncio.timeout(1000):
        await asyncio.sleep(2000)


async def aio_timeout_at() -> None:
    async with asyncio.timeout_at(asyncio.get_running_loop().time() + 1000):
        await asyncio.sleep(2000)


async def aio_timeout_around_trio() -> None:
    async with asyncio.timeout(1000):
        await trio.sleep_forever()


async def aio_wait_for() -> None:
    await asyncio.wait_for(asyncio.sleep(2000), 1000)


async def aio_wait() -> None:
    task = asyncio.create_task(asyncio.sleep(2000))
    try:
        await asyncio.wait([task], timeout=1000)
    finally:
        # wait() does not cancel what it waits for.
        task.cancel()


async def aio_as_completed() -> None:
    task = asyncio.create_task(asyncio.sleep(2000))
    try:
        for done in asyncio.as_completed([task]):
            await done
    finally:
        task.cancel()


async def aio_gather() -> None:
    await asyncio.gather(asyncio.sleep(1000), asyncio.sleep(2000))


async def gather_of_ours() -> None:
    await trio_asyncio_compat.gather(asyncio.sleep(1000), asyncio.sleep(2000))


async def aio_task() -> None:
    await asyncio.create_task(asyncio.sleep(1000))


async def aio_task_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(1000))


async def aio_task_group_around_trio() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(1000))
        await trio.sleep_forever()


async def aio_shield() -> None:
    inner = asyncio.create_task(asyncio.sleep(2000))
    try:
        await asyncio.shield(inner)
    finally:
        inner.cancel()


async def aio_queue() -> None:
    await asyncio.Queue[int]().get()


async def aio_lock() -> None:
    lock = asyncio.Lock()
    async with lock:
        async with lock:
            raise AssertionError("is not to be got")


async def aio_condition() -> None:
    async with (condition := asyncio.Condition()):
        await condition.wait()


async def aio_semaphore() -> None:
    await asyncio.Semaphore(0).acquire()


async def aio_barrier() -> None:
    await asyncio.Barrier(2).wait()


async def aio_stream_reader() -> None:
    await asyncio.StreamReader().read(1)


async def aio_call_of_trio() -> None:
    await trio_as_aio(trio.sleep_forever)()


async def aio_manager_of_trio() -> None:
    async with trio_as_aio(trio.CancelScope()):
        await forever()


async def trio_manager_of_asyncio() -> None:
    async with aio_as_trio(asyncio.timeout)(1000):
        await trio.sleep_forever()


async def nested_both() -> None:
    async with asyncio.timeout(1000):
        with trio.move_on_after(1000):
            async with asyncio.timeout(1000):
                with trio.fail_after(1000):
                    await asyncio.sleep(2000)


TRIO = [
    trio_sleep,
    trio_sleep_long,
    trio_event,
    trio_channel,
    trio_channel_send,
    trio_lock,
    trio_condition,
    trio_semaphore,
    trio_limiter,
    trio_nursery,
    trio_nursery_start,
    trio_scope_inside,
    trio_stream,
    trio_socket,
    trio_call_of_asyncio,
    trio_manager_of_asyncio,
]
ASYNCIO = [
    aio_sleep,
    aio_future,
    aio_event,
    aio_timeout,
    aio_timeout_at,
    aio_timeout_around_trio,
    aio_wait_for,
    aio_wait,
    aio_as_completed,
    aio_gather,
    gather_of_ours,
    aio_task,
    aio_task_group,
    aio_task_group_around_trio,
    aio_shield,
    aio_queue,
    aio_lock,
    aio_condition,
    aio_semaphore,
    aio_barrier,
    aio_stream_reader,
    aio_call_of_trio,
    aio_manager_of_trio,
    nested_both,
]
EVERYTHING = pytest.mark.parametrize("wait", TRIO + ASYNCIO)
# In these asyncio's cancel meets a nursery, whose rule puts it in a group: a limit of the design.
NURSERIES = (trio_lock, trio_nursery, trio_nursery_start)
# These tell nobody of the cancel, and leave what their children raise.
TELL_NOBODY = (trio_nursery, trio_nursery_start)
# On these Pythons TaskGroup compares `is CancelledError`, so that a trio cancel leaves it inside of a group.
GROUPS_CANCELS = sys.version_info < (3, 13)


class Watched:
    """Waits like `wait`, and writes down what cancels it; its clean-up awaits both worlds."""

    def __init__(self, wait: Callable[[], Awaitable[object]]) -> None:
        self.wait = wait
        self.raised: list[BaseException] = []

    async def __call__(self) -> None:
        try:
            await self.wait()
        except BaseException as exc:
            self.raised.append(exc)
            # Once asyncio's awaits have been cancelled, they work; trio's need a shield, as always.
            await asyncio.sleep(0.1)
            with trio.CancelScope(shield=True):
                await trio.sleep(0.1)
            raise

    def take(self) -> BaseException:
        (exc,) = self.raised
        self.raised.clear()
        return exc


@EVERYTHING
def test_a_trio_scope_around(body: Body, wait: Callable[[], Awaitable[object]]) -> None:
    # The first await of asyncio in the clean-up is the one that is cancelled, and ends it, if the body was not told before.
    clean_up = 0 if wait in TELL_NOBODY else 0.2

    async def main() -> None:
        watched = Watched(wait)
        for _ in range(2):
            start = trio.current_time()
            with trio.move_on_after(1) as scope:
                await watched()
            assert scope.cancelled_caught
            assert trio.current_time() == pytest.approx(start + 1 + clean_up)
            assert is_in_both_worlds(watched.take())
            balanced()
        await asyncio.sleep(0.1)
        await trio.sleep(0.1)

    body(main)


@EVERYTHING
def test_an_asyncio_timeout_around(body: Body, wait: Callable[[], Awaitable[object]]) -> None:
    async def main() -> None:
        watched = Watched(wait)
        for _ in range(2):
            start = trio.current_time()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1) as timeout:
                    await watched()
            assert timeout.expired()
            assert trio.current_time() == pytest.approx(start + 1.2)
            assert is_asyncios(watched.take(), wait)
            balanced()
        await asyncio.sleep(0.1)
        await trio.sleep(0.1)

    body(main)


@EVERYTHING
def test_wait_for_around(body: Body, wait: Callable[[], Awaitable[object]]) -> None:
    """Since Python 3.12 it is a timeout in the same task. Before, the coroutine gets a task of its own, which must be flavour-free."""

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(flavour_free_task_factory)
        watched = Watched(wait)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(watched(), 1)
        assert trio.current_time() == pytest.approx(1.2)
        assert is_asyncios(watched.take(), wait)
        balanced()

    body(main)


@EVERYTHING
def test_task_cancel_from_outside(body: Body, wait: Callable[[], Awaitable[object]]) -> None:
    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        watched = Watched(wait)
        for count in (1, 2):
            asyncio.get_running_loop().call_later(1, task.cancel, "from outside")
            start = trio.current_time()
            with expected(asyncio.CancelledError, wait):
                await watched()
            assert trio.current_time() == pytest.approx(start + 1.2)
            assert is_asyncios(watched.take(), wait)
            assert task.cancelling() == count
        assert task.uncancel() == 1
        assert task.uncancel() == 0
        await asyncio.sleep(0.1)
        await trio.sleep(0.1)

    body(main)


@EVERYTHING
def test_a_failing_sibling_in_a_task_group(border: Border, wait: Callable[[], Awaitable[object]]) -> None:
    async def fail() -> None:
        await asyncio.sleep(1)
        raise Odd

    async def main() -> None:
        watched = Watched(wait)
        with pytest.RaisesGroup(Odd):
            async with asyncio.TaskGroup() as group:
                waiting = group.create_task(watched())
                group.create_task(fail())
        assert waiting.cancelled()
        assert is_asyncios(watched.take(), wait)
        assert trio.current_time() == pytest.approx(1.2)

    border.task(main)


@EVERYTHING
def test_a_crashing_sibling_in_a_nursery(border: Border, wait: Callable[[], Awaitable[object]]) -> None:
    async def fail() -> None:
        await trio.sleep(1)
        raise Odd

    async def main() -> None:
        watched = Watched(wait)
        with pytest.RaisesGroup(Odd):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(allow_asyncio, watched)
                nursery.start_soon(fail)
        assert is_in_both_worlds(watched.take())

    border.both(main)


@EVERYTHING
def test_the_loop_ends(clean: Records, wait: Callable[[], Awaitable[object]]) -> None:
    watched = Watched(wait)

    async def main() -> None:
        async with open_loop(task_factory=flavour_free_task_factory) as loop:
            task = loop.create_task(watched())
            await settle(loop)
        assert is_asyncios(watched.take(), wait)
        assert task.cancelled()

    trio.run(main, clock=MockClock(autojump_threshold=0))


@EVERYTHING
def test_in_a_scope_that_is_cancelled_already(body: Body, wait: Callable[[], Awaitable[object]]) -> None:
    async def main() -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            await wait()
        assert scope.cancelled_caught
        balanced()

    body(main)


@EVERYTHING
def test_cancelled_before_it_waits(body: Body, wait: Callable[[], Awaitable[object]]) -> None:
    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        with pytest.raises((asyncio.CancelledError, BaseExceptionGroup)) as caught:
            await wait()
        assert is_asyncios(caught.value, wait if isinstance(caught.value, BaseExceptionGroup) else None)
        assert task.uncancel() == 0

    body(main)


def is_in_both_worlds(exc: BaseException) -> bool:
    """Whether `exc` is what a trio cancel raises in flavour-free code, or a group of trio's alone."""
    if isinstance(exc, BaseExceptionGroup):
        return exc.split(trio.Cancelled)[1] is None
    return isinstance(exc, trio.Cancelled) and isinstance(exc, asyncio.CancelledError)


def is_asyncios(exc: BaseException, wait: object) -> bool:
    """Whether `exc` is what a cancel of asyncio raises: plain, or from a nursery in a group, where trio's may be beside it."""
    if isinstance(exc, BaseExceptionGroup):
        return wait in NURSERIES and exc.split((asyncio.CancelledError, trio.Cancelled))[1] is None
    return isinstance(exc, asyncio.CancelledError) and not isinstance(exc, trio.Cancelled)


def expected(error: type[BaseException], wait: object) -> Any:
    """`pytest.raises(error)`, or of the group that comes out of a nursery."""
    return pytest.raises(BaseExceptionGroup if wait in NURSERIES else error)
