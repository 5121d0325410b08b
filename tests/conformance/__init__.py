"""CPython's own `test.test_asyncio`, of the interpreter it runs on, with our loop in place of the standard library's.

`python -m tests.conformance --help` runs it by hand; `test_conformance.py` runs it under pytest. A process per module of the
suite (`worker.py`) puts our loop in (`substitution.py`) and reports each test; the verdict (`verdict.py`) compares with
the list of tests that are not expected to pass (`not_expected.py`).
"""

PREFIX = "test.test_asyncio."
