"""Async iterators across the border: each lives in one task of its own side, and is closed there as soon as nobody iterates any more."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import inspect
import sys
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any, cast

import pytest
import sniffio
import trio
from trio.testing import MockClock

from trio_asyncio_compat import aio_as_trio, flavour_free_task_factory, open_loop, run_aio_generator, trio_as_aio

from ..support import Records
from .support import Border, Odd, balanced, settle, variable


class Direction:
    """One direction: the loop is in code of one side, the iterator is at home on the other."""

    def __init__(self, name: str) -> None:
        self.to_asyncio = name == "asyncio's in trio"
        self.other = "asyncio" if self.to_asyncio else "trio"
        self.factory = flavour_free_task_factory if name.endswith("free") else None
        self.cross: Callable[[Any], Any] = aio_as_trio if self.to_asyncio else trio_as_aio
        self.events: list[Any] = []

    def run(self, border: Border, code: Callable[[], Any]) -> Any:
        return border.trio(code) if self.to_asyncio else border.asyncio(code, task_factory=self.factory)

    async def sleep(self, seconds: float) -> None:
        """Here."""
        await (trio.sleep(seconds) if self.to_asyncio else asyncio.sleep(seconds))

    async def sleep_there(self, seconds: float) -> None:
        await (asyncio.sleep(seconds) if self.to_asyncio else trio.sleep(seconds))

    def task_there(self) -> object:
        return asyncio.current_task() if self.to_asyncio else trio.lowlevel.current_task()

    async def count(self, to: int = 3) -> AsyncGenerator[int, None]:
        """A generator of the other side that writes down how it ends."""
        try:
            for number in range(to):
                assert sniffio.current_async_library() == self.other
                await self.sleep_there(0.5)
                yield number
            self.events.append("exhausted")
        except BaseException as exc:
            self.events.append(type(exc))
            raise
        finally:
            self.events.append("closing")
            await self.sleep_there(0)
            self.events.append("closed")


@pytest.fixture(params=["asyncio's in trio", "trio's in asyncio", "trio's in flavour-free"])
def direction(request: pytest.FixtureRequest) -> Direction:
    return Direction(request.param)


def test_an_iteration_to_the_end(border: Border, direction: Direction) -> None:
    async def code() -> None:
        assert [number async for number in direction.cross(direction.count)(4)] == [0, 1, 2, 3]
        assert direction.events == ["exhausted", "closing", "closed"]

    direction.run(border, code)


def test_a_generator_that_has_been_made(border: Border, direction: Direction) -> None:
    async def code() -> None:
        generator = direction.cross(direction.count())
        assert [number async for number in generator] == [0, 1, 2]
        # As any generator that has ended.
        assert [number async for number in generator] == []
        with pytest.raises(StopAsyncIteration):
            await anext(generator)
        await generator.aclose()

    direction.run(border, code)


def test_every_kind_of_callable(border: Border, direction: Direction) -> None:
    class Service:
        @direction.cross
        async def decorated(self, to: int) -> AsyncIterator[int]:
            """A docstring."""
            for number in range(to):
                yield number

        async def method(self, to: int) -> AsyncIterator[int]:
            for number in range(to):
                yield number

        @direction.cross
        @staticmethod
        async def static(to: int) -> AsyncIterator[int]:
            for number in range(to):
                yield number

        @direction.cross
        @classmethod
        async def of_class(cls, to: int) -> AsyncIterator[int]:
            for number in range(to):
                yield number

    assert Service.decorated.__name__ == "decorated"

    async def code() -> None:
        service = Service()
        for made in (
            service.decorated(3),
            direction.cross(service.method)(3),
            service.static(3),
            Service.of_class(3),
            direction.cross(functools.partial(service.method, to=3))(),
            direction.cross(lambda: service.method(3))(),
        ):
            assert [number async for number in made] == [0, 1, 2]

    direction.run(border, code)


def test_an_object_with_aiter_is_iterated_again_and_again(border: Border, direction: Direction) -> None:
    class Numbers:
        def __aiter__(self) -> AsyncIterator[int]:
            assert sniffio.current_async_library() == direction.other
            return direction.count(2)

    async def code() -> None:
        numbers = direction.cross(Numbers())
        for _ in range(2):
            assert [number async for number in numbers] == [0, 1]

    direction.run(border, code)


def test_an_iterator_that_is_no_generator(border: Border, direction: Direction) -> None:
    class Numbers:
        def __init__(self) -> None:
            self.tasks: set[object] = set()
            self.next = 0

        def __aiter__(self) -> Numbers:
            return self

        async def __anext__(self) -> int:
            await direction.sleep_there(0.5)
            self.tasks.add(direction.task_there())
            self.next += 1
            if self.next == 2:
                raise Odd
            if self.next > 3:
                raise StopAsyncIteration
            return self.next

    async def code() -> None:
        numbers = Numbers()
        iterator = aiter(direction.cross(numbers))
        assert await anext(iterator) == 1
        # An error does not end it, as it would a generator.
        with pytest.raises(Odd):
            await anext(iterator)
        assert [number async for number in iterator] == [3]
        assert len(numbers.tasks) == 1
        numbers.tasks.clear()

    direction.run(border, code)


def test_the_whole_life_is_one_task(border: Border, direction: Direction) -> None:
    tasks: list[object] = []

    async def generate() -> AsyncIterator[None]:
        try:
            for _ in range(3):
                tasks.append(direction.task_there())
                await direction.sleep_there(0)
                yield
        finally:
            tasks.append(direction.task_there())

    async def code() -> None:
        async for _ in direction.cross(generate)():
            if len(tasks) == 2:
                break
        await direction.sleep(1)
        assert len(tasks) == 3
        assert len(set(map(id, tasks))) == 1
        tasks.clear()

    direction.run(border, code)


def test_context_variables_set_between_iterations_are_kept(border: Border, direction: Direction) -> None:
    async def generate() -> AsyncIterator[str]:
        variable.set("generator")
        for _ in range(3):
            yield variable.get()
            variable.set(variable.get() + "+")

    async def code() -> None:
        seen = []
        async for value in direction.cross(generate)():
            seen.append((value, variable.get()))
            variable.set(variable.get() + "!")
        assert seen == [("generator", "generator"), ("generator!+", "generator!+"), ("generator!+!+", "generator!+!+")]

    direction.run(border, code)


# Left early


async def leave_by_break(iterator: AsyncIterator[int]) -> None:
    async for _ in iterator:
        break


async def leave_by_return(iterator: AsyncIterator[int]) -> None:
    async for _ in iterator:
        return


async def leave_by_exception(iterator: AsyncIterator[int]) -> None:
    with pytest.raises(Odd):
        async for _ in iterator:
            raise Odd


async def leave_by_next(iterator: AsyncIterator[int]) -> None:
    assert await anext(aiter(iterator)) == 0


@pytest.mark.parametrize("leave", [leave_by_break, leave_by_return, leave_by_exception, leave_by_next])
def test_left_early_the_generator_is_closed_on_its_own_side_at_once(border: Border, direction: Direction, leave: Any) -> None:
    async def code() -> None:
        gc.disable()
        try:
            await leave(direction.cross(direction.count)())
            await direction.sleep(0.1)
            # Not at the end of the loop, and without the collector.
            assert direction.events == [GeneratorExit, "closing", "closed"]
        finally:
            gc.enable()

    direction.run(border, code)


def test_closing_waits_for_the_generator(border: Border, direction: Direction) -> None:
    async def code() -> None:
        async with contextlib.aclosing(direction.cross(direction.count)()) as numbers:
            async for _ in numbers:
                break
            assert direction.events == []
        assert direction.events == [GeneratorExit, "closing", "closed"]
        await numbers.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(numbers)
        assert len(direction.events) == 3

    direction.run(border, code)


def test_closing_one_that_was_not_begun(border: Border, direction: Direction) -> None:
    async def code() -> None:
        numbers = direction.cross(direction.count)()
        await numbers.aclose()
        assert [number async for number in numbers] == []
        assert direction.events == []

    direction.run(border, code)


def test_an_error_while_closing_comes_out_of_aclose_and_is_reported_of_a_dropped_one(border: Border, direction: Direction) -> None:
    async def generate() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await direction.sleep_there(0)
            raise Odd("closing")

    async def code() -> None:
        with pytest.raises(Odd, match="closing"):
            async with contextlib.aclosing(direction.cross(generate)()) as numbers:
                await anext(numbers)
        async for _ in direction.cross(generate)():
            break
        del numbers
        await direction.sleep(1)
        (line,) = border.log.take()
        assert "has dropped" in line

    direction.run(border, code)


def test_one_in_a_cycle_is_closed_when_it_is_collected(border: Border, direction: Direction) -> None:
    async def code() -> None:
        class Holder:
            pass

        holder: Any = Holder()
        holder.itself = holder
        holder.numbers = direction.cross(direction.count)()
        await anext(holder.numbers)
        del holder
        assert direction.events == []
        gc.collect()
        await direction.sleep(0.1)
        assert direction.events == [GeneratorExit, "closing", "closed"]

    direction.run(border, code)


def test_one_left_open_is_closed_with_the_loop(clean: Records, direction: Direction) -> None:
    kept: list[Any] = []

    async def code() -> None:
        numbers = direction.cross(direction.count)()
        kept.append(numbers)
        await anext(numbers)

    async def main() -> None:
        async with open_loop(task_factory=direction.factory):
            await (code() if direction.to_asyncio else aio_as_trio(code)())
        assert direction.events[-2:] in (["closing", "closed"], [GeneratorExit, "closing"], [trio.Cancelled, "closing"])
        with pytest.raises((RuntimeError, StopAsyncIteration)):
            await anext(kept[0])

    trio.run(main, clock=MockClock(autojump_threshold=0))
    kept.clear()


def test_an_iteration_dropped_after_its_loop_is_silent(clean: Records, direction: Direction) -> None:
    kept: list[Any] = []

    async def code() -> None:
        kept.append(direction.cross(direction.count)())
        await anext(kept[0])

    async def main() -> None:
        async with open_loop(task_factory=direction.factory):
            await (code() if direction.to_asyncio else aio_as_trio(code)())
        kept.clear()
        gc.collect()
        await trio.lowlevel.checkpoint()

    trio.run(main, clock=MockClock(autojump_threshold=0))


# The rest of a generator's interface


def test_asend_and_athrow(border: Border, direction: Direction) -> None:
    async def echo() -> AsyncGenerator[Any, Any]:
        received = None
        while True:
            try:
                received = yield received
            except Odd as exc:
                received = exc
            await direction.sleep_there(0)

    async def code() -> None:
        generator = direction.cross(echo)()
        assert await generator.asend(None) is None
        assert await generator.asend("sent") == "sent"
        error = Odd()
        assert await generator.athrow(error) is error
        with pytest.raises(ValueError, match="not caught"):
            await generator.athrow(ValueError("not caught"))
        with pytest.raises(StopAsyncIteration):
            await anext(generator)
        error.__traceback__ = None

    direction.run(border, code)


def test_a_plain_iterator_has_no_asend(border: Border, direction: Direction) -> None:
    class Numbers:
        def __aiter__(self) -> Numbers:
            return self

        async def __anext__(self) -> int:
            return 1

    async def code() -> None:
        iterator: Any = aiter(direction.cross(Numbers()))
        with pytest.raises(AttributeError):
            await iterator.asend(1)
        assert await anext(iterator) == 1
        await iterator.aclose()

    direction.run(border, code)


def test_two_steps_at_once_are_refused(border: Border, direction: Direction) -> None:
    async def code() -> None:
        numbers = direction.cross(direction.count)()
        results: list[Any] = []

        async def step() -> None:
            try:
                results.append(await anext(numbers))
            except RuntimeError as exc:
                results.append(str(exc))

        if direction.to_asyncio:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(step)
                nursery.start_soon(step)
        else:
            await asyncio.gather(step(), step())
        refused, number = results
        assert "one task at a time" in refused
        assert number == 0
        await numbers.aclose()

    direction.run(border, code)


def test_several_iterations_side_by_side(border: Border, direction: Direction) -> None:
    async def code() -> None:
        count = direction.cross(direction.count)
        async with contextlib.aclosing(count(3)) as ones:
            pairs = [(one, other) async for one in ones async for other in count(2)]
        assert pairs == [(one, other) for one in range(3) for other in range(2)]

    direction.run(border, code)


def test_an_error_ends_the_generator_and_comes_out_as_it_is(border: Border, direction: Direction) -> None:
    error = Odd()

    async def fail() -> AsyncIterator[int]:
        yield 1
        raise error

    async def code() -> None:
        numbers = direction.cross(fail)()
        assert await anext(numbers) == 1
        with pytest.raises(Odd) as caught:
            await anext(numbers)
        assert caught.value is error
        with pytest.raises(StopAsyncIteration):
            await anext(numbers)

    direction.run(border, code)
    error.__traceback__ = None


def test_what_is_no_iterator_is_refused_by_name(border: Border, direction: Direction) -> None:
    async def code() -> None:
        with pytest.raises(TypeError, match="needs an async iterator.*42"):
            async for _ in direction.cross(lambda: 42)():
                raise AssertionError("is not to run")

    direction.run(border, code)


def test_nothing_is_kept_between_steps(border: Border, direction: Direction) -> None:
    class Thing:
        pass

    async def generate() -> AsyncIterator[Thing]:
        while True:
            yield Thing()

    async def code() -> None:
        gc.disable()
        try:
            things = direction.cross(generate)()
            kept = weakref.ref(await anext(things))
            await direction.sleep(1)
            assert kept() is None
            await things.aclose()
            iteration = weakref.ref(things)
            del things
            await direction.sleep(1)
            assert iteration() is None
        finally:
            gc.enable()

    direction.run(border, code)


# Cancelled


def test_a_cancelled_step_is_cancelled_in_the_generator_and_ends_it(border: Border, direction: Direction) -> None:
    async def code() -> None:
        numbers = direction.cross(direction.count)()
        assert await anext(numbers) == 0
        if direction.to_asyncio:
            with trio.move_on_after(0.2) as scope:
                await anext(numbers)
            assert scope.cancelled_caught
            assert direction.events == [asyncio.CancelledError, "closing", "closed"]
        else:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await anext(numbers)
            balanced()
            assert direction.events == [trio.Cancelled, "closing"]
        with pytest.raises(StopAsyncIteration):
            await anext(numbers)

    direction.run(border, code)


def test_a_cancelled_step_does_not_end_an_iterator_that_is_no_generator(border: Border, direction: Direction) -> None:
    """As with `receive` of a channel, or `get` of a queue."""

    class Numbers:
        seconds = 2.0

        def __aiter__(self) -> Numbers:
            return self

        async def __anext__(self) -> float:
            await direction.sleep_there(self.seconds)
            return self.seconds

    async def code() -> None:
        numbers = Numbers()
        iterator: Any = aiter(direction.cross(numbers))
        for _ in range(2):
            numbers.seconds = 2
            if direction.to_asyncio:
                with trio.move_on_after(1) as scope:
                    await anext(iterator)
                assert scope.cancelled_caught
            else:
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(anext(iterator), 1)
            numbers.seconds = 1
            assert await anext(iterator) == 1
        await iterator.aclose()

    direction.run(border, code)


def test_a_generator_that_swallows_a_cancel_goes_on(border: Border, direction: Direction) -> None:
    async def generate() -> AsyncIterator[str]:
        try:
            await direction.sleep_there(5)
        except (asyncio.CancelledError, trio.Cancelled):
            yield "swallowed"
        await direction.sleep_there(1)
        yield "went on"

    async def code() -> None:
        values = direction.cross(generate)()
        if direction.to_asyncio:
            with trio.move_on_after(1):
                assert await anext(values) == "swallowed"
        else:
            task = asyncio.ensure_future(anext(values))
            await asyncio.sleep(1)
            task.cancel()
            assert await task == "swallowed"
        assert await anext(values) == "went on"
        await values.aclose()

    direction.run(border, code)


def test_trios_channels_are_iterated_in_asyncio(border: Border) -> None:
    async def main() -> None:
        send, receive = trio.open_memory_channel[int](0)

        async def feed() -> None:
            async with send:
                for number in range(3):
                    await trio.sleep(1)
                    await send.send(number)

        fed = asyncio.ensure_future(trio_as_aio(feed)())
        numbers = aiter(trio_as_aio(cast("AsyncIterator[int]", receive)))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(numbers), 0.5)
        assert [number async for number in numbers] == [0, 1, 2]
        await fed
        receive.close()

    border.asyncio(main)


def test_an_asyncio_stream_reader_is_iterated_in_trio(border: Border) -> None:
    async def main() -> None:
        reader = asyncio.StreamReader()
        reader.feed_data(b"one\ntwo\n")
        reader.feed_eof()
        assert [line async for line in aio_as_trio(reader)] == [b"one\n", b"two\n"]

    border.trio(main)


def test_as_completed_of_asyncio_is_iterated_in_trio(border: Border) -> None:
    """It is iterated asynchronously since Python 3.13."""
    if sys.version_info < (3, 13):
        pytest.skip("asyncio.as_completed() is a plain generator here")

    async def child(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    async def main() -> None:
        as_completed: Any = aio_as_trio(cast("Any", asyncio.as_completed))
        assert [await aio_as_trio(done) async for done in as_completed([child(2), child(1)])] == [1, 2]

    border.trio(main)


# Interrupted while it stands at a yield


def test_a_scope_of_a_trio_generator_around_its_yield(border: Border) -> None:
    """What is forbidden in trio works here, since the generator has a task of its own: its scope meets nothing of the caller's."""
    events: list[str] = []

    async def generate() -> AsyncIterator[int]:
        with trio.move_on_after(1) as scope:
            try:
                yield 1
                await trio.sleep(0)
                yield 2
            except trio.Cancelled:
                events.append("cancelled")
                raise
        events.append(f"caught {scope.cancelled_caught}")

    async def main() -> None:
        values = trio_as_aio(generate)()
        assert await anext(values) == 1
        await asyncio.sleep(2)
        assert events == ["cancelled", "caught True"]
        balanced()
        with pytest.raises(StopAsyncIteration):
            await anext(values)

    border.asyncio(main)


def test_a_timeout_of_an_asyncio_generator_around_its_yield(border: Border) -> None:
    async def generate() -> AsyncIterator[int]:
        async with asyncio.timeout(1):
            yield 1
            await asyncio.sleep(0)
            yield 2

    async def main() -> None:
        values = aio_as_trio(generate)()
        assert await anext(values) == 1
        await trio.sleep(2)
        with pytest.raises(TimeoutError):
            await anext(values)
        with pytest.raises(StopAsyncIteration):
            await anext(values)

    border.trio(main)


def test_a_nursery_of_a_trio_generator_around_its_yield(border: Border) -> None:
    async def generate() -> AsyncIterator[int]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 1)
            yield 1
            yield 2

    async def fail() -> AsyncGenerator[int, None]:
        async def crash() -> None:
            await trio.sleep(1)
            raise Odd

        async with trio.open_nursery() as nursery:
            nursery.start_soon(crash)
            yield 1
            await trio.sleep_forever()

    async def main() -> None:
        assert [value async for value in trio_as_aio(generate)()] == [1, 2]
        for seconds in (0, 2):
            values = trio_as_aio(fail)()
            assert await anext(values) == 1
            await asyncio.sleep(seconds)
            with pytest.RaisesGroup(Odd):
                await anext(values)
            balanced()
        # Left early: its nursery is cancelled and waited for.
        await leave_by_break(trio_as_aio(fail)())
        await asyncio.sleep(0)
        async with contextlib.aclosing(trio_as_aio(fail)()) as values:
            await leave_by_break(values)

    border.asyncio(main)


def test_a_task_group_of_an_asyncio_generator_around_its_yield(border: Border) -> None:
    async def fail() -> AsyncIterator[int]:
        async def crash() -> None:
            await asyncio.sleep(1)
            raise Odd

        async with asyncio.TaskGroup() as group:
            group.create_task(crash())
            yield 1
            await asyncio.sleep(5)

    async def main() -> None:
        for seconds in (0, 2):
            values = aio_as_trio(fail)()
            assert await anext(values) == 1
            await trio.sleep(seconds)
            with pytest.RaisesGroup(Odd):
                await anext(values)

    border.trio(main)


# The drop-in for trio-asyncio, and where there is no loop


def test_run_aio_generator(border: Border) -> None:
    direction = Direction("asyncio's in trio")

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        assert [number async for number in run_aio_generator(loop, direction.count())] == [0, 1, 2]
        async for number in run_aio_generator(loop, direction.count()):
            if number == 1:
                break
        await trio.sleep(1)
        assert direction.events[-2:] == ["closing", "closed"]

    border.trio(main)


def test_without_a_loop_an_iterator_is_refused(clean: Records) -> None:
    direction = Direction("asyncio's in trio")

    async def main() -> None:
        with pytest.raises(RuntimeError, match="open_loop"):
            async for _ in aio_as_trio(direction.count)():
                raise AssertionError("is not to run")
        with pytest.raises(RuntimeError, match="open_loop"):
            await anext(aio_as_trio(direction.count()))

    trio.run(main, clock=MockClock(autojump_threshold=0))
    assert direction.events == []


def test_a_stopped_loop_makes_no_step(clean: Records) -> None:
    direction = Direction("asyncio's in trio")

    async def main() -> None:
        async with open_loop() as loop:
            numbers = aio_as_trio(direction.count)()
            await anext(numbers)
            await settle(loop)
            stopped = loop.stop()
            assert stopped is not None
            await stopped.wait()
            with pytest.raises(RuntimeError, match="stopped"):
                await anext(numbers)

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_a_crossed_generator_looks_like_one(border: Border, direction: Direction) -> None:
    async def code() -> None:
        numbers = direction.cross(direction.count)()
        assert isinstance(numbers, AsyncGenerator)
        assert not inspect.isawaitable(numbers)
        await numbers.aclose()

    direction.run(border, code)
