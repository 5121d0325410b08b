"""CPython's asyncio suite on our loop, under pytest: one test per module of the suite."""

from __future__ import annotations

import concurrent.futures
import importlib.util
import os
from collections.abc import Iterator
from typing import Any

import pytest

from .verdict import Verdict, entries_without_module, judge, modules

HAS_SUITE = importlib.util.find_spec("test") is not None and importlib.util.find_spec("test.test_asyncio") is not None
# A Python may be packaged without its own tests; nothing of ours can then run here.
pytestmark = pytest.mark.skipif(not HAS_SUITE, reason="this Python comes without test.test_asyncio")


@pytest.fixture(scope="module")
def verdicts(request: pytest.FixtureRequest) -> Iterator[dict[str, concurrent.futures.Future[Verdict]]]:
    """The chosen modules, running on all cores while the tests wait for one after the other."""
    items: list[Any] = [item for item in request.session.items if item.path == request.node.path]
    chosen = [item.callspec.params["module"] for item in items if hasattr(item, "callspec")]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        yield {module: pool.submit(judge, module) for module in chosen}
        # After `pytest -x` or Ctrl-C nobody waits for the rest.
        pool.shutdown(wait=False, cancel_futures=True)


@pytest.mark.parametrize("module", modules() if HAS_SUITE else [])
def test_cpython_suite_passes_on_our_loop(module: str, verdicts: dict[str, concurrent.futures.Future[Verdict]]) -> None:
    verdict = verdicts[module].result()
    print(verdict)
    assert verdict.good, "\n\n".join([str(verdict), *verdict.differences.values()])


def test_every_entry_of_the_list_names_a_module_of_this_python() -> None:
    assert not entries_without_module()
