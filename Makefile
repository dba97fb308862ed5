# Two commands do everything, from nothing but Python 3.11 and make:
#   make train    the environment, then the whole main job on the embedded default
#   make test     the environment, then formatting, types and tests
# ARGS are Hydra overrides for train (make train ARGS="seed=1"), pytest's arguments for test.

PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
LOCK   ?= requirements/cpu.lock
STAMP  := $(VENV)/installed-$(notdir $(LOCK))
ARGS   ?=

.PHONY: train test check setup lock clean-env

train: setup
	@requirements/gpu-hint.sh $(LOCK)
	@$(BIN)/python -m launch.train $(ARGS)

test: setup check
	$(BIN)/python -m pytest $(ARGS)

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

setup: $(STAMP)

# Installed again only when the lock changed.
$(STAMP): $(LOCK) requirements/install.sh
	@requirements/install.sh $(PYTHON) $(VENV) $(LOCK)
	@touch $@

# Resolve both locks again; needs uv (pip install uv).
lock:
	requirements/lock.sh

clean-env:
	rm -rf $(VENV)
