"""`loop.statistics()`, and instruments of a loop: called in pairs, removed if they raise, gone without a trace when they are removed."""

from __future__ import annotations

import asyncio
import math
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import trio

from trio_asyncio_compat import (
    LoopInstrument,
    LoopStatistics,
    TrioEventLoop,
    aio_as_trio,
    allow_asyncio,
    flavour_free_task_factory,
    gather,
    open_loop,
    trio_as_aio,
)

from .support import Records, Run


def this_loop() -> TrioEventLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, TrioEventLoop)
    return loop


class Recorder(LoopInstrument):
    """Writes down what it is called with, in short."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.timeouts: list[float] = []

    def before_turn(self) -> None:
        self.calls.append("turn{")

    def after_turn(self) -> None:
        self.calls.append("}")

    def before_callback(self, handle: asyncio.Handle) -> None:
        self.calls.append("callback{")

    def after_callback(self, handle: asyncio.Handle) -> None:
        self.calls.append("}")

    def before_io_wait(self, timeout: float) -> None:
        self.timeouts.append(timeout)
        self.calls.append("wait{")

    def after_io_wait(self, timeout: float) -> None:
        assert timeout == self.timeouts[-1]
        self.calls.append("}")


def test_turns_callbacks_and_waits_are_reported_in_pairs(our_run: Run) -> None:
    recorder = Recorder()

    async def main() -> None:
        this_loop().add_instrument(recorder)
        await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        this_loop().remove_instrument(recorder)

    our_run(main)
    text = "".join(recorder.calls)
    assert "turn{callback{}}" in text
    assert "wait{}" in text
    # It began in the middle of a turn and ended in the middle of another, in a callback.
    assert text.count("{") - text.count("}") == 2
    assert any(0 < timeout <= 0.01 for timeout in recorder.timeouts)


def test_each_callback_is_reported_once_with_its_handle(our_run: Run) -> None:
    seen: list[asyncio.Handle] = []

    class Handles(LoopInstrument):
        def before_callback(self, handle: asyncio.Handle) -> None:
            seen.append(handle)

    async def main() -> tuple[list[asyncio.Handle], list[int]]:
        this_loop().add_instrument(Handles())
        ran: list[int] = []
        await asyncio.sleep(0)
        handles = [this_loop().call_soon(ran.append, i) for i in range(3)]
        handles[1].cancel()
        await asyncio.sleep(0)
        return handles, ran

    handles, ran = our_run(main)
    assert ran == [0, 2]
    assert [handle for handle in seen if handle in handles] == [handles[0], handles[2]]


def test_an_instrument_that_raises_is_removed_and_logged(our_run: Run) -> None:
    class Broken(LoopInstrument):
        def before_turn(self) -> None:
            raise ZeroDivisionError

    async def main() -> bool:
        broken, recorder = Broken(), Recorder()
        this_loop().add_instrument(broken)
        this_loop().add_instrument(recorder)
        await asyncio.sleep(0)
        with pytest.raises(KeyError):
            this_loop().remove_instrument(broken)
        return "turn{" in recorder.calls

    assert our_run(main)
    (message,) = our_run.log.take()
    assert "raised in before_turn(), and was removed" in message


def test_without_instruments_the_loop_is_as_before(our_run: Run) -> None:
    async def main() -> None:
        loop, recorder = this_loop(), Recorder()
        before = type(loop._scheduler), type(loop._pump)
        loop.add_instrument(recorder)
        loop.add_instrument(recorder)
        assert (type(loop._scheduler), type(loop._pump)) != before
        loop.remove_instrument(recorder)
        assert (type(loop._scheduler), type(loop._pump)) == before
        await asyncio.sleep(0)
        assert recorder.calls in ([], ["}"])

    our_run(main)


def test_errors_of_callbacks_are_reported_with_an_instrument_too(our_run: Run) -> None:
    async def main() -> list[object]:
        seen: list[object] = []
        this_loop().set_exception_handler(lambda loop, context: seen.append(type(context["exception"])))
        this_loop().add_instrument(Recorder())
        await asyncio.sleep(0)
        this_loop().call_soon(lambda: 1 / 0)
        await asyncio.sleep(0)
        return seen

    assert our_run(main) == [ZeroDivisionError]


def test_slices_are_reported_around_their_turns(our_run: Run) -> None:
    class Slices(Recorder):
        def before_slice(self) -> None:
            self.calls.append("slice{")

        def after_slice(self) -> None:
            self.calls.append("}")

    recorder = Slices()

    async def main() -> None:
        this_loop().add_instrument(recorder)
        await asyncio.sleep(0.01)
        await asyncio.sleep(0.01)
        this_loop().remove_instrument(recorder)

    our_run(main)
    text = "".join(recorder.calls)
    assert "wait{}slice{turn{" in text
    assert "}}wait{" in text


def test_the_first_step_of_a_call_is_reported_where_it_is_called(hosted_run: Run) -> None:
    recorder = Recorder()

    async def first() -> str:
        return "".join(recorder.calls)

    async def main() -> tuple[str, str]:
        this_loop().add_instrument(recorder)
        during = await aio_as_trio(first)()
        return during, "".join(recorder.calls)

    during, after = hosted_run.trio_run(main)
    assert during.endswith("callback{")
    assert after.startswith(f"{during}}}")


def test_a_callback_in_the_context_of_the_trio_task_that_makes_the_slice_runs(hosted_run: Run) -> None:
    async def main() -> list[int]:
        this_loop().add_instrument(LoopInstrument())
        ran: list[int] = []
        own = trio.lowlevel.current_task().context

        async def in_asyncio() -> None:
            this_loop().call_soon(ran.append, 1, context=own)
            await asyncio.sleep(0)
            await asyncio.sleep(0)

        for _ in range(3):
            await aio_as_trio(in_asyncio)()
        return ran

    assert hosted_run.trio_run(main) == [1, 1, 1]


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_does_not_come_in_a_hook(sync_run: Run) -> None:
    hooks: list[str] = []

    class Interrupted(LoopInstrument):
        def before_callback(self, handle: asyncio.Handle) -> None:
            if not hooks:
                hooks.append("begun")
                signal.raise_signal(signal.SIGINT)
                hooks.append("ended")

    async def main() -> None:
        if not sync_run.ours:
            pytest.skip("asyncio's loop has no instruments")
        this_loop().add_instrument(Interrupted())
        await asyncio.sleep(0)
        await asyncio.sleep(3600)

    with pytest.raises(KeyboardInterrupt):
        sync_run(main)
    assert hooks == ["begun", "ended"]


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_reaches_a_callback_with_an_instrument_too(sync_run: Run) -> None:
    async def main() -> None:
        if sync_run.ours:
            this_loop().add_instrument(Recorder())
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGINT)
        await asyncio.sleep(3600)

    with pytest.raises(KeyboardInterrupt):
        sync_run(main)


def test_statistics_count_what_there_is(our_run: Run) -> None:
    async def main() -> LoopStatistics:
        loop = this_loop()
        server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
        await asyncio.sleep(0.01)  # over the end of a slice
        loop.call_soon(print)
        loop.call_soon(print).cancel()
        timers = [loop.call_later(50 + i, print) for i in range(3)]
        timers[2].cancel()
        found = loop.statistics()
        for timer in timers:
            timer.cancel()
        server.close()
        return found

    found = our_run(main)
    assert (found.ready, found.timers, found.cancelled_timers, found.readers, found.writers) == (1, 3, 1, 1, 0)
    assert 49 < found.seconds_to_next_timer <= 50
    assert found.slices <= found.turns
    assert 0 < found.longest_slice < 10


def test_statistics_count_calls_in_both_directions(hosted_run: Run) -> None:
    async def in_trio() -> LoopStatistics:
        await trio.lowlevel.checkpoint()
        return this_loop().statistics()

    async def in_asyncio() -> LoopStatistics:
        return await trio_as_aio(in_trio)()

    async def main() -> tuple[LoopStatistics, LoopStatistics]:
        return await aio_as_trio(in_asyncio)(), this_loop().statistics()

    during, after = hosted_run.trio_run(main)
    assert (during.waiting_for_asyncio, during.calls_to_asyncio, during.waiting_for_trio, during.calls_to_trio) == (1, 1, 1, 1)
    assert (after.waiting_for_asyncio, after.calls_to_asyncio, after.waiting_for_trio, after.calls_to_trio) == (0, 1, 0, 1)
    assert after.seconds_to_next_timer == math.inf


@pytest.mark.parametrize("factory", [None, flavour_free_task_factory])
def test_statistics_count_each_kind_of_call_to_asyncio_once(clean: Records, factory: Any) -> None:
    async def numbers() -> AsyncIterator[int]:
        for number in range(3):
            await asyncio.sleep(0)
            yield number

    async def main() -> None:
        async with open_loop(task_factory=factory) as loop:

            async def count(call: Callable[[], Awaitable[object]]) -> int:
                before = loop.statistics().calls_to_asyncio
                await call()
                return loop.statistics().calls_to_asyncio - before

            async def manager() -> None:
                async with aio_as_trio(asyncio.timeout(1)):
                    await trio.lowlevel.checkpoint()

            async def iterator() -> None:
                async for _ in aio_as_trio(numbers()):
                    pass

            calls: list[Callable[[], Awaitable[object]]] = [
                lambda: aio_as_trio(asyncio.sleep)(0),
                lambda: aio_as_trio(asyncio.sleep(0)),
                lambda: aio_as_trio(loop.create_task(asyncio.sleep(0))),
                lambda: gather(asyncio.sleep(0), asyncio.sleep(0)),
                manager,
                iterator,
            ]
            assert [await count(call) for call in calls] == [1] * len(calls)
            assert await count(lambda: allow_asyncio(asyncio.sleep, 0)) == 0

    trio.run(main)
