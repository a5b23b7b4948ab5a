# The two commands of the README, and what they stand on. Everything is installed into .venv and .stacks, but for bubblewrap
# (the sandbox of the python tool), which `make test` asks apt-get for where it may.
PYTHON ?= $(shell command -v python3 || echo python3)
BIN := .venv/bin
TARGET ?= cpu
STATIC := $(BIN)/ruff check . && $(BIN)/ruff format --quiet --check . && $(BIN)/mypy
# Every start of vLLM reads thousands of modules: where this is set, each one would compile them all again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup run quick test test-all test-rest stacks bench fuzz check-install drills lint lab site lock clean-runs

help:           ## list these commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup:          ## create the workbench (.venv)
	@command -v "$(PYTHON)" >/dev/null || { echo "cookbook: there is no $(PYTHON) on the PATH because Python is not installed; install Python 3.11 or newer, or pass PYTHON=/path/to/python" >&2; exit 1; }
	@"$(PYTHON)" helpers/machine/bootstrap.py

run: setup      ## install, then run notebooks/targets/cpu.ipynb from cold to stopped (TARGET=h200 for another)
	@$(BIN)/cookbook run $(TARGET) $(ARGS)

quick: setup    ## tests without vLLM: units, recipes, drift of rendered pages, static checks; a minute
	@$(STATIC)
	@$(BIN)/python -m pytest -m "not real and not full" $(ARGS)

test: stacks    ## install, then the quick tests and those on a real vLLM, the CPU notebook from cold to stopped; ten minutes
	@$(STATIC)
	@$(BIN)/python -m pytest -m "not full" $(ARGS)

test-all: stacks  ## every test, every target rehearsed; half an hour
	@$(STATIC)
	@$(BIN)/python -m pytest $(ARGS)

test-rest: stacks  ## what test-all has beyond test
	@$(BIN)/python -m pytest -m full $(ARGS)

stacks: setup
	@$(BIN)/cookbook install cpu
	@$(BIN)/python -m helpers.tools.setup

bench: setup    ## measure the cookbook itself: fidelity of the load client, cost of a start, a sweep and a notebook
	@$(BIN)/cookbook install cpu
	@$(BIN)/python -m benchmarks.run $(ARGS)

drills: stacks  ## every failure drill; writes docs/drills.md
	@COOKBOOK_DRILLS=all $(BIN)/python -m pytest tests/drills $(ARGS)

fuzz: stacks    ## hunt for requests that end the server: 10,000 against the CPU recipe's (ARGS="--help" for others)
	@$(BIN)/python -m hunt $(ARGS)

check-install: setup  ## install the CUDA stack for real (several GB) and ask its parser about every NVIDIA recipe
	@$(BIN)/cookbook check-install cuda

lint: setup     ## ruff on code and notebooks, mypy on types
	@$(STATIC)

lab: setup      ## open the notebooks in JupyterLab
	@$(BIN)/jupyter lab notebooks/start_here.ipynb

site: setup     ## build the static site into build/site: pages, executed notebooks, command builder, search; a minute, offline
	@$(BIN)/python -m maintain.site.build

lock: setup     ## write the locks anew from pyproject.toml and recipes/locks/*.in
	@$(BIN)/python -m maintain.locks

clean-runs:     ## remove the run folders
	@rm -rf runs
