# The two commands of the README, and what they stand on. Everything is installed into .venv and .stacks, but for bubblewrap
# (the sandbox of the python tool), which `make test` asks apt-get for where it may.
PYTHON ?= $(shell command -v python3 || echo python3)
BIN := .venv/bin
# LANES=2 runs the tests in two lanes, for a quicker look at a change: it needs the memory of up to four vLLM servers, and on
# two cores a measurement of one lane may be spoilt by the other.
LANES ?= 0
TARGET ?= cpu
# Every start of vLLM reads thousands of modules: where this is set, each one would compile them all again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup run test bench check-install drills lint lab lock clean-runs

help:           ## list these commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup:          ## create the workbench (.venv)
	@command -v "$(PYTHON)" >/dev/null || { echo "cookbook: there is no $(PYTHON) on the PATH because Python is not installed; install Python 3.11 or newer, or pass PYTHON=/path/to/python" >&2; exit 1; }
	@"$(PYTHON)" helpers/bootstrap.py

run: setup      ## install, then run notebooks/targets/cpu.ipynb from cold to stopped (TARGET=h200 for another)
	@$(BIN)/cookbook run $(TARGET) $(ARGS)

test: setup     ## install, then run every test, the CPU notebook included
	@$(BIN)/cookbook install cpu
	@$(BIN)/python -m helpers.tools.setup
	@$(BIN)/ruff check .
	@$(BIN)/python -m pytest -n $(LANES) --dist loadscope --no-loadscope-reorder $(ARGS)

bench: setup    ## measure the cookbook itself: fidelity of the load client, cost of a start, a sweep and a notebook
	@$(BIN)/cookbook install cpu
	@$(BIN)/python -m benchmarks.run $(ARGS)

drills: setup   ## every failure drill, the slow ones too; writes docs/drills.md
	@$(BIN)/cookbook install cpu
	@COOKBOOK_DRILLS=all $(BIN)/python -m pytest tests/drills $(ARGS)

check-install: setup  ## install the CUDA stack for real (several GB) and ask its parser about every NVIDIA recipe
	@$(BIN)/cookbook check-install cuda

lint: setup     ## ruff on code and notebooks
	@$(BIN)/ruff check .

lab: setup      ## open the notebooks in JupyterLab
	@$(BIN)/jupyter lab notebooks/start_here.ipynb

lock: setup     ## write the locks anew from pyproject.toml and recipes/locks/*.in
	@$(BIN)/python -m helpers.stack.lock

clean-runs:     ## remove the run folders
	@rm -rf runs
