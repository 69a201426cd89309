# make demo: the main job on the demo world.   make test: lint, types, tests.   Each does all its own set-up in .venv.
# tools/install.sh installs: for demo what it needs; for test and the others all extras and the tools.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
# CONSTRAINTS=/dev/null installs the newest versions.
CONSTRAINTS := constraints.txt
BIN := $(VENV)/bin
LOWEST := .venv-lowest
# An editable install freezes entry points and a changed constraint changes what is installed: hence these prerequisites.
SOURCES := setup.cfg pyproject.toml constraints.txt tools/install.sh $(wildcard setup.py icvos/*.c)
DEMO := $(VENV)/.demo
READY := $(VENV)/.ready

.PHONY: help setup demo demo-weights test lint types tests slow test-lowest docs bench fuzz clean
help:
	@sed -n '1p' Makefile; echo "also: make setup | lint | types | tests | slow | test-lowest | docs | bench | fuzz | demo-weights | clean"

setup: $(READY)

$(DEMO): $(SOURCES)
	@PYTHON=$(PYTHON) tools/install.sh $(VENV) $(CONSTRAINTS) sam,fast
	@touch $@

$(READY): $(SOURCES)
	@PYTHON=$(PYTHON) tools/install.sh $(VENV) $(CONSTRAINTS) all,dev
	@touch $(DEMO) $@

demo: $(DEMO)
	@$(BIN)/icvos demo

# Trains the small weights of the demo from nothing: planned for seven hours on 2 cores; goes on where it stopped.
# MINUTES=60 stops after so many.
demo-weights: $(READY)
	$(BIN)/python -m tools.train_demo_weights --out runs/demo-weights --install $(if $(MINUTES),--for $(MINUTES))

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

# The tests on the lowest versions that setup.cfg allows, in an environment of its own (7 GB; rm -rf .venv-lowest after).
test-lowest: $(LOWEST)/.ready
	$(LOWEST)/bin/python -m pytest -q -n auto --dist worksteal

$(LOWEST)/.ready: $(subst constraints.txt,constraints-lowest.txt,$(SOURCES))
	@PYTHON=$(PYTHON) tools/install.sh $(LOWEST) constraints-lowest.txt all,dev
	@touch $@

# The documentation's site, in site/: strict, and without a network.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict 2>&1 | { grep -v '^INFO' || true; }; exit $${PIPESTATUS[0]}
	@echo site/index.html

# Measures every claim of speed and memory again, about eighteen minutes on 2 cores with nothing beside it.
bench: $(READY)
	@$(BIN)/python benchmarks/claims.py

# An hour of altered files through the commands that read what strangers made; each case that fails is printed.
FUZZ_MINUTES := 60
fuzz: $(READY)
	ICVOS_FUZZ_MINUTES=$(FUZZ_MINUTES) $(BIN)/python -m pytest -q -rP tests/test_hostile.py

clean:
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis runs site
