"""Trio code calls asyncio and cancellation crosses: `TO_ASYNCIO`, row by row, for every way to make such a call."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Generator
from typing import Any, TypeAlias

import pytest
import trio

from trio_asyncio_compat import (
    aio_as_trio,
    allow_asyncio,
    run_aio_coroutine,
    run_aio_future,
    run_aio_generator,
)
from trio_asyncio_compat.border.cancellation import TO_ASYNCIO, Ended, Seen, how_it_ended

from .support import Border, Odd, forever

Callee: TypeAlias = "Callable[[], Coroutine[Any, Any, Any]]"
ROWS = [
    pytest.param(asked, ended, seen, id=f"{'asked' if asked else 'unasked'}-{ended.name}") for (asked, ended), seen in TO_ASYNCIO.items()
]


def end(ended: Ended) -> str:
    """End like this."""
    if ended is Ended.VALUE:
        return "value"
    if ended is Ended.ERROR:
        raise Odd("error")
    if ended is Ended.CANCELLED:
        raise asyncio.CancelledError("own")
    raise BaseExceptionGroup("mixed", [Odd("error"), BaseExceptionGroup("inner", [asyncio.CancelledError("own")])])


# The ways to call: each a trio-flavoured function of the callee.


async def function(callee: Callee) -> Any:
    return await aio_as_trio(callee)()


async def coroutine(callee: Callee) -> Any:
    return await aio_as_trio(callee())


async def returning_callable(callee: Callee) -> Any:
    return await aio_as_trio(lambda: callee())()


async def awaitable(callee: Callee) -> Any:
    class Awaitable_:
        def __await__(self) -> Generator[Any, None, Any]:
            return (yield from callee().__await__())

    return await aio_as_trio(Awaitable_())


async def decorated(callee: Callee) -> Any:
    class Service:
        @aio_as_trio
        async def method(self) -> Any:
            return await callee()

    return await Service().method()


async def task(callee: Callee) -> Any:
    return await aio_as_trio(asyncio.get_running_loop().create_task(callee()))


async def future(callee: Callee) -> Any:
    return await run_aio_future(asyncio.get_running_loop().create_task(callee()))


async def drop_in_coroutine(callee: Callee) -> Any:
    return await run_aio_coroutine(callee())


async def drop_in_generator(callee: Callee) -> Any:
    async def generate() -> AsyncIterator[Any]:
        yield await callee()

    async with contextlib.aclosing(run_aio_generator(asyncio.get_running_loop(), generate())) as values:  # type: ignore[type-var, arg-type]
        return await anext(values)


async def entering(callee: Callee) -> Any:
    class Manager:
        async def __aenter__(self) -> Any:
            return await callee()

        async def __aexit__(self, *exc: object) -> None:
            """In a cancelled scope a wait here would be cancelled."""

    async with aio_as_trio(Manager()) as entered:
        return entered


async def leaving(callee: Callee) -> Any:
    class Manager:
        result: Any = None

        async def __aenter__(self) -> Manager:
            return self

        async def __aexit__(self, *exc: object) -> None:
            self.result = await callee()

    async with aio_as_trio(Manager()) as manager:
        pass
    return manager.result


async def stepping(callee: Callee) -> Any:
    async def generate() -> AsyncIterator[Any]:
        yield await callee()

    async with contextlib.aclosing(aio_as_trio(generate)()) as values:  # type: ignore[type-var]
        return await anext(values)


async def stepping_an_iterator(callee: Callee) -> Any:
    class Iterator:
        def __aiter__(self) -> Iterator:
            return self

        async def __anext__(self) -> Any:
            return await callee()

    values = aiter(aio_as_trio(Iterator()))
    try:
        return await anext(values)
    finally:
        with trio.CancelScope(shield=True):
            await values.aclose()  # type: ignore[attr-defined]


async def sending(callee: Callee) -> Any:
    async def generate() -> AsyncGenerator[object, Callable[[], Awaitable[object]]]:
        await (yield None)()
        yield await callee()

    async def nothing() -> None:
        await asyncio.sleep(0)

    values: Any = aiter(aio_as_trio(generate)())
    await anext(values)
    try:
        return await values.asend(nothing)
    finally:
        with trio.CancelScope(shield=True):
            await values.aclose()


async def flavour_free(callee: Callee) -> Any:
    return await allow_asyncio(callee)


async def adapter_in_flavour_free(callee: Callee) -> Any:
    return await allow_asyncio(aio_as_trio(callee))


async def a_task_of_asyncio_in_flavour_free(callee: Callee) -> Any:
    async def body() -> Any:
        return await asyncio.get_running_loop().create_task(callee())

    return await allow_asyncio(body)


WAYS: list[Callable[[Callee], Awaitable[Any]]] = [
    function,
    coroutine,
    returning_callable,
    awaitable,
    decorated,
    task,
    future,
    drop_in_coroutine,
    drop_in_generator,
    entering,
    leaving,
    stepping,
    stepping_an_iterator,
    sending,
    flavour_free,
    adapter_in_flavour_free,
    a_task_of_asyncio_in_flavour_free,
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("asked", "ended", "seen"), ROWS)
def test_what_the_caller_sees(border: Border, way: Callable[[Callee], Awaitable[Any]], asked: bool, ended: Ended, seen: Seen) -> None:
    started = trio.Event()
    told: list[str] = []

    async def callee() -> str:
        started.set()
        if not asked:
            await asyncio.sleep(1)
            return end(ended)
        try:
            await forever()
        except asyncio.CancelledError as exc:
            told.append(str(exc))
        # Clean-up awaits, and is not disturbed.
        await asyncio.sleep(1)
        await asyncio.sleep(0)
        return end(ended)

    async def cancel(scope: trio.CancelScope) -> None:
        await started.wait()
        await trio.sleep(1)
        scope.cancel("the reason")

    caught: list[BaseException] = []
    results: list[Any] = []

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as scope:
                if asked:
                    nursery.start_soon(cancel, scope)
                try:
                    results.append(await way(callee))
                except BaseException as exc:
                    caught.append(exc)
                    if seen is Seen.CANCELLED or seen is Seen.SPLIT:
                        raise
        # The scope takes its own; the rest would come out of it.
        assert scope.cancelled_caught == (seen is Seen.CANCELLED)

    if seen is Seen.SPLIT:
        with pytest.RaisesGroup(pytest.RaisesGroup(Odd, flatten_subgroups=True)):
            border.trio(main)
    else:
        border.trio(main)

    if asked:
        (reason,) = told
        assert "the reason" in reason
    assert bool(results) == (ended is Ended.VALUE)
    if seen is Seen.RESULT:
        assert results == ["value"] or isinstance(caught[0], Odd)
    elif seen is Seen.UNCHANGED:
        assert not isinstance(caught[0], trio.Cancelled)
        assert how_it_ended_in_asyncio(caught[0]) is ended
    elif seen is Seen.CANCELLED:
        assert isinstance(caught[0], trio.Cancelled)
        assert "the reason" in str(caught[0])
    else:
        assert isinstance(caught[0], BaseExceptionGroup)
        of_trio, rest = caught[0].split(trio.Cancelled)
        assert of_trio is not None
        assert rest is not None and rest.subgroup(asyncio.CancelledError) is None


def how_it_ended_in_asyncio(exc: BaseException) -> Ended:
    import outcome

    return how_it_ended(outcome.Error(exc), asyncio.CancelledError)
