"""`python -m trio_asyncio_compat app.py`: runs an unmodified asyncio program on trio.

The program says nowhere which loop it wants, so this command (not the import of the package) makes ours the default
one. Everything else is as with `python app.py`: argv, the import path, `__main__`, tracebacks, the exit status, Ctrl-C.
"""

from __future__ import annotations

import argparse
import importlib.machinery
import importlib.util
import linecache
import os
import sys
import textwrap
import types
from typing import TYPE_CHECKING, Any

from ._options import Loops, add_options, split
from ._policy import install
from ._tracebacks import tidy

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._strict import StrictReports

_HELP = """\
Runs an asyncio program on trio: asyncio.run() and everything else that makes an event loop
makes one whose scheduler is trio. The arguments are those of the python command.

  python -m trio_asyncio_compat app.py ARGS...
  python -m trio_asyncio_compat -m module ARGS...
  python -m trio_asyncio_compat -c 'import asyncio; ...' ARGS...

Options of this command stand before those:

  python -m trio_asyncio_compat --strict --slow-callback 0.1 app.py ARGS...
"""


def main() -> None:
    """The command. Exceptions of the program leave it, for the interpreter to handle as it always does."""
    ours, program = split(sys.argv[1:])
    # With some program behind them: then the parser has no complaint but about our options.
    options = _parser().parse_args([*ours, "-c", ""])
    kind, target, arguments = _parse(program)
    if options.tasktree_on is not None:
        # Here, since most programs are run without.
        from .tasktree import print_on_signal

        print_on_signal(options.tasktree_on)
    prepare = {"-m": _module, "-c": _code}.get(kind, _script)
    module, code = prepare(target, arguments)
    loops = Loops(options)
    install(loops)
    sys.modules["__main__"] = module
    # An exception is shown with the program's frames only.
    sys.excepthook = _without_our_frames(sys.excepthook)
    if loops.strict is None:
        exec(code(), module.__dict__)
    else:
        _run_strictly(code, module, loops.strict)


def _run_strictly(code: Callable[[], Any], module: types.ModuleType, reports: StrictReports) -> None:
    """Run the program; then raise what its loops have reported, together with what ended it."""
    error: BaseException | None = None
    try:
        exec(code(), module.__dict__)
    except BaseException as exc:
        # Without this frame, which in a group would be shown.
        error = exc.with_traceback(exc.__traceback__ and exc.__traceback__.tb_next)
    error = reports.joined(error)
    if error is not None:
        tidy(error)
        raise error


def _parse(argv: list[str]) -> tuple[str, str, list[str]]:
    """The kind of program (-m, -c or a file), which, and its arguments: all after it are the program's own."""
    for kind in ("-m", "-c"):
        if argv[:1] == [kind] and len(argv) > 1:
            return kind, argv[1], argv[2:]
        if argv and argv[0].startswith(kind) and len(argv[0]) > 2:
            return kind, argv[0][2:], argv[1:]
    if argv and (argv[0] == "-" or not argv[0].startswith("-")):
        return "file", argv[0], argv[1:]
    # What is left is a request for help or a mistake; argparse answers both, and exits.
    parser = _parser()
    parser.parse_args(argv)
    return parser.error("nothing to run")


def _parser() -> argparse.ArgumentParser:
    """For help and complaints: what is behind the file's name is none of argparse's business."""
    parser = argparse.ArgumentParser(
        prog="python -m trio_asyncio_compat", description=_HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser)
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument("-m", metavar="MODULE", help="run a module as a program")
    group.add_argument("-c", metavar="CODE", help="run the given code")
    group.add_argument("file", nargs="?", metavar="FILE", help="a script, a folder or zip file with a __main__.py, or - for standard input")
    parser.add_argument("args", nargs=argparse.REMAINDER, metavar="ARGS", help="arguments of the program")
    return parser


def _script(path: str, arguments: list[str]) -> tuple[types.ModuleType, Callable[[], Any]]:
    sys.argv = [path, *arguments]
    if path == "-":
        _set_path("")
        return _new_main("<stdin>"), lambda: _compile(sys.stdin.read(), "<stdin>")
    if os.path.isdir(path) or _is_archive(path):
        path = os.path.abspath(path)
        sys.path.insert(0, path) if sys.flags.safe_path else _set_path(path)
        spec = importlib.machinery.PathFinder.find_spec("__main__", [path])
        if spec is None:
            sys.exit(f"{sys.executable}: can't find '__main__' module in {path!r}")
        return _from_spec(spec)
    _set_path(os.path.dirname(os.path.realpath(path)))
    path = os.path.abspath(path)
    loader = importlib.machinery.SourceFileLoader("__main__", path)
    try:
        source = loader.get_data(path)
    except OSError as exc:
        print(f"{sys.executable}: can't open file {path!r}: [Errno {exc.errno}] {exc.strerror}", file=sys.stderr)
        sys.exit(2)
    if path.endswith(".pyc"):
        bytecode = importlib.machinery.SourcelessFileLoader("__main__", path)
        return _new_main(path, loader=bytecode), lambda: bytecode.get_code("__main__")
    return _new_main(path, loader=loader), lambda: _compile(source, path)


def _is_archive(path: str) -> bool:
    # The import system's own question: can a module be found inside?
    return os.path.isfile(path) and importlib.machinery.PathFinder.find_spec("__main__", [path]) is not None


def _module(name: str, arguments: list[str]) -> tuple[types.ModuleType, Callable[[], Any]]:
    _set_path(os.getcwd())
    sys.argv = ["-m", *arguments]
    try:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations is not None:
            package, name = name, f"{name}.__main__"
            spec = importlib.util.find_spec(name)
            if spec is None:
                sys.exit(f"{sys.executable}: No module named {name}; {package!r} is a package and cannot be directly executed")
    except (ImportError, AttributeError, TypeError, ValueError) as exc:
        sys.exit(f"{sys.executable}: Error while finding module specification for {name!r} ({type(exc).__name__}: {exc})")
    if spec is None:
        sys.exit(f"{sys.executable}: No module named {name}")
    sys.argv[0] = spec.origin or name
    return _from_spec(spec)


def _code(code: str, arguments: list[str]) -> tuple[types.ModuleType, Callable[[], Any]]:
    _set_path("")
    sys.argv = ["-c", *arguments]
    if sys.version_info >= (3, 14):
        code = textwrap.dedent(code)
    if sys.version_info >= (3, 13):
        # Tracebacks show its lines.
        linecache.cache["<string>"] = (len(code), None, code.splitlines(keepends=True), "<string>")
    return _new_main(None), lambda: _compile(code, "<string>")


def _compile(source: str | bytes, file: str) -> types.CodeType:
    # Otherwise the program is under the `from __future__` of this file.
    return compile(source, file, "exec", dont_inherit=True)


def _set_path(folder: str) -> None:
    """Where the program's own modules are looked for first; `-P` and PYTHONSAFEPATH forbid it."""
    if not sys.flags.safe_path:
        sys.path[0] = folder


def _from_spec(spec: importlib.machinery.ModuleSpec) -> tuple[types.ModuleType, Callable[[], Any]]:
    loader: Any = spec.loader
    if not hasattr(loader, "get_code"):
        sys.exit(f"{sys.executable}: No code object available for {spec.name}")
    module = _new_main(spec.origin, loader=loader, spec=spec)
    module.__package__ = spec.parent
    return module, lambda: loader.get_code(spec.name)


def _new_main(file: str | None, *, loader: Any = importlib.machinery.BuiltinImporter, spec: Any = None) -> types.ModuleType:
    """The program's module, with the names in it that the running Python gives its own."""
    module = types.ModuleType("__main__")
    module.__builtins__ = sys.modules["builtins"]  # type: ignore[attr-defined]
    if sys.version_info < (3, 14):
        module.__annotations__ = {}
    if file is not None:
        module.__file__ = file
        if sys.version_info < (3, 15):
            module.__dict__["__cached__"] = spec and spec.cached
    module.__loader__ = loader
    module.__spec__ = spec
    module.__package__ = None
    return module


def _without_our_frames(hook: Callable[..., object]) -> Callable[..., None]:
    def excepthook(kind: type[BaseException], exc: BaseException, trace: types.TracebackType | None) -> None:
        program = None
        entry = trace
        while entry is not None:
            if entry.tb_frame.f_code.co_filename == __file__:
                program = entry
            elif program is not None:
                break
            entry = entry.tb_next
        # A syntax error has no frame of the program.
        trace = _without_frames_of_package(program.tb_next) if program is not None else trace
        hook(kind, exc.with_traceback(trace), trace)

    return excepthook


def _without_frames_of_package(trace: types.TracebackType | None) -> types.TracebackType | None:
    entries = []
    while trace is not None:
        if os.path.dirname(trace.tb_frame.f_code.co_filename) != os.path.dirname(__file__):
            entries.append(trace)
        trace = trace.tb_next
    kept = None
    for entry in reversed(entries):
        kept = types.TracebackType(kept, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return kept


if __name__ == "__main__":
    main()
