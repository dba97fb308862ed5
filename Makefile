# Two commands do everything, from nothing but Python 3.11 and make:
#   make train    the environment, then the whole main job on the embedded default
#   make test     the environment, then formatting, types, import rules and tests
# ARGS are Hydra overrides for train (make train ARGS="seed=1"), pytest's arguments for test and fast.

PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
LOCK   ?= requirements/cpu.lock
STAMP  := $(VENV)/installed-$(notdir $(LOCK))
ARGS   ?=

.PHONY: train test fast check setup lock clean-env help

train: setup ## Run the main job (ARGS: Hydra overrides)
	@requirements/gpu-hint.sh $(LOCK)
	@$(BIN)/python -m launch.train $(ARGS)

test: setup check ## Run the checks and all tests (ARGS: pytest's arguments)
	$(BIN)/python -m pytest $(ARGS)

fast: setup check ## Run the checks and the tests that start no actors and load no models
	$(BIN)/python -m pytest -m fast --durations=10 $(ARGS)

check: setup ## Run ruff, mypy and the import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo

setup: $(STAMP) ## Make the environment in .venv from LOCK

# Installed again only when the lock changed.
$(STAMP): $(LOCK) requirements/install.sh
	@requirements/install.sh $(PYTHON) $(VENV) $(LOCK)
	@touch $@

lock: ## Resolve both locks again; needs uv (pip install uv)
	requirements/lock.sh

clean-env: ## Remove .venv
	rm -rf $(VENV)

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12
