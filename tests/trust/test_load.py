"""Ten thousand connections at once, and load for a minute. `python -m tests.trust.soak --minutes 10` is the long form."""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
from collections.abc import Iterator

import pytest

from ..support import HANG_SECONDS, Run, hang_guard
from .crowd import raise_descriptor_limit

CONNECTIONS = 10_000
SOAK_MINUTES = 1


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if raise_descriptor_limit() < CONNECTIONS + 200:
        pytest.skip(f"the system allows no {CONNECTIONS} descriptors")
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.slow
def test_ten_thousand_connections_at_once(hosted_run: Run, many_descriptors: None) -> None:
    if hosted_run.poller == "task":
        pytest.skip("a trio task for each descriptor is for where there is nothing else, not for thousands")

    async def main() -> None:
        open_now = most = served = 0

        class Echo(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                nonlocal open_now, most
                assert isinstance(transport, asyncio.Transport)
                self.transport = transport
                open_now += 1
                most = max(most, open_now)

            def data_received(self, data: bytes) -> None:
                nonlocal served
                served += len(data)
                self.transport.write(data)

            def connection_lost(self, exc: Exception | None) -> None:
                nonlocal open_now
                open_now -= 1

        server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0, backlog=1000)
        port = server.sockets[0].getsockname()[1]
        crowd = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.trust.crowd", str(port), str(CONNECTIONS))
        assert await crowd.wait() == 0
        while open_now:
            await asyncio.sleep(0.01)
        assert most == CONNECTIONS
        assert served == 16 * CONNECTIONS
        server.close()
        await server.wait_closed()

    with hang_guard(4 * HANG_SECONDS):
        hosted_run(main)


@pytest.mark.slow
def test_under_load_nothing_grows_and_every_byte_arrives() -> None:
    command = [sys.executable, "-m", "tests.trust.soak", "--minutes", str(SOAK_MINUTES), "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60 * SOAK_MINUTES + 120, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
