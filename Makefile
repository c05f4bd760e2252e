# `make help` prints the targets. Everything runs from a virtual environment that `make` creates.
SHELL := /bin/bash
.DEFAULT_GOAL := help

VENV ?= .venv
# The first interpreter that runs and is new enough; override with PYTHON=...
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python3.14; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)
# Package index with a CUDA build of PyTorch, for example; empty means pip's own configuration.
TORCH_INDEX ?=
PYTEST_ARGS ?=
# For example --shards software law, or --list.
NIGHTLY_ARGS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

.PHONY: help run test test-nightly lint docs bench clean

help: ## Print the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

run: $(VENV)/.run ## Set up, train digits with BDWP 2:8, measure, simulate, run RTL, write the report
	$(BIN)/cosparse run quickstart

test: $(VENV)/.test lint docs ## Set up, lint, build the docs, run the tests
	$(BIN)/pytest -n 2 -m "not nightly" $(PYTEST_ARGS)

test-nightly: $(VENV)/.test ## Run the tests with larger counts, in shards that go on where they were cut short
	$(BIN)/python -m tests.nightly $(NIGHTLY_ARGS)

lint: $(VENV)/.test ## Ruff, mypy strict, import contracts, Verilator and Verible
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	$(BIN)/python -m hwsim.cosim.lint
	@$(BIN)/lint-imports --no-cache > $(VENV)/lint-imports.log || { cat $(VENV)/lint-imports.log; exit 1; }

docs: $(VENV)/.test ## Build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: $(VENV)/.run ## Measure the CPU kernels against dense libraries
	$(BIN)/cosparse bench cpu

clean: ## Remove the virtual environment, caches and built documentation (results/ stays)
	rm -rf $(VENV) site dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "cosparse needs Python 3.11 or newer; install it, or give PYTHON=..."; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing cosparse and what it needs into $(VENV) (about two minutes the first time)"
	@$(if $(TORCH_INDEX),$(PIP) --index-url $(TORCH_INDEX) torch)
	@$(PIP) --editable '.[rtl]'
	@touch $@

$(VENV)/.test: $(VENV)/.run
	@echo "installing the development tools into $(VENV)"
	@$(PIP) --editable '.[dev,models,gpu,sweep]'
	@touch $@
