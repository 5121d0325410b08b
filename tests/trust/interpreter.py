"""Executes a program of `programs.py` on the loop that is running, and writes down all that can be observed.

The trace has, in order: the virtual time, the task that was current, what happened. What asyncio reports when an object is
collected comes at no fixed point of it, so it is kept apart and sorted.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import warnings
from collections.abc import Callable, Coroutine
from typing import Any

from .descriptions import described, scrubbed
from .programs import Program
from .statements import Statements

# After this long in virtual time a program counts as stuck and is cancelled, which is a result like any other.
STUCK = 1000.0
# A program that swallows a cancellation goes on to its next wait; the longest have some dozens.
MAX_ROUNDS = 300
# Callbacks that make callbacks, as deep as programs have them.
LAST_TURNS = 6


class NumberedTask(asyncio.Task[Any]):
    """A task that sets are ordered by: asyncio keeps tasks in sets, whose order would be the addresses'."""

    number: int

    def __hash__(self) -> int:
        return getattr(self, "number", 0)


class Execution(Statements):
    """One execution of one program."""

    def __init__(self, program: Program) -> None:
        super().__init__()
        self.program = program
        self.reports: list[Any] = []

    def outcome(self) -> tuple[list[Any], list[Any]]:
        """The trace, and what was reported; to be asked when the loop is closed."""
        self._tasks.clear()
        self._timers.clear()
        self._futures, self._streams = [], []
        gc.collect()
        return self.trace, sorted(self.reports, key=str)

    async def main(self) -> None:
        """What the world runs."""
        self._loop = loop = asyncio.get_running_loop()
        self._start = loop.time()
        loop.slow_callback_duration = 1e6
        loop.set_exception_handler(self._report)
        await self._prepare()
        loop.set_task_factory(self._new_task)
        root = loop.create_task(self._body(self.program.main))
        await asyncio.wait([root], timeout=STUCK)
        self.note("end of main" if root.done() else "stuck")
        self._cancel_timers()
        await self._wind_up()
        loop.set_task_factory(None)

    def _new_task(self, loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> NumberedTask:
        number = len(self._tasks)
        options = {key: value for key, value in options.items() if value is not None}
        options["name"] = f"task {number}"
        if self.program.eager:
            options["eager_start"] = True
        task = NumberedTask.__new__(NumberedTask)
        task.number = number
        self._tasks.append(task)
        task.__init__(coro, loop=loop, **options)  # type: ignore[misc]
        return task

    def _report(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        task = context.get("task") or context.get("future")
        entry = (
            scrubbed(context["message"]),
            described(context.get("exception")),
            getattr(task, "number", None),
            sorted(key for key in context if key != "message"),
        )
        if "handle" in context:
            self.note("report", entry)
        else:
            self.reports.append(entry)

    async def _prepare(self) -> None:
        self._events = [asyncio.Event() for _ in range(2)]
        self._futures = [self._loop.create_future() for _ in range(2)]
        self._queues = [asyncio.Queue(1), asyncio.PriorityQueue()]
        self._lock, self._semaphore, self._condition = asyncio.Lock(), asyncio.Semaphore(2), asyncio.Condition()
        self._streams = []
        program = self.program
        if program.uses("write", "write_lines", "read", "read_line", "write_eof", "close", "abort"):
            for sock in socket.socketpair():
                self._streams.append(await asyncio.open_connection(sock=sock, limit=8000))
        if program.uses("sock_send", "sock_recv"):
            self._sockets = list(socket.socketpair())
            for sock in self._sockets:
                sock.setblocking(False)
        if program.uses("thread"):
            # A worker that is there already: the first may need the loop to get started.
            await self._loop.run_in_executor(None, int)
        original = self._loop.call_soon_threadsafe

        def call_soon_threadsafe(*args: Any, **options: Any) -> Any:
            try:
                return original(*args, **options)
            finally:
                self._reported.set()

        self._loop.call_soon_threadsafe = call_soon_threadsafe  # type: ignore[assignment, method-assign]

    def _cancel_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()

    async def _wind_up(self) -> None:
        """End what the program left, in an order that does not depend on addresses."""
        for round_ in range(MAX_ROUNDS):
            # What callbacks start now belongs to the program. Later the worlds end in ways of their own.
            for _ in range(LAST_TURNS):
                await asyncio.sleep(0)
            alive: list[Any] = [task for task in self._tasks if not task.done()]
            if not alive:
                break
            self.note("winding up", round_, [task.number for task in alive])
            for task in alive:
                task.cancel(f"wind up {round_}")
            await asyncio.wait(alive, timeout=STUCK)
        # Those that were started meanwhile: how long the executor's threads take to end is not virtual, so a clock may jump over it.
        self._cancel_timers()
        for task in self._tasks:
            # Not its exception: that nobody has asked for it is to be reported.
            self.note("task", task.number, "cancelled" if task.cancelled() else "done" if task.done() else "alive", task.cancelling())
        await self._loop.shutdown_asyncgens()
        # Here, since asyncio.Runner limits the time that it may take, which is virtual.
        await self._loop.shutdown_default_executor()
        for _, writer in self._streams:
            writer.close()
            # Cancelled, if the program cancelled somebody who waited for the same.
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()
        for sock in self._sockets:
            sock.close()
        del self._loop.call_soon_threadsafe


def observe(run: Callable[[Callable[[], Coroutine[Any, Any, None]], bool], None], program: Program) -> tuple[list[Any], list[Any]]:
    """The trace and the reports of `program` in a world."""
    execution = Execution(program)
    with warnings.catch_warnings():
        # asyncio.Runner gives the executor 300 seconds to end once more, over which a virtual clock may jump at once.
        warnings.filterwarnings("ignore", "The executor did not finishing", RuntimeWarning)
        run(execution.main, program.debug)
    return execution.outcome()
