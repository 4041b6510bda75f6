# `make demo` and `make test` do all the set-up on a fresh machine with python3 and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help test demo docs check lint clean

help:
	@echo "make demo   set up, then run a Batch Statistical job over real imagery (server, S3, the sentinelhub client)"
	@echo "make test   set up, then ruff, mypy, import rules and pytest"
	@echo "make docs   set up, then build the documentation's site, strictly"
	@echo "make clean  remove what these made"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade pip

$(VENV)/.test: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -q -e ".[server,test,dataframe,docs]"
	$(BIN)/python -m compileall -q src
	@touch $@

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -q -e ".[server,demo,dataframe]"
	$(BIN)/python -m compileall -q src
	@touch $@

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(BIN)/python -m pytest -n 2 --dist loadgroup

docs: $(VENV)/.test
	$(BIN)/python -m mkdocs build --strict
	@echo "build/site/index.html"

demo: $(VENV)/.demo
	$(BIN)/python examples/demo.py

clean:
	rm -rf $(VENV) build/site .demo demo-output .mypy_cache .ruff_cache .import_linter_cache .hypothesis
