# Each target sets up what it needs. Windows without make: see CONTRIBUTING.md for the same commands.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SEED ?= 7
AUDIT_VENV ?= .audit-venv
PICTURES ?= docs/pictures/slicer

.PHONY: audit bench control demo endurance fuzz mutants panel test test-processors test-slow lint types clean

# torch comes first and pinned, so that nothing after it drags in another build (an unpinned torchvision would).
$(VENV)/.torch: constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt torch torchvision setuptools wheel
	touch $@

$(VENV)/.library: $(VENV)/.torch pyproject.toml
	$(BIN)/python -m pip install -q -c constraints.txt -e .
	touch $@

$(VENV)/.test: $(VENV)/.library
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[training,test]"
	SAM2_BUILD_CUDA=0 $(BIN)/python -m pip install -q -c constraints.txt --no-build-isolation -e ".[sam2]"
	touch $@

# Not every machine has wheels of slicer-core and PySide6; without them the Slicer tests are skipped, and say so.
$(VENV)/.slicer: $(VENV)/.test
	if $(BIN)/python -m pip install -q -c constraints.txt -e ".[slicer]"; then touch $@; fi

$(VENV)/.lint: $(VENV)/.test
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[lint]"
	touch $@

demo: $(VENV)/.library
	$(BIN)/samora demo --seed $(SEED) --output demo-output

# Two workers: torch must not take both cores twice. The Slicer tests run apart, in processes without torch, as in Slicer.
test: $(VENV)/.test $(VENV)/.slicer
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --ignore Testing/slicer
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -rs --confcutdir Testing/slicer Testing/slicer

# The panel's main states and its result in slice and 3D views, as PNG files.
panel: $(VENV)/.slicer
	$(BIN)/python -m Testing.slicer.panel_pictures $(PICTURES)

# Ratios to the package and to the processor's limit; ARGS="--quick --json" for the small set.
bench: $(VENV)/.test
	$(BIN)/python -m Testing.benchmarks $(ARGS)

# Whether each fusion uses experts that know something: minutes, or with ARGS="--full" hours; ARGS="--json" for programs.
control: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m Training.control $(ARGS)

# The numeric tests as other instruction sets and thread counts compute them, with a tenth of every tolerance.
test-processors: $(VENV)/.test
	$(BIN)/python -m Testing.processors $(ARGS)

# Random changes of the code, and whether the nearest tests notice; ARGS="--seed 1 --count 250".
mutants: $(VENV)/.test $(VENV)/.slicer
	$(BIN)/python -m Testing.mutants $(ARGS)

# Long days and bad ones: many volumes, a very long one, kills, full disks; ARGS="--only batch --json".
endurance: $(VENV)/.test $(VENV)/.slicer
	PYTHONPATH=SAMora $(BIN)/python -m Testing.endurance $(ARGS)

# Hostile inputs of every format that is read; ARGS="--format nifti --count 2000 --seed 1", or --replay FINDING for one.
fuzz: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m Testing.fuzz $(ARGS)

test-slow: $(VENV)/.test $(VENV)/.slicer
	$(BIN)/python -m pytest -m slow

# Known faults of the pinned packages, by pip-audit in a .venv of its own; 77 where they could not be looked up.
audit: constraints.txt
	test -x $(AUDIT_VENV)/bin/pip-audit || ($(PYTHON) -m venv $(AUDIT_VENV) && $(AUDIT_VENV)/bin/pip install -q pip-audit)
	$(PYTHON) -m Testing.audit $(AUDIT_VENV)/bin/pip-audit

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	PYTHONPATH=SAMora $(BIN)/lint-imports

types: $(VENV)/.lint
	$(BIN)/mypy

clean:
	rm -rf $(VENV) $(AUDIT_VENV) build dist demo-output
