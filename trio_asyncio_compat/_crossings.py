"""How code of one world gets into the other: a trio call from asyncio, the first step of an asyncio task from trio.

A base of `TrioEventLoop`. The adapters (`border/`) and the loop itself, which calls trio for names, build on it.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from typing import TYPE_CHECKING, Any

from ._calls import made_of, name_of
from ._flavour import run_as_asyncio
from ._origins import described_origin
from ._stdlib import SelectorLoop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    import trio

    from . import _stdlib
    from ._callers import Callers
    from ._calls import TrioCall
    from ._pump import Pump
    from ._scheduler import Scheduler
    from ._waiting import Wait


class Crossings(SelectorLoop):
    """See the module.

    Invariants: `_calls` has the trio calls that have not ended, `_waits` the trio tasks that wait for a future of the loop.
    """

    _scheduler: Scheduler
    _pump: Pump
    _nursery: trio.Nursery | None
    _callers: Callers | None
    _calls: set[TrioCall]
    _waits: set[Wait]
    _held: set[asyncio.Future[Any]]
    # Calls so far, in each direction; those to asyncio are counted by the adapters.
    _calls_to_asyncio = 0
    _calls_to_trio = 0

    # Asyncio code calls trio

    def _call_trio(self, async_fn: Callable[..., Awaitable[Any]], *args: Any) -> TrioCall:
        """Start a trio task that makes this call; see `TrioCall`."""
        callers = self._running_callers()
        self._calls_to_trio += 1
        return callers.start(made_of(async_fn, args), name_of(async_fn))

    def _call_trio_now(self, coroutine: Coroutine[Any, Any, Any], name: str) -> TrioCall:
        """Have a trio task run `coroutine`, whose first step is made at once: for asyncio code that awaits the call at once. Trio calls
        the task by `name`."""
        callers = self._running_callers()
        self._calls_to_trio += 1
        return callers.start_now(coroutine, name)

    def _running_callers(self) -> Callers:
        if self._callers is None:
            raise RuntimeError(f"trio code can be called only while the loop runs, and {self!r} does not")
        self._check_this_thread()
        return self._callers

    # Trio code calls asyncio

    def _hold(self, future: asyncio.Future[Any]) -> None:
        """Hold a task, or a future that waits for some (`gather`), until it is done.

        Asyncio holds its tasks weakly: one to which only what it waits for refers is collected.
        """
        if not future.done():
            self._held.add(future)
            future.add_done_callback(self._held.discard, context=contextvars.Context())

    def _check_serving(self) -> None:
        """RuntimeError unless what is scheduled now is going to run."""
        if self._nursery is None or self._scheduler.stopping or not self._pump.running:
            raise RuntimeError(f"{self!r} has been stopped: nothing can run on it any more. Open a loop with open_loop()")
        self._check_this_thread()

    def _check_this_thread(self) -> None:
        if threading.get_ident() != self._thread_id:
            raise RuntimeError(
                f"{self!r} runs in another thread: asyncio.run_coroutine_threadsafe() and trio.from_thread.run() have a call made there"
            )

    def _start_now(self, coroutine: Coroutine[Any, Any, Any], context: contextvars.Context) -> asyncio.Task[Any]:
        """Make a task of `coroutine` and run its first step here and now, in `context`. The pump is to be held meanwhile.

        Stepped by hand on all Pythons: a Task that starts eagerly is new in 3.12.
        """
        task, step = self._task_and_step(coroutine, context)
        try:
            run_as_asyncio(self, step)
            return task
        finally:
            # What the step raised keeps this frame through its traceback, and the task keeps what it raised.
            task = step = None  # type: ignore[assignment]

    def _start_now_and_serve(self, coroutine: Coroutine[Any, Any, Any], context: contextvars.Context) -> tuple[asyncio.Task[Any], bool]:
        """`_start_now`, and if the task is not done then, `Pump.serve_after`: tells also whether the pump was released."""
        task, step = self._task_and_step(coroutine, context)
        try:
            return task, self._pump.serve_after(step)
        finally:
            task = step = None  # type: ignore[assignment]

    def _task_and_step(
        self, coroutine: Coroutine[Any, Any, Any], context: contextvars.Context
    ) -> tuple[asyncio.Task[Any], Callable[[], bool]]:
        """A new task of `coroutine`, and what makes its first step and tells whether the task waits then."""
        task = asyncio.Task(coroutine, loop=self, context=context)
        return task, functools.partial(self._make_first_step, task, self._take_first_step(task), context)

    def _make_first_step(self, task: asyncio.Task[Any], step: _stdlib.Handle, context: contextvars.Context) -> bool:
        try:
            context.run(self._scheduler.run_now, step)
            return not task.done()
        except BaseException:
            # SystemExit, which is on its way to who has called. The task keeps it, too, and would report that nobody asks for it.
            if task.done() and not task.cancelled():
                task.exception()
            raise
        finally:
            del task, step

    def _take_first_step(self, task: asyncio.Task[Any]) -> _stdlib.Handle:
        """Take back the step that a new `task` has just queued. Behind it may stand what a finaliser or a thread has queued meanwhile,
        and a thread may do so at any moment: so each is taken before it is looked at."""
        ready = self._scheduler.ready
        behind: list[_stdlib.Handle] = []
        while getattr((handle := ready.pop())._callback, "__self__", None) is not task:
            behind.append(handle)
        ready.extend(reversed(behind))
        return handle

    def _without_first_step(self, task: asyncio.Task[Any], construct: Callable[[], None]) -> None:
        """Call `construct`, the constructor of a `task` that somebody else steps, and take back the step that it queues."""
        held = self._pump.hold()
        try:
            construct()
            self._take_first_step(task).cancel()
        finally:
            self._pump.release(held)

    def _end_waits(self, reason: str) -> None:
        """Cancel what trio tasks wait for, unless it has been cancelled for them."""
        for wait in list(self._waits):
            wait.end(reason)

    def _abandon_waits(self, message: str) -> None:
        """Nothing more is going to run: resolve every trio task that waits for this loop."""
        for wait in list(self._waits):
            wait.abandon(message + described_origin(wait._future))
