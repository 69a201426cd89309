# make demo: the main job on the demo world.   make test: lint, types, tests.   Each does all its own set-up in .venv.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
READY := $(VENV)/.ready

.PHONY: help setup demo demo-weights test lint types tests slow docs bench clean
help:
	@sed -n '1p' Makefile; echo "also: make setup | lint | types | tests | slow | docs | bench | demo-weights | clean"

setup: $(READY)

# An editable install freezes entry points and a changed constraint changes what is installed: hence these prerequisites.
$(READY): setup.cfg pyproject.toml constraints.txt $(wildcard setup.py icvos/*.c)
	@test -d $(VENV)/lib/python3*/site-packages/torch || test $$(df -Pk . | awk 'END {print $$4}') -gt 8000000 || \
	  { echo "make: less than 8 GB are free on this disk; torch and its libraries take 7: free some space first" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install -q -c constraints.txt setuptools wheel
	$(PIP) install -q -c constraints.txt torch torchvision
	SAM2_BUILD_CUDA=0 $(PIP) install -q -c constraints.txt --no-build-isolation --no-deps sam2==1.1.0
	$(PIP) install -q -c constraints.txt --no-build-isolation -e '.[all,dev]'
	@touch $@

demo: $(READY)
	@$(BIN)/icvos demo

# Trains the small weights of the demo from nothing: planned for two hours on 2 cores; goes on where it stopped.
demo-weights: $(READY)
	$(BIN)/python -m tools.train_demo_weights --out runs/demo-weights --install
	$(BIN)/python -m tools.train_demo_heads --backbone dcsam/weights/demo_dcsam.safetensors \
	  --sam2 icvos/demo/weights/demo_sam2.safetensors --minutes 8 --out baselines/weights

test: lint types tests

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

tests: $(READY)
	$(BIN)/python -m pytest -q -n auto --dist worksteal

slow: $(READY)
	$(BIN)/python -m pytest -q -m slow

# The documentation's site, in site/: strict, and without a network.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo site/index.html

# Measures every claim of speed and memory again, about ten minutes on 2 cores with nothing beside it.
bench: $(READY)
	@$(BIN)/python benchmarks/claims.py

clean:
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis runs site
