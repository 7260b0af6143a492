# Every target sets up what it needs: a virtual environment in .venv, then the install.
PYTHON ?= python3
PIP_FLAGS ?= --quiet --disable-pip-version-check
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-all bench lint clean

$(VENV)/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(PIP_FLAGS) -c constraints.txt -e '.[dev]'
	touch $@

# what optional tests read or talk to: Ray, an S3 server, tokenizers
$(VENV)/installed-tests: $(VENV)/installed
	$(BIN)/python -m pip install $(PIP_FLAGS) -c constraints.txt -e '.[dev,tests]'
	touch $@

demo: $(VENV)/installed
	$(BIN)/curate demo --out demo-out

test: $(VENV)/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m 'not slow'

test-all: $(VENV)/installed-tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

bench: $(VENV)/installed
	for file in benchmarks/*.py benchmarks/*/*.py; do $(BIN)/python $$file || exit 1; done

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) demo-out
