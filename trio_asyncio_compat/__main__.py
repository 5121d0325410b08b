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

from ._options import Loops, add_options, split, start_again
from ._policy import install
from ._tracebacks import tidy

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._strict import StrictReports

_HELP = """\
Runs an asyncio program on trio: asyncio.run() and everything else that makes an event loop
makes one whose scheduler is trio. The program and its arguments are given as to python:

  python -m trio_asyncio_compat app.py ARGS...
  python -m trio_asyncio_compat -m module ARGS...
  python -m trio_asyncio_compat -c 'import asyncio; ...' ARGS...

Options of this command stand before those:

  python -m trio_asyncio_compat --strict --slow-callback 0.1 app.py ARGS...

So may python's own options of one letter (-u, -W error, -X dev, ...; not -x), which start python
again. They can also be given to python itself: python -W error -m trio_asyncio_compat app.py
"""


def main() -> None:
    """The command. Exceptions of the program leave it, for the interpreter to handle as it always does."""
    ours, pythons, program = split(sys.argv[1:])
    # With some program behind them: then the parser has no complaint but about our options.
    options = _parser().parse_args([*ours, "-c", ""])
    kind, target, arguments = _parse(program)
    if pythons:
        start_again(pythons, ours, program, _parser())
    if options.tasktree_on is not None:
        # Here, since most programs are run without.
        from .tasktree import print_on_signal

        try:
            print_on_signal(options.tasktree_on)
        except (OSError, ValueError) as exc:
            _parser().error(f"argument --tasktree-on: {options.tasktree_on.name} cannot be handled: {exc}")
    prepare = {"-m": _module, "-c": _code}.get(kind, _script)
    module, code = prepare(target, arguments)
    loops = Loops(options)
    install(loops)
    sys.modules["__main__"] = module
    # An exception is shown with the program's frames only.
    sys.excepthook = _without_our_frames(sys.excepthook, as_module=module.__spec__ is not None)
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
    if argv[:1] == ["--"] and len(argv) > 1:
        return "file", argv[1], argv[2:]
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
    # Not normalized, as python leaves it.
    absolute = os.getcwd() if path in ("", ".") else os.path.join(os.getcwd(), path)
    if os.path.isdir(absolute) or _is_archive(path):
        path = absolute
        sys.path.insert(0, path) if sys.flags.safe_path else _set_path(path)
        spec = importlib.machinery.PathFinder.find_spec("__main__", [path])
        if spec is None:
            sys.exit(f"{sys.executable}: can't find '__main__' module in {path!r}")
        return _from_spec(spec)
    _set_path(os.path.dirname(os.path.realpath(path)))
    path = absolute
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


def _without_our_frames(hook: Callable[..., object], *, as_module: bool) -> Callable[..., None]:
    def excepthook(kind: type[BaseException], exc: BaseException, trace: types.TracebackType | None) -> None:
        entries = _entries(trace)
        ours = next((index for index, entry in enumerate(entries) if _file(entry) == __file__), None)
        if ours is not None:
            # Python runs a module by the same function of `runpy` by which it has run us.
            before = [entry for entry in entries[:ours] if as_module and _file(entry) == "<frozen runpy>"]
            # A syntax error has no frame of the program.
            trace = _linked(before + [entry for entry in entries[ours:] if not _is_of_package(entry)])
        for other in _behind(exc):
            other.with_traceback(_linked([entry for entry in _entries(other.__traceback__) if not _is_of_package(entry)]))
        hook(kind, exc.with_traceback(trace), trace)

    return excepthook


def _behind(exc: BaseException) -> list[BaseException]:
    """The errors that are shown before `exc`: what Ctrl-C has cancelled, for one."""
    found = [exc]
    for error in found:
        found += [other for other in (error.__cause__, error.__context__) if other is not None and other not in found]
    return found[1:]


def _entries(trace: types.TracebackType | None) -> list[types.TracebackType]:
    entries = []
    while trace is not None:
        entries.append(trace)
        trace = trace.tb_next
    return entries


def _is_of_package(entry: types.TracebackType) -> bool:
    return os.path.dirname(_file(entry)) == os.path.dirname(__file__)


def _file(entry: types.TracebackType) -> str:
    return entry.tb_frame.f_code.co_filename


def _linked(entries: list[types.TracebackType]) -> types.TracebackType | None:
    linked = None
    for entry in reversed(entries):
        linked = types.TracebackType(linked, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return linked


if __name__ == "__main__":
    main()
