# What is typed here is all there is: CI runs `make check`, newcomers `make demo` and `make test`.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test torture check format lock bench-growth bench-proportion bench-postgres-incremental

# uv when present (fast), else the standard library's venv and pip: both install exactly the lock file.
$(VENV)/.ready: requirements-dev.lock pyproject.toml
	@if command -v uv >/dev/null; then \
	  uv venv --quiet --allow-existing $(VENV) && uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements-dev.lock \
	  && uv pip install --quiet --python $(BIN)/python --no-deps -e .; \
	else \
	  $(PYTHON) -m venv $(VENV) && $(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock \
	  && $(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e .; \
	fi
	@touch $@

demo: $(VENV)/.ready
	@$(BIN)/python examples/demo.py $(if $(KEEP),--keep)

test: $(VENV)/.ready
	@$(BIN)/pytest -n 2 --dist loadfile

# Random rounds of work, capture, deletion and restore: `make torture ROUNDS=200 PG=15 SEED=7`, `RECORD=1` keeps the outcome.
ROUNDS ?= 200
PG ?= 18
torture: $(VENV)/.ready
	@PYTHONPATH=tests $(BIN)/python -m torture --rounds $(ROUNDS) --pg $(PG) $(if $(SEED),--seed $(SEED)) $(if $(RECORD),--record)

# What only the benchmarks need: plots.
$(VENV)/.bench: requirements-bench.lock $(VENV)/.ready
	@if command -v uv >/dev/null; then \
	  uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements-bench.lock; \
	else \
	  $(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bench.lock; \
	fi
	@touch $@

bench-growth bench-proportion: bench-%: $(VENV)/.bench
	@PYTHONPATH=tests:bench $(BIN)/python bench/$*.py

bench-postgres-incremental: $(VENV)/.ready
	@PYTHONPATH=tests:bench $(BIN)/python bench/postgres_incremental.py

check: $(VENV)/.ready
	@$(BIN)/ruff format --check src tests examples bench
	@$(BIN)/ruff check src tests examples bench
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(MAKE) --no-print-directory test

format: $(VENV)/.ready
	@$(BIN)/ruff format src tests examples bench
	@$(BIN)/ruff check --fix src tests examples bench

# Re-resolves every dependency; the files hold hashes, so a changed upload is refused.
lock:
	uv pip compile pyproject.toml --upgrade --generate-hashes --no-header --no-annotate --no-emit-index-url -q -o requirements.lock
	uv pip compile pyproject.toml --group bench --upgrade --generate-hashes --no-header --no-annotate --no-emit-index-url -q -o requirements-bench.lock
	uv pip compile pyproject.toml --group dev --upgrade --generate-hashes --no-header --no-annotate --no-emit-index-url -q -o requirements-dev.lock
