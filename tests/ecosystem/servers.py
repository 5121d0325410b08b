"""PostgreSQL and Redis as Debian's packages install them, each started on a free port, with its data in a temporary folder."""

from __future__ import annotations

import glob
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# PostgreSQL refuses to run as root. Debian's package makes this user.
POSTGRES_USER = "postgres"
MISSING = "{} is not installed: run tests/ecosystem/install_servers as root on Debian, or install it as your system does"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class Postgres:
    """A PostgreSQL server that trusts everybody on the loopback address."""

    def __init__(self, folder: str) -> None:
        programs = sorted(glob.glob("/usr/lib/postgresql/*/bin")) or [os.path.dirname(shutil.which("initdb") or "")]
        if not programs[-1]:
            raise RuntimeError(MISSING.format("PostgreSQL"))
        self._programs = programs[-1]
        self._folder = folder
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:
            shutil.chown(folder, POSTGRES_USER)
            self._user = {"user": POSTGRES_USER, "group": POSTGRES_USER, "extra_groups": []}
        self._data = os.path.join(folder, "data")
        self.port = free_port()
        self.url = f"postgresql://{POSTGRES_USER}@127.0.0.1:{self.port}/postgres"
        self._run("initdb", "--auth=trust", f"--username={POSTGRES_USER}", "--encoding=UTF8", "--locale=C", "--no-sync", self._data)

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        self._run("pg_ctl", "start", "--wait", f"--pgdata={self._data}", f"--log={self._folder}/log", f"--options={options}")

    def crash(self) -> None:
        """End all of its processes at once; it will have to recover when it is started again."""
        self._run("pg_ctl", "stop", "--wait", "--mode=immediate", f"--pgdata={self._data}")

    def _run(self, program: str, *args: str) -> None:
        # Not a pipe: the server would keep it open.
        with open(os.path.join(self._folder, "commands"), "a+") as output:
            command = [os.path.join(self._programs, program), *args]
            result = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=self._folder, **self._user)
            if result.returncode != 0:
                output.seek(0)
                raise RuntimeError(f"{program} failed:\n{output.read()}")


class Redis:
    """A Redis server that stores nothing."""

    def __init__(self, folder: str) -> None:
        self._program = shutil.which("redis-server")
        if self._program is None:
            raise RuntimeError(MISSING.format("Redis"))
        self._folder = Path(folder)
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        command = [str(self._program), "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self._folder)]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        said = []
        for line in self._process.stdout:
            said.append(line)
            if "Ready to accept connections" in line:
                return
        raise RuntimeError(f"redis-server failed:\n{''.join(said)}")

    def crash(self) -> None:
        """End it without any farewell (SIGKILL)."""
        self._process.kill()
        with self._process:
            pass


@contextmanager
def postgres_server() -> Iterator[Postgres]:
    with tempfile.TemporaryDirectory() as folder:
        server = Postgres(folder)
        server.start()
        try:
            yield server
        finally:
            server.crash()


@contextmanager
def redis_server() -> Iterator[Redis]:
    with tempfile.TemporaryDirectory() as folder:
        server = Redis(folder)
        server.start()
        try:
            yield server
        finally:
            server.crash()
