# winseed: `make help` lists everything.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WINSEED := $(BIN)/winseed

# Some shells export the name of this machine as HOST: only what the call says names the server.
ifeq ($(origin HOST),environment)
HOST :=
endif

# make iso EDITION=core RELEASE=2022 ... : variables of the spec, handed on as flags
FLAGS = $(if $(SPEC),--spec "$(SPEC)") $(if $(HOST),--host "$(HOST)") $(if $(ALL),--all) \
  $(if $(RELEASE),--release "$(RELEASE)") $(if $(EDITION),--edition "$(EDITION)") \
  $(if $(SKU),--sku "$(SKU)") $(if $(CHANNEL),--channel "$(CHANNEL)") \
  $(if $(VIRTIO_ISO),--virtio-iso "$(VIRTIO_ISO)") $(if $(WINDOWS_ISO),--windows-iso "$(WINDOWS_ISO)")

.PHONY: help iso plan test test-vm test-vm-full lint golden bench clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | \
	  awk -F'|' '{ printf "%-14s %s\n", $$1, $$2 }'
	@echo
	@echo 'Variables of iso and plan: EDITION RELEASE SKU CHANNEL VIRTIO_ISO WINDOWS_ISO SPEC HOST ALL'

iso: $(WINSEED) ## write the answer ISO: make iso EDITION=core [RELEASE=2025 WINDOWS_ISO=...]
	@$(WINSEED) iso $(FLAGS) $(if $(OUT),-o "$(OUT)")

plan: $(WINSEED) ## print what would be built
	@$(WINSEED) plan $(FLAGS)

test: $(VENV)/dev ## run the tests
	@$(BIN)/python -m pytest -q

test-vm: $(VENV)/dev ## boot real firmware, discs and agents: 15 minutes, logs and screens in build/vm/
	@$(BIN)/python -m pytest -q --durations=5 tests/vm --ignore=tests/vm/full

test-vm-full: $(VENV)/dev ## the same with every order of letters, every belief, more firmware
	@$(BIN)/python -m pytest -q --durations=20 tests/vm

lint: $(VENV)/dev ## check style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

golden: $(VENV)/dev ## rewrite the expected answer files, then show what changed
	@$(BIN)/python -m pytest -q tests/golden --regenerate
	@git --no-pager diff --stat -- tests/golden

bench: $(VENV)/dev ## measure against the tools a user would take instead (needs 15 GB once)
	@$(BIN)/python tests/bench/bench.py

clean: ## remove what the targets have made; ISOs in dist/ stay
	rm -rf $(VENV) build .bench .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo 'error: winseed needs Python 3.11 or later as $(PYTHON)' >&2; \
	    echo 'hint: apt install python3 python3-venv, or make PYTHON=/path/to/python3.11' >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo 'error: this Python cannot make virtual environments' >&2; \
	    echo 'hint: apt install python3-venv' >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV)

$(WINSEED): $(BIN)/python pyproject.toml
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e . >&2
	@touch $@

$(VENV)/dev: $(WINSEED) pyproject.toml
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]' >&2
	@touch $@
