# One verb per chore, the same here and in CI. Needs make and a Python 3.11, 3.12 or 3.13; everything else goes into .venv.

.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

# Airflow takes four times as long to import without bytecode.
unexport PYTHONDONTWRITEBYTECODE PYTHONPATH VIRTUAL_ENV

BIN := .venv/bin
STAMP := .venv/.installed
ARGS ?=
# Each worker starts servers of its own; `make test WORKERS=0` runs everything in one process.
WORKERS ?= 2

# The default python3 if it is recent enough, else the newest that really runs (a version manager's shim may not).
FIND_PYTHON = for python in $(PYTHON) python3 python3.13 python3.12 python3.11; do \
	if "$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then break; fi; python=; done; \
	if [ -z "$$python" ]; then echo "No Python 3.11, 3.12 or 3.13 found. Install one, or name it: make venv PYTHON=/path/to/python" >&2; exit 1; fi

.PHONY: help
help:  ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: venv
venv: $(STAMP)  ## Create .venv from the lock (nothing happens when it is up to date)

$(STAMP): pyproject.toml requirements/lock.txt
	@$(FIND_PYTHON); \
	if uv --version >/dev/null 2>&1; then uv=uv; else uv=$(BIN)/uv; fi; \
	if ! $(BIN)/python -c '' 2>/dev/null; then \
		echo "Creating .venv with $$("$$python" --version)"; \
		if [ "$$uv" = uv ]; then uv venv --quiet --clear --python "$$(command -v "$$python")" .venv; \
		else "$$python" -m venv --clear .venv; fi; \
	fi; \
	if [ "$$uv" != uv ] && [ ! -x "$$uv" ]; then $(BIN)/python -m pip install --quiet --disable-pip-version-check uv; fi; \
	echo "Installing requirements/lock.txt"; \
	"$$uv" pip install --quiet --python $(BIN)/python --compile-bytecode --no-deps --requirement requirements/lock.txt; \
	"$$uv" pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .; \
	touch $@

.PHONY: lock
lock:  ## Renew requirements/lock.txt and the environments' beside it
	uv pip compile --quiet --upgrade --universal --python-version 3.11 --all-extras --no-annotate \
		--no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' \
		--override requirements/overrides.txt --output-file requirements/lock.txt pyproject.toml requirements/lock.in
	uv pip compile --quiet --upgrade --universal --python-version 3.11 --all-extras --no-annotate \
		--no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' \
		--override requirements/overrides.txt --output-file requirements/compat-3.1.txt \
		pyproject.toml requirements/compat-3.1.in
	(echo '# What requirements/celery.in adds to lock.txt: `make lock` writes it.'; \
		uv pip compile --quiet --universal --python-version 3.11 --no-annotate --no-header --no-emit-index-url \
			--constraint requirements/lock.txt requirements/celery.in | grep -vxFf requirements/lock.txt) \
		> requirements/celery.txt

.PHONY: demo
demo: $(STAMP)  ## A subset of a demo shop, on private servers (UI=1: in Airflow's UI; ENGINE=mysql: on MySQL)
	@UI="$(UI)" ENGINE="$(ENGINE)" $(BIN)/python -m sandbox.demo $(ARGS)

# A test has 600 seconds (pyproject.toml). Where that is not heard of, in a driver's C code or by Hypothesis, which takes
# it for a failing example, the process ends with a trace of all threads, and another one goes on.
WATCHED := -o faulthandler_timeout=900 -o faulthandler_exit_on_timeout=true

.PHONY: test
test: $(STAMP)  ## Every test but the long ones, on real servers (WORKERS=2, ARGS='-k cycle')
	@$(BIN)/python -m pytest -m 'not long' --numprocesses=$(WORKERS) --dist=loadgroup $(WATCHED) $(ARGS)

.PHONY: test-long
test-long: $(STAMP)  ## The tests that take minutes
	@$(BIN)/python -m pytest -m long --numprocesses=$(WORKERS) --dist=loadgroup $(ARGS)

# The two corners of what is supported, each in an environment of its own. A Python that is not on PATH is looked for
# among pyenv's; failing that, uv fetches one.
COMPAT := .venv-compat/airflow-3.1 .venv-compat/airflow-3.3
.venv-compat/airflow-3.1/.installed: COMPAT_PYTHON := 3.11
.venv-compat/airflow-3.1/.installed: requirements/compat-3.1.txt
.venv-compat/airflow-3.3/.installed: COMPAT_PYTHON := 3.13
.venv-compat/airflow-3.3/.installed: requirements/lock.txt

$(COMPAT:=/.installed): pyproject.toml $(STAMP)
	@for python in python$(COMPAT_PYTHON) $${PYENV_ROOT:-$$HOME/.pyenv}/versions/$(COMPAT_PYTHON).*/bin/python; do \
		if "$$python" -c '' 2>/dev/null; then break; fi; python=$(COMPAT_PYTHON); done; \
	if uv --version >/dev/null 2>&1; then uv=uv; else uv=$(BIN)/uv; fi; \
	echo "Creating $(@D) with Python $(COMPAT_PYTHON) from $(filter requirements/%,$^)"; \
	"$$uv" venv --quiet --clear --python "$$(command -v "$$python" || echo $(COMPAT_PYTHON))" $(@D); \
	"$$uv" pip install --quiet --python $(@D)/bin/python --compile-bytecode --no-deps --requirement $(filter requirements/%,$^); \
	"$$uv" pip install --quiet --python $(@D)/bin/python --no-deps --no-build-isolation --editable .; \
	touch $@

# Deprecations in other people's packages are theirs: those environments are resolved anew, not pinned by Airflow.
.PHONY: test-compat
test-compat: $(COMPAT:=/.installed)  ## The Airflow tests on the lowest and the highest supported Airflow and Python
	@failed=0; for venv in $(COMPAT); do \
		$$venv/bin/python -c 'import platform; from airflow import __version__ as v; print(f"Airflow {v}, Python {platform.python_version()}")'; \
		$$venv/bin/python -m pytest -m 'not long' -W default -W error:::airflow_subset_provider \
			--numprocesses=$(WORKERS) --dist=loadgroup tests/airflow $(ARGS) || failed=1; \
	done; exit $$failed

.PHONY: lint
lint: $(STAMP)  ## ruff, mypy --strict and the layer contracts
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check . || { $(BIN)/ruff format --check .; exit 1; }
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

.PHONY: format
format: $(STAMP)  ## Format the code and mend what ruff can mend
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

.PHONY: bench
bench: $(STAMP)  ## The benchmarks
	@$(BIN)/python -m benchmarks $(ARGS)

.PHONY: clean
clean:  ## Remove .venv, caches and build results
	rm -rf .venv .venv-compat build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
