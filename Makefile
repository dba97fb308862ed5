# Two commands do everything, from nothing but Python 3.11 and make:
#   make train    the environment, then the whole main job on the embedded default
#   make test     the environment, then formatting, types, import rules and tests
# ARGS are Hydra overrides for train (make train ARGS="seed=1"), pytest's arguments for test and fast.

PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
# An environment keeps its lock, so that a plain make does not put the CPU's packages over those for CUDA.
KEPT   := $(firstword $(notdir $(wildcard $(VENV)/installed-*.lock)))
LOCK   ?= $(or $(if $(KEPT),$(wildcard requirements/$(KEPT:installed-%=%))),requirements/cpu.lock)
STAMP  := $(VENV)/installed-$(notdir $(LOCK))
ARGS   ?=
# The tests of what needs neither actors nor models nor W&B, but for the slowest files.
FAST   := tests/test_project.py tests/test_requirements.py tests/benchmarks tests/launch/test_docs.py \
          tests/rewards tests/rollout/answers tests/rollout/data tests/rollout/episode \
          tests/rollout/strategies tests/rollout/test_show.py tests/trainer/algorithm tests/trainer/cluster \
          tests/trainer/reports tests/trainer/run_folder tests/trainer/stages tests/trainer/tracking \
          --ignore=tests/benchmarks/gpu/test_measured_parts.py \
          --ignore=tests/rewards/test_actor.py --ignore=tests/rollout/answers/test_on_data.py \
          --ignore=tests/rollout/answers/expressions/test_same_expression.py \
          --ignore=tests/trainer/reports/test_run_page.py --ignore=tests/trainer/tracking/test_tracker.py

# Tests and runs start many processes, each of which would compile the same modules again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: train test fast check figures setup lock clean-env help

train: setup ## Run the main job (ARGS: Hydra overrides)
	@requirements/gpu-hint.sh $(LOCK)
	@$(BIN)/python -m launch.train $(ARGS) || { status=$$?; \
	  [ $$status -gt 128 ] || echo "To check what a run needs: $(BIN)/python -m launch.doctor (and the same overrides)" >&2; \
	  exit $$status; }

test: setup check ## Run the checks and all tests (ARGS: pytest's arguments)
	$(BIN)/python -m pytest $(ARGS)

fast: setup check ## Run the checks and the tests that start no actors and load no models
	$(BIN)/python -m pytest --durations=10 $(FAST) $(ARGS)

check: setup ## Run ruff, mypy and the import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo

figures: setup ## Make the pictures and tables of results again from docs/studies/*.csv
	$(BIN)/python -m benchmarks.figures

setup: $(STAMP) ## Make the environment in .venv from LOCK

# Installed again only when the lock changed.
$(STAMP): $(LOCK) requirements/install.sh
	@requirements/install.sh $(PYTHON) $(VENV) $(LOCK)
	@rm -f $(VENV)/installed-*.lock
	@touch $@

lock: ## Resolve both locks again; needs uv (pip install uv)
	requirements/lock.sh

clean-env: ## Remove .venv
	rm -rf $(VENV)

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12
