"""asyncssh: commands and SFTP, server and client in one loop."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncssh
import pytest

from tests.support import Run

from .support import MANY, at_once, be_a_peer, cut_off, peer


class Server(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        return False  # nobody has to prove anything


async def command(process: asyncssh.SSHServerProcess[str]) -> None:
    """What the server does with a command: `upper` answers each line, `hang` says that it has begun, and lasts until the client leaves."""
    if process.command == "hang":
        process.stdout.write("begun\n")
        await process.wait_closed()
        return
    async for line in process.stdin:
        process.stdout.write(line.upper())
    process.stderr.write(f"{process.command} is done\n")
    process.exit(7)


@asynccontextmanager
async def serving(root: str) -> AsyncIterator[str]:
    """The port where commands run, and where SFTP finds the folder `root`."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=Server,
        server_host_keys=[key],
        process_factory=command,
        sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=root.encode()),
    )
    async with server:
        yield str(server.get_port())


def client_of(port: str) -> asyncssh.connect:
    return asyncssh.connect("127.0.0.1", int(port), known_hosts=None, username="user", config=None, client_keys=None, agent_path=None)


def test_many_connections_with_commands_at_once(on_loop: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(os.fspath(tmp_path)) as port:

            async def run(number: int) -> tuple[object, ...]:
                async with client_of(port) as connection:
                    result = await connection.run("upper", input=f"line\n{number}\n" * 100)
                    return result.exit_status, result.stdout, result.stderr

            assert await at_once(run) == [(7, f"LINE\n{number}\n" * 100, "upper is done\n") for number in range(MANY)]

    on_loop(main)


def test_sftp(on_loop: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(os.fspath(tmp_path)) as port, client_of(port) as connection, connection.start_sftp_client() as sftp:

            async def store(number: int) -> int:
                async with sftp.open(f"/file {number}", "wb") as file:
                    await file.write(bytes([number]) * 100_000)
                async with sftp.open(f"/file {number}", "rb") as file:
                    assert await file.read() == bytes([number]) * 100_000
                size: int = (await sftp.stat(f"/file {number}")).size
                return size

            assert await at_once(store) == [100_000] * MANY
            names = {name for name in await sftp.listdir("/") if not name.startswith(".")}
            assert names == {path.name for path in tmp_path.iterdir()} == {f"file {number}" for number in range(MANY)}

    on_loop(main)


def test_cut_off_commands_leave_their_connection_good(on_loop: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(os.fspath(tmp_path)) as port, client_of(port) as connection:

            async def hang() -> None:
                # Leaving this block waits until the server has closed its side; a cancelled run() does not.
                async with connection.create_process("hang") as process:
                    await process.wait()

            async def hanging(number: int) -> object:
                await cut_off(hang)
                return (await connection.run("upper", input=f"{number}\n")).stdout

            assert await at_once(hanging) == [f"{number}\n" for number in range(MANY)]

    on_loop(main)


def test_server_dies_under_commands(on_loop: Run, tmp_path: Path) -> None:
    async def main() -> None:
        with peer(__name__, os.fspath(tmp_path)) as server:
            begun = asyncio.Barrier(MANY)

            async def run(number: int) -> None:
                async with client_of(server.hello) as connection, connection.create_process("hang") as process:
                    assert await process.stdout.readline() == "begun\n"
                    if await begun.wait() == 0:
                        server.kill()
                    with pytest.raises(asyncssh.ConnectionLost):
                        await process.stdout.readline()

            await at_once(run)
            with pytest.raises(ConnectionRefusedError):
                await client_of(server.hello)

    on_loop(main)


if __name__ == "__main__":
    be_a_peer(lambda: serving(sys.argv[1]))
