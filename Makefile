# Two commands do everything: `make demo` and `make test`. Both set up .venv by themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# One worker a core; pytest's own processes are told to use one thread each (tests/conftest.py).
READY := $(VENV)/.ready

.PHONY: demo test check lint types layers format clean help

help:
	@echo "make demo    train the gpt recipe on the built-in corpus for two minutes, print samples, write a report"
	@echo "make test    every check: lint, types, layers, all tests"
	@echo "make check   the quick part of the checks, under two minutes"
	@echo "make format  put the code in shape"
	@echo "make clean   remove what was built"

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Malgil needs Python 3.11 or newer; name one with make PYTHON=..."'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

demo: $(READY)
	$(BIN)/malgil train gpt --data builtin --time 2m

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(READY)
	$(BIN)/mypy

layers: $(READY)
	$(BIN)/lint-imports --no-cache

test: lint types layers
	$(BIN)/python -m pytest

check: lint types layers
	$(BIN)/python -m pytest -m "not slow"

format: $(READY)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf $(VENV) build dist src/*.egg-info .mypy_cache .ruff_cache
