# make quickstart | test | coverage | test-slow | chaos | lint | format | lock |
#   clean
#
# Each target that needs it makes a virtual environment in .venv first, from
# the locked versions where there is a lock for this Python.

PYTHON ?= python3
VENV ?= .venv
RUN_DIR ?= runs/quickstart
# Each worker has one half of the tests in their order, so that fixtures are made
# once, and takes from the other's end when it is done.
PYTEST_ARGS ?= -n 2 --dist=worksteal

# From Python 3.12 on, counting the lines that tests run costs next to nothing.
# Before, it nearly doubles the time of Python code: `coverage` alone does it.
SYSMON := $(shell $(PYTHON) -c \
  'import sys; print("sysmon" if sys.version_info >= (3, 12) else "")')
COVERAGE_CORE ?= $(or $(SYSMON),ctrace)
COVERAGE := --cov --cov-report=term
COUNTED := $(if $(SYSMON),$(COVERAGE))

BIN := $(VENV)/bin
LOCK := requirements/py$(shell $(PYTHON) -c \
  'import sys; print("%d%d" % sys.version_info[:2])').txt
SOURCES := $(shell git ls-files instructrec tasks gin setup.py \
  pyproject.toml README.md 2>/dev/null)

.PHONY: quickstart test coverage test-slow chaos lint format types lock clean

# Third-party packages; made anew only when the lock or the extras change.
$(BIN)/.dependencies: setup.py $(wildcard $(LOCK))
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "InstructRec needs Python 3.11 or newer; set PYTHON=..."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check \
	  $(if $(wildcard $(LOCK)),--constraint $(LOCK)) '.[dev]'
	touch $@

# The package itself: installed as a user gets it, so that a file missing from
# the wheel fails here and not with the user.
$(BIN)/.installed: $(BIN)/.dependencies $(SOURCES)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --no-deps --force-reinstall .
	touch $@

quickstart: $(BIN)/.installed
	$(BIN)/instructrec quickstart --output $(RUN_DIR)

test: $(BIN)/.installed
	COVERAGE_CORE=$(COVERAGE_CORE) \
	  $(BIN)/pytest $(PYTEST_ARGS) -m "not slow" $(COUNTED)

coverage: COUNTED := $(COVERAGE)
coverage: test

# Several processes, the TPU compiler, other libraries where they are installed.
test-slow: $(BIN)/.installed
	$(BIN)/pytest $(PYTEST_ARGS) -m slow

# Commands that are killed at random moments and given again: minutes. The full
# form, whose table docs/reliability.md shows, is CHAOS_ARGS="--kills=100
# --terms=10 --interrupts=10 --page=docs/reliability.md".
chaos: $(BIN)/.installed
	$(BIN)/python tests/chaos $(CHAOS_ARGS)

lint: $(BIN)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(BIN)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Resolves the newest versions that fit setup.py and records them.
lock:
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/pip install --disable-pip-version-check '.[dev]'
	build/lock/bin/pip freeze --exclude instructrec > $(LOCK)
	build/lock/bin/pip install --disable-pip-version-check --dry-run --quiet \
	  --report build/lock/extras.json '.[tpu,cuda,t5x]'
	$(PYTHON) -c 'import json; \
	  packages = [p["metadata"] for p in json.load(open("build/lock/extras.json"))["install"]]; \
	  print("# What [tpu], [cuda] and [t5x] add; written by `make lock`."); \
	  print(*sorted("%s==%s" % (p["name"], p["version"]) \
	    for p in packages if p["name"] != "instructrec"), sep="\n")' \
	  > $(LOCK:.txt=-accelerators.txt)

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
