"""A loop's figures for Prometheus, with its own client library: what `loop.statistics()` says, and how long callbacks take.

The program asks its own metrics page once, as Prometheus would.
"""

from __future__ import annotations

import asyncio
import time
import urllib.request

import trio
from prometheus_client import CollectorRegistry, Histogram, start_http_server
from prometheus_client.core import GaugeMetricFamily

from trio_asyncio_compat import LoopInstrument, TrioEventLoop, aio_as_trio, open_loop


class LoopFigures:
    """Collects when it is asked: nothing is counted in between that the loop does not count anyway."""

    def __init__(self, loop: TrioEventLoop) -> None:
        self._loop = loop

    def collect(self):
        statistics = self._loop.statistics()
        for name in ("ready", "timers", "readers", "writers", "turns", "longest_slice", "waiting_for_asyncio", "waiting_for_trio"):
            yield GaugeMetricFamily(f"loop_{name}", f"LoopStatistics.{name}", value=getattr(statistics, name))


class CallbackSeconds(LoopInstrument):
    """Measures every callback: for as long as it is wanted, since this does cost something."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._histogram = Histogram("loop_callback_seconds", "how long callbacks take", registry=registry)
        # One for each callback that runs: the first step of a call may be made in the middle of another callback.
        self._starts: list[float] = []

    def before_callback(self, handle: asyncio.Handle) -> None:
        self._starts.append(time.perf_counter())

    def after_callback(self, handle: asyncio.Handle) -> None:
        # If this was added in the middle of a callback, it hears of the end of that only.
        if self._starts:
            self._histogram.observe(time.perf_counter() - self._starts.pop())


async def work() -> None:
    await asyncio.gather(*(asyncio.sleep(0.001 * i) for i in range(20)))


async def main() -> None:
    async with open_loop() as loop:
        registry = CollectorRegistry()
        registry.register(LoopFigures(loop))
        instrument = CallbackSeconds(registry)
        loop.add_instrument(instrument)
        server, thread = start_http_server(0, "127.0.0.1", registry)
        await aio_as_trio(work)()

        def ask() -> list[str]:
            with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics") as page:
                return page.read().decode().splitlines()

        lines = await trio.to_thread.run_sync(ask)
        loop.remove_instrument(instrument)
        server.shutdown()
        server.server_close()
        thread.join()
    figures = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    print("the loop made turns:", float(figures["loop_turns"]) > 0)
    print("callbacks were measured:", float(figures["loop_callback_seconds_count"]) >= 40)


trio.run(main)
