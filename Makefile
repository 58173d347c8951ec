# What is typed here is all there is: CI runs `make check`, newcomers `make demo` and `make test`.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: hostile reach demo test test-long test-all wheel torture check format lock api-docs settings-docs fuzz-api fuzz-openapi test-clients predecessor soak-collection soak-damage bench bench-api bench-peers bench-files bench-gate bench-growth bench-history bench-limits bench-proportion bench-remote bench-rest bench-service bench-takeover bench-witness bench-postgres-incremental

# uv when present (fast), else the standard library's venv and pip: both install exactly the lock file.
$(VENV)/.ready: locks/dev.lock pyproject.toml hatch_build.py src/stillhouse/compiled.c
	@locks/install $(PYTHON) $(VENV) locks/dev.lock
	@if command -v uv >/dev/null; then \
	  uv pip install --quiet --python $(BIN)/python --no-deps -e .; \
	else \
	  $(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e .; \
	fi
	@$(BIN)/python -m compileall -q src
	@touch $@

demo: $(VENV)/.ready
	@PYTHONPATH=tests $(BIN)/python examples/$(if $(SCALE),demo_scale.py,$(if $(EXISTING),demo_existing.py,demo.py $(if $(KEEP),--keep)))

# Two workers for each of two cores: a third of a worker's time goes by in waiting for servers. Files begin in their
# order, so that the small ones of tests/unit come last and no worker is left alone with a large one.
SPREAD := -n 4 --dist loadfile --no-loadscope-reorder

test: $(VENV)/.ready
	@$(BIN)/pytest $(SPREAD)

# The long tier: services that are killed, installations of the version before, drills, PostgreSQL 16 and 17 by npm.
# `make test-long SHARE=0.45 SEED=7` takes a share of its files; without SEED another one each time.
test-long: $(VENV)/.ready
	@export LONG_SHARE=$(or $(SHARE),1) LONG_SEED=$(or $(SEED),$$RANDOM); \
	  [[ $$LONG_SHARE == 1 ]] || echo "a share of the long tier: SHARE=$$LONG_SHARE SEED=$$LONG_SEED"; \
	  $(BIN)/pytest $(SPREAD) -m long

test-all: test test-long

# dist/stillhouse-<version>-py3-none-<platform>.whl, or -any.whl without a C compiler; install it beside the hashes of
# locks/run.lock.
wheel: $(VENV)/.ready
	@$(PYTHON) -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .

# Of what `make test` tries a freshly seeded few: a thousand damages of repositories. SEED=... brings the same ones again.
soak-damage: $(VENV)/.ready
	@DAMAGES=$${DAMAGES:-1000} $(BIN)/pytest -n 0 -q tests/property/test_seeded_damage.py

# Strangers and a greedy tenant against a real service, beside another tenant: `make hostile MINUTES=10 SEED=7`. CI runs half a minute.
hostile: $(VENV)/.ready
	@HOSTILE_MINUTES=$(or $(MINUTES),10) HOSTILE_SEED=$(SEED) $(BIN)/pytest -n 0 -q -s -m long --timeout 0 tests/fault/test_hostile_hour.py

# The model of collection, at length; the suite runs a short piece of it. COLLECTION_SEED repeats a run.
soak-collection: $(VENV)/.ready
	@COLLECTION_EXAMPLES=$(or $(COLLECTION_EXAMPLES),5000) COLLECTION_STEPS=$(or $(COLLECTION_STEPS),80) \
	  $(BIN)/pytest -n 0 -q -s --timeout 0 tests/property/test_collection_model.py

# A warehouse on hosts of its own, with trouble on the way to them: `make reach SNAPSHOTS=20 SEED=7`. The long tier takes two.
reach: $(VENV)/.ready
	@REACH_SNAPSHOTS=$(or $(SNAPSHOTS),20) REACH_SEED=$(SEED) $(BIN)/pytest -n 0 -q -s -m long --timeout 0 tests/fault/test_reached_hosts.py

# Random rounds of work, capture, deletion and restore: `make torture ROUNDS=200 PG=15 READER=remote SEED=7`; `RECORD=1` keeps
# the outcome. PG is 15 (Debian's), 16 or 17 (npm's), or 18.
ROUNDS ?= 200
PG ?= 18
READER ?= local
torture: $(VENV)/.ready
	@PYTHONPATH=tests $(BIN)/python -m torture --rounds $(ROUNDS) --pg $(PG) --reader $(READER) $(if $(SEED),--seed $(SEED)) $(if $(RECORD),--record)

# What only the benchmarks need: plots.
$(VENV)/.bench: locks/bench.lock $(VENV)/.ready
	@locks/install $(PYTHON) $(VENV) locks/bench.lock
	@touch $@

# All rows of bench/results/latest.json. A quiet machine, an hour.
bench: bench-peers bench-files bench-gate bench-growth bench-proportion bench-remote bench-service bench-witness

# Beside the field's tools: Debian's pgbackrest, restic and postgresql-15 are wanted.
bench-peers: $(VENV)/.bench
	@PYTHONPATH=tests:bench $(BIN)/python bench/peers.py $(BENCH)

bench-api bench-files bench-gate bench-growth bench-history bench-limits bench-proportion bench-remote bench-rest bench-service bench-takeover bench-witness: bench-%: $(VENV)/.bench
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

# Other languages' SDKs and OpenStack's clients; where CI=true, `make test-long` tries them too.
test-clients: $(VENV)/.ready
	@STILLHOUSE_CLIENTS=1 $(BIN)/pytest -n 0 -m '' tests/real/test_clients.py tests/real/test_openstack_clients.py

# An earlier version, whose installations today's code brings up: tests/predecessor/README.md. COMMIT=its last.
predecessor:
	@find tests/predecessor -maxdepth 1 -name '*.tar.xz' ! -name '*-7cf5f0a.*' -delete
	@git archive --format=tar $(COMMIT) src | xz -9e > tests/predecessor/stillhouse-$$(git rev-parse --short $(COMMIT)).tar.xz

# pip-audit, in an environment of its own: its packages are none of ours.
$(VENV)/audit/.ready: locks/audit.lock $(VENV)/.ready
	@$(PYTHON) -m venv $(VENV)/audit
	@$(VENV)/audit/bin/pip install --quiet --disable-pip-version-check --require-hashes -r locks/audit.lock
	@touch $@

# Known vulnerabilities of all locked packages fail; a registry that is away is told, and does not.
audit: $(VENV)/.ready
	@$(MAKE) --no-print-directory $(VENV)/audit/.ready || { echo "NOT AUDITED: pip-audit could not be installed"; exit 0; }; \
	  $(PYTHON) .ci/audit.py $(VENV)/audit/bin/pip-audit

# dist/stillhouse.cdx.json: what the service is made of, from locks/run.lock.
sbom:
	@$(PYTHON) .ci/sbom.py dist/stillhouse.cdx.json

# Bad requests against the API in this process, or over the wire: `make fuzz-api TLS=1 COUNT=100000`; SEED=n repeats a run.
fuzz-api: $(VENV)/.ready
	@PYTHONPATH=tests $(BIN)/python -m support.fuzzing.fuzz_api $(if $(SEED),--seed $(SEED)) $(if $(COUNT),--requests $(COUNT)) \
	  $(if $(TLS),--tls)

# The API against its OpenAPI document; SEED=n repeats a run.
fuzz-openapi: $(VENV)/.ready
	@PYTHONPATH=tests $(BIN)/python -m support.fuzzing.fuzz_openapi $(if $(SEED),--seed $(SEED))

# The tables of docs/api.md, from the routes.
api-docs: $(VENV)/.ready
	@PYTHONPATH=tests $(BIN)/python -m support.api.page

# docs/settings.md, from the code.
settings-docs: $(VENV)/.ready
	@PYTHONPATH=tests $(BIN)/python -m support.documents.settings_page

# The first page of `stillhouse --help`, from the code.
.PHONY: help-page
help-page: $(VENV)/.ready
	@PYTHONPATH=tests $(BIN)/python -m support.documents.help_page

# The table of docs/monitoring.md, from the code.
.PHONY: metrics-docs
metrics-docs: $(VENV)/.ready
	@PYTHONPATH=tests $(BIN)/python -m support.documents.metrics_table

# Re-resolves every dependency; the files hold hashes, so a changed upload is refused.
lock:
	uv pip compile pyproject.toml --upgrade --generate-hashes --no-header --no-annotate --no-emit-index-url -q -o locks/run.lock
	uv pip compile pyproject.toml --group bench --upgrade --generate-hashes --no-header --no-annotate --no-emit-index-url -q -o locks/bench.lock
	uv pip compile pyproject.toml --group dev --upgrade --generate-hashes --no-header --no-annotate --no-emit-index-url -q -o locks/dev.lock
	echo pip-audit | uv pip compile - --universal --python-version 3.11 --upgrade --generate-hashes --no-header --no-annotate --no-emit-index-url -q -o locks/audit.lock
