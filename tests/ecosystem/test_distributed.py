"""dask.distributed: an asynchronous client on a local cluster, whose workers are processes."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import dask
import pytest
from distributed import Client, Event, KilledWorker, LocalCluster
from distributed.utils import offload

from tests.support import Run

from .support import MANY, at_once, cut_off

WORKERS = 2


@pytest.fixture(autouse=True, scope="module")
def what_stays() -> None:
    """The library keeps a thread, and multiprocessing a child, for as long as the process lives: no test is to blame for these."""
    asyncio.run(offload(int))
    resource_tracker.ensure_running()


@asynccontextmanager
async def cluster(folder: Path) -> AsyncIterator[Client]:
    async with (
        LocalCluster(
            n_workers=WORKERS,
            threads_per_worker=MANY,
            processes=True,
            asynchronous=True,
            dashboard_address="127.0.0.1:0",
            local_directory=os.fspath(folder),
            host="127.0.0.1",
            # A worker whose heartbeat meets a scheduler that is closing calls that an error. No test lasts as long as this.
            heartbeat_interval="600s",
        ) as local,
        Client(local, asynchronous=True) as client,
    ):
        yield client


def square(number: int) -> int:
    return number * number


def wait_for(name: str) -> None:
    Event(name).wait()


def kill_this_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_many_jobs_at_once(on_loop: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with cluster(tmp_path) as client:

            async def compute(number: int) -> Any:
                numbers = client.map(square, range(number), pure=False)
                return await client.submit(sum, numbers)

            assert await at_once(compute) == [sum(n * n for n in range(number)) for number in range(MANY)]

    on_loop(main)


def test_jobs_are_cut_off_then_a_worker_dies_and_another_takes_its_place(on_loop: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with cluster(tmp_path) as client:

            async def wait() -> None:
                await client.submit(wait_for, "never", pure=False)

            await cut_off(wait)
            await Event("never", client=client).set()
            with pytest.raises(KilledWorker):
                await client.submit(kill_this_process, pure=False)
            await client.wait_for_workers(WORKERS)
            assert await at_once(lambda number: client.submit(square, number)) == [number * number for number in range(MANY)]

    # The scheduler gives a job up when the first worker that tries it dies. What it logs then is its own.
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}):
        on_loop(main)
