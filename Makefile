# You need git, make and Python 3.11 or newer. Everything else is installed into .venv.

.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

# The first of these that is new enough and can create a virtual environment. Each is run,
# because a name on PATH may be a shim without a Python. PYTHON=… on the command line overrides it.
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	$$python -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' \
	>/dev/null 2>&1 && echo $$python && break; done)

# Some environments set this. Each of the thousands of processes that tests start would then
# compile all modules of the checkout again.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
# The tests of make test wait for a third of their time: three at a time suit two cores.
JOBS ?= 3
ALONE := docker or browser or slurm or windows
COVERAGE ?=
MINUTES ?= 30
SEED ?=
UPGRADE ?=

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1|/' | column -t -s '|' 2>/dev/null \
		|| grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST)

.PHONY: venv
venv: .venv/.installed ## Create .venv with all that the tests need, pinned by hash

.venv/.installed: tests/requirements.lock pyproject.toml
	@if [ -z "$(PYTHON)" ]; then \
		echo "PATH contains no Python 3.11 or newer that can create virtual environments." >&2; \
		echo "Install one (on Debian: python3 and python3-venv), or run: make venv PYTHON=/path/to/python3" >&2; \
		exit 1; \
	fi
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r tests/requirements.lock
	$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# Measuring makes each process start 0.3 s later, and the whole take 1.7 times as long.
.PHONY: test
test: venv ## Run the tests: COVERAGE=1 to measure the coverage of all processes, as CI does
	rm -f .coverage .coverage.*
	$(BIN)/$(if $(COVERAGE),coverage run -m )pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder
	$(if $(COVERAGE),$(BIN)/coverage combine --quiet && $(BIN)/coverage report)

# Slow tests run two at a time, because it breaks things while other things must not be late. The
# others share programs of the machine, so they run one after the other, meanwhile. With job control
# they do not ignore SIGINT, and so end what they have started.
.PHONY: test-deep
test-deep: venv ## Run the tests that need Docker, a browser, Slurm, Wine, or minutes
	@mkdir -p build; code=0; set -m; \
	$(BIN)/pytest -m "$(ALONE)" >build/test-alone.txt 2>&1 & alone=$$!; set +m; \
	trap "kill -INT $$alone 2>/dev/null && wait $$alone" EXIT; \
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m "slow and not ($(ALONE))" || code=1; \
	wait $$alone || code=1; cat build/test-alone.txt; \
	trap - EXIT; exit $$code

.PHONY: check
check: venv ## Check style, formatting, types, imports, spelling, shell and Lua scripts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict
	$(BIN)/lint-imports --no-logo
	$(BIN)/pre-commit run --all-files
	$(BIN)/python -m tests.module_sizes

.PHONY: spell
spell: venv ## Find misspellings, and words and phrases to avoid
	$(BIN)/pre-commit run --all-files codespell
	$(BIN)/pre-commit run --all-files phrases

.PHONY: demo
demo: venv ## Show an upload from start to finish on this machine
	$(BIN)/python -m tests.demo

.PHONY: sandbox
sandbox: venv ## Run Redis, S3 storage and a stand-in for ftrack until Ctrl-C
	$(BIN)/python -m tests.sandbox

.PHONY: chaos
chaos: venv ## Upload files while components fail: MINUTES=30 SEED=…
	$(BIN)/python -m tests.chaos --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

.PHONY: bench
bench: venv ## Measure speed against others: QUICK=1 in 3 minutes, WRITE=1 for docs/benchmarks.md
	$(BIN)/python -m tests.bench $(if $(QUICK),--quick) $(if $(WRITE),--write)

# A pin changes only if pyproject.toml requires it. UPGRADE=1 takes the newest versions.
# --fork-strategy fewest: if possible, one version for all Pythons.
UV_LOCK = UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile --quiet \
	--universal --fork-strategy fewest --python-version 3.11 \
	--generate-hashes --no-emit-index-url $(if $(UPGRADE),--upgrade)

.PHONY: lock
lock: venv ## Update the requirements.lock files: UPGRADE=1 for the newest versions
	$(UV_LOCK) --extra flower --extra events --group dev -o tests/requirements.lock pyproject.toml
	$(UV_LOCK) --extra flower --extra events -c tests/requirements.lock -o deploy/requirements.lock pyproject.toml
	$(UV_LOCK) --group build -c tests/requirements.lock -o deploy/build.lock
	$(UV_LOCK) --group docs -o docs/requirements.lock

.venv-docs/.installed: docs/requirements.lock
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install -qq --disable-pip-version-check --require-hashes -r docs/requirements.lock
	@touch $@

SITE ?= build/site
.PHONY: site
site: .venv-docs/.installed ## Build the documentation site in build/site
	PYTHONDONTWRITEBYTECODE=1 NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict --site-dir $(abspath $(SITE))

.PHONY: dist
dist: venv ## Build sdist, wheel and farmhaul-hook.pyz reproducibly in dist, with their SBOM
	rm -f dist/farmhaul*
	$(BIN)/python -m build --no-isolation .
	$(BIN)/python hatch_build.py dist/farmhaul-hook.pyz
	$(MAKE) --no-print-directory sbom
	cd dist && sha256sum farmhaul* > SHA256SUMS

.PHONY: nox
nox: venv ## Test the built wheel on each supported Python that is installed
	$(BIN)/nox

# These tools have an environment of their own, so their dependencies cannot conflict.
.venv/audit/.installed: deploy/audit.lock | venv
	$(BIN)/python -m venv .venv/audit
	.venv/audit/bin/python -m pip install -qq --disable-pip-version-check --require-hashes -r $<
	@touch $@

.PHONY: audit
audit: .venv/audit/.installed ## Look up known vulnerabilities of the packages in deploy/requirements.lock
	@.ci/audit

SBOM = .venv/audit/bin/cyclonedx-py requirements --output-reproducible --pyproject pyproject.toml --of JSON

.PHONY: sbom
sbom: .venv/audit/.installed ## Write dist/farmhaul.cdx.json: the packages in deploy/requirements.lock, as CycloneDX
	@mkdir -p dist
	$(SBOM) -o dist/farmhaul.cdx.json deploy/requirements.lock

.PHONY: audit-lock
audit-lock: venv ## Update deploy/audit.lock from deploy/audit.in
	UV_CUSTOM_COMPILE_COMMAND="make audit-lock" $(BIN)/uv pip compile --quiet --universal \
		--python-version 3.11 --generate-hashes --no-emit-index-url -o deploy/audit.lock deploy/audit.in

.PHONY: clean
clean: ## Remove .venv and all generated files
	rm -rf .venv .venv-docs .nox .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build dist htmlcov
	find tasks workers tests deploy -name __pycache__ -type d -prune -exec rm -rf {} +
