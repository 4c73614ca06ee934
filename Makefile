SHELL := /bin/sh
PYTHON ?= python3
SCALE ?= laptop
DATA ?= embedded
BIN := .venv/bin
# Compiled files, which every process that a target starts reads again.
export PYTHONDONTWRITEBYTECODE =

.PHONY: help setup test test-all examples lint format reproduce-paper bench smoke torture docs clean

help: ## Print the targets.
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /|/' | awk -F'|' '{printf "make %-16s %s\n", $$1, $$2}'

setup: .venv/ready ## Make the virtual environment in .venv (the other targets do it themselves).

.venv/ready: pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit("scalpel needs Python 3.11 or later; try: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch .venv/ready

# One worker more than cores: some tests wait for processes that they start.
test: .venv/ready ## Run the tests (under 5 minutes on two cores).
	$(BIN)/python -m pytest -n 3 --dist worksteal

test-all: .venv/docs ## Run all tests, the slow ones too.
	$(BIN)/python -m pytest -n 2 --dist worksteal -m 'slow or not slow'

examples: .venv/ready ## Run the examples as the README shows them, and check what they print.
	$(BIN)/python -m pytest -n 2 -m 'slow or not slow' tests/test_examples.py

lint: .venv/ready ## Check format, style and types.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: .venv/ready ## Format the code and fix what can be fixed.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

reproduce-paper: .venv/ready ## Run the paper's experiments and draw its figures (SCALE=laptop DATA=embedded).
	$(BIN)/scalpel reproduce --scale $(SCALE) --data $(DATA)

bench: .venv/ready ## Measure speed, as ratios within one run.
	$(BIN)/scalpel bench

smoke: .venv/ready ## Run every experiment in seconds, into a temporary folder.
	results=$$(mktemp -d) && $(BIN)/scalpel reproduce --scale smoke --results $$results && rm -r $$results

torture: .venv/ready ## Kill, share and damage sweeps, many times over, and count what is lost (under 20 minutes).
	$(BIN)/python -m tests.torture

.venv/docs: .venv/ready requirements-docs.lock
	$(BIN)/python -m pip install --quiet --requirement requirements.lock --requirement requirements-docs.lock
	@touch .venv/docs

docs: .venv/docs ## Build the site in site/ (open site/index.html), and check its links and pages.
	rm -rf site
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -c docs/site -d build/doctrees --fresh-env . site
	SITE=site $(BIN)/python -m pytest -m slow tests/test_site.py

clean: ## Remove the virtual environment and caches; results stay.
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache build site *.egg-info
