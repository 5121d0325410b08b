"""Tests of trio_asyncio_compat. A package, so that `python -m tests.conformance` works from a checkout."""
