# `make` lists what there is. Everything happens in $(VENV); nothing is installed elsewhere.

# The interpreter that makes the environment: 3.11, 3.12 or 3.13.
PYTHON ?= python3
VENV   ?= .venv
# Whole files per worker, so that a file traces its functions once; few workers, as each imports TensorFlow.
PYTEST_ARGS ?= -n auto --maxprocesses 4 --dist loadfile

PY  := $(VENV)/bin/python
RUN := $(VENV)/.installed-run
DEV := $(VENV)/.installed-dev
# What the benchmark compares with, in an environment of its own.
PEERS := .venv-bench/.installed

# TensorFlow's start-up chatter hides what matters; 0 shows it.
export TF_CPP_MIN_LOG_LEVEL ?= 3

.DEFAULT_GOAL := help
.PHONY: help install demo test lint format bench workers docs clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

install: $(RUN)  ## make the environment with the pinned packages

demo: $(RUN)  ## meta-train on the embedded data, compare with Adam: a picture and a table
	$(PY) meta_train.py --flagfile=recipes/demo.flags
	$(PY) evaluate.py --flagfile=recipes/demo_evaluate.flags

test: $(DEV)  ## run the test suite; PYTEST_ARGS="tests/x.py -k name" for a part of it
	$(PY) -m pytest $(PYTEST_ARGS)

lint: $(DEV)  ## check style and format
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

format: $(DEV)  ## put style and format right where a machine can
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

bench: $(RUN)  ## speed and memory beside the floor and JAX, appended to benchmarks/history.jsonl; BENCH_ARGS="--problem=mnist"
	@$(MAKE) --no-print-directory $(PEERS) || echo "JAX cannot be installed: its rows will say so."
	$(PY) -m benchmarks.bench_unroll $(BENCH_ARGS)
	$(PY) -m benchmarks.bench_memory --few

workers: $(RUN)  ## train with two processes, kill one, go on: the weights must be those of an undisturbed run
	$(PY) -m benchmarks.lost_worker

docs: $(DEV)  ## build the API reference from the docstrings: build/docs/index.html
	$(PY) -W error -m docs.api.build

clean:  ## remove the environment and tool caches; runs/ stays
	rm -rf $(VENV) .venv-bench .pytest_cache .ruff_cache build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One rule per stage, each with a stamp: nothing is done twice, and a change of the pins is noticed.
$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
	  echo "Received $$($(PYTHON) --version 2>&1), expected Python 3.11, 3.12 or 3.13, for which TensorFlow 2.21 is"; \
	  echo "built. Name one, for example: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; } >&2
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "This Python cannot make virtual environments. On Debian and Ubuntu: sudo apt-get install python3-venv"; \
	  exit 2; } >&2
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(RUN): requirements.txt $(VENV)/.made
	@echo "Installing TensorFlow and what goes with it into $(VENV), about 700 MB to download, 2.5 GB on disk."
	$(PY) -m pip install --quiet --disable-pip-version-check --use-pep517 -r requirements.txt
	@touch $@

$(DEV): requirements-dev.txt requirements.txt $(VENV)/.made
	$(PY) -m pip install --quiet --disable-pip-version-check --use-pep517 -r requirements-dev.txt
	@touch $@ $(RUN)

$(PEERS): requirements-bench.txt $(VENV)/.made
	$(PY) -m venv --clear .venv-bench
	.venv-bench/bin/pip install --quiet --disable-pip-version-check -r requirements-bench.txt
	@touch $@
