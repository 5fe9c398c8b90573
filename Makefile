# `make demo` and `make test` are all that a new user needs; both make the environment first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test chaos check bench clean
.DEFAULT_GOAL := demo

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[local,search,dev]'
	touch $@

demo: $(VENV)/installed  ## the whole chain on rendered faces
	$(BIN)/adodn demo

test: $(VENV)/installed  ## all tests, real services included; those that need them in one process, the others beside
	$(BIN)/python -m pytest --numprocesses 2

chaos: $(VENV)/installed  ## kills, hangs, cut networks, several nodes; ONLY=file runs one; what this machine does not permit is skipped
	$(BIN)/python -m pytest $(or $(ONLY),tests/chaos)

check: $(VENV)/installed  ## format, lint, types, direction of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/unit/test_architecture.py

bench: $(VENV)/installed  ## one table, and bench.jsonl; ONLY=name runs one
	$(BIN)/python -m tests.benchmarks.main $(ONLY)

clean:  ## the environment and all caches; data in ADODN_HOME stays
	-$(BIN)/adodn down
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis bench.jsonl
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
