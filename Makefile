# `make help` explains everything. Needs only Python 3.11 or newer and a package index.
PYTHON ?= python3
VENV := .venv
JOBS ?= 2
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help env demo up test lint format types imports proto breaking baseline lock bench histories clean

help: ## show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | awk -F '\t' '{printf "  make %-10s %s\n", $$1, $$2}'

env: $(VENV)/.made ## build the environment in .venv from the hash-pinned lock

$(VENV)/.made: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: env ## run examples/quickstart.yaml on a stack of its own, with everything shown
	@$(BIN)/gamepipe demo examples/quickstart.yaml

up: env ## run the whole service here, in the foreground
	@$(BIN)/gamepipe up --allow-commands

test: env ## run all tests, JOBS at once; what this machine lacks is skipped with a reason
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

lint: env format types imports ## check style, types, imports and dependencies

format:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types:
	$(BIN)/mypy

imports:
	$(BIN)/lint-imports
	$(BIN)/deptry .

proto: env ## generate gamepipe/v1 from proto/
	$(BIN)/python -m grpc_tools.protoc -I proto --python_out=. --mypy_out=. --grpc_python_out=. \
	  --mypy_grpc_out=. proto/gamepipe/v1/*.proto
	$(BIN)/buf lint

breaking: env ## compare proto/ with the contract of the last release
	$(BIN)/buf breaking --against proto/baseline.binpb

baseline: env ## make the present proto/ the contract that later changes may not break
	$(BIN)/buf build -o proto/baseline.binpb

lock: env ## resolve the newest versions into requirements.lock
	$(BIN)/uv pip compile pyproject.toml --all-extras --group dev --universal --generate-hashes \
	  --no-emit-index-url --no-header --upgrade --python-version 3.11 -o requirements.lock

bench: env ## measure pipelines against the bare engine, side by side
	$(BIN)/python -m bench

histories: env ## record the workflow histories that tests replay
	GAMEPIPE_RECORD_HISTORIES=1 $(BIN)/python -m pytest tests/workflows/test_replay.py \
	  tests/workflows/test_continuing.py

clean: ## remove the environment and what tools left
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
