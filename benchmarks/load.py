"""The load generator of the echo rows: `load.c`, compiled at first use, and `tls_load.py`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from .row import Result

T = TypeVar("T")

HERE = Path(__file__).parent


def cache() -> Path:
    """The folder for what is made once: the program, the certificate."""
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "trio_asyncio_compat")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def load_program() -> str:
    """The compiled load generator. Raises SystemExit without a C compiler."""
    source = HERE / "load.c"
    program = cache() / f"load-{source.stat().st_mtime_ns}"
    if not program.exists():
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if compiler is None:
            raise SystemExit("the echo rows need a C compiler for their load generator: install gcc or clang, or choose --rows cpu")
        unfinished = program.with_suffix(f".{os.getpid()}")
        subprocess.run([compiler, "-O2", "-o", unfinished, source], check=True)
        unfinished.rename(program)
    return str(program)


def certificate() -> tuple[str, str]:
    """The files of a self-signed certificate for localhost and of its key. Raises SystemExit without `openssl`."""
    key, signed = cache() / "key.pem", cache() / "certificate.pem"
    if not signed.exists():
        if shutil.which("openssl") is None:
            raise SystemExit("the TLS row needs the openssl command for its certificate")
        new = signed.with_suffix(f".{os.getpid()}")
        request = [
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "3650",
            "-subj",
            "/CN=localhost",
        ]
        subprocess.run(["openssl", "req", *request, "-keyout", key, "-out", new], check=True, capture_output=True)
        new.rename(signed)
    return str(signed), str(key)


class Load:
    """Load on the echo server at `address`: `tcp:PORT`, `udp:PORT`, `unix:PATH`, `tls:PORT`; or on the web server at `http:PORT`. A context
    manager: a process for as long as it is entered."""

    def __init__(self, address: str, connections: int, size: int) -> None:
        program = [sys.executable, str(HERE / "tls_load.py")] if address.startswith("tls:") else [load_program()]
        # Not by the loop's own subprocesses: those of the loops are not equally fast, and not what is measured.
        self._process = subprocess.Popen(
            [*program, address, str(connections), str(size)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._process.kill()
        self._process.communicate()

    async def measure(self, seconds: float) -> Result:
        """Messages per second that come back. Raises RuntimeError if the load generator fails, which says why on stderr."""
        return await in_thread(lambda: self._measure(seconds))

    def _measure(self, seconds: float) -> Result:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{seconds}\n")
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the load generator has failed")
        return Result(int(line) / seconds, seconds)


async def in_thread(function: Callable[[], T]) -> T:
    """Call `function` in a thread of its own, by nothing that loops do differently."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def call() -> None:
        try:
            result = function()
        except Exception as exc:
            loop.call_soon_threadsafe(done.set_exception, exc)
        else:
            loop.call_soon_threadsafe(done.set_result, result)

    threading.Thread(target=call, daemon=True).start()
    return await done
