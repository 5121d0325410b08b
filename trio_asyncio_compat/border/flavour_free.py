"""Flavour-free code: async functions that await both trio and asyncio. `allow_asyncio`, and a task factory.

`task.py` has the task that runs such a function.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

import outcome
import trio

from .._loop import TrioEventLoop
from .generators import FlavourFreeGenerators
from .here import loop_of_trio_code
from .task import FlavourFreeTask, task_here

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Generator

# Its frames are of no interest in a traceback (pytest's convention); see `_tracebacks.py`.
__tracebackhide__ = True

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


async def allow_asyncio(fn: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
    """Run `await fn(*args)` so that it may await both trio and asyncio.

    Trio-flavoured. The function runs in the current trio task and its context; `asyncio.current_task()` is an `asyncio.Task` for
    it, so that `asyncio.timeout`, `TaskGroup` and the like work next to trio's scopes and nurseries. A trio scope that is cancelled
    raises an exception in it that is both `trio.Cancelled` and `asyncio.CancelledError`: at every checkpoint of trio, and once for
    each cancelled scope where asyncio is awaited. In a function that is flavour-free already this is a plain call.

    Raises what the function raises; RuntimeError where no loop is open.
    """
    if task_here() is not None:
        return await fn(*args)
    loop = loop_of_trio_code("allow_asyncio()")
    task = FlavourFreeTask(loop, _body(fn, args), trio.lowlevel.current_task().context, _generators_of(loop))
    # What ends the body comes out of here, so nobody needs to fetch it from the task.
    result = await task.run(_step)
    task._log_traceback = False
    try:
        value: T = result.unwrap()
        return value
    finally:
        # An error keeps this frame.
        del task, result


def flavour_free_task_factory(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T] | Generator[Any, None, T], **options: Any
) -> asyncio.Task[T]:
    """A task factory that makes every task of a loop flavour-free: for `open_loop(task_factory=...)` or `loop.set_task_factory`.

    Each task is a trio task in the loop's nursery. It begins once trio has come to it, so tasks do not begin in exactly the order
    they were made in, and `eager_start` has no effect. It costs more than one of asyncio's own.

    Raises TypeError for a loop of another kind, or for something that is not a coroutine.
    """
    if not isinstance(loop, TrioEventLoop):
        raise TypeError(f"flavour_free_task_factory makes tasks of a TrioEventLoop, not of {loop!r}")
    context: contextvars.Context = options.get("context") or contextvars.copy_context()
    task = FlavourFreeTask(loop, coroutine, context, _generators_of(loop), name=options.get("name"))
    if loop._nursery is not None:
        _start(task, loop)
    else:
        # The loop does not run yet: when it does.
        loop.call_soon(_start, task, loop)
    return task


def _generators_of(loop: TrioEventLoop) -> FlavourFreeGenerators:
    """Made with the loop's first flavour-free code."""
    generators: FlavourFreeGenerators | None = loop._flavour_free_generators
    if generators is None:
        generators = FlavourFreeGenerators(loop, functools.partial(flavour_free_task_factory, loop))
        loop._flavour_free_generators = generators
    return generators


def _start(task: FlavourFreeTask, loop: TrioEventLoop) -> None:
    if loop._nursery is None:
        raise RuntimeError(f"{task!r} cannot begin, since {loop!r} has been stopped")
    # Shielded: what is around the loop must not cut an asyncio task. Cancelled only when a driven loop's drive has ended.
    scope = trio.CancelScope(shield=True)
    loop._carried.add(scope)
    loop._nursery.start_soon(_carry, task, loop, scope)


@trio.lowlevel.enable_ki_protection
async def _carry(task: FlavourFreeTask, loop: TrioEventLoop, scope: trio.CancelScope) -> None:
    """The trio task of a task that the factory has made."""
    context = task.context
    # asyncio names a task after the factory has made it.
    trio.lowlevel.current_task().name = task.get_name()

    @trio.lowlevel.disable_ki_protection
    def step(method: Callable[[Any], Any], value: Any) -> Any:
        return context.run(method, value)

    try:
        with scope:
            result = await task.run(step)
            if isinstance(result, outcome.Error) and isinstance(result.error, (SystemExit, KeyboardInterrupt)):
                # As from a step of asyncio's own tasks: it ends the loop.
                loop.call_soon(_raise, result.error)
            del result
    finally:
        loop._carried.discard(scope)
        # An error of the body keeps this frame.
        del task


def _raise(error: BaseException) -> None:
    raise error


@trio.lowlevel.disable_ki_protection
def _step(method: Callable[[Any], Any], value: Any) -> Any:
    """A step in the context of the trio task, where Ctrl-C may come."""
    return method(value)


def _body(fn: Callable[..., Awaitable[Any]], args: tuple[Any, ...]) -> Coroutine[Any, Any, Any]:
    if inspect.iscoroutinefunction(fn):
        made = fn(*args)
        if inspect.iscoroutine(made):
            return made
    return _call(fn, args)


async def _call(fn: Callable[..., Awaitable[Any]], args: tuple[Any, ...]) -> Any:
    awaitable = fn(*args)
    if not inspect.isawaitable(awaitable):
        raise TypeError(f"an async function is needed here; {fn!r} returned {awaitable!r} instead of something to await")
    return await awaitable
