"""Subprocesses, by asyncio.subprocess and by the loop's own methods."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from pathlib import Path
from typing import Any

import pytest
import trio

from trio_asyncio_compat import TrioEventLoop, aio_as_trio, open_loop

from .support import Run

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="subprocesses on Windows need the proactor")


def test_communicate(run: Run) -> None:
    async def main() -> None:
        child: Any = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
        assert child.returncode is None
        assert await child.communicate(b"there and back") == (b"there and back", None)
        assert child.returncode == 0
        assert await child.wait() == 0
        child = await asyncio.create_subprocess_shell("echo out; echo err >&2; exit 7", stdout=PIPE, stderr=PIPE)
        assert await child.communicate() == (b"out\n", b"err\n")
        assert child.returncode == 7

    run(main)


def test_megabytes_go_through_a_child(run: Run) -> None:
    async def main() -> None:
        data = os.urandom(3_000_000)
        child: Any = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
        out, _ = await child.communicate(data)
        assert out == data

    run(main)


def test_where_the_output_goes(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        script = "echo out; echo err >&2"
        child: Any = await asyncio.create_subprocess_shell(script, stdout=PIPE, stderr=STDOUT)
        assert await child.communicate() == (b"out\nerr\n", None)
        child = await asyncio.create_subprocess_shell(script, stdout=DEVNULL, stderr=DEVNULL, stdin=DEVNULL)
        assert await child.communicate() == (None, None)
        with (tmp_path / "out").open("wb") as file:
            child = await asyncio.create_subprocess_shell("pwd; echo $NAME", stdout=file, cwd=tmp_path, env={"NAME": "value"})
            assert await child.wait() == 0
        assert (tmp_path / "out").read_text() == f"{tmp_path}\nvalue\n"

    run(main)


@pytest.mark.parametrize("how", ["terminate", "kill", "send_signal"])
def test_a_child_can_be_ended(run: Run, how: str) -> None:
    async def main() -> None:
        child: Any = await asyncio.create_subprocess_exec("sleep", "100")
        if how == "send_signal":
            child.send_signal(signal.SIGUSR1)
        else:
            getattr(child, how)()
        expected = {"terminate": signal.SIGTERM, "kill": signal.SIGKILL, "send_signal": signal.SIGUSR1}[how]
        assert await child.wait() == -expected
        with pytest.raises(ProcessLookupError):
            child.kill()

    run(main)


def test_a_program_that_is_not_there_says_so(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(FileNotFoundError):
            await asyncio.create_subprocess_exec("/no/such/program", stdin=PIPE, stdout=PIPE)
        with pytest.raises(NotADirectoryError):
            await asyncio.create_subprocess_exec("true", cwd="/dev/null")

    run(main)


def test_many_may_wait_for_one_child(run: Run) -> None:
    async def main() -> None:
        child: Any = await asyncio.create_subprocess_exec("cat", stdin=PIPE)
        waiting = [asyncio.ensure_future(child.wait()) for _ in range(10)]
        await asyncio.sleep(0)
        waiting.pop().cancel()
        assert child.stdin is not None
        child.stdin.close()
        assert await asyncio.gather(*waiting) == [0] * 9

    run(main)


def test_a_timeout_around_a_child(run: Run) -> None:
    async def main() -> None:
        child: Any = await asyncio.create_subprocess_exec("sleep", "100", stdout=PIPE)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(child.communicate(), 0.01)
        assert child.returncode is None
        child.kill()
        assert await child.wait() == -signal.SIGKILL

    run(main)


def test_twenty_children_at_once(run: Run) -> None:
    async def one(number: int) -> None:
        child: Any = await asyncio.create_subprocess_shell(f"read x; echo $x; exit {number}", stdin=PIPE, stdout=PIPE)
        assert await child.communicate(b"%d\n" % number) == (b"%d\n" % number, None)
        assert child.returncode == number

    async def main() -> None:
        await asyncio.gather(*[one(number) for number in range(20)])

    run(main)


def test_a_child_that_does_not_read(run: Run) -> None:
    async def main() -> None:
        child: Any = await asyncio.create_subprocess_exec("true", stdin=PIPE)
        assert await child.communicate(b"x" * 1_000_000) == (None, None)
        assert child.returncode == 0

    run(main)


class Events(asyncio.SubprocessProtocol):
    def __init__(self) -> None:
        self.events: list[Any] = []
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.events.append("made")

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.events.append((fd, data))

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        self.events.append(("lost", fd))

    def process_exited(self) -> None:
        self.events.append("exited")

    def connection_lost(self, exc: Exception | None) -> None:
        self.events.append("lost")
        self.lost.set_result(None)


def test_a_protocol_is_told_everything(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.subprocess_exec(Events, "cat")
        assert transport.get_pid() > 0
        assert transport.get_returncode() is None
        stdin: Any = transport.get_pipe_transport(0)
        stdin.write(b"x")
        stdin.close()
        await protocol.lost
        transport.close()
        assert transport.get_returncode() == 0
        assert protocol.events[0] == "made"
        assert protocol.events[-1] == "lost"
        assert {(1, b"x"), ("lost", 0), ("lost", 1), ("lost", 2), "exited"} <= set(protocol.events)
        transport, protocol = await loop.subprocess_shell(Events, "exit 3", stdin=None, stdout=None, stderr=None)
        await protocol.lost
        transport.close()
        assert transport.get_returncode() == 3
        assert protocol.events == ["made", "exited", "lost"]

    run(main)


def test_closing_a_transport_kills_its_child(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.subprocess_exec(Events, "sleep", "100")
        assert not transport.is_closing()
        transport.close()
        assert transport.is_closing()
        await protocol.lost
        assert transport.get_returncode() == -signal.SIGKILL

    run(main)


def test_mistakes_are_refused(run: Run) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        for options in ({"universal_newlines": True}, {"bufsize": 1}, {"text": True}, {"encoding": "utf-8"}, {"errors": "strict"}):
            with pytest.raises(ValueError, match="must be"):
                await loop.subprocess_exec(Events, "true", **options)
            with pytest.raises(ValueError, match="must be"):
                await loop.subprocess_shell(Events, "true", **options)
        with pytest.raises(ValueError, match="shell must be"):
            await loop.subprocess_exec(Events, "true", shell=True)
        with pytest.raises(ValueError, match="cmd must be a string"):
            await loop.subprocess_shell(Events, 5)

    run(main)


def test_a_child_that_somebody_else_has_reaped(run: Run) -> None:
    by_pidfd = sys.version_info >= (3, 12) and hasattr(os, "pidfd_open")
    if not (run.ours or by_pidfd):
        pytest.skip("asyncio's loop has a thread that reaps it at once")

    async def main() -> int:
        child: Any = await asyncio.create_subprocess_exec("sleep", "3600")
        child.kill()
        # As soon as it has ended, before the loop looks.
        os.waitpid(child.pid, 0)
        assert await child.wait() == 255
        pid: int = child.pid
        return pid

    pid = run(main)
    reports = [message for message in run.log.take() if message.endswith(" will report returncode 255")]
    said = f"child process pid {pid} exit status already read: " if by_pidfd else f"Unknown child process pid {pid},"
    assert reports == [f"{said} will report returncode 255"]


def test_other_children_are_left_alone(run: Run) -> None:
    async def main() -> None:
        other = subprocess.Popen(["true"])
        child: Any = await asyncio.create_subprocess_exec("true")
        assert await child.wait() == 0
        assert other.wait() == 0

    run(main)


def test_without_pidfd_a_thread_waits(our_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open", raising=False)

    async def main() -> None:
        children = [await asyncio.create_subprocess_shell(f"exit {number}") for number in range(5)]
        assert await asyncio.gather(*[child.wait() for child in children]) == list(range(5))

    our_run(main)


def test_children_of_a_loop_in_another_thread(our_run: Run) -> None:
    async def main() -> str:
        child: Any = await asyncio.create_subprocess_exec("echo", "hello", stdout=PIPE)
        out, _ = await child.communicate()
        assert child.returncode == 0
        return str(out.decode())

    results: list[str] = []
    thread = threading.Thread(target=lambda: results.append(our_run(main)))
    thread.start()
    thread.join()
    assert results == ["hello\n"]


def test_a_trio_cancel_reaches_the_child(hosted_run: Run) -> None:
    async def work() -> None:
        child: Any = await asyncio.create_subprocess_exec("sleep", "100")
        scope.cancel()
        try:
            await child.wait()
        finally:
            child.kill()
            ended.append(await child.wait())

    ended: list[int] = []
    scope = trio.CancelScope()

    async def main() -> None:
        with scope:
            await aio_as_trio(work)()
        assert scope.cancelled_caught
        assert ended == [-signal.SIGKILL]

    hosted_run.trio_run(main)


def test_a_loop_that_ends_leaves_no_child(hosted_run: Run) -> None:
    pids: list[int] = []

    async def start() -> None:
        pids.append((await asyncio.create_subprocess_exec("sleep", "100", stdout=PIPE)).pid)

    async def main() -> None:
        await aio_as_trio(start)()

    hosted_run.trio_run(main)
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_trio_and_asyncio_have_children_side_by_side() -> None:
    async def main() -> None:
        async with open_loop() as loop:
            assert isinstance(loop, TrioEventLoop)
            child: Any = await aio_as_trio(asyncio.create_subprocess_exec)("cat", stdin=PIPE, stdout=PIPE)
            done = await trio.run_process(["cat"], stdin=b"trio", capture_stdout=True)
            assert done.stdout == b"trio"
            assert await aio_as_trio(child.communicate)(b"asyncio") == (b"asyncio", None)

    trio.run(main)
