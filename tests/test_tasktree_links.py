"""The task tree connects who waits to what it waits for, also where that is not in the waiting task's own hand."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import trio

from trio_asyncio_compat import aio_as_trio, trio_as_aio
from trio_asyncio_compat.tasktree import TaskTree, collect, format_task_tree

from .support import Run
from .test_tasktree import in_nursery, look, named, visible, wait_for_event

# Carriers: what holds a context manager or an iterator for the other side


def has_circle(tree: TaskTree, *ids: int) -> bool:
    """Whether the one circle of this tree goes round in this way."""
    (cycle,) = tree.cycles
    return f"-{'-'.join(map(str, ids))}-" in f"-{'-'.join(map(str, cycle * 2))}-"


def test_entering_a_lock_of_trio_from_asyncio_is_part_of_the_circle(hosted_run: Run) -> None:
    lock = trio.Lock()

    async def handle_request() -> None:
        async with trio_as_aio(lock):
            pass

    async def holds_lock() -> None:
        async with lock:
            await aio_as_trio(handle_request)()

    tree = hosted_run.trio_run(lambda: in_nursery(holds_lock))
    holder, request = named(tree, "holds_lock"), named(tree, "handle_request")
    (carrier,) = request.calls
    assert carrier.blocked_by == holder.id
    assert has_circle(tree, holder.id, request.id, carrier.id)
    assert "these wait for each other: #" in format_task_tree(tree)


async def iterates() -> None:
    async def generator() -> AsyncIterator[int]:
        yield 1
        await wait_for_event()

    async for _ in trio_as_aio(generator)():
        pass


async def iterates_for_the_first_time() -> None:
    async def generator() -> AsyncIterator[int]:
        await wait_for_event()
        yield 1

    async for _ in trio_as_aio(generator)():
        pass


async def leaves_nursery() -> None:
    async with trio_as_aio(trio.open_nursery)() as nursery:
        await asyncio.sleep(0)
        nursery.start_soon(wait_for_event)


@pytest.mark.parametrize("fn", [iterates, iterates_for_the_first_time, leaves_nursery])
def test_a_carrier_of_trio_stands_below_the_asyncio_task_that_waits_for_it(fn: Callable[[], Awaitable[None]], hosted_run: Run) -> None:
    tree = hosted_run.trio_run(lambda: in_nursery(functools.partial(aio_as_trio(fn))))
    task = named(tree, fn.__name__, "asyncio")
    (carrier,) = task.calls
    assert (carrier.flavour, task.waits_for) == ("trio", [carrier.id])
    below = [child for nursery in carrier.nurseries for child in nursery.tasks]
    assert visible((below[0] if below else carrier).frames)[-2:] == ["wait_for_event", "wait"]


def test_a_carrier_says_whether_it_enters_holds_or_leaves(hosted_run: Run) -> None:
    lock = trio.Lock()

    async def enters() -> None:
        async with trio_as_aio(lock):
            pass

    async def main() -> TaskTree:
        async with lock, trio.open_nursery() as nursery:
            nursery.start_soon(aio_as_trio(enters))
            nursery.start_soon(aio_as_trio(leaves_nursery))
            tree = await look()
            nursery.cancel_scope.cancel()
        return tree

    tree = hosted_run.trio_run(main)
    (entering,), (leaving,) = named(tree, "enters", "asyncio").calls, named(tree, "leaves_nursery", "asyncio").calls
    assert (entering.holding, leaving.holding) == ("enters", "leaves")
    text = format_task_tree(tree)
    assert "that enters <locked Lock object at 0x" in text
    assert leaving.holds is not None and "NurseryManager" in leaving.holds
    assert f"that leaves {leaving.holds}" in text


def test_a_lock_of_trio_that_an_asyncio_block_holds_is_part_of_the_circle(hosted_run: Run) -> None:
    lock = trio.Lock()

    async def wants_lock() -> None:
        async with lock:
            pass

    async def has_block() -> None:
        async with trio_as_aio(lock):
            await trio_as_aio(wants_lock)()

    tree = hosted_run.trio_run(lambda: in_nursery(aio_as_trio(has_block)))
    block, asker = named(tree, "has_block", "asyncio"), named(tree, "wants_lock")
    (carrier,) = [task for task in tree.tasks() if task.holding == "holds"]
    assert (carrier.holds_for, asker.blocked_by) == (block.id, carrier.id)
    assert has_circle(tree, block.id, asker.id, carrier.id)
    assert f"trio task #{carrier.id} that holds <locked Lock object at 0x" in format_task_tree(tree)
    assert f" for #{block.id} {block.name}, waiting" in format_task_tree(tree)


def test_tasks_that_wait_for_their_owners_word_do_not_wait_for_each_other(our_run: Run) -> None:
    class Service:
        def __init__(self) -> None:
            self.stopped = asyncio.get_running_loop().create_future()
            self.tasks = [asyncio.create_task(self.work()) for _ in range(3)]
            for task in self.tasks:
                task.add_done_callback(self.ended)

        async def work(self) -> None:
            await asyncio.wait([self.stopped])
            await self.stopped

        def ended(self, task: asyncio.Task[None]) -> None: ...

    async def main() -> TaskTree:
        service = Service()
        tree = await trio_as_aio(look)()
        service.stopped.set_result(None)
        await asyncio.wait(service.tasks)
        return tree

    tree = our_run(main)
    assert tree.cycles == []
    assert [task.waits_for for task in tree.tasks() if "Service.work" in task.name] == [[]] * 3


# Threads


def at_work() -> tuple[Callable[[], None], threading.Event, trio.Event]:
    """A function that works until the first event, and tells trio with the second that it does."""
    over, begun = threading.Event(), trio.Event()
    token = trio.lowlevel.current_trio_token()

    def work() -> None:
        token.run_sync_soon(begun.set)
        over.wait()

    return work, over, begun


async def of_trio(work: Callable[[], None]) -> None:
    await trio.to_thread.run_sync(work)


async def of_asyncio(work: Callable[[], None]) -> None:
    await asyncio.gather(asyncio.get_running_loop().run_in_executor(None, work))


async def of_an_executor(work: Callable[[], None]) -> None:
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        await asyncio.get_running_loop().run_in_executor(executor, work)


async def of_an_executor_with_timeout(work: Callable[[], None]) -> None:
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        await asyncio.wait_for(asyncio.get_running_loop().run_in_executor(executor, work), 60)


@pytest.mark.parametrize("fn", [of_trio, of_asyncio, of_an_executor, of_an_executor_with_timeout])
def test_a_worker_is_linked_to_the_task_that_waits_for_it(fn: Callable[..., Awaitable[None]], hosted_run: Run) -> None:
    async def main() -> TaskTree:
        work, over, begun = at_work()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fn if fn is of_trio else aio_as_trio(fn), work, name="who asks")
            await begun.wait()
            tree = await look()
            over.set()
        return tree

    tree = hosted_run.trio_run(main)
    (thread,) = tree.threads
    waits = named(tree, "who asks")
    assert thread.task == (waits if fn is of_trio else waits.calls[0]).id
    assert f"for #{thread.task} " in format_task_tree(tree)


class ThreadOfProgram(threading.Thread):
    work: Callable[[], None]

    def run(self) -> None:
        self.work()


@pytest.mark.parametrize(("target", "function"), [(True, "at_work.<locals>.work"), (False, "ThreadOfProgram.run")])
def test_a_thread_of_the_program_is_shown_while_it_lives(target: bool, function: str, hosted_run: Run) -> None:
    async def main() -> list[TaskTree]:
        work, over, begun = at_work()
        thread = threading.Thread(target=work, name="plain") if target else ThreadOfProgram(name="plain")
        thread.work = work  # type: ignore[attr-defined]
        thread.start()
        await begun.wait()
        trees = [collect()]
        over.set()
        thread.join()
        return [*trees, collect()]

    working, ended = hosted_run.trio_run(main)
    (thread,) = working.threads
    assert (thread.name, thread.function, thread.task) == ("plain", function, None)
    assert "work" in visible(thread.frames)
    assert ended.threads == []


# Links of one chain


async def generates() -> AsyncIterator[int]:
    await asyncio.sleep(3600)
    yield 1


async def next_one() -> None:
    await anext(generates())


async def next_one_or_none() -> None:
    await anext(generates(), None)


async def sends() -> None:
    generator: Any = generates()
    await generator.asend(None)


@pytest.mark.parametrize("fn", [next_one, next_one_or_none, sends])
def test_one_step_of_an_async_generator_is_a_link_of_the_chain(fn: Callable[[], Awaitable[None]], hosted_run: Run) -> None:
    tree = hosted_run.trio_run(lambda: in_nursery(aio_as_trio(fn)))
    assert visible(named(tree, fn.__name__, "asyncio").frames) == [fn.__name__, "generates", "sleep"]
