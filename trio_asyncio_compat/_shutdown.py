"""What is closed when `open_loop` ends, in order. Asyncio-flavoured: the loop itself runs it, as its last task."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import trio

from ._origins import report_unresolved

if TYPE_CHECKING:
    from ._loop import TrioEventLoop

# Tasks that are started by others while these unwind are cancelled in their turn; a program in which each
# cancelled task starts another is left after this many rounds.
MAX_ROUNDS = 100
# So many steps a trio task has to leave a block that is interrupted, before the context manager is left without it.
BLOCK_STEPS = 5


async def shut_down(loop: TrioEventLoop) -> None:
    """Close everything that is open in `loop`. Never raises; errors go to the loop's exception handler.

    This is itself a task, queued behind the callbacks that were ready when the block ended: they have run once. Cancelling it
    gives up what it is waiting for, and goes on with the next.
    """
    if loop.get_debug():
        report_unresolved(loop)
    given_up: set[asyncio.Future[Any]] = set()

    async def cancel_all(loop: TrioEventLoop) -> None:
        await _cancel_all(loop, given_up)

    for close in (cancel_all, _close_generators, _end_blocks, cancel_all, _close_executor, _close_transports, cancel_all):
        try:
            await close(loop)
        except asyncio.CancelledError:
            running = _running(loop)
            given_up.update(running)
            loop.call_exception_handler({"message": f"interrupted while the loop was shut down; still running: {running}"})
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            loop.call_exception_handler({"message": "error while the loop was shut down", "exception": exc})


def _running(loop: TrioEventLoop) -> list[asyncio.Future[Any]]:
    """Asyncio's tasks and trio's, but for the one that asks, and those that hold a context manager for a block: it is for the block to
    end these."""
    running: list[asyncio.Future[Any]] = [*(asyncio.all_tasks(loop) - {asyncio.current_task()}), *loop._calls]
    held = {carrier.future for carrier in loop._blocks}
    return [future for future in running if future not in held]


async def _cancel_all(loop: TrioEventLoop, given_up: set[asyncio.Future[Any]]) -> None:
    """Cancel asyncio's tasks and trio's together, since each may need the other to unwind."""
    for _ in range(MAX_ROUNDS):
        running = [future for future in _running(loop) if future not in given_up]
        if not running:
            return
        for future in running:
            future.cancel("the event loop is shutting down")
        await asyncio.wait(running)
        for future in running:
            if future.cancelled() or isinstance(exc := future.exception(), (SystemExit, KeyboardInterrupt)):
                continue  # the latter leave open_loop by themselves
            if exc is not None:
                loop.call_exception_handler(
                    {"message": "unhandled exception while the loop was shut down", "exception": exc, "task": future}
                )


async def _close_generators(loop: TrioEventLoop) -> None:
    await loop.shutdown_asyncgens()


async def _end_blocks(loop: TrioEventLoop) -> None:
    """Leave the context managers of the other side that nobody is going to leave: they were entered by hand, or by a trio task
    outside of the loop's block, which is given the time to do it."""
    if not loop._blocks:
        return
    for carrier in list(loop._blocks):
        if carrier.future is not None:
            carrier.future.cancel("the event loop is shutting down")
    for _ in range(BLOCK_STEPS):
        await loop._call_trio(trio.lowlevel.checkpoint)
    ending = [carrier.future for carrier in loop._blocks if carrier.future is not None]
    for carrier in list(loop._blocks):
        carrier.end(loop)
    if ending:
        await asyncio.wait(ending)


async def _close_executor(loop: TrioEventLoop) -> None:
    if loop._workers is not None:
        loop._workers.cancel()
    await loop.shutdown_default_executor()


async def _close_transports(loop: TrioEventLoop) -> None:
    for server in list(loop._servers):
        server.close()
    for transport in [*loop._processes, *loop._pipes]:
        transport.close()
    for transport in [*loop._transports.values(), *loop._streams]:
        transport.abort()
    if loop._children.running:
        await asyncio.wait(loop._children.running)
    # connection_lost of the transports is queued now; what their protocols queue in answer comes after.
    for _ in range(2):
        await asyncio.sleep(0)
