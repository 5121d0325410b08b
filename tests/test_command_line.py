"""`python -m trio_asyncio_compat` behaves as `python` does, but for the loop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PROGRAM = """
import asyncio, sys

async def main():
    print("argv", sys.argv[1:], __name__, sys.path[0])
    print("loop", type(asyncio.get_running_loop()).__name__)

if __name__ == "__main__":
    asyncio.run(main())
"""


def run(folder: Path, *arguments: str, ours: bool, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *(["-m", "trio_asyncio_compat"] if ours else []), *arguments]
    return subprocess.run(command, cwd=folder, input=stdin, capture_output=True, text=True, timeout=60)


def run_both(folder: Path, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run under our command and under plain python; the same must come out, but for the name of the loop."""
    ours, plain = (run(folder, *arguments, ours=ours, stdin=stdin) for ours in (True, False))
    assert ours.stderr == plain.stderr
    assert ours.stdout.replace("TrioEventLoop", "_UnixSelectorEventLoop") == plain.stdout
    assert ours.returncode == plain.returncode
    return ours


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(PROGRAM)
    return tmp_path


def test_a_script_runs_on_our_loop(folder: Path) -> None:
    assert "loop TrioEventLoop" in run_both(folder, "app.py", "one", "--two", "-m").stdout


def test_a_script_in_another_folder(folder: Path) -> None:
    (folder / "sub").mkdir()
    run_both(folder / "sub", str(folder / "app.py"))


def test_the_name_of_a_script_is_left_as_it_was_given(folder: Path) -> None:
    (folder / "names.py").write_text("import sys; print(sys.argv, __file__, sys.path[0])")
    (folder / "sub").mkdir()
    for path in ("./names.py", "sub/../names.py", ".//missing.py"):
        run_both(folder, path)
    assert "can't find '__main__'" in run_both(folder, "").stderr
    (folder / "__main__.py").write_text("import sys; print(sys.argv, __file__, sys.path[0])")
    for path in ("", ".", "./", "sub/.."):
        assert "__main__.py" in run_both(folder, path, "x").stdout


def test_two_dashes_end_the_options(folder: Path) -> None:
    (folder / "-m").write_text(PROGRAM)
    (folder / "debug.py").write_text("import asyncio; loop = asyncio.new_event_loop(); print(loop.get_debug()); loop.close()")
    run_both(folder, "--", "app.py", "--", "x")
    assert "loop TrioEventLoop" in run_both(folder, "--", "-m", "x").stdout
    assert "True" in run(folder, "--debug", "--", "debug.py", ours=True).stdout


@pytest.mark.parametrize(
    "options", [["-W", "error"], ["-Werror", "-u"], ["-bB"], ["-X", "dev", "-X", "one=two"], ["-OXdev"], ["-s", "-q"], ["-bW", "ignore"]]
)
def test_options_of_python_are_heeded(folder: Path, options: list[str]) -> None:
    code = "import sys; print(sys.flags, sys.warnoptions, sys._xoptions, sys.stdout.write_through, sys.argv)"
    assert "sys.flags" in run_both(folder, *options, "-c", code, "-u").stdout


def test_options_of_python_in_one_word_with_the_program(folder: Path) -> None:
    run_both(folder, "-um", "app", "one")
    run_both(folder, "-bcimport sys; print(sys.flags, sys.argv)", "one")


def test_options_of_python_next_to_those_of_the_command(folder: Path) -> None:
    code = (
        "import asyncio, sys\nasync def main(): print(asyncio.get_running_loop().get_debug(), sys.flags.bytes_warning)\nasyncio.run(main())"
    )
    for options in (["-b", "--slow-callback", "60"], ["--slow-callback", "60", "-b"]):
        assert run(folder, *options, "-c", code, ours=True).stdout == "True 1\n"


def test_options_of_python_are_refused_where_it_cannot_be_started_again(folder: Path) -> None:
    code = "import sys; sys.argv[1:] = ['-u', 'app.py']; from trio_asyncio_compat.__main__ import main; main()"
    done = run(folder, "-c", code, ours=False)
    assert done.returncode == 2
    assert "-u: give this to python itself" in done.stderr


def test_a_module(folder: Path) -> None:
    assert "loop TrioEventLoop" in run_both(folder, "-m", "app", "one", "-c").stdout


def test_a_package(folder: Path) -> None:
    (folder / "package").mkdir()
    (folder / "package" / "__init__.py").write_text("")
    (folder / "package" / "__main__.py").write_text("from . import other; print(__package__, __spec__.name)\n" + PROGRAM)
    (folder / "package" / "other.py").write_text("print('imported')")
    run_both(folder, "-m", "package", "x")


def test_code(folder: Path) -> None:
    run_both(folder, "-c", "import sys, app, asyncio; print(sys.argv, '__file__' in globals()); asyncio.run(app.main())", "a", "--help")


def test_standard_input(folder: Path) -> None:
    run_both(folder, "-", "a", stdin=PROGRAM)


def test_a_folder_and_a_zip_file(folder: Path) -> None:
    (folder / "dir").mkdir()
    (folder / "dir" / "__main__.py").write_text(PROGRAM)
    run_both(folder, "dir")
    with zipfile.ZipFile(folder / "app.zip", "w") as archive:
        archive.writestr("__main__.py", PROGRAM)
    run_both(folder, "app.zip", "x")


@pytest.mark.parametrize("end", ["sys.exit(3)", "sys.exit()", "sys.exit('said so')", "raise SystemExit(4)", "os._exit(5)"])
def test_the_exit_status(folder: Path, end: str) -> None:
    run_both(folder, "-c", f"import asyncio, sys, os\nasync def main():\n    await asyncio.sleep(0)\n    {end}\nasyncio.run(main())")


def test_a_traceback_has_only_the_programs_frames(folder: Path) -> None:
    (folder / "fails.py").write_text("import asyncio\nasync def main():\n    await asyncio.sleep(0)\n    1/0\nasyncio.run(main())\n")
    result = run_both(folder, "fails.py")
    assert "ZeroDivisionError" in result.stderr
    assert "trio_asyncio_compat" not in result.stderr
    run_both(folder, "-m", "fails_not_here")
    run_both(folder, "-m", "fails")
    (folder / "__main__.py").write_text("1/0")
    run_both(folder, str(folder))


def test_a_traceback_of_code_has_the_lines_that_pythons_has(folder: Path) -> None:
    assert "in fails" in run_both(folder, "-c", "def fails():\n    1/0\nfails()").stderr
    run_both(folder, "-", stdin="def fails():\n    1/0\nfails()")


def test_code_is_dedented_where_python_does_it(folder: Path) -> None:
    run_both(folder, "-c", "\n    import asyncio\n    print(asyncio.run(asyncio.sleep(0, 'slept')))")


def test_nothing_of_ours_is_in_the_programs_namespace(folder: Path) -> None:
    """Nor does it inherit a `from __future__ import annotations`, which dataclasses and others would notice."""
    code = "def function(argument: int): pass\nprint(function.__annotations__['argument'], sorted(globals()))"
    (folder / "names.py").write_text(code)
    for arguments in (["names.py"], ["-m", "names"], ["-c", code]):
        assert "<class 'int'>" in run_both(folder, *arguments).stdout
    run_both(folder, "-", stdin=code)


def test_errors_that_come_before_the_program(folder: Path) -> None:
    (folder / "broken.py").write_text("x = (\n")
    run_both(folder, "broken.py")
    run_both(folder, "missing.py")
    run_both(folder, "-m", "missing")
    run_both(folder, "-c", "x = (")


def test_ways_to_make_a_loop(folder: Path) -> None:
    code = """
import asyncio
async def main(): return type(asyncio.get_running_loop()).__name__
print(asyncio.run(main()))
with asyncio.Runner() as runner: print(runner.run(main()))
loop = asyncio.new_event_loop()
print(loop.run_until_complete(main()))
loop.close()
"""
    assert run(folder, "-c", code, ours=True).stdout.split() == ["TrioEventLoop"] * 3


def test_no_warning_reaches_the_program() -> None:
    code = "import asyncio\nasync def main(): pass\nasyncio.run(main())"
    command = [sys.executable, "-X", "dev", "-W", "error", "-m", "trio_asyncio_compat", "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_objects_of_the_program_can_be_pickled(folder: Path) -> None:
    (folder / "pickles.py").write_text(
        "import pickle\nclass Thing: pass\nprint(type(pickle.loads(pickle.dumps(Thing()))) is Thing)\n"
        "import atexit; atexit.register(lambda: print('still here', Thing))\n"
    )
    assert run_both(folder, "pickles.py").stdout.startswith("True")


@pytest.mark.parametrize("ours", [True, False])
def test_ctrl_c_ends_the_program_as_it_ends_python(folder: Path, ours: bool) -> None:
    (folder / "waits.py").write_text(
        "import asyncio\n"
        "async def main():\n"
        "    try:\n"
        "        print('ready', flush=True)\n"
        "        await asyncio.sleep(3600)\n"
        "    finally:\n"
        "        print('cleaned up', flush=True)\n"
        "asyncio.run(main())\n"
    )
    command = [sys.executable, *(["-m", "trio_asyncio_compat"] if ours else []), "waits.py"]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert out == "cleaned up\n"
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert "trio_asyncio_compat" not in err
    assert process.returncode == -signal.SIGINT


def test_help_explains_the_command() -> None:
    result = subprocess.run([sys.executable, "-m", "trio_asyncio_compat", "--help"], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0
    assert "-m MODULE" in result.stdout
    assert "Runs an asyncio program on trio" in result.stdout
    result = subprocess.run([sys.executable, "-m", "trio_asyncio_compat"], capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert "usage" in result.stderr


@pytest.mark.parametrize("option", [["--tasktree-on", "SIGUSR1"], ["--tasktree-on=SIGUSR1"]])
def test_an_option_of_the_command_is_none_of_the_programs(option: list[str], folder: Path) -> None:
    done = run(folder, *option, "app.py", "--tasktree-on", ours=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "argv ['--tasktree-on']" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--tasktree-on", "SIGNONE", "app.py"], "'SIGNONE' is no signal"),
        (["--tasktree-on", "SIGKILL", "app.py"], "error: argument --tasktree-on: SIGKILL cannot be handled"),
        (["--tasktree-on"], "expected one argument"),
        (["--slow-callback", "soon", "app.py"], "--slow-callback: invalid"),
        (["--slow-callback=-1", "app.py"], "a number of seconds is needed, not -1"),
        (["--loop-slice", "0", "app.py"], "longer than 0"),
        (["--debug=no", "app.py"], "--debug"),
        (["--debug"], "usage"),
        (["--unknown", "app.py"], "usage"),
        (["-x", "app.py"], "usage"),
        (["-W"], "usage"),
        (["--"], "usage"),
    ],
)
def test_a_mistaken_option_is_refused(arguments: list[str], says: str, folder: Path) -> None:
    done = run(folder, *arguments, ours=True)
    assert done.returncode == 2
    assert says in done.stderr


def test_options_decide_about_the_programs_loops(folder: Path) -> None:
    (folder / "options.py").write_text("""
import asyncio, sys, time

async def main():
    loop = asyncio.get_running_loop()
    print(loop.get_debug(), loop.slow_callback_duration, loop._scheduler._slice_length, sys.argv[1:])
    loop.call_soon(time.sleep, 0.02)
    await asyncio.sleep(0)
    await asyncio.sleep(0)

asyncio.run(main())
""")
    assert run(folder, "options.py", ours=True).stdout == "False 0.1 0.001 []\n"
    assert run(folder, "--debug", "options.py", "--strict", ours=True).stdout == "True 0.1 0.001 ['--strict']\n"
    done = run(folder, "--loop-slice=0.002", "--slow-callback", "0.01", "options.py", ours=True)
    assert (done.returncode, done.stdout) == (0, "True 0.01 0.002 []\n")
    assert "Executing <Handle sleep(0.02)" in done.stderr


def test_flavour_free_tasks_await_both_libraries(folder: Path) -> None:
    (folder / "both.py").write_text("""
import asyncio, trio

async def child():
    await trio.sleep(0)
    return await asyncio.sleep(0, "both")

async def main():
    with trio.move_on_after(60):
        print(*await asyncio.gather(child(), child()))

asyncio.run(main())
""")
    done = run(folder, "--flavour-free", "both.py", ours=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "both both\n", "")
    assert run(folder, "both.py", ours=True).returncode == 1


FAILING_TASK = """
import asyncio, sys

async def fail(number):
    await asyncio.sleep(0)
    raise ValueError(f"nobody retrieves {number}")

async def main(number):
    asyncio.create_task(fail(number))
    for _ in range(3):
        await asyncio.sleep(0)

asyncio.run(main(1))
asyncio.run(main(2))
print("ends")
"""


def test_strict_program_fails_with_what_would_only_be_logged(folder: Path) -> None:
    (folder / "fails.py").write_text(FAILING_TASK)
    logged = run(folder, "fails.py", ours=True)
    assert (logged.returncode, logged.stdout) == (0, "ends\n")
    assert "Task exception was never retrieved" in logged.stderr
    done = run(folder, "--strict", "fails.py", ours=True)
    assert (done.returncode, done.stdout) == (1, "ends\n")
    assert "ExceptionGroup: unhandled errors in a strict asyncio loop (2 sub-exceptions)" in done.stderr
    assert "ValueError: nobody retrieves 1" in done.stderr
    assert "ValueError: nobody retrieves 2" in done.stderr
    assert "Task exception was never retrieved" in done.stderr
    assert "trio_asyncio_compat" not in done.stderr


LATE_TASK = """
import asyncio, {modules}


async def boom():
    raise ValueError("the cause")


async def main():
    await asyncio.sleep(0.1)
    task = asyncio.create_task(boom())
    await asyncio.sleep(0.01)
    {end}


{start}
"""


@pytest.mark.parametrize(
    ("modules", "end", "start", "status"),
    [
        ("sys", "raise RuntimeError('the effect')", "asyncio.run(main())", 1),
        ("sys", "sys.exit(7)", "asyncio.run(main())", 7),
        ("threading", "pass", "threading.Thread(target=lambda: asyncio.run(main())).start()", 0),
        ("atexit", "pass", "atexit.register(lambda: asyncio.run(main()))", 0),
        ("os", "pass", "asyncio.run(main()) if os.fork() == 0 else os.wait()", 0),
    ],
)
def test_what_a_strict_program_reports_too_late_to_raise_it_is_logged(
    folder: Path, modules: str, end: str, start: str, status: int
) -> None:
    (folder / "late.py").write_text(LATE_TASK.format(modules=modules, end=end, start=start))
    done = run(folder, "--strict", "late.py", ours=True)
    assert (done.returncode, done.stderr.count("ValueError: the cause")) == (status, 1)


@pytest.mark.parametrize(
    ("end", "says"), [("sys.exit('said so')", "SystemExit: said so"), ("sys.exit()", "nobody retrieves"), ("1/0", "ZeroDivisionError")]
)
def test_strict_program_that_ends_by_an_exception(folder: Path, end: str, says: str) -> None:
    (folder / "fails.py").write_text(FAILING_TASK + end)
    done = run(folder, "--strict", "fails.py", ours=True)
    assert done.returncode == 1
    assert says in done.stderr
    assert "nobody retrieves 1" in done.stderr
    assert "trio_asyncio_compat" not in done.stderr


@pytest.mark.parametrize("end", ["", "sys.exit(3)", "asyncio.run(asyncio.sleep(0, 1/0))", "async def main(): 1/0\nasyncio.run(main())"])
def test_strict_program_without_such_errors_ends_as_ever(folder: Path, end: str) -> None:
    (folder / "ends.py").write_text(f"import asyncio, sys\nasyncio.run(asyncio.sleep(0))\n{end}")
    strict, plain = run(folder, "--strict", "ends.py", ours=True), run(folder, "ends.py", ours=False)
    assert (strict.returncode, strict.stdout, strict.stderr) == (plain.returncode, plain.stdout, plain.stderr)
