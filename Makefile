# Needs Python 3.10 to 3.13; `make demo PYTHON=python3.12` chooses the interpreter.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO ?= runs/demo
BENCH ?= runs/bench

.PHONY: setup demo test lint bench faults docs clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 10) <= v <= (3, 13) else \
	    "attnorm needs Python 3.10 to 3.13, not %d.%d: make PYTHON=python3.12 …" % v)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train,export,dev]'
	touch $@

# Always starts a new run; an earlier one is renamed, not overwritten.
demo: setup
	@if [ -e $(DEMO) ]; then mv $(DEMO) $(DEMO)-$$(date +%Y%m%d-%H%M%S); fi
	$(BIN)/attnorm train demo-digits --data digits --out $(DEMO)
	$(BIN)/attnorm generate $(DEMO) --per-class 10 -o $(DEMO)/digits.png
	$(BIN)/attnorm visualize $(DEMO) --count 10 -o $(DEMO)/layouts.png
	$(BIN)/attnorm contact-sheet $(DEMO) -o $(DEMO)/sheet.png

# One thread per process, because pytest starts a process for each processor.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# About ten minutes on two idle processors; BENCH=FOLDER is the folder for the records.
bench: setup
	$(BIN)/python benchmarks/layer.py --literal --limit 1 --rounds 11 --json $(BENCH)/layer.json
	$(BIN)/python benchmarks/layer.py --dtype bfloat16 --limit 1 --json $(BENCH)/layer-bf16.json
	$(BIN)/python benchmarks/layer.py --sizes 32 --batch 16 --channels 256 --json $(BENCH)/layer-wide.json
	$(BIN)/python benchmarks/training_step.py --json $(BENCH)/training-step.json
	$(BIN)/python benchmarks/data_reading.py --json $(BENCH)/data-reading.json
	$(BIN)/python benchmarks/generation.py --json $(BENCH)/generation.json
	$(BIN)/python benchmarks/inpainting.py --rounds 3 --json $(BENCH)/inpainting.json

# Builds the site in build/site; fails for a warning, a broken link, or a request to another host.
docs: $(VENV)/.docs-installed
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --fresh-env docs build/site
	$(BIN)/python docs/check_site.py build/site

$(VENV)/.docs-installed: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

# Kills runs, fills disks, measures memory: see docs/reliability.md. JOBS runs are killed at a time.
JOBS ?= 1
faults: setup
	mkdir -p runs
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/faults.py --jobs $(JOBS) --json runs/faults.json --markdown runs/faults.md

clean:
	rm -rf $(VENV)
