"""Random programs do what the model says: which block is cancelled and when, what is raised where, and nothing is left."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, assume, given, settings

from ...support import Records as Log
from .execution import execute
from .generation import programs
from .prediction import predict
from .programs import Body

# More than the usual run of the tests tries: for `python -m tests.border.model`.
_EXAMPLES = int(os.environ.get("TRIO_ASYNCIO_COMPAT_EXAMPLES", "400"))


def check(program: Body) -> None:
    predicted = predict(program)
    assume(predicted is not None)
    assert execute(program) == predicted


def test_random_programs_do_what_the_model_says(clean: Log) -> None:
    @settings(max_examples=_EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(programs)
    def try_one(program: Body) -> None:
        check(program)

    try_one()
