# Two commands for a fresh machine with Python 3.11+: make demo, make test. Both work offline once packages are installed.
PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
BIN := $(VENV)/bin
# Compiling is most of what the quick tests do. What compares bits is compiled as users do, as all is in `make test-all`.
QUICKLY := --xla_backend_optimization_level=0
TESTS := $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal
STAMP := $(VENV)/.installed

.PHONY: demo test test-all lint release-check clean

demo: $(STAMP)
	$(BIN)/python -m experiments.demo --out runs/demo

test: $(STAMP) lint
	$(TESTS) -m "exact and not slow"
	XLA_FLAGS="$(XLA_FLAGS) $(QUICKLY)" $(TESTS) -m "not exact and not slow"

test-all: $(STAMP) lint
	$(TESTS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# sdist and wheel, each installed and used in an environment of its own: make release-check PYTHON=python3.12
release-check:
	$(PYTHON) tests/release_check.py

$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("gidd-jax needs Python 3.11 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	touch $(STAMP)

clean:
	rm -rf $(VENV) .cache .pytest_cache .ruff_cache runs
