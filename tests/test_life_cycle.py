"""Life of a loop: running, stopping, closing, and what comes out of it."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import sys
import threading
import time
import unittest
import warnings
import weakref
from collections.abc import Coroutine
from typing import Any

import pytest
import trio

from trio_asyncio_compat import TrioEventLoop, new_event_loop, open_loop, trio_as_aio

from .support import Records, Run

needs_python_3_12 = pytest.mark.skipif(sys.version_info < (3, 12), reason="new in Python 3.12")


async def value(result: object) -> object:
    await asyncio.sleep(0)
    return result


def test_a_coroutine_is_run_to_its_result(run: Run) -> None:
    assert run(value, 42) == 42


def test_one_loop_is_driven_many_times(sync_run: Run) -> None:
    loop = sync_run.new_loop()
    try:
        for number in range(20):
            assert loop.run_until_complete(value(number)) == number
            assert not loop.is_running()
    finally:
        loop.close()


def test_tasks_and_timers_go_on_over_several_drives(sync_run: Run) -> None:
    loop = sync_run.new_loop()
    steps: list[str] = []

    async def background() -> None:
        steps.append("begun")
        await gate
        steps.append("ended")

    gate: asyncio.Future[None] = loop.create_future()
    task = loop.create_task(background())
    due = loop.time() + 0.02
    loop.call_at(due, steps.append, "timer")
    try:
        loop.run_until_complete(value(None))
        assert steps == ["begun"]
        gate.set_result(None)
        loop.run_until_complete(task)
        assert steps == ["begun", "ended"]
        loop.call_at(due, loop.stop)
        loop.run_forever()
        assert steps == ["begun", "ended", "timer"]
    finally:
        loop.close()


def test_time_is_continuous_between_drives(sync_run: Run) -> None:
    loop = sync_run.new_loop()
    try:
        before = loop.time()
        assert abs(before - time.monotonic()) < 1
        inside = loop.run_until_complete(_time())
        assert before <= inside <= loop.time()
        assert loop.run_until_complete(_time()) >= inside
    finally:
        loop.close()


async def _time() -> float:
    return asyncio.get_running_loop().time()


def test_callbacks_queued_before_a_drive_run_first(sync_run: Run) -> None:
    loop = sync_run.new_loop()
    order: list[int] = []
    try:
        loop.call_soon(order.append, 1)
        loop.call_soon_threadsafe(order.append, 2)

        async def main() -> None:
            order.append(3)

        loop.run_until_complete(main())
        assert order == [1, 2, 3]
    finally:
        loop.close()


def test_stop_before_run_forever_makes_one_turn(sync_run: Run) -> None:
    loop = sync_run.new_loop()
    order: list[str] = []

    def first() -> None:
        order.append("first")
        loop.call_soon(order.append, "later")

    try:
        loop.call_soon(first)
        loop.stop()
        loop.run_forever()
        assert order == ["first"]
        loop.stop()
        loop.run_forever()
        assert order == ["first", "later"]
    finally:
        loop.close()


def test_stop_lets_the_current_turn_finish(sync_run: Run) -> None:
    loop = sync_run.new_loop()
    order: list[str] = []
    try:
        loop.call_soon(loop.stop)
        loop.call_soon(order.append, "same turn")
        loop.call_soon(lambda: loop.call_soon(order.append, "next turn"))
        loop.run_forever()
        assert order == ["same turn"]
    finally:
        loop.close()


def test_stop_from_a_reader_of_an_idle_loop_ends_with_its_turn(sync_run: Run) -> None:
    loop = sync_run.new_loop()
    order: list[str] = []
    here, there = socket.socketpair()

    def read() -> None:
        here.recv(1)
        loop.stop()
        loop.call_soon(order.append, "next turn")

    with here, there:
        try:
            loop.add_reader(here, read)
            # The loop is idle until then, and hears of it by the descriptor alone.
            loop.call_later(0.01, there.send, b"x")
            loop.run_forever()
            assert order == []
            loop.stop()
            loop.run_forever()
            assert order == ["next turn"]
            loop.remove_reader(here)
        finally:
            loop.close()


def test_stop_twice_is_stop_once(sync_run: Run) -> None:
    loop = sync_run.new_loop()
    try:
        loop.call_soon(loop.stop)
        loop.call_soon(loop.stop)
        loop.run_forever()
        assert loop.run_until_complete(value(1)) == 1
    finally:
        loop.close()


def test_stop_from_a_timer_of_an_idle_loop(sync_run: Run) -> None:
    loop = sync_run.new_loop()
    try:
        loop.call_later(0.01, loop.stop)
        loop.run_forever()
    finally:
        loop.close()


def test_stop_from_another_thread(sync_run: Run) -> None:
    loop = sync_run.new_loop()
    thread = threading.Thread(target=lambda: loop.call_soon_threadsafe(loop.stop))
    try:
        loop.call_soon(thread.start)
        loop.run_forever()
    finally:
        loop.close()
        thread.join()


def test_is_running_says_so_in_callbacks_only(run: Run) -> None:
    async def main() -> asyncio.AbstractEventLoop:
        loop = asyncio.get_running_loop()
        assert loop.is_running()
        assert not loop.is_closed()
        return loop

    loop = run(main)
    assert not loop.is_running()
    assert loop.is_closed()


def test_close_is_idempotent_and_final(sync_run: Run) -> None:
    loop = sync_run.new_loop()
    loop.run_until_complete(value(None))
    assert not loop.is_closed()
    loop.close()
    loop.close()
    assert loop.is_closed()
    with pytest.raises(RuntimeError, match="closed"):
        loop.run_forever()
    with pytest.raises(RuntimeError, match="closed"):
        loop.run_until_complete(loop.create_future())


def test_a_loop_that_never_ran_can_be_closed(sync_run: Run) -> None:
    sync_run.new_loop().close()


def test_a_closed_loop_keeps_nothing_of_its_callbacks_and_timers(sync_run: Run) -> None:
    class Held:
        def method(self) -> None:
            """Never called."""

    loop = sync_run.new_loop()
    held = [Held() for _ in range(5)]
    kept = [weakref.ref(one) for one in held]
    loop.call_soon(held[0].method)
    # Two of one deadline, and one that is cancelled.
    timers = [loop.call_at(loop.time() + 100, held[1].method), loop.call_later(1000, held[4].method)]
    timers += [loop.call_at(timers[0].when(), held[2].method), loop.call_later(200, held[3].method)]
    timers[-1].cancel()
    loop.close()
    timers[1].cancel()
    del held, timers
    gc.collect()
    assert [ref() for ref in kept] == [None] * 5


def test_a_closed_loop_keeps_nothing_of_its_descriptors(sync_run: Run) -> None:
    class Held:
        def method(self) -> None:
            """Never called."""

    loop = sync_run.new_loop()
    held = [Held(), Held()]
    kept = [weakref.ref(one) for one in held]
    ours, theirs = socket.socketpair()
    with ours, theirs:
        loop.add_reader(ours, held[0].method)
        loop.add_writer(ours, held[1].method)
        loop.close()
        del held
        gc.collect()
        assert [ref() for ref in kept] == [None, None]


def test_a_server_that_nobody_has_closed_listens_no_more_behind_its_loop(sync_run: Run) -> None:
    async def main() -> Any:
        server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
        return server.sockets[0].getsockname()

    loop = sync_run.new_loop()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        address = loop.run_until_complete(main())
        loop.close()
        gc.collect()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


def test_a_closed_loop_is_freed_with_the_last_reference_to_it(sync_run: Run) -> None:
    loop = sync_run.new_loop()
    assert loop.run_until_complete(asyncio.to_thread(abs, -1)) == 1
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    # What a run of trio leaves for the collector knows the loop.
    gc.collect()
    gc.disable()
    try:
        freed = threading.Event()
        weakref.finalize(loop, freed.set)
        del loop
        # The last one may be that of the thread, which is on its way out of the job.
        assert freed.wait(10)
    finally:
        gc.enable()


def test_a_loop_that_is_run_by_steps_from_outside_says_what_to_do() -> None:
    loop = TrioEventLoop()
    try:
        with pytest.raises(RuntimeError, match=r"as nest_asyncio does. .*open_loop"):
            loop._selector.select(0)
    finally:
        loop.close()


def test_close_while_running_is_refused(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(RuntimeError, match="Cannot close a running event loop"):
            loop.close()
        assert not loop.is_closed()
        await asyncio.sleep(0)

    run(main)


def test_an_unclosed_loop_warns_when_it_is_collected(sync_run: Run) -> None:
    loop: asyncio.AbstractEventLoop | None = sync_run.new_loop()
    with pytest.warns(ResourceWarning, match="unclosed event loop"):
        del loop
        gc.collect()


def test_methods_of_a_closed_loop_raise(sync_run: Run) -> None:
    loop = sync_run.new_loop()
    loop.close()
    coroutine = value(None)
    calls: list[Any] = [
        lambda: loop.call_soon(print),
        lambda: loop.call_soon_threadsafe(print),
        lambda: loop.call_later(0, print),
        lambda: loop.call_at(0, print),
        lambda: loop.run_in_executor(None, print),
        lambda: loop.create_task(coroutine),
        lambda: loop.add_signal_handler(signal.SIGUSR1, print),
        lambda: loop.add_reader(0, print),
        lambda: loop.add_writer(1, print),
    ]
    for call in calls:
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            call()
    coroutine.close()


def test_run_until_complete_inside_of_a_running_loop_is_refused(sync_run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        other = sync_run.new_loop()
        coroutine = value(None)
        try:
            with pytest.raises(RuntimeError, match="another loop is running|already running"):
                other.run_until_complete(coroutine)
            with pytest.raises(RuntimeError, match="^Cannot run the event loop while another loop is running$"):
                other.run_forever()
            if sync_run.ours:
                # Python 3.12's and 3.13's own loop forgets here that it runs.
                with pytest.raises(RuntimeError, match="already running"):
                    loop.run_forever()
        finally:
            coroutine.close()
            other.close()

    sync_run(main)


def test_a_future_that_is_never_done(sync_run: Run) -> None:
    loop = sync_run.new_loop()
    future: asyncio.Future[None] = loop.create_future()
    loop.call_soon(loop.stop)
    try:
        with pytest.raises(RuntimeError, match=r"Event loop stopped before Future completed\."):
            loop.run_until_complete(future)
    finally:
        loop.close()


def test_run_until_complete_of_a_future_of_another_loop_is_refused(sync_run: Run) -> None:
    loop, other = sync_run.new_loop(), sync_run.new_loop()
    try:
        with pytest.raises(ValueError):
            loop.run_until_complete(other.create_future())
    finally:
        loop.close()
        other.close()


def test_run_until_complete_of_something_else_is_refused(sync_run: Run) -> None:
    loop = sync_run.new_loop()
    wrong: Any = 42
    try:
        with pytest.raises(TypeError):
            loop.run_until_complete(wrong)
    finally:
        loop.close()


class Odd(Exception):
    """An error of the user's."""


@pytest.mark.parametrize("error", [Odd("x"), SystemExit(3), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError("x")])
def test_what_the_main_task_raises_comes_out_bare(run: Run, error: BaseException) -> None:
    async def main() -> None:
        await asyncio.sleep(0)
        raise error

    with pytest.raises(type(error)) as caught:
        run(main)
    assert type(caught.value) is type(error)
    if isinstance(error, SystemExit):
        assert caught.value is error


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_what_ends_the_loop_from_a_callback_comes_out_bare(run: Run, error: BaseException) -> None:
    def fail() -> None:
        raise error

    async def main() -> None:
        asyncio.get_running_loop().call_soon(fail)
        await asyncio.get_running_loop().create_future()

    with pytest.raises(type(error)) as caught:
        run(main)
    assert caught.value is error


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
def test_what_ends_the_loop_from_a_background_task_comes_out_bare(run: Run, error: BaseException) -> None:
    async def fail() -> None:
        await asyncio.sleep(0)
        raise error

    async def main() -> None:
        tasks.append(asyncio.create_task(fail()))
        await asyncio.sleep(10)

    tasks: list[asyncio.Task[None]] = []
    with pytest.raises(type(error)) as caught:
        run(main)
    assert caught.value is error
    assert tasks[0].exception() is error


def test_a_group_that_the_code_raised_stays_one(run: Run) -> None:
    group = ExceptionGroup("mine", [Odd("x")])

    async def main() -> None:
        raise group

    with pytest.raises(ExceptionGroup) as caught:
        run(main)
    assert caught.value is group


def test_after_system_exit_the_loop_can_be_driven_on(sync_run: Run) -> None:
    loop = sync_run.new_loop()
    order: list[str] = []

    def fail() -> None:
        raise SystemExit(1)

    loop.call_soon(fail)
    loop.call_soon(order.append, "behind")
    try:
        with pytest.raises(SystemExit):
            loop.run_forever()
        assert not loop.is_running()
        loop.run_until_complete(value(None))
        assert order == ["behind"]
    finally:
        loop.close()


def test_a_runner_keeps_its_loop_and_context(sync_run: Run) -> None:
    loops: list[asyncio.AbstractEventLoop] = []

    async def main() -> None:
        loops.append(asyncio.get_running_loop())

    with asyncio.Runner(loop_factory=sync_run.new_loop) as runner:
        runner.run(main())
        runner.run(main())
        assert runner.get_loop() is loops[0] is loops[1]
    assert loops[0].is_closed()


def test_a_runner_sets_debug_mode(sync_run: Run) -> None:
    async def main() -> bool:
        return asyncio.get_running_loop().get_debug()

    with asyncio.Runner(debug=True, loop_factory=sync_run.new_loop) as runner:
        assert runner.run(main())
    with asyncio.Runner(debug=False, loop_factory=sync_run.new_loop) as runner:
        assert not runner.run(main())


@needs_python_3_12
def test_asyncio_run_takes_the_loop_factory(sync_run: Run) -> None:
    async def main() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    run: Any = asyncio.run
    loop = run(main(), loop_factory=sync_run.new_loop)
    assert isinstance(loop, TrioEventLoop) == sync_run.ours
    assert loop.is_closed()


def test_a_runner_cancels_what_is_left(run: Run) -> None:
    ended: list[str] = []

    async def background() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(0)
            ended.append("background")

    async def main() -> None:
        main.task = asyncio.create_task(background())  # type: ignore[attr-defined]
        await asyncio.sleep(0)

    run(main)
    assert ended == ["background"]


@pytest.mark.usefixtures("clean")
def test_isolated_asyncio_test_case() -> None:
    class Case(unittest.IsolatedAsyncioTestCase):
        def _setupAsyncioRunner(self) -> None:  # noqa: N802, until 3.13 there is no attribute for it
            self._asyncioRunner = asyncio.Runner(debug=True, loop_factory=TrioEventLoop)

        async def asyncSetUp(self) -> None:  # noqa: N802
            self.loop = asyncio.get_running_loop()
            self.enterContext(_closing(seen := [1]))
            self.seen = seen

        async def test_on_our_loop(self) -> None:
            self.assertIsInstance(asyncio.get_running_loop(), TrioEventLoop)
            self.assertIs(asyncio.get_running_loop(), self.loop)
            await asyncio.sleep(0.001)

        async def test_that_fails(self) -> None:
            await asyncio.sleep(0)
            self.fail("on purpose")

        async def asyncTearDown(self) -> None:  # noqa: N802
            await asyncio.sleep(0)

    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(Case).run(result)
    assert result.testsRun == 2
    assert result.errors == []
    assert [text.splitlines()[-1] for _, text in result.failures] == ["AssertionError: on purpose"]


class _closing:
    def __init__(self, seen: list[int]) -> None:
        self.seen = seen

    def __enter__(self) -> None:
        pass

    def __exit__(self, *args: object) -> None:
        self.seen.clear()


@pytest.mark.skipif(sys.version_info < (3, 13), reason="loop_factory is new in Python 3.13")
@pytest.mark.usefixtures("clean")
def test_isolated_asyncio_test_case_with_its_loop_factory() -> None:
    class Case(unittest.IsolatedAsyncioTestCase):
        loop_factory = TrioEventLoop

        async def test_on_our_loop(self) -> None:
            self.assertIsInstance(asyncio.get_running_loop(), TrioEventLoop)

    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(Case).run(result)
    assert result.wasSuccessful()


@pytest.mark.usefixtures("clean")
def test_new_event_loop_makes_a_loop_to_be_driven() -> None:
    loop = new_event_loop()
    assert isinstance(loop, TrioEventLoop)
    assert isinstance(loop, asyncio.AbstractEventLoop)
    assert loop.slow_callback_duration == 0.1
    assert loop.run_until_complete(value(1)) == 1
    loop.close()


@pytest.mark.parametrize("name", [name for name in vars(asyncio.AbstractEventLoop) if not name.startswith("__")])
def test_every_method_of_the_abstract_loop_is_there(name: str) -> None:
    """Whatever the running Python has; the abstract ones raise NotImplementedError."""
    assert getattr(TrioEventLoop, name) is not getattr(asyncio.AbstractEventLoop, name)


def test_driving_inside_of_trio_names_open_loop(clean: Records) -> None:
    async def main() -> None:
        loop = TrioEventLoop()
        coroutine = value(None)
        try:
            with pytest.raises(RuntimeError, match=r"open_loop\(\)"):
                loop.run_forever()
            with pytest.raises(RuntimeError, match=r"open_loop\(\)"):
                loop.run_until_complete(coroutine)
        finally:
            coroutine.close()
            loop.close()
        await trio.lowlevel.checkpoint()

    trio.run(main)


@pytest.mark.parametrize("where", ["trio", "asyncio"])
def test_driving_next_to_an_open_loop_names_open_loop(hosted_run: Run, where: str) -> None:
    async def check() -> None:
        other = TrioEventLoop()
        with pytest.raises(RuntimeError, match=r"open_loop\(\)"):
            other.run_forever()
        other.close()

    if where == "trio":
        hosted_run.trio_run(check)
    else:
        hosted_run(check)


def test_driving_in_trio_code_of_a_driven_loop_names_open_loop(clean: Records) -> None:
    async def in_trio() -> None:
        await trio.lowlevel.checkpoint()
        other = TrioEventLoop()
        with pytest.raises(RuntimeError, match=r"open_loop\(\)"):
            other.run_forever()
        other.close()

    with asyncio.Runner(loop_factory=TrioEventLoop) as runner:
        runner.run(trio_as_aio(in_trio)())


@pytest.mark.parametrize("where", ["trio", "asyncio"])
def test_a_hosted_loop_is_not_a_sync_loop(hosted_run: Run, where: str) -> None:
    async def check() -> None:
        loop = asyncio.get_running_loop()
        coroutine = value(None)
        with pytest.raises(RuntimeError, match="not a sync loop"):
            loop.run_until_complete(coroutine)
        with pytest.raises(RuntimeError, match="not a sync loop"):
            loop.run_forever()
        coroutine.close()

    if where == "trio":
        hosted_run.trio_run(check)
    else:
        hosted_run(check)


@pytest.mark.usefixtures("clean")
def test_wrong_options_are_refused() -> None:
    wrong: Any = "kqueue-ish"
    with pytest.raises(ValueError, match="poller"):
        TrioEventLoop(poller=wrong)
    with pytest.raises(ValueError, match="slice_length"):
        TrioEventLoop(slice_length=0)
    with pytest.raises(ValueError, match="slice_length"):
        TrioEventLoop(slice_length=float("nan"))


@pytest.mark.usefixtures("clean")
def test_wrong_options_of_open_loop_are_refused() -> None:
    async def main() -> None:
        wrong: Any = "kqueue-ish"
        with pytest.raises(ValueError, match="poller"):
            async with open_loop(poller=wrong):
                pass

    trio.run(main)


def test_get_event_loop_in_a_coroutine_is_the_running_loop(run: Run) -> None:
    async def main() -> None:
        assert asyncio.get_event_loop() is asyncio.get_running_loop()
        assert asyncio._get_running_loop() is asyncio.get_running_loop()

    run(main)


def test_the_running_loop_is_forgotten_after_a_drive(sync_run: Run) -> None:
    loop = sync_run.new_loop()
    loop.run_until_complete(value(None))
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()
    loop.close()


def test_a_loop_is_driven_in_a_thread(sync_run: Run) -> None:
    results: list[object] = []
    thread = threading.Thread(target=lambda: results.append(sync_run(value, 1)))
    thread.start()
    thread.join()
    assert results == [1]


def test_a_loop_moves_from_thread_to_thread(sync_run: Run) -> None:
    loop = sync_run.new_loop()
    results: list[object] = []

    def drive() -> None:
        results.append(loop.run_until_complete(value(threading.current_thread().name)))

    for name in ("a", "b"):
        thread = threading.Thread(target=drive, name=name)
        thread.start()
        thread.join()
    results.append(loop.run_until_complete(value("main")))
    loop.close()
    assert results == ["a", "b", "main"]


def test_two_loops_take_turns_in_one_thread(sync_run: Run) -> None:
    loops = [sync_run.new_loop() for _ in range(3)]

    async def which() -> asyncio.AbstractEventLoop:
        await asyncio.sleep(0)
        return asyncio.get_running_loop()

    for _ in range(3):
        for loop in loops:
            assert loop.run_until_complete(which()) is loop
    for loop in loops:
        loop.close()


def test_the_debug_mode_of_a_running_loop_can_be_switched(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_debug(True)
        assert loop.get_debug()
        await asyncio.sleep(0)
        assert sys.get_coroutine_origin_tracking_depth() > 0
        loop.set_debug(False)
        await asyncio.sleep(0)
        assert sys.get_coroutine_origin_tracking_depth() == 0

    run(main)


def test_repr_tells_the_state(run: Run) -> None:
    async def main() -> asyncio.AbstractEventLoop:
        loop = asyncio.get_running_loop()
        assert "running=True closed=False debug=False" in repr(loop)
        return loop

    assert "running=False closed=True" in repr(run(main))


def test_never_awaited_coroutines_are_not_made_by_a_refused_drive(sync_run: Run) -> None:
    loop = sync_run.new_loop()
    loop.close()
    coroutine: Coroutine[Any, Any, object] = value(None)
    with pytest.raises(RuntimeError):
        loop.run_until_complete(coroutine)
    coroutine.close()


@pytest.mark.parametrize("attribute", ["_closed", "_selector", "_csock", "_signal_handlers", "_ready"])
def test_ctrl_c_in_the_constructor_leaves_nothing(clean: Records, attribute: str) -> None:
    """Whichever attribute it is that has just been set."""

    interrupts = [KeyboardInterrupt()]

    class Interrupted(TrioEventLoop):
        def __setattr__(self, name: str, value: object) -> None:
            super().__setattr__(name, value)
            if name == attribute and interrupts:
                raise interrupts.pop()

    with pytest.raises(KeyboardInterrupt):
        Interrupted()


def test_a_loop_that_nobody_closed_may_be_collected_after_its_sockets(clean: Records) -> None:
    """The collector finalises what it finds in no order. asyncio's own loop complains of a descriptor that is -1."""
    loop = TrioEventLoop()
    loop.run_until_complete(asyncio.sleep(0))
    for sock in (loop._ssock, loop._csock):
        assert sock is not None
        sock.close()
    with pytest.warns(ResourceWarning, match="unclosed event loop"):
        del loop
        gc.collect()
