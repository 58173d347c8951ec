# What is typed here is all there is: CI runs `make check`, newcomers `make demo` and `make test`.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test check format lock

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

check: $(VENV)/.ready
	@$(BIN)/ruff format --check src tests examples
	@$(BIN)/ruff check src tests examples
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(MAKE) --no-print-directory test

format: $(VENV)/.ready
	@$(BIN)/ruff format src tests examples
	@$(BIN)/ruff check --fix src tests examples

# Re-resolves every dependency; the files hold hashes, so a changed upload is refused.
lock:
	uv pip compile pyproject.toml --upgrade --generate-hashes --no-header --no-annotate --no-emit-index-url -q -o requirements.lock
	uv pip compile pyproject.toml --group dev --upgrade --generate-hashes --no-header --no-annotate --no-emit-index-url -q -o requirements-dev.lock
