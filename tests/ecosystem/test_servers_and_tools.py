"""docs/servers_and_tools.md: every program and every command on the page is run."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from .servers import free_port
from .support import ROOT

PAGE = (ROOT / "docs" / "servers_and_tools.md").read_text()
BLOCKS = [(match[1], match[2]) for match in re.finditer(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)]
PROGRAMS = [text for language, text in BLOCKS if language == "python"]
COMMANDS = [line.removeprefix("$ ") for language, text in BLOCKS if language == "console" for line in text.splitlines()]
# How each server is told its port; the address is the default one.
PORT = {"uvicorn": "--port={}", "hypercorn": "--bind=127.0.0.1:{}", "gunicorn": "--bind=127.0.0.1:{}"}
WHICH = """
import asyncio, trio
from trio_asyncio_compat import trio_as_aio
async def which():
    await trio_as_aio(trio.sleep)(0)
    return f"<{type(asyncio.get_running_loop()).__name__}>"

print(await which())
"""


def command_of(tool: str) -> list[str]:
    (command,) = [command for command in COMMANDS if f"-m {tool}" in command]
    assert command.startswith("python ")
    return [sys.executable, *command.split()[1:]]


@pytest.mark.parametrize("number", range(len(PROGRAMS)))
def test_program_runs_without_a_warning(number: int, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAMS[number])
    command = [sys.executable, "-W", "error", "program.py"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout or "print" not in PROGRAMS[number]


@pytest.mark.parametrize("tool", PORT)
def test_server_serves_on_our_loop_and_ends_cleanly(tool: str, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(PROGRAMS[0])
    (tmp_path / "gunicorn.conf.py").write_text(next(text for text in PROGRAMS if "post_fork" in text))
    port = free_port()
    command = [*command_of(tool), PORT[tool].format(port)]
    environment = {**os.environ, "HOME": os.fspath(tmp_path)}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            log = []
            for line in process.stderr:
                log.append(line)
                if re.search("[Rr]unning on|Listening at", line):
                    break
            with urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=60) as response:
                assert response.read() == b"TrioEventLoop"
            process.send_signal(signal.SIGTERM)
            log += process.communicate(timeout=60)[1].splitlines()
        finally:
            process.kill()
    # uvicorn gives the signal to itself again when it has shut down.
    assert process.returncode in (0, -signal.SIGTERM)
    assert [line for line in log if "INFO" not in line] == []


def test_hypercorn_worker_process_runs_on_the_loop_that_its_app_installs(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(f"import trio_asyncio_compat\n\ntrio_asyncio_compat.install()\n{PROGRAMS[0]}")
    port = free_port()
    command = [sys.executable, "-m", "hypercorn", "app:app", PORT["hypercorn"].format(port)]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            assert "Running on" in process.stderr.readline()
            with urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=60) as response:
                assert response.read() == b"TrioEventLoop"
        finally:
            process.terminate()


def test_ipython_awaits_asyncio_and_trio_on_our_loop(tmp_path: Path) -> None:
    command = [*command_of("IPython"), "--simple-prompt", "--no-banner", "--no-confirm-exit"]
    environment = {**os.environ, "HOME": os.fspath(tmp_path)}
    result = subprocess.run(command, input=WHICH, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stderr) == (0, "")
    assert "<TrioEventLoop>" in result.stdout


def test_jupyter_kernel_awaits_asyncio_and_trio_on_our_loop(tmp_path: Path) -> None:
    (kernel,) = [text for language, text in BLOCKS if language == "json"]
    folder = tmp_path / "kernels" / "trio"
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text(kernel.replace('"python", "-m"', f'"{sys.executable}", "-m"'))
    (tmp_path / "cell.py").write_text(WHICH)
    environment = {**os.environ, "HOME": os.fspath(tmp_path), "JUPYTER_PATH": os.fspath(tmp_path)}
    run = "from jupyter_client.runapp import RunApp; RunApp.launch_instance()"
    command = [sys.executable, "-c", run, "--kernel=trio", "cell.py"]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout.strip()) == (0, "<TrioEventLoop>")
    # The kernel says that it does not encrypt what it says to the next process; nothing else.
    assert [line for line in result.stderr.splitlines() if "without encryption" not in line] == []
