# Each target makes .venv and installs what it needs into it first, so that each works on a bare clone.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN = .venv/bin
PYTEST = $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
RESULTS ?= experiments/results

.PHONY: demo lm test test-all test-long mutants check figures docs page clean

demo: .venv/installed
	$(BIN)/python -m experiments.mnist_aux_logits

lm: .venv/installed
	$(BIN)/python -m experiments.lm_numbers

test: .venv/installed-test
	$(PYTEST)

test-all: test-long mutants

test-long: .venv/installed-test
	$(PYTEST) -m "long or not long"

mutants: .venv/installed-test
	$(BIN)/python -m tests.mutants $(PACKAGE)

check: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

figures: .venv/installed
	$(BIN)/python -m figures --svg --results $(RESULTS)

docs: .venv/installed-test
	$(BIN)/python -m docs

page: .venv/installed-test
	$(BIN)/python -m docs.page

clean:
	rm -rf .venv .compiled

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or newer found; set PYTHON=/path/to/python" >&2; exit 2; }
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

.venv/installed-test: pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@ .venv/installed
