# Needs git, make and Python 3.11 or newer; everything else comes into .venv.

.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

# The first of these that is new enough and can make a virtual environment. A name on
# PATH may be an empty shim, so each is run. PYTHON=… on the command line decides otherwise.
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	$$python -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' \
	>/dev/null 2>&1 && echo $$python && break; done)

BIN := .venv/bin
JOBS ?= 2
DEEP := docker or browser or slurm or chaos
MINUTES ?= 30
SEED ?=
UPGRADE ?=

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1|/' | column -t -s '|' 2>/dev/null \
		|| grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST)

.PHONY: venv
venv: .venv/.installed ## Make .venv with all that the tests need, pinned by hash

.venv/.installed: tests/requirements.lock pyproject.toml
	@if [ -z "$(PYTHON)" ]; then \
		echo "No Python 3.11 or newer that can make virtual environments was found on PATH." >&2; \
		echo "Install one (on Debian: python3 and python3-venv), or name it: make venv PYTHON=/path/to/python3" >&2; \
		exit 1; \
	fi
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r tests/requirements.lock
	$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: test
test: venv ## Run the tests, with coverage over all the processes they start
	rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest -n $(JOBS) --dist loadfile
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

# An empty selection is no failure, and is found out quietly first: pytest's exit code 5
# would otherwise end the run.
.PHONY: test-deep
test-deep: venv ## Run the tests that need Docker, a browser, Slurm or minutes
	@code=0; $(BIN)/pytest --collect-only --quiet -m "$(DEEP)" >/dev/null 2>&1 || code=$$?; \
	if [ $$code -eq 5 ]; then \
		echo "no test is marked: $(DEEP)"; \
	else \
		$(BIN)/pytest -m "$(DEEP)"; \
	fi

.PHONY: check
check: venv ## Check style, formatting, types, imports, spelling, shell and Lua scripts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict
	$(BIN)/lint-imports --no-logo
	SKIP=codespell,phrases $(BIN)/pre-commit run --all-files
	$(BIN)/python -m tests.module_sizes

.PHONY: spell
spell: venv ## Find misspellings, and words and phrases to avoid
	$(BIN)/pre-commit run --all-files codespell
	$(BIN)/pre-commit run --all-files phrases

.PHONY: demo
demo: venv ## Show an upload from start to end on this machine
	$(BIN)/python -m tests.demo

.PHONY: sandbox
sandbox: venv ## Run Redis, an S3 and a stand-in for ftrack until Ctrl-C
	$(BIN)/python -m tests.sandbox

.PHONY: chaos
chaos: venv ## Upload while things break: MINUTES=30 SEED=…
	$(BIN)/python -m tests.chaos --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

.PHONY: bench
bench: venv ## Measure against the official Python client, side by side
	$(BIN)/python -m tests.bench

# Pins stay as they are unless pyproject.toml asks for others; UPGRADE=1 takes the newest.
# --fork-strategy fewest: one version for all Pythons wherever there is one.
UV_LOCK = UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile --quiet \
	--universal --fork-strategy fewest --python-version 3.11 \
	--generate-hashes --no-emit-index-url $(if $(UPGRADE),--upgrade)

.PHONY: lock
lock: venv ## Write the requirements.lock files anew: UPGRADE=1 for the newest versions
	$(UV_LOCK) --extra flower --extra events --group dev -o tests/requirements.lock pyproject.toml
	$(UV_LOCK) --extra flower --extra events -c tests/requirements.lock -o deploy/requirements.lock pyproject.toml
	$(UV_LOCK) --group docs -o docs/requirements.lock

.venv-docs/.installed: docs/requirements.lock
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install -qq --disable-pip-version-check --require-hashes -r docs/requirements.lock
	@touch $@

SITE ?= build/site
.PHONY: site
site: .venv-docs/.installed ## Build the documentation as a site, in build/site
	PYTHONDONTWRITEBYTECODE=1 NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict --site-dir $(abspath $(SITE))

.PHONY: dist
dist: venv ## Build sdist and wheel, the same bytes each time, in dist
	rm -f dist/farmhaul-*
	$(BIN)/python -m build --no-isolation .
	cd dist && sha256sum farmhaul-* > SHA256SUMS

.PHONY: nox
nox: venv ## Run the quick tests on each Python that we support and that is here
	$(BIN)/nox

# Tools of their own versions, apart from what farmhaul runs with.
.venv/audit/.installed: deploy/audit.lock | venv
	$(BIN)/python -m venv .venv/audit
	.venv/audit/bin/python -m pip install -qq --disable-pip-version-check --require-hashes -r $<
	@touch $@

# pip-audit ends with 1 for a known weakness, and says so; without its database it cannot tell.
.PHONY: audit
audit: .venv/audit/.installed ## Look up known weaknesses of what deploy/requirements.lock pins
	@code=0; .venv/audit/bin/pip-audit --require-hashes --disable-pip --progress-spinner off \
		-r deploy/requirements.lock 2>&1 | tee .venv/audit/report || code=$$?; \
	if grep -qE "ConnectionError|ServiceError|Max retries|Traceback|could not be audited" .venv/audit/report; then \
		echo "SKIPPED: the database of weaknesses did not answer for all, so this says NOTHING" >&2; \
	else \
		exit $$code; \
	fi

.PHONY: sbom
sbom: .venv/audit/.installed ## Write dist/sbom.json: what deploy/requirements.lock brings, as CycloneDX
	@mkdir -p dist
	.venv/audit/bin/cyclonedx-py requirements --output-reproducible --pyproject pyproject.toml \
		--of JSON -o dist/sbom.json deploy/requirements.lock
	@echo "dist/sbom.json"

.PHONY: audit-lock
audit-lock: venv ## Write deploy/audit.lock anew from deploy/audit.in
	UV_CUSTOM_COMPILE_COMMAND="make audit-lock" $(BIN)/uv pip compile --quiet --universal \
		--python-version 3.11 --generate-hashes --no-emit-index-url -o deploy/audit.lock deploy/audit.in

.PHONY: clean
clean: ## Remove .venv and everything that was made
	rm -rf .venv .venv-docs .nox .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build dist htmlcov
	find tasks workers tests deploy -name __pycache__ -type d -prune -exec rm -rf {} +
