"""Fixtures of the tests of the border: each also checks what the test leaves behind."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

pytest.register_assert_rewrite("tests.border.support")

from ..support import Records  # noqa: E402, asserts are rewritten at import
from .support import Border  # noqa: E402


@pytest.fixture
def border(clean: Records) -> Border:
    """Runs code with a loop open, in virtual time."""
    return Border(clean, virtual=True)


@pytest.fixture
def real_border(clean: Records) -> Border:
    """`border`, in real time: for threads and descriptors, which virtual time does not wait for."""
    return Border(clean, virtual=False)


@pytest.fixture(params=["allow_asyncio", "task factory"])
def body(request: pytest.FixtureRequest, border: Border) -> Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any]:
    """Runs a flavour-free function, in virtual time: in trio's main task, and in a task of the task factory."""
    return border.both if request.param == "allow_asyncio" else border.task
