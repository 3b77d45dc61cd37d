# The newcomer's two commands are `make demo` and `make test`; both make .venv themselves.
# Needs git, make and Python 3.11 or newer with venv. PYTHON=python3.12 chooses another one.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

.PHONY: help demo test test-all lint types layers tests bytecode format docs bench clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 18

demo: $(VENV)/.run  ## start the example server, send it real connections, show what each worker did
	$(BIN)/python examples/demo.py

test: lint types layers tests  ## everything: lint, types, layers and all tests

test-all:  ## the tests on every Python >= 3.11 that is found
	scripts/test-all

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

layers: $(VENV)/.dev
	$(BIN)/lint-imports

tests: bytecode  # two at a time, as most of them wait; in a directory that no other run cleans up
	@scratch=$$(mktemp -d) && $(BIN)/python -m pytest --numprocesses 2 --dist worksteal \
		--basetemp $$scratch; code=$$?; rm -rf $$scratch; exit $$code

bytecode: $(VENV)/.dev
	@$(BIN)/python -m compileall -q src  # or every process that a test starts compiles it anew

format: $(VENV)/.dev  ## put the code into the house's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.run  ## write the pages that are made from the code
	$(BIN)/python docs/generate.py

bench: $(VENV)/.run  ## the server's figures, beside their peers (minutes)
	$(BIN)/python benchmarks/server/run.py

clean:  ## remove what make made
	rm -rf .venv .venvs build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "manycore needs Python 3.11 or newer; none was found. Try: make PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade 'pip>=25.1'

$(VENV)/.run: pyproject.toml | $(BIN)/python
	$(PIP) install --editable '.[server]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/.run
	$(PIP) install --editable '.[server]' --group dev
	@touch $@
