# Each target makes its own virtual environment; PYTHON chooses the interpreter, VENV where it goes, TESTS what pytest is told besides,
# SPHINX what sphinx-build is: `-t offline` does without the inventories of other projects.
PYTHON ?= python3
SPHINX ?=
TESTS ?=
VENV ?= .venv

.PHONY: demo test ecosystem lint types docs dist

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[demo,test,lint]'
	touch $@

# The main job: aiohttp, unmodified, inside trio.run.
demo: $(VENV)/.installed
	$(VENV)/bin/python examples/aiohttp_under_trio.py

# Our own tests, and CPython's test.test_asyncio on our loop.
test: $(VENV)/.installed
	$(VENV)/bin/python -m pytest $(TESTS)

# Real libraries on the loop, against real servers. Installs PostgreSQL and Redis by apt-get, so it needs root on Debian.
ecosystem: $(VENV)/.installed
	tests/ecosystem/install_servers
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[test,ecosystem]'
	$(VENV)/bin/python -m pytest tests/ecosystem $(TESTS)

lint: $(VENV)/.installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(VENV)/.installed
	$(VENV)/bin/mypy

# The documentation, in build/docs/index.html.
docs: $(VENV)/.installed
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	$(VENV)/bin/python -m sphinx --fresh-env --fail-on-warning --keep-going --nitpicky --quiet $(SPHINX) docs build/docs

# An sdist and a wheel in dist/, each installed in an environment of its own and tried there.
dist: $(VENV)/.installed
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check build
	$(VENV)/bin/python .ci/try_distributions.py
