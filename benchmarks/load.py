"""The load generator of the echo rows: `load.c`, compiled at first use, and `tls_load.py`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from .row import Result

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


def run_load(address: str, connections: int, size: int, seconds: float) -> Result:
    """Messages per second through the echo server at `address`: `tcp:PORT`, `udp:PORT`, `unix:PATH`, `tls:PORT`; or through
    the web server at `http:PORT`."""
    program = [sys.executable, str(HERE / "tls_load.py")] if address.startswith("tls:") else [load_program()]
    command = [*program, address, str(connections), str(size), str(seconds)]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        raise RuntimeError(f"the load generator failed: {run.stderr.strip() or run.returncode}")
    found = json.loads(run.stdout)
    return Result(found["messages"] / found["seconds"], p50=found["p50"], p99=found["p99"])
