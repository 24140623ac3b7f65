# Everything is installed into .venv in this checkout; each target installs what it needs first.
# Stamp files in .venv make repeats quick: a stamp is remade when a lock file or pyproject.toml changes.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
PEERS := .venv-peers
BIN := $(VENV)/bin
PY := $(BIN)/python
UV := $(BIN)/uv --quiet
SOURCES := src tests scripts $(wildcard benchmarks)

# The Python that .venv is made with; `make install PYTHON=/path/to/python3.12` chooses another.
PYTHON ?=
# More arguments for pytest: `make test PYTEST_ARGS='-k resolver -x'`.
PYTEST_ARGS ?=
# Test files run side by side; each process has its own engines and servers, so memory bounds this more than cores do.
TEST_PROCESSES ?= 2
# How often test-full mutates sample files and kills builds.
AROMA_MUTATIONS_FULL ?= 2000
AROMA_KILLS_FULL ?= 20

LOCK := $(UV) pip compile --universal --python-version 3.11 --generate-hashes --upgrade \
        --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

.PHONY: help install install-dev install-all install-peers demo demo-aroma test test-full smoke unit lint format docs docs-serve bench lock clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

install: $(VENV)/.stamp-core  ## Core: graph, retrieval, classical models (.venv/bin/aroma)
install-dev: $(VENV)/.stamp-dev  ## Core and what tests, linters and docs need
install-all: $(VENV)/.stamp-all  ## Everything: core, dev and every extra

install-peers: $(PEERS)/.stamp  ## The programs that exports are checked against (kgx, GEARS, STATE), in .venv-peers

demo: $(VENV)/.stamp-core  ## A first session on bundled samples: build, audit, queries, refresh
	@scripts/demo

demo-aroma: $(VENV)/.stamp-all  ## The language model end to end on the samples, tiny and random: traces, two stages, predict
	@scripts/demo-aroma

test: lint docs unit  ## What CI runs: linters, types, import rules, docs, tests
unit: $(VENV)/.stamp-dev $(PEERS)/.stamp  ## Tests only, without the long counts
	$(BIN)/pytest -m "not full" -n $(TEST_PROCESSES) --dist loadfile $(PYTEST_ARGS)

test-full: lint docs  ## As test, with the long counts (kill points, mutations); can take an hour
	AROMA_MUTATIONS=$(AROMA_MUTATIONS_FULL) AROMA_KILLS=$(AROMA_KILLS_FULL) \
	  $(BIN)/pytest -m "full or not full" $(PYTEST_ARGS)

smoke: $(VENV)/.stamp-all  ## The whole service as processes, once through, with a refresh, a prediction, a curation
	PYTHONPATH=. timeout 2400 $(PY) scripts/smoke.py

lint: $(VENV)/.stamp-dev  ## ruff, mypy and the import rules
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(VENV)/.stamp-dev  ## Rewrite the sources as ruff wants them
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

docs: $(VENV)/.stamp-dev  ## Build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs-serve: $(VENV)/.stamp-dev  ## Show the documentation on a local address while you write
	$(BIN)/mkdocs serve

bench: $(VENV)/.stamp-dev  ## Run the benchmarks; results in benchmarks/results/
	@mkdir -p benchmarks/results
	@for file in $$(grep -l '__main__' benchmarks/*.py); do \
	  name="$$(basename "$$file" .py)"; echo "== $$name"; \
	  $(PY) "$$file" | tee "benchmarks/results/$$name.txt"; \
	done

lock: $(VENV)/.stamp-uv  ## Resolve the lock files anew from pyproject.toml
	$(LOCK) pyproject.toml -o requirements.lock
	$(LOCK) pyproject.toml --all-extras -c requirements.lock -o requirements-dev.lock
	$(LOCK) pyproject.toml --extra jobs --extra telemetry --extra tracking -c requirements-dev.lock -o requirements-service.lock
	$(LOCK) pyproject.toml --extra jobs --extra telemetry --extra tracking --extra embeddings -c requirements-dev.lock -o requirements-gpu.lock
	$(LOCK) --group pyproject.toml:install -c requirements-dev.lock -o requirements-install.lock
	$(LOCK) --group pyproject.toml:peers -o requirements-peers.lock

clean:  ## Remove build products (not .venv, not .aroma)
	rm -rf site build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# --- how things are installed -------------------------------------------------------------------------------

$(PY):
	@for python in $(PYTHON) python3.11 python3.12 python3.13 python3; do \
	  if "$$python" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' \
	      2>/dev/null; then \
	    "$$python" -m venv $(VENV); exit 0; \
	  fi; \
	done; \
	echo "make: no Python 3.11, 3.12 or 3.13 with its venv module was found;" \
	     "install one (Debian: apt-get install python3.11-venv) or name it: make install PYTHON=/path/to/python" >&2; \
	exit 1

# uv and the build backend come first, pinned as the rest: uv installs in seconds what pip installs in minutes.
$(VENV)/.stamp-uv: requirements-install.lock | $(PY)
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-install.lock
	@touch $@

$(VENV)/.stamp-core: requirements.lock pyproject.toml $(VENV)/.stamp-uv
	@$(UV) pip install --python $(PY) --require-hashes -r requirements.lock
	@$(UV) pip install --python $(PY) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.stamp-dev: requirements-dev.lock $(VENV)/.stamp-core
	@$(UV) pip install --python $(PY) --require-hashes -r requirements-dev.lock
	@touch $@

$(VENV)/.stamp-all: requirements-dev.lock $(VENV)/.stamp-dev
	@$(UV) pip install --python $(PY) -c requirements-dev.lock -r pyproject.toml --all-extras
	@touch $@

# Other programs pin versions that clash with ours: tests start them with this interpreter.
$(PEERS)/.stamp: requirements-peers.lock $(VENV)/.stamp-uv
	@$(UV) venv --allow-existing --python $(PY) $(PEERS)
	@$(UV) pip install --python $(PEERS)/bin/python --require-hashes -r requirements-peers.lock
	@touch $@
