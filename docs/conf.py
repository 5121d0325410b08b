"""Sphinx's configuration. `make docs` builds build/docs/index.html.

The pages are Markdown, and their links are such that they work on GitHub as well. Sphinx knows only the files in this folder: those
pages that are kept elsewhere have a stub here (`KEPT_ELSEWHERE`), in whose place Sphinx sees them.
"""

from __future__ import annotations

import collections.abc
import contextlib
import importlib
import os
import posixpath
import re
from importlib.metadata import version as version_of
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sphinx.ext import intersphinx

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[1]

project = "trio_asyncio_compat"
author = "The trio_asyncio_compat developers"
version = release = version_of("trio_asyncio_compat")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.intersphinx", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = f"{project} {release}"
# A reference that leads nowhere is a warning; `make docs` makes errors of warnings.
nitpicky = True
# Type variables, and classes that only type checkers see.
UNSEEN = ("P", "S", "T", "Ts", "U", "AwaitableManager", "CrossedAwaitableManager", "CrossedIterableManager", "IterableManager")
nitpick_ignore = [("py:class", name) for name in UNSEEN]

myst_heading_anchors = 3

# In docstrings `name` is a name if there is one that is called so, and code in any case.
default_role = "py:obj"
autodoc_member_order = "bysource"
maximum_signature_line_length = 100
napoleon_use_rtype = False

# The tag is for machines without network: `make docs SPHINX='-t offline'`. Names of others are then checked by importing them.
if not tags.has("offline"):  # type: ignore[name-defined]  # noqa: F821, Sphinx defines it
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "trio": ("https://trio.readthedocs.io/en/stable", None),
    }

# Pages that are kept elsewhere, by the names of their stubs.
KEPT_ELSEWHERE = {
    "introduction": "README.md",
    "history": "CHANGELOG.md",
    "contributing": "CONTRIBUTING.md",
    "benchmarking": "benchmarks/README.md",
}
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)")
# Types are named without their modules.
TYPES = {name: f"{module.__name__}.{name}" for module in (collections.abc, contextlib) for name in module.__all__}


def setup(app: Sphinx) -> None:
    """Sphinx's hook."""
    app.connect("source-read", _read)
    # After intersphinx, before Sphinx itself.
    app.connect("missing-reference", _refer, priority=800)


def _read(app: Sphinx, docname: str, source: list[str]) -> None:
    """Put a page that is kept elsewhere in the place of its stub, and have links to such pages lead to the stubs."""
    if Path(app.env.doc2path(docname)).suffix != ".md":
        return
    kept = KEPT_ELSEWHERE.get(docname, f"docs/{docname}.md")
    if docname in KEPT_ELSEWHERE:
        source[0] = (ROOT / kept).read_text(encoding="utf-8")
        app.env.note_dependency(os.fspath(ROOT / kept))
    stubs = {path: f"{stub}.md" for stub, path in KEPT_ELSEWHERE.items()}

    def link(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(kept), match[1]))
        # Other things look like links, too: `list[int](0)` in a program.
        return stubs.get(target, posixpath.relpath(target, "docs")) if (ROOT / target).exists() else match[1]

    source[0] = LINK.sub(link, source[0])


def _refer(app: Sphinx, env: Any, node: Any, text: nodes.TextElement) -> nodes.reference | nodes.TextElement | None:
    """Find a type that is named without its module, and leave a name without a link where it has no page, if it is a name at all."""
    if node["reftarget"] in TYPES:
        node["reftarget"] = TYPES[node["reftarget"]]
        if (link := intersphinx.missing_reference(app, env, node, text)) is not None:
            return link
    return text if node["reftype"] == "obj" or _exists(node["reftarget"]) else None


def _exists(name: str) -> bool:
    """Whether `name` is something of Python's or of a library's."""
    module, _, rest = name.rpartition(".")
    while module:
        try:
            found: Any = importlib.import_module(module)
            for attribute in rest.split("."):
                found = getattr(found, attribute)
        except (ImportError, AttributeError):
            module, _, last = module.rpartition(".")
            rest = f"{last}.{rest}"
        else:
            return True
    return False
