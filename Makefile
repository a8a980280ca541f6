# make demo: sets up and runs the main job. make test: sets up and runs the tests. make docs: builds
# the documentation in site/. Second calls skip the set-up.
PYTHON ?= python3
VENV ?= .venv
RUN ?= runs/quickstart
WORKERS ?= 2
SLOW_SECONDS ?= 400
TEST_PROCESSES ?= 2

BIN := $(VENV)/bin
STAMP := $(VENV)/.cellsearch-stamp
DOCS_STAMP := $(VENV)/.cellsearch-docs-stamp

export OMP_NUM_THREADS ?= 1
# Tests and searches start many processes; without kept bytecode each compiles the package anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup demo test lint types docs ci-slow lowest clean

setup: $(STAMP)

# The constraints file pins every dependency, torch first of all; nothing is upgraded that already fits.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: $(PYTHON) is older than Python 3.11" >&2; \
	  echo "hint: name a newer one, for example make setup PYTHON=python3.12" >&2; exit 6; }
	@test -x $(BIN)/python || { echo "Setting up $(VENV) (about a minute) ..."; $(PYTHON) -m venv $(VENV); }
	@$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $(STAMP)

demo: setup
	@$(BIN)/cellsearch search quickstart --run $(RUN) --workers $(WORKERS)
	@$(BIN)/cellsearch report $(RUN)
	@$(BIN)/cellsearch export $(RUN) --to source --output $(RUN)/best_cell.py --force

# Two processes, then alone what other tests would disturb.
test: setup
	@$(BIN)/python -m pytest -q -n $(TEST_PROCESSES) --dist loadfile -m 'not slow and not alone'
	@$(BIN)/python -m pytest -q -m 'alone and not slow'

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: setup
	@$(BIN)/mypy

$(DOCS_STAMP): $(STAMP)
	@$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	@touch $(DOCS_STAMP)

docs: $(DOCS_STAMP)
	@$(BIN)/python docs/make_site.py

# The bounded share of the slow checks that CI runs.
ci-slow: setup
	@$(BIN)/python -m pytest -q -m slow --timeout 900 --slow-seconds $(SLOW_SECONDS)

# The default tests with the lowest versions that pyproject.toml admits, in an environment of its own
# (downloads gigabytes).
lowest:
	@$(PYTHON) scripts/try_versions.py --lowest

clean:
	rm -rf build dist site .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis $(VENV)
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
