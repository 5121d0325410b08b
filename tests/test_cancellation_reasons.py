"""trio's `Cancelled` says which asyncio task was cancelled, by whom and why; and nothing that is said can lose the cancellation."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import pytest
import trio

from trio_asyncio_compat import aio_as_trio, allow_asyncio, trio_as_aio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from .support import Run

    Call = Callable[[], Coroutine[Any, Any, None]]

Seen = list[trio.Cancelled]


async def waits(seen: Seen, begun: trio.Event) -> None:
    try:
        begun.set()
        await trio.sleep_forever()
    except trio.Cancelled as exc:
        seen.append(exc)
        raise


def reason_when(run: Run, cancels: Callable[[Call, trio.Event], Awaitable[None]]) -> trio.Cancelled:
    """What a trio call is told. `cancels`, of asyncio, is given a function that makes the call, and the event that it has begun."""
    seen: Seen = []

    async def main() -> None:
        begun = trio.Event()
        await cancels(lambda: trio_as_aio(waits)(seen, begun), begun)

    run(main)
    (exc,) = seen
    return exc


class Unspeakable:
    def __str__(self) -> str:
        raise LookupError("not for you")

    __repr__ = __str__


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("the user went away", "asyncio task 'victim' was cancelled: the user went away"),
        (42, "asyncio task 'victim' was cancelled: 42"),
        (Unspeakable(), "asyncio task 'victim' was cancelled: <Unspeakable that cannot be shown>"),
    ],
)
def test_a_message_and_who_has_cancelled(our_run: Run, message: object, said: str) -> None:
    async def cancels(call: Call, begun: trio.Event) -> None:
        named = asyncio.current_task()
        assert named is not None
        named.set_name("culprit")
        task = asyncio.ensure_future(call())
        task.set_name("victim")
        await trio_as_aio(begun.wait)()
        task.cancel(message)
        await asyncio.wait([task])
        assert task.cancelled()
        with pytest.raises(asyncio.CancelledError) as caught:
            task.result()
        assert caught.value.args == (message,)

    exc = reason_when(our_run, cancels)
    assert (exc.source, exc.reason, exc.source_task) == ("explicit", said, "<asyncio task 'culprit'>")


def test_without_a_message_the_place(our_run: Run) -> None:
    async def cancels(call: Call, begun: trio.Event) -> None:
        async def gathers() -> None:
            await asyncio.gather(call())

        task = asyncio.ensure_future(gathers())
        await trio_as_aio(begun.wait)()
        task.cancel()
        await asyncio.wait([task])

    reason = str(reason_when(our_run, cancels).reason)
    assert f"was cancelled in {cancels.__qualname__} ({__file__}:" in reason


def test_a_callback_has_no_place(our_run: Run) -> None:
    async def cancels(call: Call, begun: trio.Event) -> None:
        task = asyncio.ensure_future(call())
        task.set_name("victim")
        await trio_as_aio(begun.wait)()
        asyncio.get_running_loop().call_soon(task.cancel)
        await asyncio.wait([task])

    exc = reason_when(our_run, cancels)
    assert (exc.reason, exc.source_task) == ("asyncio task 'victim' was cancelled", None)


def test_a_timeout(our_run: Run) -> None:
    async def cancels(call: Call, begun: trio.Event) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(None) as timeout:
                begins = asyncio.ensure_future(trio_as_aio(begun.wait)())
                begins.add_done_callback(lambda _: timeout.reschedule(0))
                await call()

    reason = str(reason_when(our_run, cancels).reason)
    assert reason.endswith("was cancelled, since an asyncio.timeout() has expired")


def test_another_task_of_a_task_group(our_run: Run) -> None:
    async def cancels(call: Call, begun: trio.Event) -> None:
        async def fails() -> None:
            await trio_as_aio(begun.wait)()
            raise ValueError("bad")

        with pytest.raises(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                group.create_task(fails(), name="the failed one")
                await call()

    reason = str(reason_when(our_run, cancels).reason)
    assert reason.endswith("was cancelled, since task 'the failed one' of its TaskGroup has failed: ValueError('bad')")


def test_the_block_of_a_task_group(our_run: Run) -> None:
    async def cancels(call: Call, begun: trio.Event) -> None:
        with pytest.raises(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                group.create_task(call())
                await trio_as_aio(begun.wait)()
                raise ValueError("bad")

    assert "since the block of its TaskGroup has failed: ValueError('bad')" in str(reason_when(our_run, cancels).reason)


def test_a_message_to_a_whole_task_group(our_run: Run) -> None:
    async def cancels(call: Call, begun: trio.Event) -> None:
        async def has_a_group() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(call())

        task = asyncio.ensure_future(has_a_group())
        await trio_as_aio(begun.wait)()
        task.cancel("the user went away")
        await asyncio.wait([task])

    assert "since its TaskGroup was cancelled: the user went away" in str(reason_when(our_run, cancels).reason)


def test_what_cannot_be_shown_does_not_lose_the_cancellation(our_run: Run) -> None:
    class Fails(Exception):
        __repr__ = Unspeakable.__str__

    async def cancels(call: Call, begun: trio.Event) -> None:
        async def fails() -> None:
            await trio_as_aio(begun.wait)()
            raise Fails

        with pytest.raises(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                group.create_task(fails())
                await call()

    assert reason_when(our_run, cancels).reason == "asyncio has cancelled this call"


def test_a_trio_scope_around_a_task_group_is_the_reason_inside(hosted_run: Run) -> None:
    seen: Seen = []

    async def in_asyncio(begun: trio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(trio_as_aio(waits)(seen, begun))

    async def main() -> None:
        begun = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(aio_as_trio(in_asyncio), begun)
            await begun.wait()
            nursery.cancel_scope.cancel("the user went away")

    hosted_run.trio_run(main)
    assert [exc.reason for exc in seen] == ["the user went away"]


def test_the_block_of_a_manager_of_trio(our_run: Run) -> None:
    async def cancels() -> None:
        seen: Seen = []
        begun = trio.Event()

        async def has_a_block() -> None:
            async with trio_as_aio(trio.open_nursery()) as nursery:
                nursery.start_soon(waits, seen, begun)
                await asyncio.sleep(3600)

        task = asyncio.ensure_future(has_a_block())
        task.set_name("victim")
        await trio_as_aio(begun.wait)()
        task.cancel("the user went away")
        await asyncio.wait([task])
        (exc,) = seen
        assert exc.reason == "asyncio task 'victim' was cancelled: the user went away"

    our_run(cancels)


def test_a_flavour_free_task(hosted_run: Run) -> None:
    seen: Seen = []

    async def body(begun: trio.Event) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.set_name("victim")
        asyncio.get_running_loop().call_soon(lambda: asyncio.ensure_future(cancels(task, begun)))
        await asyncio.get_running_loop().trio_as_future(waits, seen, begun)  # type: ignore[attr-defined]

    async def cancels(task: asyncio.Task[None], begun: trio.Event) -> None:
        await trio_as_aio(begun.wait)()
        task.cancel("the user went away")

    async def main() -> None:
        with pytest.raises(asyncio.CancelledError):
            await allow_asyncio(body, trio.Event())

    hosted_run.trio_run(main)
    assert [exc.reason for exc in seen] == ["asyncio task 'victim' was cancelled: the user went away"]


@pytest.mark.parametrize("library", ["trio_websocket", "trio_asyncio_compat_extras", "outside"])
def test_a_library_whose_name_begins_like_another_is_none_of_the_machinery(our_run: Run, library: str) -> None:
    file = os.path.join(os.path.dirname(os.path.dirname(trio.__file__)), library, "__init__.py")
    library_code: dict[str, Any] = {}
    exec(compile("def give_up(task):\n    task.cancel()", file, "exec"), library_code)

    async def cancels(call: Call, begun: trio.Event) -> None:
        task = asyncio.ensure_future(call())
        await trio_as_aio(begun.wait)()
        library_code["give_up"](task)
        await asyncio.wait([task])

    exc = reason_when(our_run, cancels)
    assert exc.reason is not None
    assert exc.reason.endswith(f" was cancelled in give_up ({file}:2)")
