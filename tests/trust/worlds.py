"""The loops that programs are compared on, each in virtual time.

The standard library's loop gets a selector that never waits for a timer but moves the clock to it, which is what trio's
`MockClock` does for ours. A driven loop of ours normally has the system's clock, so that is replaced here.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import selectors
import types
from collections.abc import Callable, Coroutine, Iterator
from typing import Any
from unittest import mock

import trio
from trio.testing import MockClock

from trio_asyncio_compat import TrioEventLoop, _driven, _readiness, _task_poller, aio_as_trio, open_loop

from ..support import Poller

Main = Callable[[], Coroutine[Any, Any, None]]


class _JumpingSelector(selectors.DefaultSelector):
    """Moves the clock instead of waiting."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        # Twice, since a poll may fail once (`faulty_poller.py`), for which no time goes by.
        ready = super().select(0) or super().select(0)
        if ready or timeout == 0:
            return sorted(ready, key=lambda event: event[0].fd)
        if timeout is None:
            return super().select(None)
        self.now += max(timeout, 0)
        return []


class _Instant(float):
    """A time, and which of those at the same time comes first."""

    order: int

    def __lt__(self, other: object) -> bool:
        if isinstance(other, _Instant):
            return (float(self), self.order) < (float(other), other.order)
        return super().__lt__(other)  # type: ignore[operator]


class VirtualSelectorLoop(asyncio.SelectorEventLoop):
    """The standard library's loop in virtual time, with timers of one instant in the order they were made.

    Without that it leaves their order to its heap, in which it depends on what else was in there.
    """

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        self._timers_made = itertools.count()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now

    def call_at(self, when: float, *args: Any, **options: Any) -> asyncio.TimerHandle:  # type: ignore[override]
        instant = _Instant(when)
        instant.order = next(self._timers_made)
        return super().call_at(instant, *args, **options)


def on_asyncio(main: Main, debug: bool) -> None:
    """Run `main` on the standard library's loop."""
    with asyncio.Runner(loop_factory=VirtualSelectorLoop, debug=debug) as runner:
        runner.run(main())


class _OrderedEpoll:
    """An epoll that tells of descriptors in the order of their numbers."""

    def __init__(self, epoll: Any) -> None:
        self._epoll = epoll

    def __getattr__(self, name: str) -> Any:
        return getattr(self._epoll, name)

    def poll(self, timeout: float, max_events: int) -> list[tuple[int, int]]:
        return sorted(self._epoll.poll(timeout, max_events))


class _OrderedTaskPoller(_task_poller.TaskPoller):
    """Likewise."""

    def poll(self, ready: Any) -> int:
        self._fired.sort(key=lambda watch: (watch.fd, watch.write))
        return super().poll(ready)


@contextlib.contextmanager
def _descriptors_in_order() -> Iterator[None]:
    """Which of the descriptors that are ready comes first is nobody's promise, and differs."""
    new_queue = _readiness._new_queue

    def new_ordered_queue() -> _OrderedEpoll:
        return _OrderedEpoll(new_queue())

    with (
        mock.patch.object(_readiness, "_new_queue", new_ordered_queue),
        mock.patch.object(_task_poller, "TaskPoller", _OrderedTaskPoller),
    ):
        yield


def _driven_by(poller: Poller) -> Callable[[Main, bool], None]:
    def run(main: Main, debug: bool) -> None:
        # One clock for all drives: time goes on between them.
        clock = MockClock(autojump_threshold=0)
        time = types.SimpleNamespace(monotonic=clock.current_time)
        with (
            mock.patch.object(_driven, "MonotonicClock", return_value=clock),
            mock.patch.object(_driven, "time", time),
            _descriptors_in_order(),
        ):
            with asyncio.Runner(loop_factory=lambda: TrioEventLoop(poller=poller), debug=debug) as runner:
                runner.run(main())

    return run


def _hosted_by(poller: Poller) -> Callable[[Main, bool], None]:
    def run(main: Main, debug: bool) -> None:
        async def host() -> None:
            async with open_loop(poller=poller, debug=debug):
                await aio_as_trio(main)()

        with _descriptors_in_order():
            trio.run(host, clock=MockClock(autojump_threshold=0))

    return run


OURS: dict[str, Callable[[Main, bool], None]] = {
    "driven-nested": _driven_by("nested"),
    "driven-task": _driven_by("task"),
    "hosted-nested": _hosted_by("nested"),
    "hosted-task": _hosted_by("task"),
}
