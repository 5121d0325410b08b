"""The child process of `test_interrupts.py`: runs small endless programs, each until a SIGINT that comes at a random instant.

    python -m tests.trust.interrupted SEED COUNT

A helper process sends the signals, so that nothing in this one decides when they come. Prints a line of JSON per run.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import gc
import hashlib
import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import trio

from trio_asyncio_compat import TrioEventLoop, aio_as_trio, allow_asyncio, open_loop, tasktree, trio_as_aio

from ..support import state_of_thread, threads

# A run that has not ended this long after its signal hangs.
HANG_SECONDS = 3
LONGEST_DELAY = 0.006

# `finally` blocks that were entered and have not been run.
open_blocks = 0


@contextlib.contextmanager
def block() -> Iterator[None]:
    """A `try ... finally` of the program, counted."""
    global open_blocks
    open_blocks += 1
    try:
        yield
    finally:
        open_blocks -= 1


# Asyncio-flavoured programs; each runs for ever.


async def busy_with_callbacks() -> None:
    loop = asyncio.get_running_loop()

    def again() -> None:
        if not loop.is_closed():
            loop.call_soon(again)

    for _ in range(5):
        again()
    with block():
        await loop.create_future()


async def busy_with_tasks() -> None:
    async def child() -> None:
        with block():
            while True:
                await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(child())


async def idle() -> None:
    with block():
        await asyncio.sleep(3600)


async def in_c_extensions() -> None:
    data = bytes(200_000)
    with block():
        while True:
            zlib.compress(data)
            hashlib.sha256(data).digest()
            sorted(range(20_000), reverse=True)
            await asyncio.sleep(0)


async def with_timers() -> None:
    with block():
        while True:
            async with asyncio.timeout(1):
                await asyncio.sleep(0.0001)


async def with_threads() -> None:
    with block():
        while True:
            await asyncio.to_thread(int)


async def with_sockets() -> None:
    left, right = socket.socketpair()
    loop = asyncio.get_running_loop()
    with left, right, block():
        left.setblocking(False)
        right.setblocking(False)
        while True:
            await loop.sock_sendall(left, b"x" * 1000)
            await loop.sock_recv(right, 1000)
            await asyncio.sleep(0)  # neither of them has to wait


async def cleaning_up_slowly() -> None:
    with block():
        try:
            await asyncio.sleep(3600)
        finally:
            for _ in range(10):
                await asyncio.sleep(0.0001)


async def calling_trio() -> None:
    with block():
        while True:
            await trio_as_aio(trio.lowlevel.checkpoint)()
            await trio_as_aio(trio.sleep)(0.0001)


async def cleaning_up_in_trio() -> None:
    async def child() -> None:
        with block():
            try:
                await trio_as_aio(trio.sleep_forever)()
            finally:
                for _ in range(5):
                    await trio_as_aio(trio.sleep)(0.0001)

    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(child())


async def in_managers_and_iterators_of_trio() -> None:
    async def numbers() -> AsyncIterator[int]:
        for number in range(3):
            await trio.lowlevel.checkpoint()
            yield number

    with block():
        while True:
            async with trio_as_aio(trio.open_nursery()) as nursery:
                nursery.start_soon(trio.lowlevel.checkpoint)
                async for _ in trio_as_aio(numbers)():
                    await asyncio.sleep(0)


ASYNCIO_PROGRAMS: list[Callable[[], Awaitable[None]]] = [
    busy_with_callbacks,
    busy_with_tasks,
    idle,
    in_c_extensions,
    with_timers,
    with_threads,
    with_sockets,
    cleaning_up_slowly,
    calling_trio,
    cleaning_up_in_trio,
    in_managers_and_iterators_of_trio,
]

# Trio-flavoured ones, inside of an open loop.


async def busy_in_trio() -> None:
    asyncio.get_running_loop().call_soon(int)
    with block():
        while True:
            await trio.lowlevel.checkpoint()


async def through_adapters() -> None:
    with block():
        while True:
            await aio_as_trio(asyncio.sleep)(0)
            await aio_as_trio(asyncio.sleep)(0.0001)


async def nested_loops() -> None:
    with block():
        while True:
            async with open_loop():
                await aio_as_trio(asyncio.sleep)(0)


async def flavour_free() -> None:
    async def body() -> None:
        with block():
            while True:
                async with asyncio.timeout(1):
                    await asyncio.sleep(0)
                    await trio.lowlevel.checkpoint()
                    await asyncio.sleep(0.0001)
                    await trio.sleep(0.0001)

    await allow_asyncio(body)


async def in_managers_of_asyncio() -> None:
    with block():
        while True:
            async with aio_as_trio(asyncio.timeout)(1):
                await trio.sleep(0.0001)


TRIO_PROGRAMS: list[Callable[[], Awaitable[None]]] = [
    *(aio_as_trio(program) for program in ASYNCIO_PROGRAMS),
    busy_in_trio,
    through_adapters,
    nested_loops,
    flavour_free,
    in_managers_of_asyncio,
]


def hosted(program: Callable[[], Awaitable[None]], poller: Any) -> None:
    """Run it inside of trio."""

    async def main() -> None:
        async with open_loop(poller=poller):
            await program()

    trio.run(main)


_Runner: Any = asyncio.Runner


class ToldRunner(_Runner):  # type: ignore[misc]
    """Knows whether Ctrl-C has come, also where asyncio forgets it: it sets its count to zero after it has set its handler, and what comes
    in between is seen as CancelledError only, on asyncio's own loop too (Python 3.11 to 3.13)."""

    told = False

    def _on_sigint(self, *args: Any, **options: Any) -> None:
        self.told = True
        super()._on_sigint(*args, **options)

    def has_forgotten(self) -> bool:
        count: int = self._interrupt_count
        return self.told and not count


def driven(program: Callable[[], Any], poller: Any) -> None:
    """Run it by asyncio.Runner."""
    with ToldRunner(loop_factory=lambda: TrioEventLoop(poller=poller)) as runner:
        try:
            runner.run(program())
        except asyncio.CancelledError:
            if runner.has_forgotten():
                raise KeyboardInterrupt from None
            raise


def starting_and_closing(program: Callable[[], Any], poller: Any) -> None:
    """Loops that start, do next to nothing, and close."""

    async def main() -> None:
        while True:
            async with open_loop(poller=poller):
                await aio_as_trio(asyncio.sleep)(0)

    trio.run(main)


def driving_again_and_again(program: Callable[[], Any], poller: Any) -> None:
    """One driven loop and many short drives: most signals come between two, or where one begins or ends."""
    loop = TrioEventLoop(poller=poller)
    try:
        while True:
            loop.run_until_complete(asyncio.sleep(0))
    finally:
        loop.close()


def raised(exc: BaseException) -> str:
    """The name of what came out; a group of one, as a program's own nursery or TaskGroup makes it, counts as that one."""
    while isinstance(exc, BaseExceptionGroup) and len(exc.exceptions) == 1:
        exc = exc.exceptions[0]
    return type(exc).__name__


def in_trio_itself(exc: BaseException) -> bool:
    """Whether `trio.run` was interrupted where it begins or ends, outside of what it runs."""
    return [frame.name for frame in traceback.extract_tb(exc.__traceback__)].count("main") < 2


KILLER = """
import os, signal, sys, time
for line in sys.stdin:
    time.sleep(float(line))
    os.kill(os.getppid(), signal.SIGINT)
    print("sent", flush=True)
"""


def main() -> None:
    """Run programs at random, interrupt each, and report."""
    seed, count = int(sys.argv[1]), int(sys.argv[2])
    chance = random.Random(seed)
    killer = subprocess.Popen(
        [sys.executable, "-S", "-c", KILLER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert killer.stdin is not None
    assert killer.stdout is not None
    sent = killer.stdout
    before = state_of_thread()
    ways: list[tuple[Callable[..., None], list[Any]]] = [
        (hosted, TRIO_PROGRAMS),
        (driven, ASYNCIO_PROGRAMS),
        (starting_and_closing, [idle]),
        (driving_again_and_again, [idle]),
    ]

    swallowed: list[str] = []
    result: dict[str, Any] = {}

    def unraisable(args: Any) -> None:
        # Raised in a weakref's callback or a finaliser, where Python itself drops what is raised.
        if isinstance(args.exc_value, KeyboardInterrupt):
            swallowed.append(str(args.object))
        else:
            sys.__unraisablehook__(args)

    def hang(signum: int, frame: object) -> None:
        if not select.select([sent], [], [], 0)[0]:
            # Not sent yet: the machine is busy.
            signal.alarm(HANG_SECONDS)
            return
        if swallowed:
            signal.alarm(HANG_SECONDS)
            os.kill(os.getpid(), signal.SIGINT)
            return
        faulthandler.dump_traceback()
        print(result, file=sys.stderr)
        tasktree.print_task_tree(file=sys.stderr)
        os._exit(70)

    sys.unraisablehook = unraisable
    signal.signal(signal.SIGALRM, hang)
    for _ in range(count):
        way, programs = chance.choices(ways, weights=[10, 8, 2, 2])[0]
        program, poller = chance.choice(programs), chance.choice(["nested", "nested", "task"])
        delay = chance.uniform(0, LONGEST_DELAY)
        result = {
            "in trio itself": True,
            "way": way.__name__,
            "program": getattr(program, "__name__", str(program)),
            "poller": poller,
            "delay": delay,
        }
        signal.alarm(HANG_SECONDS)
        try:
            try:
                killer.stdin.write(f"{delay}\n")
                killer.stdin.flush()
                way(program, poller)
            except BaseException as exc:
                result["raised"] = raised(exc)
                result["in trio itself"] = in_trio_itself(exc)
                if result["raised"] != "KeyboardInterrupt":
                    result["error"] = repr(exc)
            sent.readline()
        except KeyboardInterrupt:
            sent.readline()
            # Between two statements of this function.
            result["raised"] = "KeyboardInterrupt"
        signal.alarm(0)
        result["swallowed"], swallowed[:] = swallowed[:], []
        after = state_of_thread()
        if after["async generator hooks"] != before["async generator hooks"] and result["in trio itself"]:
            # Then it leaves its hooks behind.
            result["hooks left by trio"] = True
            sys.set_asyncgen_hooks(None, None)
            after["async generator hooks"] = before["async generator hooks"]
        result["changed"] = {key: str(after[key]) for key in after if after[key] != before[key]}
        if open_blocks:
            # Interrupted on its way into the block: closed when it is collected.
            gc.collect()
        result["open blocks"] = open_blocks
        # The threads of a driven loop end by themselves once it has stopped.
        for thread in threads() - {threading.main_thread()}:
            thread.join(5)
        result["threads"] = [thread.name for thread in threads() - {threading.main_thread()}]
        print(json.dumps(result), flush=True)
    killer.stdin.close()
    killer.wait()
    sent.close()


if __name__ == "__main__":
    main()
