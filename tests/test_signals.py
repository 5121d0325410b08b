"""Signal handlers of the loop, and Ctrl-C."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import time
import warnings
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import trio

from trio_asyncio_compat import TrioEventLoop, aio_as_trio, open_loop, trio_as_aio

from .support import Records, Run, wakeup_fd

USR1, USR2 = signal.SIGUSR1, signal.SIGUSR2


def send(sig: int) -> None:
    os.kill(os.getpid(), sig)


def test_a_handler_runs_in_the_loop_with_its_arguments(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[tuple[Any, ...]] = loop.create_future()
        loop.add_signal_handler(USR1, lambda *args: done.set_result((asyncio.get_running_loop(), *args)), 1, 2)
        send(USR1)
        assert await done == (loop, 1, 2)
        assert loop.remove_signal_handler(USR1) is True

    run(main)


def test_a_signal_wakes_an_idle_loop(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        loop.add_signal_handler(USR1, done.set_result, None)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        thread = threading.Timer(0.01, send, (USR1,))
        thread.start()
        await done
        thread.join()
        loop.remove_signal_handler(USR1)

    run(main)


def test_every_signal_sent_while_busy_is_handled_in_order(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        seen: list[str] = []
        loop.add_signal_handler(USR1, seen.append, "usr1")
        loop.add_signal_handler(USR2, seen.append, "usr2")
        signal.raise_signal(USR1)
        signal.raise_signal(USR2)
        while len(seen) < 2:
            await asyncio.sleep(0)
        assert seen == ["usr1", "usr2"]
        loop.remove_signal_handler(USR1)
        loop.remove_signal_handler(USR2)

    run(main)


def test_a_second_registration_replaces_the_first(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[str] = loop.create_future()
        loop.add_signal_handler(USR1, done.set_result, "first")
        loop.add_signal_handler(USR1, done.set_result, "second")
        send(USR1)
        assert await done == "second"
        assert loop.remove_signal_handler(USR1) is True
        assert loop.remove_signal_handler(USR1) is False

    run(main)


def test_removing_restores_the_default(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert loop.remove_signal_handler(USR1) is False
        loop.add_signal_handler(USR1, print)
        assert signal.getsignal(USR1) not in (signal.SIG_DFL, signal.SIG_IGN)
        assert loop.remove_signal_handler(USR1) is True
        assert signal.getsignal(USR1) == signal.SIG_DFL

    run(main)


def test_handlers_go_with_the_loop(run: Run) -> None:
    async def main() -> None:
        asyncio.get_running_loop().add_signal_handler(USR1, print)

    run(main)
    assert signal.getsignal(USR1) == signal.SIG_DFL


@pytest.mark.parametrize("wrong", [-1, 0, 1000])
def test_a_number_that_is_no_signal_is_refused(run: Run, wrong: int) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(ValueError, match="invalid signal number"):
            loop.add_signal_handler(wrong, print)
        with pytest.raises(ValueError, match="invalid signal number"):
            loop.remove_signal_handler(wrong)

    run(main)


def test_what_is_no_number_is_refused(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        wrong: Any = "SIGUSR1"
        with pytest.raises(TypeError, match="sig must be an int"):
            loop.add_signal_handler(wrong, print)
        with pytest.raises(TypeError, match="sig must be an int"):
            loop.remove_signal_handler(wrong)

    run(main)


@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGSTOP])
def test_a_signal_that_cannot_be_caught_is_refused(run: Run, sig: int) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(RuntimeError, match=f"sig {int(sig)} cannot be caught"):
            loop.add_signal_handler(sig, print)
        assert loop.remove_signal_handler(sig) is False

    run(main)


def test_a_coroutine_function_is_refused(run: Run) -> None:
    async def handler() -> None:
        pass

    async def main() -> None:
        loop = asyncio.get_running_loop()
        wrong: Any = handler
        coroutine: Any = handler()
        for target in (wrong, coroutine):
            with pytest.raises(TypeError, match="coroutines cannot be used with"):
                loop.add_signal_handler(USR1, target)
        coroutine.close()
        assert signal.getsignal(USR1) == signal.SIG_DFL

    run(main)


def test_in_another_thread_it_is_refused(run: Run) -> None:
    errors: list[str] = []

    async def main() -> None:
        try:
            asyncio.get_running_loop().add_signal_handler(USR1, print)
        except RuntimeError as exc:
            errors.append(str(exc))

    thread = threading.Thread(target=run, args=(main,))
    thread.start()
    thread.join()
    assert len(errors) == 1
    assert "main thread" in errors[0]


def test_a_handler_that_raises_is_reported(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[dict[str, Any]] = loop.create_future()
        loop.set_exception_handler(lambda loop, context: done.set_result(context))

        def fail() -> None:
            raise LookupError("on purpose")

        loop.add_signal_handler(USR1, fail)
        send(USR1)
        assert isinstance((await done)["exception"], LookupError)
        loop.remove_signal_handler(USR1)

    run(main)


def test_a_handler_may_remove_itself(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[bool] = loop.create_future()
        loop.add_signal_handler(USR1, lambda: done.set_result(loop.remove_signal_handler(USR1)))
        send(USR1)
        assert await done is True

    run(main)


def test_a_handler_runs_in_the_context_of_its_registration(run: Run) -> None:
    import contextvars

    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[str] = loop.create_future()
        variable.set("then")
        loop.add_signal_handler(USR1, lambda: done.set_result(variable.get()))
        variable.set("now")
        send(USR1)
        assert await done == "then"
        loop.remove_signal_handler(USR1)

    run(main)


def test_a_handler_for_sigint_takes_ctrl_c_over(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        loop.add_signal_handler(signal.SIGINT, done.set_result, None)
        send(signal.SIGINT)
        await done
        assert loop.remove_signal_handler(signal.SIGINT)
        # Back to the usual: KeyboardInterrupt.
        send(signal.SIGINT)
        await loop.create_future()

    with pytest.raises(KeyboardInterrupt):
        run(main)


def test_a_handler_for_sigterm(run: Run) -> None:
    async def main() -> str:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
        send(signal.SIGTERM)
        try:
            await loop.create_future()
        except asyncio.CancelledError:
            return "stopped"
        finally:
            loop.remove_signal_handler(signal.SIGTERM)
        return "never"

    assert run(main) == "stopped"


def test_handlers_of_the_python_kind_still_work(run: Run) -> None:
    seen: list[int] = []
    before = signal.signal(USR2, lambda signum, frame: seen.append(signum))

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(USR1, print)
        send(USR2)
        while not seen:
            await asyncio.sleep(0)
        loop.remove_signal_handler(USR1)

    try:
        run(main)
    finally:
        signal.signal(USR2, before)


# Beside handlers of Python's that the program sets


@contextmanager
def pythons_handler(sig: int, handler: Callable[[int, Any], object] = lambda signum, frame: None) -> Iterator[None]:
    before = signal.signal(sig, handler)
    try:
        yield
    finally:
        signal.signal(sig, before)


async def turns(seen: list[Any], number: int) -> list[Any]:
    """Wait until so many have been seen, and for more that should not come; return what there is, and forget it."""
    while len(seen) < number:
        await asyncio.sleep(0.0001)
    for _ in range(10):
        await asyncio.sleep(0.0001)
    found = list(seen)
    seen.clear()
    return found


def test_the_callback_runs_beside_a_handler_that_the_program_has_set_in_its_place(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        seen: list[str] = []
        loop.add_signal_handler(USR1, seen.append, "loop")
        # As a server does it while it serves.
        with pythons_handler(USR1, lambda signum, frame: seen.append("python")):
            send(USR1)
            assert await turns(seen, 2) == ["python", "loop"]
            loop.call_later(0.001, threading.Timer(0.001, send, (USR1,)).start)
            assert await turns(seen, 2) == ["python", "loop"]
            # Not read yet when the loop's own is back.
            signal.raise_signal(USR1)
        signal.raise_signal(USR1)
        assert await turns(seen, 3) == ["python", "loop", "loop"]
        send(USR1)
        assert await turns(seen, 1) == ["loop"]
        loop.remove_signal_handler(USR1)

    run(main)


def test_the_callback_runs_once_for_each_signal(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        seen: list[int] = []
        loop.add_signal_handler(USR1, seen.append, 1)
        loop.add_signal_handler(USR2, seen.append, 2)
        for number in range(100):
            for sig in (USR1, USR2, USR1):
                signal.raise_signal(sig)
            if number % 3 == 0:
                await asyncio.sleep(0)
        assert sorted(await turns(seen, 300)) == [1] * 200 + [2] * 100
        loop.remove_signal_handler(USR1)
        loop.remove_signal_handler(USR2)

    run(main)


def test_it_does_so_in_a_later_drive(sync_run: Run) -> None:
    async def drive() -> list[str]:
        with pythons_handler(USR1):
            send(USR1)
            return await turns(seen, 1)

    seen: list[str] = []
    with asyncio.Runner(loop_factory=sync_run.new_loop) as runner:
        runner.get_loop().add_signal_handler(USR1, seen.append, "loop")
        assert [runner.run(drive()) for _ in range(3)] == [["loop"]] * 3


def test_a_signal_is_told_to_each_loop_with_a_handler_for_it(hosted_run: Run) -> None:
    async def main() -> None:
        outer = asyncio.get_running_loop()
        outer.add_signal_handler(USR1, seen.append, "outer")
        async with open_loop(poller=hosted_run.poller) as inner:
            inner.add_signal_handler(USR1, seen.append, "inner")
            await sent_and_seen(2)
            with pythons_handler(USR1):
                await sent_and_seen(2)
        await sent_and_seen(1)

    async def sent_and_seen(number: int) -> None:
        send(USR1)
        while len(seen) < number:
            await trio.sleep(0.0001)
        assert sorted(seen) == ["inner", "outer"][-number:]
        seen.clear()

    seen: list[str] = []
    hosted_run.trio_run(main)
    assert signal.getsignal(USR1) == signal.SIG_DFL


def test_a_loop_in_another_thread_is_told_too(our_run: Run) -> None:
    other = TrioEventLoop(poller=our_run.poller)
    done: asyncio.Future[str] = other.create_future()
    other.add_signal_handler(USR1, done.set_result, "told")
    thread = threading.Thread(target=other.run_until_complete, args=(done,))
    thread.start()

    async def main() -> None:
        asyncio.get_running_loop().add_signal_handler(USR2, print)
        with pythons_handler(USR1):
            send(USR1)
            await asyncio.to_thread(thread.join)

    our_run(main)
    assert done.result() == "told"
    other.close()


def test_a_signal_that_no_pipe_could_hold_is_handled(our_run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        seen: list[int] = []
        loop.add_signal_handler(USR1, seen.append, 1)
        loop.add_signal_handler(USR2, seen.append, 2)
        with pythons_handler(USR1):
            for _ in range(70_000):
                signal.raise_signal(USR1)
        signal.raise_signal(USR2)
        while 2 not in seen:
            await asyncio.sleep(0)
        assert seen.count(2) == 1
        loop.remove_signal_handler(USR1)
        loop.remove_signal_handler(USR2)

    our_run(main)


@pytest.mark.parametrize("in_thread", [False, True])
def test_a_signal_of_a_forked_child_is_not_the_parents(our_run: Run, in_thread: bool) -> None:
    def fork() -> int:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if not pid:
            signal.raise_signal(USR1)
            os._exit(3)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    async def main() -> None:
        seen: list[str] = []
        asyncio.get_running_loop().add_signal_handler(USR1, seen.append, "the child's")
        with pythons_handler(USR1):
            assert (await asyncio.to_thread(fork) if in_thread else fork()) == 3
            assert await turns(seen, 0) == []

    our_run(main)


def test_ctrl_c_in_another_thread_wakes_trio_when_the_loop_has_been_stopped(hosted_run: Run) -> None:
    async def main() -> None:
        async with open_loop(poller=hosted_run.poller) as loop:
            loop.add_signal_handler(USR1, print)
            await loop.stop().wait()
            thread.start()
            await trio.sleep_forever()

    thread = threading.Thread(target=lambda: signal.pthread_kill(threading.get_ident(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
    thread.join()


@pytest.mark.parametrize("set_one", [False, True])
def test_the_wakeup_descriptor_is_trios_afterwards_or_the_programs(clean: Records, set_one: bool) -> None:
    async def main() -> None:
        trios = wakeup_fd()
        async with open_loop() as loop:
            assert wakeup_fd() == trios
            loop.add_signal_handler(USR1, print)
            assert wakeup_fd() not in (-1, trios)
            if set_one:
                signal.set_wakeup_fd(writer)
        assert wakeup_fd() == (writer if set_one else trios)
        signal.set_wakeup_fd(trios)

    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        trio.run(main)
    finally:
        os.close(reader)
        os.close(writer)


# Ctrl-C


def test_ctrl_c_cancels_the_main_task_once(run: Run) -> None:
    steps: list[str] = []

    async def main() -> None:
        asyncio.get_running_loop().call_later(0.005, send, signal.SIGINT)
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            steps.append("cancelled")
            await asyncio.sleep(0.001)
            steps.append("cleaned up")
            raise

    with pytest.raises(KeyboardInterrupt):
        run(main)
    assert steps == ["cancelled", "cleaned up"]


def test_ctrl_c_while_the_loop_is_idle(run: Run) -> None:
    ended: list[str] = []

    async def main() -> None:
        thread = threading.Timer(0.02, send, (signal.SIGINT,))
        thread.start()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            thread.join()
            ended.append("main")

    with pytest.raises(KeyboardInterrupt):
        run(main)
    assert ended == ["main"]


def test_ctrl_c_that_the_main_task_survives(sync_run: Run) -> None:
    """asyncio's rule: what the task returns then counts only if it swallowed the cancel."""

    async def main() -> str:
        asyncio.get_running_loop().call_later(0.005, send, signal.SIGINT)
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            return "swallowed"
        return "never"

    assert sync_run(main) == "swallowed"


def test_a_second_ctrl_c_breaks_a_stuck_callback(run: Run) -> None:
    began = threading.Event()

    def stuck() -> None:
        began.set()
        try:
            while True:
                time.sleep(0.001)
        finally:
            interrupted.append(True)

    def press() -> None:
        began.wait()
        while not interrupted:
            send(signal.SIGINT)
            time.sleep(0.02)

    interrupted: list[bool] = []
    presser = threading.Thread(target=press)

    async def main() -> None:
        asyncio.get_running_loop().call_soon(stuck)
        await asyncio.get_running_loop().create_future()

    presser.start()
    with pytest.raises(KeyboardInterrupt):
        run(main)
    presser.join()


def test_one_ctrl_c_raises_nothing_in_a_busy_hosted_callback(hosted_run: Run) -> None:
    steps: list[str] = []

    def busy() -> None:
        signal.raise_signal(signal.SIGINT)
        time.sleep(0.001)
        steps.append("callback ended")

    async def main() -> None:
        asyncio.get_running_loop().call_soon(busy)
        try:
            await trio.sleep_forever()
        except KeyboardInterrupt:
            steps.append("main interrupted")
            raise

    with pytest.raises(KeyboardInterrupt):
        hosted_run.trio_run(main)
    assert steps == ["callback ended", "main interrupted"]


def test_bare_run_forever_raises_keyboard_interrupt(sync_run: Run) -> None:
    loop = sync_run.new_loop()
    loop.call_later(0.005, send, signal.SIGINT)
    try:
        with pytest.raises(KeyboardInterrupt):
            loop.run_forever()
        loop.call_soon(loop.stop)
        loop.run_forever()
    finally:
        loop.close()


def test_bare_run_forever_interrupted_while_idle(sync_run: Run) -> None:
    loop = sync_run.new_loop()
    thread = threading.Timer(0.02, send, (signal.SIGINT,))
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            loop.run_forever()
    finally:
        thread.join()
        loop.close()


def test_a_sigint_handler_of_the_program_is_left_alone(run: Run) -> None:
    seen: list[int] = []

    def handler(signum: int, frame: object) -> None:
        seen.append(signum)

    before = signal.signal(signal.SIGINT, handler)

    async def main() -> None:
        send(signal.SIGINT)
        while not seen:
            await asyncio.sleep(0)

    try:
        run(main)
        assert seen == [signal.SIGINT]
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_sigint_ignored_stays_ignored(run: Run) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)

    async def main() -> None:
        send(signal.SIGINT)
        await asyncio.sleep(0.002)

    try:
        run(main)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_ctrl_c_cancels_what_the_trio_main_task_awaits(hosted_run: Run) -> None:
    messages: list[object] = []

    async def asyncio_part() -> None:
        asyncio.get_running_loop().call_later(0.005, send, signal.SIGINT)
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError as exc:
            messages.extend(exc.args)
            raise

    with pytest.raises(KeyboardInterrupt):
        hosted_run(asyncio_part)
    assert messages == ["KeyboardInterrupt"]


@pytest.mark.usefixtures("clean")
def test_ctrl_c_in_nested_loops_comes_out_bare() -> None:
    async def main() -> None:
        async with open_loop(), open_loop() as inner:
            inner.call_later(0.005, send, signal.SIGINT)
            await trio.sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)


def test_ctrl_c_during_shutdown_of_a_hosted_loop_is_not_lost(clean: Records) -> None:
    ended: list[str] = []

    async def slow() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            send(signal.SIGINT)
            await asyncio.sleep(0.005)
            ended.append("cleaned up")

    async def main() -> None:
        async with open_loop() as loop:
            tasks.append(loop.create_task(slow()))
            await trio.testing.wait_all_tasks_blocked()

    tasks: list[asyncio.Task[None]] = []
    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
    assert ended == ["cleaned up"]


def test_ctrl_c_again_during_shutdown_gives_up_what_refuses_to_end(clean: Records) -> None:
    seen: list[str] = []

    async def refuse(loop: TrioEventLoop) -> None:
        release = loop.create_future()
        while not release.done():
            try:
                await asyncio.shield(release)
            except asyncio.CancelledError:
                seen.append("refused")
                press(loop)

    def press(loop: TrioEventLoop) -> None:
        if not reports:
            send(signal.SIGINT)
            loop.call_later(0.001, press, loop)

    async def polite() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            seen.append("ended")

    async def generate() -> AsyncIterator[None]:
        try:
            yield
        finally:
            seen.append("closed")

    async def main() -> None:
        async with open_loop() as loop:
            loop.set_exception_handler(lambda _, context: reports.append(context["message"]))
            tasks = [loop.create_task(refuse(loop)), loop.create_task(polite())]
            generator = generate()
            await aio_as_trio(anext)(generator)
            await trio.testing.wait_all_tasks_blocked()
            kept.extend([*tasks, generator])
            del tasks, generator

    reports: list[str] = []
    kept: list[Any] = []
    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
    assert sorted(seen) == ["closed", "ended", "refused"]
    assert "still running" in reports[0] and "refuse" in reports[0]
    kept.clear()
    gc.collect()
    assert reports[1:] == ["Task was destroyed but it is pending!"]


def test_a_handler_that_the_program_has_set_before_a_drive_is_its_own_again_afterwards(clean: Records) -> None:
    def handler(signum: int, frame: Any) -> None:
        seen.append(signum)

    seen: list[int] = []
    before = signal.signal(USR1, handler)
    try:
        with asyncio.Runner(loop_factory=TrioEventLoop) as runner:
            runner.get_loop().call_soon(send, USR1)
            runner.run(asyncio.sleep(0))
        assert seen == [USR1]
        assert signal.getsignal(USR1) is handler
    finally:
        signal.signal(USR1, before)


def test_a_signal_that_comes_while_the_guard_leaves_does_not_keep_it_from_that(clean: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    def handler(signum: int, frame: Any) -> None:
        raise ZeroDivisionError

    def slow(signum: int, handler: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return change(signum, handler)

    change = signal.signal
    before = signal.signal(USR1, handler)
    loop = TrioEventLoop()
    try:
        loop.call_soon(monkeypatch.setattr, signal, "signal", slow)
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(asyncio.sleep(0))
        monkeypatch.undo()
        assert signal.getsignal(USR1) is handler
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        monkeypatch.undo()
        signal.signal(USR1, before)
        loop.close()


@pytest.mark.parametrize("make_loop", [asyncio.SelectorEventLoop, TrioEventLoop])
class TestAHandlerThatTheProgramKeepsFromADrive:
    """What `signal.signal` and `signal.getsignal` return during a drive works after it, as the handler that was set before."""

    MakeLoop = Callable[[], asyncio.AbstractEventLoop]

    @pytest.fixture(autouse=True)
    def handlers_put_back(self, clean: Records) -> Iterator[None]:
        before = {sig: signal.getsignal(sig) for sig in (signal.SIGINT, USR1, USR2)}
        yield
        for sig, handler in before.items():
            signal.signal(sig, handler)

    @pytest.mark.parametrize("by_runner", [True, False])
    def test_restored_after_the_drive_ctrl_c_interrupts(self, make_loop: MakeLoop, by_runner: bool) -> None:
        async def main() -> Any:
            return signal.signal(signal.SIGINT, lambda *args: None)

        if by_runner:
            with asyncio.Runner(loop_factory=make_loop) as runner:
                kept = runner.run(main())
        else:
            loop = make_loop()
            kept = loop.run_until_complete(main())
            loop.close()
        signal.signal(signal.SIGINT, kept)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)

    def test_restored_it_is_the_handler_and_keeps_no_loop_alive(self, make_loop: MakeLoop) -> None:
        def handler(signum: int, frame: Any) -> None:
            seen.append(signum)

        async def main() -> Any:
            return signal.signal(USR1, signal.SIG_IGN), weakref.ref(asyncio.get_running_loop())

        seen: list[int] = []
        signal.signal(USR1, handler)
        with asyncio.Runner(loop_factory=make_loop) as runner:
            kept, loop = runner.run(main())
        del runner
        signal.signal(USR1, kept)
        send(USR1)
        assert seen == [USR1]
        gc.collect()
        assert loop() is None

    def test_called_by_the_handler_that_took_its_place(self, make_loop: MakeLoop) -> None:
        async def main() -> None:
            behind: Any = signal.getsignal(USR1)

            def chained(signum: int, frame: Any) -> None:
                seen.append("chained")
                behind(signum, frame)

            signal.signal(USR1, chained)
            send(USR1)
            await asyncio.sleep(0)

        seen: list[str] = []
        signal.signal(USR1, lambda *args: seen.append("behind"))
        with asyncio.Runner(loop_factory=make_loop) as runner:
            runner.run(main())
        send(USR1)
        assert seen == ["chained", "behind"] * 2

    def test_given_to_another_signal(self, make_loop: MakeLoop) -> None:
        async def main() -> None:
            signal.signal(USR2, signal.getsignal(USR1))
            send(USR2)
            await asyncio.sleep(0)

        seen: list[int] = []
        signal.signal(USR1, lambda signum, frame: seen.append(signum))
        with asyncio.Runner(loop_factory=make_loop) as runner:
            runner.run(main())
        send(USR2)
        assert seen == [USR2, USR2]

    def test_restored_before_or_in_the_drive_of_another_loop(self, make_loop: MakeLoop) -> None:
        async def keep() -> Any:
            return signal.signal(USR1, signal.SIG_IGN)

        async def restore() -> None:
            signal.signal(USR1, kept)
            await answer()

        async def answer() -> None:
            send(USR1)
            await asyncio.sleep(0)

        seen: list[int] = []
        signal.signal(USR1, lambda signum, frame: seen.append(signum))
        with asyncio.Runner(loop_factory=make_loop) as runner:
            kept = runner.run(keep())
        with asyncio.Runner(loop_factory=make_loop) as runner:
            runner.run(restore())
        for _ in range(2):
            with asyncio.Runner(loop_factory=make_loop) as runner:
                runner.run(answer())
        assert seen == [USR1] * 3


@pytest.mark.parametrize("name", [None, 5, "", "a.module"])
def test_a_signal_that_comes_in_code_of_no_module(clean: Records, name: Any) -> None:
    code: dict[str, Any] = {"__name__": name, "signal": signal}
    exec("async def main():\n    signal.raise_signal(signal.SIGUSR1)", code)
    seen: list[int] = []
    before = signal.signal(USR1, lambda signum, frame: seen.append(signum))
    try:
        with asyncio.Runner(loop_factory=TrioEventLoop) as runner:
            runner.run(code["main"]())
    finally:
        signal.signal(USR1, before)
    assert seen == [USR1]


def test_a_handler_kept_from_a_drive_is_guarded_in_later_ones_as_any_other(clean: Records) -> None:
    async def keep() -> Any:
        return signal.signal(USR1, signal.SIG_IGN)

    def raises(signum: int, frame: Any) -> None:
        raise ZeroDivisionError

    @trio.lowlevel.enable_ki_protection
    async def send_in_machinery() -> None:
        await trio.lowlevel.checkpoint()
        send(USR1)
        steps.append("not interrupted here")

    steps: list[str] = []
    before = signal.signal(USR1, raises)
    try:
        with asyncio.Runner(loop_factory=TrioEventLoop) as runner:
            signal.signal(USR1, runner.run(keep()))
        with asyncio.Runner(loop_factory=TrioEventLoop) as runner, pytest.raises(ZeroDivisionError):
            runner.run(trio_as_aio(send_in_machinery)())
        assert steps == ["not interrupted here"]
        assert signal.getsignal(USR1) is raises
    finally:
        signal.signal(USR1, before)


def test_of_two_handlers_that_raise_while_the_guard_leaves_both_run(clean: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    def raises(signum: int, frame: Any) -> None:
        seen.append(signum)
        raise ZeroDivisionError

    def slow(signum: int, handler: Any) -> Any:
        monkeypatch.undo()
        signal.raise_signal(USR1)
        signal.raise_signal(USR2)
        return signal.signal(signum, handler)

    seen: list[int] = []
    before = {sig: signal.signal(sig, raises) for sig in (USR1, USR2)}
    loop = TrioEventLoop()
    try:
        loop.call_soon(monkeypatch.setattr, signal, "signal", slow)
        with pytest.raises(ZeroDivisionError):
            loop.run_until_complete(asyncio.sleep(0))
        assert seen == [USR1, USR2]
    finally:
        for sig, handler in before.items():
            signal.signal(sig, handler)
        loop.close()


def test_a_signal_is_for_the_callback_that_is_set_when_the_loop_comes_to_it(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, ran.append, "old")
        signal.raise_signal(signal.SIGTERM)
        loop.add_signal_handler(signal.SIGTERM, ran.append, "new")
        while not ran:
            await asyncio.sleep(0)
        signal.raise_signal(signal.SIGTERM)
        loop.remove_signal_handler(signal.SIGTERM)
        loop.add_signal_handler(signal.SIGUSR1, ran.append, "last")
        signal.raise_signal(signal.SIGUSR1)
        while ran[-1] != "last":
            await asyncio.sleep(0)
        loop.remove_signal_handler(signal.SIGUSR1)

    ran: list[str] = []
    run(main)
    assert ran == ["new", "last"]


class Late(Exception):
    pass


class Alarm(trio.abc.Clock):
    """A clock that goes off in the middle of trio's own code."""

    def __init__(self) -> None:
        self.wound = False
        self.rung = 0

    def start_clock(self) -> None:
        pass

    def current_time(self) -> float:
        return time.monotonic()

    def deadline_to_sleep_time(self, deadline: float) -> float:
        if self.wound:
            self.wound = False
            self.rung += 1
            signal.raise_signal(signal.SIGUSR1)
        return deadline - time.monotonic()


@pytest.mark.parametrize("error", [Late(), SystemExit(3)])
def test_a_handler_that_raises_in_the_middle_of_trio_ends_a_hosted_loop_cleanly(clean: Records, error: BaseException) -> None:
    def too_late(signum: int, frame: object) -> None:
        raise error

    async def cleans_up() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(0.001)
            steps.append("cleaned up")

    async def main() -> None:
        async with open_loop():
            alarm.wound = True
            await aio_as_trio(cleans_up)()

    alarm = Alarm()
    steps: list[str] = []
    before = signal.signal(signal.SIGUSR1, too_late)
    try:
        with pytest.raises(type(error)) as caught:
            trio.run(main, clock=alarm)
        assert signal.getsignal(signal.SIGUSR1) is too_late
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert caught.value is error
    assert steps == ["cleaned up"]


def test_a_handler_of_the_program_runs_whatever_a_hosted_loop_is_doing(clean: Records) -> None:
    def note(signum: int, frame: object) -> None:
        seen.append(signum)

    async def main() -> None:
        async with open_loop() as loop:
            for _ in range(100):
                alarm.wound = True
                await trio.sleep(0.0001)
                await aio_as_trio(asyncio.sleep)(0)
            await loop.stop().wait()
            stopped = len(seen)
            alarm.wound = True
            while len(seen) == stopped:
                await trio.sleep(0.0001)
            signal.raise_signal(signal.SIGUSR1)
            told.append(len(seen))

    alarm = Alarm()
    seen: list[int] = []
    told: list[int] = []
    before = signal.signal(signal.SIGUSR1, note)
    try:
        trio.run(main, clock=alarm)
    finally:
        signal.signal(signal.SIGUSR1, before)
    # On a busy machine the time of a sleep may be over before trio asks how long to wait, and an alarm does not go off.
    assert alarm.rung > 10
    assert told == [alarm.rung + 1]
    assert len(seen) == told[0]


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="this system has no such signal")
def test_a_signal_that_comes_in_a_callback_that_is_a_function_in_c(sync_run: Run) -> None:
    """Which has no frame of its own: what the handler raises is the callback's all the same."""

    def refuse(signum: int, frame: object) -> None:
        raise ZeroDivisionError

    before = signal.signal(signal.SIGUSR1, refuse)
    loop = sync_run.new_loop()
    try:
        log: list[object] = []
        loop.set_exception_handler(lambda _, context: log.append(type(context["exception"])))
        loop.call_soon(signal.raise_signal, signal.SIGUSR1)
        loop.call_soon(signal.raise_signal, signal.SIGINT)
        loop.call_soon(log.append, "behind it")
        loop.call_soon(loop.stop)
        with pytest.raises(KeyboardInterrupt):
            loop.run_forever()
        assert log == [ZeroDivisionError]
        loop.run_forever()
        assert log == [ZeroDivisionError, "behind it"]
    finally:
        loop.close()
        signal.signal(signal.SIGUSR1, before)
