"""A loop ends from every state in every way, in bounded time, and leaves nothing behind.

The table is states (`states.py`) times ways out (below), walked. Each walk is checked for what comes out, how long it took in virtual
time, and what is left: tasks, threads, descriptors, children, handlers, warnings, and the loop itself.
"""

from __future__ import annotations

import asyncio
import gc
import io
import signal
import socket
import weakref
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trio_asyncio_compat import TrioEventLoop, aio_as_trio, allow_asyncio, open_loop, trio_as_aio

from ..support import Poller, Records, Run
from .states import STATES, State, kept

# The slowest state has three waits of ten seconds that swallow their cancellation, and TLS waits 30 s for its peer's goodbye.
BOUND = 100.0
# Always busy, so virtual time stands still unless it runs by itself.
BUSY = {"callbacks_that_go_on_for_ever", "a_reader_that_is_always_ready"}
# States that say something in the log, by asyncio's own rule.
SPEAKING = {"tasks_that_start_tasks_while_they_unwind"}

WayOut = Callable[[TrioEventLoop, trio.CancelScope, State], Awaitable[None]]
WAYS: dict[str, tuple[WayOut, type[BaseException] | None]] = {}


def way(expected: type[BaseException] | None = None) -> Callable[[WayOut], WayOut]:
    """Register a way out of `open_loop`'s block, with what leaves it."""

    def register(function: WayOut) -> WayOut:
        WAYS[function.__name__] = function, expected
        return function

    return register


@way()
async def the_block_ends(loop: TrioEventLoop, scope: trio.CancelScope, state: State) -> None:
    await aio_as_trio(state)()


@way()
async def the_block_ends_while_the_state_is_set_up(loop: TrioEventLoop, scope: trio.CancelScope, state: State) -> None:
    kept.append(loop.create_task(state()))  # type: ignore[arg-type]


@way(ZeroDivisionError)
async def the_block_raises(loop: TrioEventLoop, scope: trio.CancelScope, state: State) -> None:
    await aio_as_trio(state)()
    raise ZeroDivisionError


@way()
async def cancelled_from_outside(loop: TrioEventLoop, scope: trio.CancelScope, state: State) -> None:
    await aio_as_trio(state)()
    scope.cancel()
    await trio.sleep_forever()


@way()
async def cancelled_before_the_first_checkpoint(loop: TrioEventLoop, scope: trio.CancelScope, state: State) -> None:
    scope.cancel()
    await aio_as_trio(state)()


@way()
async def cancelled_in_an_adapter(loop: TrioEventLoop, scope: trio.CancelScope, state: State) -> None:
    async def call() -> None:
        await state()
        loop.call_soon(scope.cancel)
        await asyncio.sleep(3600)

    await aio_as_trio(call)()


@way()
async def a_deadline_passes(loop: TrioEventLoop, scope: trio.CancelScope, state: State) -> None:
    await aio_as_trio(state)()
    scope.deadline = trio.current_time() + 5
    await trio.sleep_forever()


@way(BaseExceptionGroup)
async def a_sibling_crashes(loop: TrioEventLoop, scope: trio.CancelScope, state: State) -> None:
    async def crash() -> None:
        raise ZeroDivisionError

    await aio_as_trio(state)()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(aio_as_trio(asyncio.sleep), 3600)
        nursery.start_soon(crash)


async def _raised_in_a_callback(loop: TrioEventLoop, state: State, error: BaseException) -> None:
    def fail() -> None:
        raise error

    await aio_as_trio(state)()
    loop.call_soon(fail)
    await trio.sleep_forever()


@way(SystemExit)
async def system_exit_in_a_callback(loop: TrioEventLoop, scope: trio.CancelScope, state: State) -> None:
    await _raised_in_a_callback(loop, state, SystemExit(3))


@way(KeyboardInterrupt)
async def keyboard_interrupt_in_a_callback(loop: TrioEventLoop, scope: trio.CancelScope, state: State) -> None:
    await _raised_in_a_callback(loop, state, KeyboardInterrupt())


@way()
async def memory_error_in_a_callback(loop: TrioEventLoop, scope: trio.CancelScope, state: State) -> None:
    def report(_: Any, context: dict[str, Any]) -> None:
        assert type(context["exception"]) is MemoryError
        scope.cancel()

    loop.set_exception_handler(report)
    try:
        await _raised_in_a_callback(loop, state, MemoryError())
    finally:
        loop.set_exception_handler(None)


@way(SystemExit)
async def system_exit_in_a_task(loop: TrioEventLoop, scope: trio.CancelScope, state: State) -> None:
    async def fail() -> None:
        raise SystemExit(3)

    await aio_as_trio(state)()
    kept.append(loop.create_task(fail()))
    await aio_as_trio(asyncio.sleep)(3600)


@way(SystemExit)
async def system_exit_while_it_unwinds(loop: TrioEventLoop, scope: trio.CancelScope, state: State) -> None:
    async def fail() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            raise SystemExit(3)

    await aio_as_trio(state)()
    kept.append(loop.create_task(fail()))
    await trio.lowlevel.checkpoint()


@way(KeyboardInterrupt)
async def ctrl_c(loop: TrioEventLoop, scope: trio.CancelScope, state: State) -> None:
    await aio_as_trio(state)()
    signal.raise_signal(signal.SIGINT)
    await trio.sleep_forever()


@way()
async def stopped(loop: TrioEventLoop, scope: trio.CancelScope, state: State) -> None:
    await aio_as_trio(state)()
    loop.stop()


@way(RuntimeError)
async def stopped_inside_an_adapter_call(loop: TrioEventLoop, scope: trio.CancelScope, state: State) -> None:
    async def call() -> None:
        await state()
        loop.stop()
        await asyncio.sleep(3600)

    await aio_as_trio(call)()


@way(RuntimeError)
async def stopped_inside_a_trio_call_of_an_adapter_call(loop: TrioEventLoop, scope: trio.CancelScope, state: State) -> None:
    async def stop() -> None:
        loop.stop()
        await trio.sleep_forever()

    async def call() -> None:
        await state()
        await trio_as_aio(stop)()

    await aio_as_trio(call)()


@way(RuntimeError)
async def stopped_inside_flavour_free_code(loop: TrioEventLoop, scope: trio.CancelScope, state: State) -> None:
    async def body() -> None:
        await state()
        loop.stop()
        await asyncio.sleep(3600)

    await allow_asyncio(body)


@way()
async def stopped_then_cancelled(loop: TrioEventLoop, scope: trio.CancelScope, state: State) -> None:
    await aio_as_trio(state)()
    loop.stop()
    await trio.lowlevel.checkpoint()
    scope.cancel()
    await trio.sleep_forever()


def release() -> None:
    """Let go of what a program would have let go of, and close the sockets that are its own."""
    for thing in kept:
        if isinstance(thing, (socket.socket, io.IOBase)):
            thing.close()
    kept.clear()


def take_errors() -> None:
    """Look at the tasks' errors, as a program would; what SystemExit and refused connections leave is not ours to judge."""
    for thing in kept:
        if isinstance(thing, asyncio.Future) and thing.done() and not thing.cancelled():
            thing.exception()


@pytest.fixture
def nothing_kept(clean: Records) -> Iterator[Records]:
    yield clean
    assert kept == []


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("state", STATES)
def test_a_hosted_loop_ends(state: str, way: str, nothing_kept: Records) -> None:
    _, expected = WAYS[way]
    for poller in ("nested", "task"):
        try:
            elapsed, error, loop = _end_hosted(poller, STATES[state], WAYS[way][0], rate=1000.0 if state in BUSY else 0.0)
            tasks = [thing for thing in kept if isinstance(thing, asyncio.Task)]
            assert [task for task in tasks if not task.done()] == []
        finally:
            take_errors()
            tasks = []
            release()
        assert isinstance(error, expected or type(None)), error
        assert elapsed <= BOUND
        del error
        gc.collect()
        assert loop() is None
        if state in SPEAKING:
            nothing_kept.take()


def _end_hosted(
    poller: Poller, state: State, way: WayOut, *, rate: float
) -> tuple[float, BaseException | None, weakref.ref[TrioEventLoop]]:
    reference: weakref.ref[TrioEventLoop]

    async def main() -> float:
        nonlocal reference
        start = trio.current_time()
        tasks = trio.lowlevel.current_statistics().tasks_living
        with trio.CancelScope() as scope:
            async with open_loop(poller=poller) as loop:
                reference = weakref.ref(loop)
                await way(loop, scope, state)
        assert trio.lowlevel.current_statistics().tasks_living == tasks
        return trio.current_time() - start

    error: BaseException | None = None
    elapsed = 0.0
    try:
        elapsed = trio.run(main, clock=MockClock(rate, autojump_threshold=0))
    except BaseException as exc:
        error = type(exc)(*exc.args)
    return elapsed, error, reference


DRIVEN_ENDS: dict[str, BaseException | None] = {
    "the main function returns": None,
    "it raises": ZeroDivisionError(),
    "a callback raises SystemExit": SystemExit(3),
    "a callback raises KeyboardInterrupt": KeyboardInterrupt(),
    "ctrl-c": KeyboardInterrupt(),
}
# Those that asyncio.Runner clears away. Transports, servers and children of a driven loop are the program's to close, as in asyncio.
CALLING_TRIO = {"tasks_that_await_trio_in_finally", "tasks_that_wait_in_trio", "a_nursery_held_by_a_task", "flavour_free_tasks"}
DRIVEN_STATES = [
    "nothing",
    "tasks_that_sleep",
    "two_thousand_tasks",
    "tasks_that_have_not_begun",
    "tasks_that_call_trio_in_finally",
    "a_task_that_calls_trio",
    *sorted(CALLING_TRIO),
    "tasks_that_wait_for_each_other",
    "a_task_with_a_timeout",
    "callbacks_that_go_on_for_ever",
    "timers",
    "a_timer_that_comes_again_and_again",
    "a_busy_thread",
    "idle_threads",
    "a_reader_on_a_closed_descriptor",
    "a_reader_that_is_always_ready",
    "socket_methods_that_wait",
    "a_signal_handler",
    "a_finaliser_that_calls_the_loop",
]


@pytest.mark.parametrize("end", DRIVEN_ENDS)
@pytest.mark.parametrize("state", DRIVEN_STATES)
def test_a_driven_loop_ends(state: str, end: str, sync_run: Run) -> None:
    error = DRIVEN_ENDS[end]
    if state in CALLING_TRIO and not sync_run.ours:
        pytest.skip("asyncio's own loop cannot call trio")

    def fail() -> None:
        assert error is not None
        raise error

    async def main() -> None:
        await STATES[state]()
        if end == "it raises":
            fail()
        elif end == "ctrl-c":
            signal.raise_signal(signal.SIGINT)
            await asyncio.sleep(3600)
        elif error is not None:
            asyncio.get_running_loop().call_soon(fail)
            await asyncio.sleep(3600)

    try:
        if error is None:
            sync_run(main)
        else:
            with pytest.raises(type(error)):
                sync_run(main)
    finally:
        take_errors()
        release()
