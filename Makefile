# The two commands of the README, and what they stand on. Everything is installed into .venv and .stacks, but for bubblewrap
# (the sandbox of the python tool), which `make test` asks apt-get for where it may.
PYTHON ?= $(shell command -v python3 || echo python3)
BIN := .venv/bin
TARGET ?= cpu
STATIC := $(BIN)/ruff check . && $(BIN)/ruff format --quiet --check . && $(BIN)/mypy
# Every start of vLLM reads thousands of modules: where this is set, each one would compile them all again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup run quick test test-all test-rest stacks bench fuzz check-install drills lint lab site lock clean-runs
.PHONY: workflows newest gpu propose audit newcomer

help:           ## list these commands
	@awk -F ':.*## ' '/^## /{printf "\n%s\n", substr($$0, 4)} /^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

## Use it
setup:          ## create the workbench (.venv)
	@command -v "$(PYTHON)" >/dev/null || { echo "cookbook: there is no $(PYTHON) on the PATH because Python is not installed; install Python 3.11 or newer, or pass PYTHON=/path/to/python" >&2; exit 1; }
	@"$(PYTHON)" helpers/machine/bootstrap.py

run: setup      ## install, then run notebooks/targets/cpu.ipynb from cold to stopped (TARGET=h200 for another)
	@$(BIN)/cookbook run $(TARGET) $(ARGS)

# The checkout is Lab's root: pages link to docs/. As root (a container) Lab would refuse; it listens on loopback, with a token.
# recipes/jupyter: no question about Jupyter's news, no look for updates. What you set in Lab yourself counts more.
lab: setup      ## open the notebooks in JupyterLab (ARGS="--no-browser --port 8890" on a machine without a screen)
	@env JUPYTER_CONFIG_PATH=$(CURDIR)/recipes/jupyter$(addprefix :,$(JUPYTER_CONFIG_PATH)) $(BIN)/jupyter lab --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/notebooks/start_here.ipynb $(if $(filter 0,$(shell id -u)),--allow-root) $(ARGS)

clean-runs:     ## remove the run folders
	@rm -rf runs

## Test a change
quick: setup workflows  ## tests without vLLM: units, recipes, drift of rendered pages, static checks; at most a minute
	@$(STATIC)
	@$(BIN)/python -m pytest -m "not real and not full" -n 2 --dist loadgroup $(ARGS)

test: stacks    ## install, then the quick tests and those on a real vLLM, the CPU notebook from cold to stopped; at most ten minutes
	@$(STATIC)
	@$(BIN)/python -m pytest -m "not full" -n 2 --dist loadgroup --durations=15 --durations-min=5 $(ARGS)

test-all: test test-rest  ## every test, every target rehearsed; half an hour

# A stack that cannot be installed here (the evaluations' needs Python 3.12) fails or skips its own tests, not the others.
test-rest: stacks  ## what test-all has beyond test: on two workers, then alone what measures
	@for stack in clients litellm aider evals; do $(BIN)/cookbook install $$stack || echo "cookbook: $$stack is not installed; its tests say why" >&2; done
	@$(BIN)/python tests/rest.py $(ARGS)

lint: setup     ## ruff on code and notebooks, mypy on types
	@$(STATIC)

## Drills, hunts, measurements, the site
drills: stacks  ## every failure drill; writes docs/drills.md
	@COOKBOOK_DRILLS=all $(BIN)/python -m pytest tests/drills $(ARGS)

fuzz: stacks    ## hunt for requests that end the server: 10,000 against the CPU recipe's (ARGS="--help" for others)
	@$(BIN)/python -m hunt $(ARGS)

bench: setup    ## measure the cookbook itself: fidelity of the load client, cost of a start, a sweep and a notebook
	@$(BIN)/cookbook install cpu
	@$(BIN)/python -m benchmarks.run $(ARGS)

check-install: setup  ## install the CUDA stack for real (several GB) and ask its parser about every NVIDIA recipe
	@$(BIN)/cookbook check-install cuda

workflows: setup  ## the workflows, issue forms and citation file against their schemas and rules
	@$(BIN)/actionlint -shellcheck= -pyflakes=
	@$(BIN)/zizmor --quiet --offline --no-progress --persona pedantic .github/workflows
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/failure.yml .github/ISSUE_TEMPLATE/target.yml
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.citation-file-format CITATION.cff

audit: stacks   ## advisories, bills of materials and licences of what is installed, to runs/supply
	@$(BIN)/python -m maintain.delivery.supply

newcomer: setup ## a stranger on a bare Debian root runs the README's commands (root, debootstrap); transcript in runs/newcomer.txt
	@maintain/newcomer.sh runs/newcomer.txt

site: setup     ## build the static site into build/site: pages, executed notebooks, command builder, search; a minute, offline
	@$(BIN)/python -m maintain.site.build

## Locks, releases, runs on GPUs
lock: setup     ## write the locks anew from pyproject.toml and recipes/locks/*.in
	@$(BIN)/python -m maintain.locks

newest: setup   ## try the newest vLLM in a copy: lock, installation, parser; list what is stale (several GB)
	@$(BIN)/cookbook stale --ask
	@$(BIN)/cookbook upgrade --vllm newest $(ARGS)

gpu: setup      ## on a machine with the target's hardware: run it and pack the result (TARGET=h200 ARGS="-p ...")
	@$(BIN)/cookbook run $(TARGET) $(ARGS)
	@$(BIN)/cookbook publish --bundle runs/bundle.zip --contributor $(or $(ACTOR),gpu-lane)

propose: setup  ## check a bundle and propose it as a pull request (TARGET, ACTOR, RUN_ID, GH_TOKEN of the workflow)
	@maintain/propose.sh runs/bundle.zip

stacks: setup
	@$(BIN)/cookbook install cpu
	@$(BIN)/python -m helpers.tools.setup
