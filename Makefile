# Everything a person or CI does with this repository. `make help` lists it.
#
# Each long step leaves a stamp in .venv/.stamps, so a second run does only what has changed;
# `rm -rf .venv` starts from nothing.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# One thing after the other, in the order written here; but for the three that `test` begins with.
ifndef SIDE_BY_SIDE
.NOTPARALLEL:
endif

VENV   := .venv
BIN    := $(VENV)/bin
STAMPS := $(VENV)/.stamps
PIP    := $(BIN)/python -m pip --disable-pip-version-check --no-input

RHAI         := rhai-python
RHAI_SOURCES := $(shell find $(RHAI) -type f \( -name '*.rs' -o -name '*.toml' -o -name '*.lock' -o -name '*.py' -o -name '*.pyi' \) \
                  -not -path '*/target/*' -not -path '*/tests/*' -not -path '*/.*' 2>/dev/null)

# A Rust that machine.sh had to bring is not on PATH: each recipe that needs one starts with this.
WITH_RUST = rust=$$(ops/machine.sh rust $(VENV)); eval "$$rust";

PYTEST = $(BIN)/python -m pytest

.PHONY: help up install test check bench wheels format clean test-unit test-integration test-acceptance test-faults \
        test-rhai side-by-side rust-side

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: install ## install everything into .venv and run PiCloud on http://127.0.0.1:8000
	@exec $(BIN)/picloud up

install: $(STAMPS)/picloud
	@ops/machine.sh redis $(VENV)

test: side-by-side check test-rhai test-unit test-integration test-acceptance test-faults ## everything: linters, then all tests

# -- installing ------------------------------------------------------------------

$(STAMPS)/venv:
	@command -v cc >/dev/null || { echo 'picloud: a C compiler is needed: run  sudo apt-get install gcc libc6-dev' >&2; exit 1; }
	@echo '==> [1/4] making the Python environment in $(VENV)'
	@python=$$(ops/machine.sh python); "$$python" -m venv $(VENV)
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/builders: $(STAMPS)/venv constraints.txt
	@echo '==> [2/4] installing the builders'
	@$(PIP) install --quiet --constraint constraints.txt hatchling editables maturin setuptools
	@touch $@

$(STAMPS)/rhai: $(STAMPS)/builders $(RHAI_SOURCES)
	@echo '==> [3/4] building the script engine from $(RHAI) (Rust; a few minutes the first time)'
	@rm -rf $(VENV)/wheels
	@$(WITH_RUST) $(BIN)/maturin build --release --compatibility linux --interpreter $(BIN)/python \
	    --manifest-path $(RHAI)/Cargo.toml --out $(VENV)/wheels
	@$(PIP) install --quiet --force-reinstall --no-deps $(VENV)/wheels/*.whl
	@touch $@

# All but what is built here. What pip would compile now is compiled when it is imported: most of it never is.
LIST_REQUIREMENTS := import tomllib; project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
    extras = project["optional-dependencies"]; needed = project["dependencies"] + extras["dev"] + extras["otel"]; \
    print(*(each for each in needed if not each.startswith("rhai-python")), sep="\n")

$(STAMPS)/requirements: $(STAMPS)/builders pyproject.toml constraints.txt
	@echo '==> installing what the tests and linters need'
	@$(BIN)/python -c '$(LIST_REQUIREMENTS)' | \
	    $(PIP) install --quiet --no-compile --constraint constraints.txt --no-build-isolation --requirement /dev/stdin
	@touch $@

$(STAMPS)/picloud: $(STAMPS)/rhai pyproject.toml constraints.txt
	@echo '==> [4/4] installing PiCloud and what it needs'
	@$(PIP) install --progress-bar on --constraint constraints.txt --no-build-isolation --editable .
	@touch $@

$(STAMPS)/dev: $(STAMPS)/requirements $(STAMPS)/picloud
	@touch $@

wheels: $(STAMPS)/rhai ## the two wheels a production server installs, in dist/
	@rm -rf dist && mkdir dist && cp $(VENV)/wheels/*.whl dist/
	@$(BIN)/python -m hatchling build --target wheel

# Debug symbols are half the time of a Rust build, and nobody here opens a debugger.
export CARGO_PROFILE_DEV_DEBUG := 0
# One Python for every Rust build, or each would start from nothing.
export PYO3_PYTHON := $(abspath $(BIN)/python)

# The last minute of a release build is one processor's work. What else needs no script engine is done meanwhile: the
# rest of the installation, and all of the Rust side, which `check` and `test-rhai` then find done.
side-by-side: $(STAMPS)/builders
	@$(WITH_RUST) cargo --version >/dev/null
	@$(MAKE) --no-print-directory --jobs 3 SIDE_BY_SIDE=1 $(STAMPS)/rhai $(STAMPS)/requirements rust-side

rust-side: $(STAMPS)/builders
	@ops/machine.sh libpython $(VENV)
	@ops/machine.sh rust-linters $(VENV)
	@$(WITH_RUST) cargo clippy --quiet --manifest-path $(RHAI)/Cargo.toml --all-targets -- -D warnings
	@$(WITH_RUST) cargo test --quiet --no-run --manifest-path $(RHAI)/Cargo.toml

# -- checking --------------------------------------------------------------------

check: $(STAMPS)/dev ## linters, types, import boundaries, the Rust side
	@echo '==> ruff' && $(BIN)/ruff check . && $(BIN)/ruff format --check .
	@echo '==> import boundaries' && $(BIN)/lint-imports
	@echo '==> mypy' && $(BIN)/mypy
	@echo '==> pyright' && $(BIN)/pyright
	@echo '==> types of $(RHAI)' && cd $(RHAI) && ../$(BIN)/mypy && ../$(BIN)/pyright && ../$(BIN)/stubtest rhai
	@echo '==> rustfmt and clippy'
	@ops/machine.sh rust-linters $(VENV)
	@$(WITH_RUST) cargo fmt --manifest-path $(RHAI)/Cargo.toml --check
	@$(WITH_RUST) cargo clippy --quiet --manifest-path $(RHAI)/Cargo.toml --all-targets -- -D warnings

format: $(STAMPS)/dev ## rewrite what ruff and rustfmt can
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .
	@$(WITH_RUST) cargo fmt --manifest-path $(RHAI)/Cargo.toml

# -- testing ---------------------------------------------------------------------

test-rhai: $(STAMPS)/dev ## the script engine: Rust tests, then Python tests
	@echo '==> tests of the script engine'
	@ops/machine.sh libpython $(VENV)
	@$(WITH_RUST) cargo test --quiet --manifest-path $(RHAI)/Cargo.toml
	@$(PYTEST) --numprocesses 2 $(RHAI)/tests

test-unit: install $(STAMPS)/dev ## tests without sockets
	@echo '==> unit tests'
	@$(PYTEST) --numprocesses 2 tests/unit

test-integration: install $(STAMPS)/dev ## tests against a real PostgreSQL and Redis
	@ops/machine.sh model-checker
	@echo '==> integration tests'
	@# Each process has servers of its own, here and below, and waits for them a good part of its time.
	@$(PYTEST) --numprocesses 3 --dist worksteal tests/integration

test-acceptance: install $(STAMPS)/dev ## tests of the processes as users start them
	@ops/machine.sh browser
	@echo '==> acceptance tests'
	@$(PYTEST) --numprocesses 3 --dist loadfile tests/acceptance

test-faults: install $(STAMPS)/dev ## tests that kill, stop and cut things on purpose
	@echo '==> fault tests'
	@$(PYTEST) --numprocesses 4 --dist worksteal tests/faults  # tests of a module stay together: they share a cluster

bench: install $(STAMPS)/dev ## the benchmarks; each writes its figures into benchmarks/results
	@ops/machine.sh load-generator
	@$(PIP) install --quiet --constraint constraints.txt --no-build-isolation --editable '.[bench]'
	@for file in benchmarks/*.py; do echo "==> $$file"; $(BIN)/python "$$file"; done

clean: ## everything that was built
	@rm -rf $(VENV) dist $(RHAI)/target .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
