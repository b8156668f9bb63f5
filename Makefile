# Two commands for a newcomer: `make run` answers a question with a small study, `make test` checks
# the project. Both install what they need the first time, and start at once after that.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUNS := $(VENV)/.runs
READY := $(VENV)/.ready
CLUSTERS := $(VENV)/.clusters

# Tests start Python some hundred times: without bytecode each would compile all modules again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: setup run test suite fast readme long fuzz lint clean

setup: $(READY)

# torch and torchvision are resolved together in a fresh environment, since a torchvision from the
# package index cannot be imported beside another build of torch.
$(RUNS): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(READY): $(RUNS)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

# SLURM needs root and Debian, and runs only while a test does (scripts/cluster).
$(CLUSTERS): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[integration]' || true
	command -v slurmd munged > /dev/null || apt-get install -y slurm-wlm munge || true
	touch $@

run: $(RUNS)
	$(BIN)/ablate run +study=digits report=true

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Linters use one core for most of a minute, so they run beside the tests.
test: $(READY)
	$(MAKE) --no-print-directory --jobs 2 lint suite

suite: $(READY)
	$(BIN)/pytest -n auto --dist worksteal --durations=10 -m 'not long'

fast: lint
	$(BIN)/pytest -n auto --dist worksteal -m 'not slow and not long'

# Runs the commands of the README and of docs/ on tiny data, each page in order in a fresh folder.
readme: $(READY)
	$(BIN)/pytest -n auto --dist worksteal tests/project/test_pages.py

# Too long for every change: run it before a release, and after changes to recovery. Tests against
# a real SLURM and Ray are skipped, with the reason, if these cannot be installed.
long: lint $(CLUSTERS)
	$(BIN)/pytest -n auto --dist worksteal -m long

# Random requests and command lines, for 20 minutes or FUZZ_SECONDS, from a new seed or FUZZ_SEED.
# `make test` tries a few from a fixed seed.
fuzz: $(READY)
	seed=$${FUZZ_SEED:-$$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}; echo FUZZ_SEED=$$seed; \
	FUZZ_SEED=$$seed FUZZ_SECONDS=$${FUZZ_SECONDS:-1200} $(BIN)/pytest -s tests/fuzz

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
