# `make demo` and `make test` need Python 3.10 to 3.13 and make; PYTHON=python3.12 chooses one.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO ?= runs/demo
BENCH ?= docs/performance

.PHONY: setup demo test lint bench bench-compile faults docs clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 10) <= v <= (3, 13) else \
	    "attnorm needs Python 3.10 to 3.13, not %d.%d: make PYTHON=python3.12 …" % v)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train,data,eval,figures,export,dev]'
	touch $@

# A fresh demo each time: the run that the last one left is moved aside, not overwritten.
demo: setup
	@if [ -e $(DEMO) ]; then mv $(DEMO) $(DEMO)-$$(date +%Y%m%d-%H%M%S); fi
	$(BIN)/attnorm train demo-digits --data digits --out $(DEMO)
	$(BIN)/attnorm generate $(DEMO) --per-class 10 -o $(DEMO)/digits.png
	$(BIN)/attnorm visualize $(DEMO) --count 10 -o $(DEMO)/layouts.png
	$(BIN)/attnorm contact-sheet $(DEMO) -o $(DEMO)/sheet.png

# One thread a process: four workers of two threads each would fight for the processors.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

BENCHMARK = $(BIN)/attnorm bench
records = --json $(BENCH)/$(1).json --plot $(BENCH)/$(1).png

# About ten minutes on two processors that do nothing else; BENCH=FOLDER puts the records elsewhere.
bench: setup
	$(BENCHMARK) layer --limit 1 --rounds 11 $(call records,layer)
	$(BENCHMARK) layer --dtype bfloat16 --only 'regional_norm cpp' AttentiveNorm2d $(call records,layer-bf16)
	$(BENCHMARK) layer --sizes 32 --batch 16 --channels 256 --only 'regional_norm cpp' $(call records,layer-wide)
	$(BENCHMARK) layer --sizes 128 256 512 1024 2048 --passes forward --only 'regional_norm cpp' \
	    $(call records,layer-growth)
	$(BENCHMARK) train --plain --profile sn-gan-star sa-gan an-gan --rounds 7 $(call records,train)
	$(BENCHMARK) data $(call records,data)
	$(BENCHMARK) generate $(call records,generate)
	$(BENCHMARK) inpaint --rounds 3 --limit 60 $(call records,inpaint)
	$(BENCHMARK) report $(BENCH) -o $(BENCH)/README.md

# What torch.compile makes of the same steps; the compilation itself takes minutes.
bench-compile: setup
	$(BENCHMARK) train --sizes 32 --systems sn-gan-star an-gan --compile --rounds 5 $(call records,train-compiled)
	$(BENCHMARK) report $(BENCH) -o $(BENCH)/README.md

# The site in build/site: any warning, a link that leads nowhere and a request to another host fail it.
docs: $(VENV)/.docs-installed
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --fresh-env docs build/site
	$(BIN)/python docs/check_site.py build/site

$(VENV)/.docs-installed: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

# Kills, full disks, dying processes, memory: docs/reliability.md. JOBS runs are disturbed at a time.
JOBS ?= 1
faults: setup
	mkdir -p runs
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/faults.py --jobs $(JOBS) --json runs/faults.json --markdown runs/faults.md

clean:
	rm -rf $(VENV)
