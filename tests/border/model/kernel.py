"""The machine under the model: time, tasks that wait, scopes, and how a cancellation reaches a wait. No async code in it.

A task is a generator that yields a `Wait` for whatever it waits for. What is ready at one instant is run in an order drawn by lot:
a program whose records depend on that order is decided by neither world's rules, and is not compared.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Generator, Iterator
from typing import TypeAlias

from .programs import Flavour


class Cancelled(BaseException):
    """A cancellation."""


class ByTrio(Cancelled):
    """`trio.Cancelled`."""


class ByAsyncio(Cancelled):
    """`asyncio.CancelledError`."""


class InBoth(ByTrio, ByAsyncio):
    """What a trio scope throws into mixed code."""


class Expired(Exception):
    """TimeoutError."""


class Undecided(Exception):
    """The program's outcome is decided by no rule: two things happen at the same time."""


Steps: TypeAlias = "Generator[Wait, None, None]"
Step: TypeAlias = "Callable[[], object]"


class Scope:
    """A trio cancel scope; `parent` is the one around it."""

    def __init__(self, parent: Scope | None, *, shield: bool = False) -> None:
        self.parent = parent
        self.shield = shield
        self.cancelled = False
        self.open = True

    def cancelled_around(self) -> Iterator[Scope]:
        """The cancelled scopes that are felt inside of this one."""
        scope: Scope | None = self
        while scope is not None:
            if scope.cancelled:
                yield scope
            scope = None if scope.shield else scope.parent

    def felt(self) -> bool:
        """Whether a checkpoint inside of it raises."""
        return any(True for _ in self.cancelled_around())

    def close(self, exc: BaseException | None) -> BaseException | None:
        """What is left of `exc` when it leaves this scope."""
        self.open = False
        around = self.parent is not None and not self.shield and self.parent.felt()
        if not self.felt() or around:
            return exc
        if isinstance(exc, BaseExceptionGroup):
            return exc.split(ByTrio)[1]
        return None if isinstance(exc, ByTrio) else exc


class Wait:
    """What a task waits for. `of` is the world whose primitive it is, None for one that cannot be cancelled.

    `refuse` is what a cancellation does to it: it may resume the task with an exception, or tell somebody else and let it wait.
    `once`: in mixed code a cancelled scope reaches it only as news, as it does any wait for asyncio.
    """

    def __init__(self, of: Flavour | None, refuse: Callable[[Cancelled], object], *, once: bool = False) -> None:
        self.of = of
        self.once = once or of is Flavour.ASYNCIO
        self.refuse = refuse
        # The last cancellation that reached it: trio's if there was one.
        self.asked: Cancelled | None = None


class Task:
    """A task of either world, or of both while it is in mixed code.

    `cancelling` and `pending` are asyncio's: how many requests there are, and whether one is still to be delivered.
    `told` is for mixed code: the scopes whose cancellation would be no news to it.
    """

    def __init__(self, kernel: Kernel, flavour: Flavour, scope: Scope, steps: Steps) -> None:
        self.kernel = kernel
        self.flavour = flavour
        self.scope = scope
        self.steps = steps
        self.cancelling = 0
        self.pending = False
        self.told: set[Scope] = set()
        # Whether it has ever waited for something.
        self.waited = False
        self.done = False
        self.error: BaseException | None = None
        self.when_done: list[Step] = []
        self.wait: Wait | None = None
        # The kind of wait it comes from.
        self._came_from: Flavour | None = None
        kernel.tasks.append(self)

    def step(self, exc: BaseException | None = None) -> None:
        """Run until it waits again."""
        if self.pending and (self.flavour is Flavour.ASYNCIO or (self.flavour is Flavour.MIXED and self._came_from is Flavour.ASYNCIO)):
            self.pending = False
            exc = ByAsyncio()
        try:
            wait = next(self.steps) if exc is None else self.steps.throw(exc)
        except StopIteration:
            self._end(ByAsyncio() if self.pending and self.flavour is Flavour.ASYNCIO else None)
        except Undecided:
            raise
        except BaseException as error:
            self._end(error)
        else:
            self.wait, self.waited = wait, True
            self._begin_wait(wait)

    def _end(self, error: BaseException | None) -> None:
        self.done, self.error = True, error
        for step in self.when_done:
            self.kernel.ready.append(step)

    def resume(self, exc: BaseException | None = None) -> None:
        """Its wait is over."""
        if self.wait is not None:
            self._came_from, self.wait = self.wait.of, None
            self.kernel.ready.append(lambda: self.step(exc))

    def _begin_wait(self, wait: Wait) -> None:
        if wait.of is None:
            return
        if self.flavour is not Flavour.MIXED or not wait.once:
            if self.flavour is not Flavour.ASYNCIO and self.scope.felt():
                if self.pending:
                    raise Undecided
                self._meet_scopes(wait)
            elif self.pending:
                self._meet_request(wait)
            return
        news = any(scope not in self.told for scope in self.scope.cancelled_around())
        if self.pending:
            if news:
                raise Undecided
            self._meet_request(wait)
        elif news:
            self._meet_scopes(wait)
        else:
            # Nothing new in surroundings that are cancelled already, nor will be while it stays in them.
            self.tell()

    def _meet_request(self, wait: Wait) -> None:
        self.pending = False
        wait.asked = wait.asked or ByAsyncio()
        wait.refuse(ByAsyncio())

    def tell(self) -> None:
        """Mixed code learns that scopes around it are cancelled. Another one in these would change nothing."""
        outermost = [*self.scope.cancelled_around()][-1:]
        scope: Scope | None = self.scope
        while scope is not None and outermost:
            self.told.add(scope)
            scope = None if scope is outermost[0] else scope.parent

    def _meet_scopes(self, wait: Wait) -> None:
        if wait.once:
            self.tell()
        wait.asked = InBoth() if self.flavour is Flavour.MIXED else ByTrio()
        wait.refuse(wait.asked)

    def cancel(self) -> None:
        """`asyncio.Task.cancel`."""
        if self.done:
            return
        self.cancelling += 1
        wait = self.wait
        if wait is None or wait.of is None or (wait.of is Flavour.TRIO and wait.asked is not None):
            self.pending = True
        else:
            self._meet_request(wait)

    def uncancel(self) -> int:
        """`asyncio.Task.uncancel`."""
        self.cancelling -= 1
        # In mixed code on each Python.
        if not self.cancelling and (self.kernel.uncancel_takes_back or self.flavour is Flavour.MIXED):
            self.pending = False
        return self.cancelling

    def scopes_changed(self, before: bool) -> None:
        """A scope around it was cancelled; `before` is whether one was felt already."""
        wait = self.wait
        if wait is None or wait.of is None or self.flavour is Flavour.ASYNCIO or before or not self.scope.felt():
            return
        if wait.of is Flavour.TRIO and wait.asked is not None:
            return
        self._meet_scopes(wait)


class Kernel:
    """Time, and who runs when.

    `exact` is whether asyncio's blocks know a CancelledError by `is`, not by `issubclass`; `recancels` whether its TaskGroup
    leaves the count of requests as it was; `uncancel_takes_back` whether the last `uncancel` takes back one that is not delivered.
    """

    def __init__(self, seed: int, *, exact: bool, recancels: bool, uncancel_takes_back: bool) -> None:
        self.now = 0.0
        self.exact = exact
        self.recancels = recancels
        self.uncancel_takes_back = uncancel_takes_back
        self.tasks: list[Task] = []
        self.ready: list[Step] = []
        self.root = Scope(None)
        self._lot = random.Random(seed)
        self._timers: list[tuple[float, int, Step]] = []
        self._count = 0
        self._live: set[int] = set()

    def at(self, seconds: float, step: Step) -> Step:
        """Call `step` after so long; what is returned takes that back."""
        self._count += 1
        number = self._count
        self._live.add(number)
        heapq.heappush(self._timers, (self.now + seconds, number, step))
        return lambda: self._live.discard(number)

    def cancel_scope(self, scope: Scope) -> None:
        """`CancelScope.cancel`."""
        if not scope.open or scope.cancelled:
            return
        before = [task.scope.felt() for task in self.tasks]
        scope.cancelled = True
        for task, felt in zip(self.tasks, before, strict=True):
            task.scopes_changed(felt)

    def run(self) -> None:
        """Go on until nothing is left to do."""
        while self.ready or self._timers:
            while self.ready:
                self.ready.pop(self._lot.randrange(len(self.ready)))()
            due = self._next_timer()
            if due is None:
                continue
            self.now = due[0]
            self._live.discard(due[1])
            other = self._next_timer()
            if other is not None:
                if other[0] == self.now:
                    raise Undecided
                self._live.add(other[1])
                heapq.heappush(self._timers, other)
            due[2]()

    def _next_timer(self) -> tuple[float, int, Step] | None:
        while self._timers:
            timer = heapq.heappop(self._timers)
            if timer[1] in self._live:
                return timer
        return None
