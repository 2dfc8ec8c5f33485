# Each target sets up what it needs. Windows without make: see CONTRIBUTING.md for the same commands.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SEED ?= 7

.PHONY: demo test test-slow lint types clean

# torch comes first and pinned, so that nothing after it drags in another build (an unpinned torchvision would).
$(VENV)/.torch: constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt torch torchvision
	touch $@

$(VENV)/.library: $(VENV)/.torch pyproject.toml
	$(BIN)/python -m pip install -q -c constraints.txt -e .
	touch $@

$(VENV)/.test: $(VENV)/.library
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[training,test]"
	touch $@

$(VENV)/.lint: $(VENV)/.test
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[lint]"
	touch $@

demo: $(VENV)/.library
	$(BIN)/samora demo --seed $(SEED) --output demo-output

test: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2  # two workers: torch must not take both cores twice

test-slow: $(VENV)/.test
	$(BIN)/python -m pytest -m slow || test $$? -eq 5  # 5: none is marked yet

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: $(VENV)/.lint
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build dist demo-output
