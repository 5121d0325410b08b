"""Context managers across the border: entered and left in one task of their own side, whose cancellation reaches the block."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import sniffio
import trio

from trio_asyncio_compat import aio_as_trio, flavour_free_task_factory, open_loop, trio_as_aio

from ..support import Records
from .support import Border, Odd, balanced, forever, left_in, settle, variable

FACTORIES = pytest.mark.parametrize("factory", [None, flavour_free_task_factory], ids=["asyncio", "flavour-free"])


class Recorder:
    """An asynchronous manager that writes down what it sees; it waits at both ends."""

    def __init__(self, *, swallow: bool = False, enter_error: BaseException | None = None, exit_error: BaseException | None = None) -> None:
        self.swallow = swallow
        self.enter_error = enter_error
        self.exit_error = exit_error
        self.tasks: list[object] = []
        self.libraries: list[str] = []
        self.left_with: list[BaseException | None] = []

    async def __aenter__(self) -> Recorder:
        await self._step()
        if self.enter_error is not None:
            raise self.enter_error
        return self

    async def __aexit__(self, kind: object, exc: BaseException | None, trace: object) -> bool:
        self.left_with.append(exc)
        await self._step()
        if self.exit_error is not None:
            raise self.exit_error
        return self.swallow

    async def _step(self) -> None:
        library = sniffio.current_async_library()
        self.libraries.append(library)
        if library == "asyncio":
            self.tasks.append(asyncio.current_task())
            await asyncio.sleep(0)
        else:
            self.tasks.append(trio.lowlevel.current_task())
            with trio.CancelScope(shield=True):
                await trio.sleep(0)


class SyncRecorder:
    """A synchronous one."""

    def __init__(self, *, swallow: bool = False) -> None:
        self.swallow = swallow
        self.libraries: list[str] = []
        self.left_with: list[BaseException | None] = []

    def __enter__(self) -> SyncRecorder:
        self.libraries.append(sniffio.current_async_library())
        return self

    def __exit__(self, kind: object, exc: BaseException | None, trace: object) -> bool:
        self.libraries.append(sniffio.current_async_library())
        self.left_with.append(exc)
        return self.swallow


class Direction:
    """One direction of the border: the block is in code of one side, the manager of the other."""

    def __init__(self, name: str, factory: Any = None) -> None:
        self.name = name
        self.factory = factory
        self.to_asyncio = name == "asyncio's in trio"
        self.other = "asyncio" if self.to_asyncio else "trio"
        self.cross: Callable[[Any], Any] = aio_as_trio if self.to_asyncio else trio_as_aio

    def run(self, border: Border, block: Callable[[], Any]) -> Any:
        return border.trio(block) if self.to_asyncio else border.asyncio(block, task_factory=self.factory)

    async def checkpoint(self) -> None:
        """In the block."""
        if self.to_asyncio:
            await trio.sleep(1)
        else:
            await asyncio.sleep(1)


@pytest.fixture(params=["asyncio's in trio", "trio's in asyncio", "trio's in flavour-free"])
def direction(request: pytest.FixtureRequest) -> Direction:
    return Direction(request.param, flavour_free_task_factory if request.param.endswith("free") else None)


# Both directions alike


def test_a_manager_is_entered_and_left_in_one_task_of_its_side(border: Border, direction: Direction) -> None:
    recorder = Recorder()

    async def block() -> None:
        async with direction.cross(recorder) as entered:
            assert entered is recorder
            await direction.checkpoint()
            assert recorder.left_with == []
        first, second = recorder.tasks
        assert first is second
        recorder.tasks.clear()

    direction.run(border, block)
    assert recorder.libraries == [direction.other] * 2
    assert recorder.left_with == [None]


def test_a_synchronous_manager_is_held_likewise(border: Border, direction: Direction) -> None:
    recorder = SyncRecorder()

    async def block() -> None:
        async with direction.cross(recorder) as entered:
            assert entered is recorder
            await direction.checkpoint()

    direction.run(border, block)
    assert recorder.libraries == [direction.other] * 2
    assert recorder.left_with == [None]


@pytest.mark.parametrize("kind", [Recorder, SyncRecorder])
@pytest.mark.parametrize("waits", [True, False])
def test_an_error_of_the_block_reaches_the_manager_and_comes_out_as_it_is(
    border: Border, direction: Direction, kind: Any, waits: bool
) -> None:
    recorder = kind()
    error = Odd("block")

    async def block() -> None:
        with pytest.raises(Odd) as caught:
            async with direction.cross(recorder):
                if waits:
                    await direction.checkpoint()
                raise error
        assert caught.value is error

    direction.run(border, block)
    assert recorder.left_with == [error]
    recorder.left_with.clear()
    error.__traceback__ = None


@pytest.mark.parametrize("kind", [Recorder, SyncRecorder])
def test_a_manager_may_swallow_the_blocks_error(border: Border, direction: Direction, kind: Any) -> None:
    recorder = kind(swallow=True)

    async def block() -> str:
        async with direction.cross(recorder):
            raise Odd("block")
        return "went on"

    assert direction.run(border, block) == "went on"
    recorder.left_with.clear()


def test_an_error_at_the_entry_comes_out_and_the_block_does_not_run(border: Border, direction: Direction) -> None:
    error = Odd("entry")
    recorder = Recorder(enter_error=error)

    async def block() -> None:
        with pytest.raises(Odd) as caught:
            async with direction.cross(recorder):
                raise AssertionError("is not to run")
        assert caught.value is error

    direction.run(border, block)
    assert recorder.left_with == []
    recorder.tasks.clear()
    error.__traceback__ = None


@pytest.mark.parametrize("block_fails", [True, False])
def test_an_error_at_the_exit_takes_the_place_of_the_blocks(border: Border, direction: Direction, block_fails: bool) -> None:
    error = Odd("exit")
    recorder = Recorder(exit_error=error)

    async def block() -> None:
        with pytest.raises(Odd) as caught:
            async with direction.cross(recorder):
                if block_fails:
                    raise ValueError("block")
        assert caught.value is error
        assert isinstance(error.__context__, ValueError) == block_fails

    direction.run(border, block)
    recorder.left_with.clear()
    recorder.tasks.clear()
    error.__traceback__ = error.__context__ = None


def test_a_function_that_returns_a_manager(border: Border, direction: Direction) -> None:
    order: list[str] = []

    @direction.cross
    @contextlib.asynccontextmanager
    async def managed(name: str, *, end: str) -> AsyncIterator[str]:
        """A docstring."""
        order.append(sniffio.current_async_library())
        try:
            yield name
        finally:
            order.append(end)

    assert managed.__name__ == "managed"

    async def block() -> None:
        for _ in range(2):
            async with managed("name", end="end") as entered:
                assert entered == "name"
                await direction.checkpoint()

    direction.run(border, block)
    assert order == [direction.other, "end"] * 2


def test_a_factory_of_synchronous_managers_and_of_methods(border: Border, direction: Direction) -> None:
    order: list[str] = []

    class Service:
        @direction.cross
        @contextlib.contextmanager
        def managed(self, name: str) -> Iterator[str]:
            order.append(sniffio.current_async_library())
            yield name

        @contextlib.asynccontextmanager
        async def other(self) -> AsyncIterator[None]:
            order.append(sniffio.current_async_library())
            yield

    async def block() -> None:
        async with Service().managed("name") as entered:
            assert entered == "name"
        async with direction.cross(Service().other)():
            await direction.checkpoint()

    direction.run(border, block)
    assert order == [direction.other] * 2


def test_an_exit_stack_holds_managers_of_the_other_side(border: Border, direction: Direction) -> None:
    recorders = [Recorder(), Recorder(), Recorder(swallow=True)]

    async def block() -> None:
        async with contextlib.AsyncExitStack() as stack:
            for recorder in recorders:
                await stack.enter_async_context(direction.cross(recorder))
            await direction.checkpoint()
            raise Odd

    direction.run(border, block)
    assert isinstance(recorders[2].left_with[0], Odd)
    assert [recorder.left_with for recorder in recorders[:2]] == [[None], [None]]
    for recorder in recorders:
        recorder.left_with.clear()
        recorder.tasks.clear()


def test_context_variables_go_both_ways(border: Border, direction: Direction) -> None:
    @contextlib.asynccontextmanager
    async def managed() -> AsyncIterator[None]:
        assert variable.get() == "before"
        variable.set("entry")
        yield
        assert variable.get() == "block"
        variable.set("exit")

    async def block() -> None:
        variable.set("before")
        async with direction.cross(managed()):
            assert variable.get() == "entry"
            variable.set("block")
        assert variable.get() == "exit"

    direction.run(border, block)


def test_entering_twice_and_leaving_what_was_not_entered_is_refused(border: Border, direction: Direction) -> None:
    async def block() -> None:
        crossing = direction.cross(Recorder())
        with pytest.raises(RuntimeError, match="not entered"):
            await crossing.__aexit__(None, None, None)
        async with crossing:
            with pytest.raises(RuntimeError, match="entered already"):
                await crossing.__aenter__()
        async with crossing:
            await direction.checkpoint()

    direction.run(border, block)


def test_what_is_no_manager_is_refused_by_name(border: Border, direction: Direction) -> None:
    async def block() -> None:
        with pytest.raises(TypeError, match="needs a context manager.*42"):
            async with direction.cross(lambda: 42)():
                raise AssertionError("is not to run")

    direction.run(border, block)


def test_a_return_and_a_break_leave_the_manager(border: Border, direction: Direction) -> None:
    recorder = Recorder()

    async def block() -> str:
        for _ in range(3):
            async with direction.cross(recorder):
                await direction.checkpoint()
                break
        async with direction.cross(recorder):
            return "returned"

    assert direction.run(border, block) == "returned"
    assert recorder.left_with == [None, None]
    recorder.tasks.clear()


def test_one_that_is_never_used_is_warned_of(border: Border, direction: Direction) -> None:
    async def block() -> None:
        with pytest.warns(RuntimeWarning, match="was never awaited, entered or iterated"):
            direction.cross(contextlib.nullcontext)()
            gc.collect()

    direction.run(border, block)


def test_nothing_of_a_block_is_kept(border: Border, direction: Direction) -> None:
    class Thing:
        pass

    async def use(fail: bool) -> weakref.ref[Thing]:
        thing = Thing()
        kept = weakref.ref(thing)
        try:
            async with direction.cross(contextlib.nullcontext(thing)) as entered:
                assert entered is thing
                if fail:
                    raise Odd(thing)
        except Odd:
            pass
        return kept

    async def block() -> None:
        for fail in (False, True):
            gc.disable()
            try:
                kept = await use(fail)
                await direction.checkpoint()
                assert kept() is None
            finally:
                gc.enable()

    direction.run(border, block)


# Managers of asyncio in trio code


def test_asyncio_timeout_cancels_a_trio_block(border: Border) -> None:
    async def main() -> None:
        start = trio.current_time()
        with pytest.raises(TimeoutError):
            async with aio_as_trio(asyncio.timeout(1)):
                await trio.sleep_forever()
        assert trio.current_time() == start + 1
        async with aio_as_trio(asyncio.timeout)(1):
            await trio.sleep(0.5)
        await trio.sleep(1)

    border.trio(main)


def test_an_expired_asyncio_timeout_lets_clean_up_shielded_in_the_block(border: Border) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with aio_as_trio(asyncio.timeout(1)) as timeout:
                try:
                    await trio.sleep_forever()
                finally:
                    with trio.CancelScope(shield=True):
                        await trio.sleep(1)
        assert timeout.expired()
        assert trio.current_time() == 2

    border.trio(main)


def test_asyncio_timeout_with_asyncio_calls_in_the_block(border: Border) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with aio_as_trio(asyncio.timeout(1)):
                await aio_as_trio(forever)()
        assert trio.current_time() == 1

    border.trio(main)


def test_an_asyncio_timeout_is_rescheduled_from_the_block(border: Border) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with aio_as_trio(asyncio.timeout(1)) as timeout:
            timeout.reschedule(loop.time() + 5)
            await trio.sleep(4)
        assert not timeout.expired()
        with pytest.raises(TimeoutError):
            async with aio_as_trio(asyncio.timeout(None)) as timeout:
                timeout.reschedule(loop.time() + 1)
                await trio.sleep_forever()
        with pytest.raises(TimeoutError):
            async with aio_as_trio(asyncio.timeout_at(loop.time() + 1)):
                await trio.sleep_forever()

    border.trio(main)


def test_an_asyncio_timeout_that_is_over_already(border: Border) -> None:
    async def main() -> None:
        for seconds in (0, -1):
            with pytest.raises(TimeoutError):
                async with aio_as_trio(asyncio.timeout(seconds)):
                    await trio.sleep_forever()

    border.trio(main)


def test_a_task_group_of_asyncio_in_trio_code(border: Border) -> None:
    async def child(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    async def main() -> None:
        async with aio_as_trio(asyncio.TaskGroup()) as group:
            tasks = [group.create_task(child(seconds)) for seconds in (1, 2)]
            await trio.sleep(0.5)
        assert [task.result() for task in tasks] == [1, 2]
        assert trio.current_time() == 2

    border.trio(main)


@pytest.mark.parametrize("crash", ["in the block", "at the exit", "at once"])
def test_a_failing_child_of_a_task_group_cancels_the_trio_block(border: Border, crash: str) -> None:
    async def fail() -> None:
        if crash != "at once":
            await asyncio.sleep(1)
        raise Odd

    async def main() -> None:
        with pytest.RaisesGroup(Odd):
            async with aio_as_trio(asyncio.TaskGroup()) as group:
                group.create_task(fail())
                other = group.create_task(forever())
                if crash != "at the exit":
                    await trio.sleep_forever()
        assert other.cancelled()

    border.trio(main)


def test_an_error_of_the_trio_block_cancels_the_task_group(border: Border) -> None:
    async def main() -> None:
        with pytest.RaisesGroup(Odd):
            async with aio_as_trio(asyncio.TaskGroup()) as group:
                task = group.create_task(forever())
                await trio.sleep(1)
                raise Odd
        assert task.cancelled()

    border.trio(main)


def test_trio_cancels_the_block_of_a_task_group(border: Border) -> None:
    told: list[str] = []

    async def child() -> None:
        try:
            await forever()
        finally:
            await asyncio.sleep(1)
            told.append("cleaned up")

    async def main() -> None:
        with trio.move_on_after(1) as scope:
            async with aio_as_trio(asyncio.TaskGroup()) as group:
                group.create_task(child())
                await trio.sleep_forever()
        assert scope.cancelled_caught
        assert told == ["cleaned up"]
        assert trio.current_time() == 2

    border.trio(main)


@pytest.mark.parametrize("where", ["in the block", "at the exit"])
def test_trios_cancel_reaches_the_manager_once_and_its_clean_up_awaits(border: Border, where: str) -> None:
    seen: list[BaseException | None] = []

    class Manager:
        async def __aenter__(self) -> None:
            await asyncio.sleep(0)

        async def __aexit__(self, kind: object, exc: BaseException | None, trace: object) -> None:
            seen.append(exc)
            try:
                await asyncio.sleep(1)
                await asyncio.sleep(1)
                await asyncio.sleep(1)
            except asyncio.CancelledError as cancelled:
                seen.append(cancelled)
                await asyncio.sleep(1)
                raise
            seen.append(None)

    async def main() -> None:
        with trio.move_on_after(1) as scope:
            async with aio_as_trio(Manager()):
                if where == "in the block":
                    await trio.sleep_forever()
                await trio.sleep(0.5)
        assert scope.cancelled_caught
        if where == "in the block":
            told, end = seen
            assert end is None
            assert trio.current_time() == 4
        else:
            nothing, told = seen
            assert nothing is None
            assert trio.current_time() == 2
        assert isinstance(told, asyncio.CancelledError)
        assert "deadline" in str(told)
        seen.clear()

    border.trio(main)


@pytest.mark.parametrize("swallow", [True, False])
def test_a_manager_of_asyncio_cannot_swallow_trios_cancel(border: Border, swallow: bool) -> None:
    recorder = Recorder(swallow=swallow)

    async def main() -> None:
        with trio.move_on_after(1) as scope:
            async with aio_as_trio(recorder):
                await trio.sleep_forever()
            # A swallowed one is met again here, since the scope is still cancelled.
            await trio.lowlevel.checkpoint()
        assert scope.cancelled_caught
        recorder.left_with.clear()
        recorder.tasks.clear()

    border.trio(main)


def test_an_error_of_a_managers_clean_up_wins_over_trios_cancel(border: Border) -> None:
    recorder = Recorder(exit_error=Odd("clean-up"))

    async def main() -> None:
        with trio.move_on_after(1):
            with pytest.raises(Odd):
                async with aio_as_trio(recorder):
                    await trio.sleep_forever()
        recorder.left_with.clear()
        recorder.tasks.clear()

    border.trio(main)


def test_asyncio_and_trio_cancel_the_block_at_once(border: Border) -> None:
    """The timeout and the scope have the same deadline."""

    async def main() -> None:
        with trio.move_on_after(1) as scope:
            with contextlib.suppress(TimeoutError):
                async with aio_as_trio(asyncio.timeout(1)):
                    await trio.sleep_forever()
        assert scope.cancel_called
        await aio_as_trio(asyncio.sleep)(0)

    border.trio(main)


def test_trio_cancels_while_asyncios_cancel_is_being_unwound(border: Border) -> None:
    async def main() -> None:
        with trio.move_on_after(2) as scope:
            with contextlib.suppress(TimeoutError):
                async with aio_as_trio(asyncio.timeout(1)) as timeout:
                    try:
                        await trio.sleep_forever()
                    finally:
                        with trio.CancelScope(shield=True):
                            await trio.sleep(2)
            assert timeout.expired()
            await trio.lowlevel.checkpoint()
        assert scope.cancelled_caught

    border.trio(main)


def test_nested_scopes_and_timeouts_of_both_worlds(border: Border) -> None:
    """Each is the innermost whose time is over, in turn."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for first in range(4):
            deadlines = [loop.time() + (1 if index == first else 10) for index in range(4)]
            ended: list[int] = []
            with contextlib.suppress(TimeoutError):
                async with aio_as_trio(asyncio.timeout_at(deadlines[0])) as outer_timeout:
                    with trio.CancelScope(deadline=deadlines[1]) as outer:
                        with contextlib.suppress(TimeoutError):
                            async with aio_as_trio(asyncio.timeout_at(deadlines[2])) as inner_timeout:
                                with trio.CancelScope(deadline=deadlines[3]) as inner:
                                    await trio.sleep_forever()
                                ended.append(3)
                        ended.append(2)
                    ended.append(1)
            assert [outer_timeout.expired(), outer.cancelled_caught, inner_timeout.expired(), inner.cancelled_caught] == [
                index == first for index in range(4)
            ]
            assert ended == list(range(3, 0, -1))[3 - first :] if first else ended == []
            assert loop.time() < deadlines[0] + 1

    border.trio(main)


def test_a_nursery_inside_of_an_asyncio_timeout(border: Border) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with aio_as_trio(asyncio.timeout(1)):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(trio.sleep_forever)
        assert trio.current_time() == 1

    border.trio(main)


def test_the_block_that_asyncio_cancels_ends_with_an_error(border: Border) -> None:
    async def main() -> None:
        with pytest.raises(Odd) as caught:
            async with aio_as_trio(asyncio.timeout(1)):
                try:
                    await trio.sleep_forever()
                except trio.Cancelled:
                    raise Odd from None
        assert isinstance(caught.value, Odd)

    border.trio(main)


def test_a_block_that_ends_by_itself_although_asyncio_has_cancelled_it(border: Border) -> None:
    """As in asyncio: who swallows the timeout's cancel has the timeout see nothing of it."""

    async def main() -> None:
        async with aio_as_trio(asyncio.timeout(1)) as timeout:
            with contextlib.suppress(trio.Cancelled):
                await trio.sleep_forever()
        assert timeout.expired()
        await trio.lowlevel.checkpoint()
        await aio_as_trio(asyncio.sleep)(1)

    border.trio(main)


def test_without_a_loop_a_manager_is_refused(clean: Records) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="open_loop"):
            async with aio_as_trio(asyncio.timeout)(1):
                raise AssertionError("is not to run")

    trio.run(main)


@pytest.mark.parametrize("cancelled", [True, False])
def test_a_manager_whose_loop_stops_is_told(clean: Records, cancelled: bool) -> None:
    recorder = Recorder()

    async def main() -> None:
        with trio.move_on_after(0.01 if cancelled else 60):
            async with open_loop() as loop:
                with pytest.raises(RuntimeError if not cancelled else BaseException):
                    async with aio_as_trio(recorder):
                        stopped = loop.stop()
                        assert stopped is not None
                        await stopped.wait()
                        if cancelled:
                            await trio.sleep_forever()
        assert len(recorder.left_with) == 1
        recorder.left_with.clear()
        recorder.tasks.clear()

    trio.run(main)


# Managers of trio in asyncio code


@FACTORIES
def test_trios_scope_cancels_an_asyncio_block(border: Border, factory: Any) -> None:
    async def main() -> None:
        async with trio_as_aio(trio.move_on_after(1)) as scope:
            await asyncio.sleep(5)
            raise AssertionError("is not to be reached")
        assert scope.cancelled_caught
        assert trio.current_time() == 1
        balanced()
        async with trio_as_aio(trio.move_on_after)(2) as scope:
            await asyncio.sleep(1)
        assert not scope.cancelled_caught
        await asyncio.sleep(2)
        balanced()

    border.asyncio(main, task_factory=factory)


@FACTORIES
def test_trios_fail_after_raises_in_asyncio_code(border: Border, factory: Any) -> None:
    async def main() -> None:
        with pytest.raises(trio.TooSlowError):
            async with trio_as_aio(trio.fail_after(1)):
                await asyncio.sleep(5)
        balanced()

    border.asyncio(main, task_factory=factory)


@FACTORIES
def test_the_clean_up_of_a_block_that_trio_cancels_awaits_undisturbed(border: Border, factory: Any) -> None:
    async def main() -> None:
        async with trio_as_aio(trio.move_on_after(1)) as scope:
            try:
                await forever()
            finally:
                await asyncio.sleep(1)
                await asyncio.sleep(1)
        assert scope.cancelled_caught
        assert trio.current_time() == 3
        balanced()

    border.asyncio(main, task_factory=factory)


@FACTORIES
def test_a_scope_is_cancelled_from_the_block(border: Border, factory: Any) -> None:
    async def main() -> None:
        async with trio_as_aio(trio.CancelScope()) as scope:
            scope.cancel("the reason")
            await asyncio.sleep(1)
            raise AssertionError("is not to be reached")
        assert scope.cancelled_caught
        balanced()
        async with trio_as_aio(trio.CancelScope()) as scope:
            scope.cancel()
        balanced()
        await asyncio.sleep(0)

    border.asyncio(main, task_factory=factory)


@FACTORIES
def test_a_scope_whose_time_is_over_already(border: Border, factory: Any) -> None:
    async def main() -> None:
        for _ in range(5):
            async with trio_as_aio(trio.move_on_after(0)) as scope:
                await asyncio.sleep(1)
                await asyncio.sleep(1)
            assert scope.cancelled_caught
            balanced()

    border.asyncio(main, task_factory=factory)


@FACTORIES
def test_a_nursery_in_asyncio_code(border: Border, factory: Any) -> None:
    done: list[float] = []

    async def child(seconds: float) -> None:
        await trio.sleep(seconds)
        done.append(seconds)

    async def main() -> None:
        async with trio_as_aio(trio.open_nursery()) as nursery:
            nursery.start_soon(child, 2)
            nursery.start_soon(child, 1)
            await asyncio.sleep(0.5)
            await trio_as_aio(nursery.start)(start)
        assert done == [1, 2]
        balanced()

    async def start(task_status: trio.TaskStatus[None]) -> None:
        await trio.sleep(0.1)
        task_status.started()

    border.asyncio(main, task_factory=factory)


@FACTORIES
@pytest.mark.parametrize("crash", ["in the block", "at the exit", "at once"])
def test_a_crash_in_a_nursery_cancels_the_asyncio_block(border: Border, crash: str, factory: Any) -> None:
    ended: list[str] = []

    async def fail() -> None:
        if crash != "at once":
            await trio.sleep(1)
        raise Odd

    async def child() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append("child")

    async def main() -> None:
        with pytest.RaisesGroup(Odd):
            async with trio_as_aio(trio.open_nursery()) as nursery:
                nursery.start_soon(fail)
                nursery.start_soon(child)
                if crash != "at the exit":
                    try:
                        await forever()
                    except asyncio.CancelledError:
                        await asyncio.sleep(1)
                        ended.append("block")
                        raise
        assert sorted(ended) == (["child"] if crash == "at the exit" else ["block", "child"])
        balanced()

    border.asyncio(main, task_factory=factory)


@FACTORIES
@pytest.mark.parametrize("how", ["task", "timeout", "wait_for", "TaskGroup"])
@pytest.mark.parametrize("where", ["in the block", "at the exit"])
def test_asyncio_cancels_the_block_of_a_nursery_and_that_comes_out_plain(border: Border, how: str, where: str, factory: Any) -> None:
    ended: list[str] = []
    came_out: list[type[BaseException]] = []

    async def child() -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
            ended.append("child")

    async def use() -> None:
        try:
            async with trio_as_aio(trio.open_nursery()) as nursery:
                nursery.start_soon(child)
                if where == "in the block":
                    await forever()
        except BaseException as exc:
            came_out.append(type(exc))
            raise

    async def main() -> None:
        if how == "task":
            task = asyncio.create_task(use())
            await asyncio.sleep(1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        elif how == "timeout":
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await use()
        elif how == "wait_for":
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(use(), 1)
        else:
            with pytest.RaisesGroup(Odd):
                async with asyncio.TaskGroup() as group:
                    group.create_task(use())
                    await asyncio.sleep(1)
                    raise Odd
        assert ended == ["child"]
        assert came_out == [asyncio.CancelledError]
        if how != "TaskGroup" or sys.version_info >= (3, 13):
            balanced()

    border.asyncio(main, task_factory=factory)


@FACTORIES
def test_errors_of_a_nursery_win_over_asyncios_cancel(border: Border, factory: Any) -> None:
    async def child() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise Odd

    async def use() -> None:
        async with trio_as_aio(trio.open_nursery()) as nursery:
            nursery.start_soon(child)
            await forever()

    async def main() -> None:
        task = asyncio.create_task(use())
        await asyncio.sleep(1)
        task.cancel()
        with pytest.RaisesGroup(Odd):
            await task

    border.asyncio(main, task_factory=factory)


@FACTORIES
def test_trios_scope_cannot_swallow_asyncios_cancel(border: Border, factory: Any) -> None:
    async def use() -> None:
        async with trio_as_aio(trio.CancelScope()):
            await forever()

    async def main() -> None:
        task = asyncio.create_task(use())
        await asyncio.sleep(1)
        task.cancel("the reason")
        with pytest.raises(asyncio.CancelledError, match="the reason"):
            await task
        assert task.cancelled()

    border.asyncio(main, task_factory=factory)


@FACTORIES
def test_asyncio_cancels_the_block_while_trio_has(border: Border, factory: Any) -> None:
    """Both at the same instant, and one in the other's clean-up: asyncio's request is not lost."""

    async def use(seconds: float) -> None:
        async with trio_as_aio(trio.move_on_after(1)):
            try:
                await forever()
            finally:
                await asyncio.sleep(seconds)

    async def main() -> None:
        for seconds, at in ((0, 1), (2, 2)):
            task = asyncio.create_task(use(seconds))
            await asyncio.sleep(at)
            if not task.done():
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            assert task.done()

    border.asyncio(main, task_factory=factory)


@FACTORIES
def test_the_asyncio_block_ends_by_itself_although_trio_has_cancelled_it(border: Border, factory: Any) -> None:
    async def main() -> None:
        async with trio_as_aio(trio.move_on_after(1)) as scope:
            try:
                await forever()
            except asyncio.CancelledError:
                pass
            await asyncio.sleep(1)
        assert scope.cancel_called
        balanced()
        await asyncio.sleep(0)
        with pytest.raises(Odd):
            async with trio_as_aio(trio.move_on_after(1)):
                try:
                    await forever()
                except asyncio.CancelledError:
                    raise Odd from None
        balanced()

    border.asyncio(main, task_factory=factory)


@FACTORIES
def test_trios_scope_around_calls_of_trio(border: Border, factory: Any) -> None:
    async def main() -> None:
        async with trio_as_aio(trio.move_on_after(1)) as scope:
            await trio_as_aio(trio.sleep)(5)
        assert scope.cancelled_caught
        assert trio.current_time() == 1
        balanced()

    border.asyncio(main, task_factory=factory)


@FACTORIES
def test_nested_managers_of_both_worlds_in_asyncio_code(border: Border, factory: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for first in range(4):
            deadlines = [loop.time() + (1 if index == first else 10) for index in range(4)]
            ended: list[int] = []
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(deadlines[0]) as outer_timeout:
                    async with trio_as_aio(trio.move_on_at(deadlines[1])) as outer:
                        with contextlib.suppress(TimeoutError):
                            async with asyncio.timeout_at(deadlines[2]) as inner_timeout:
                                async with trio_as_aio(trio.move_on_at(deadlines[3])) as inner:
                                    await forever()
                                ended.append(3)
                        ended.append(2)
                    ended.append(1)
            assert [outer_timeout.expired(), outer.cancelled_caught, inner_timeout.expired(), inner.cancelled_caught] == [
                index == first for index in range(4)
            ]
            assert ended == list(range(first, 0, -1))
            assert loop.time() < deadlines[0] + 1
            balanced()

    border.asyncio(main, task_factory=factory)


@FACTORIES
def test_cancelled_on_the_way_back_from_the_entry_the_manager_is_left(border: Border, factory: Any) -> None:
    recorder = Recorder()
    task: asyncio.Task[None]

    class Manager(Recorder):
        async def __aenter__(self) -> Manager:
            await trio.sleep(1)
            # The call has ended when this is seen, and its caller has not been resumed.
            asyncio.get_running_loop().call_soon(task.cancel)
            return self

    async def use() -> None:
        async with trio_as_aio(recorder):
            await forever()

    async def main() -> None:
        nonlocal task
        task = asyncio.create_task(use())
        with pytest.raises(asyncio.CancelledError):
            await task
        assert isinstance(recorder.left_with.pop(), trio.Cancelled)
        recorder.tasks.clear()

    recorder = Manager()
    border.asyncio(main, task_factory=factory)


@FACTORIES
def test_a_block_that_is_dropped_tells_the_manager(border: Border, factory: Any) -> None:
    """A coroutine of asyncio is collected where nothing can be awaited: the manager still cleans up."""
    recorder = Recorder()

    async def main() -> None:
        crossing = trio_as_aio(recorder)
        await crossing.__aenter__()
        del crossing
        await asyncio.sleep(1)
        assert isinstance(recorder.left_with.pop(), GeneratorExit)
        recorder.tasks.clear()

    border.asyncio(main, task_factory=factory)


@FACTORIES
def test_an_error_of_a_dropped_manager_is_reported(border: Border, factory: Any) -> None:
    async def main() -> None:
        crossing = trio_as_aio(Recorder(exit_error=Odd("exit")))
        await crossing.__aenter__()
        del crossing
        await asyncio.sleep(1)
        assert "has dropped" in border.log.take()[0]

    border.asyncio(main, task_factory=factory)


def test_the_drive_of_a_loop_ends_while_a_trio_manager_is_held(clean: Records) -> None:
    from trio_asyncio_compat import TrioEventLoop

    recorder = Recorder()

    async def use() -> None:
        async with trio_as_aio(recorder):
            held.set_result(None)
            await forever()

    loop = TrioEventLoop()
    held = loop.create_future()
    task = loop.create_task(use())
    loop.run_until_complete(held)
    loop.run_until_complete(asyncio.sleep(0))
    assert len(recorder.left_with) <= 1
    task.cancel()
    with pytest.raises((asyncio.CancelledError, RuntimeError)):
        loop.run_until_complete(task)
    assert len(recorder.left_with) == 1
    recorder.left_with.clear()
    recorder.tasks.clear()
    loop.close()


def test_a_manager_is_held_when_the_loop_shuts_down(clean: Records, direction: Direction) -> None:
    recorder = Recorder()

    async def use() -> None:
        async with trio_as_aio(recorder):
            await forever()

    async def main() -> None:
        async with open_loop(task_factory=direction.factory) as loop:
            loop.create_task(use())
            await settle(loop)
            assert len(left_in(loop)) >= 2
        assert len(recorder.left_with) == 1
        recorder.left_with.clear()
        recorder.tasks.clear()

    trio.run(main)
