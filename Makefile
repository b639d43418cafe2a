# `make demo`: environment, a first model, its evaluation, and text that it writes.
# `make test`: environment and the whole suite.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test gpu test-triton test-slow test-wheel test-lowest torture fuzz soak mutation lint env clean

env: $(VENV)/.ready

# torch comes first and pinned: the rest then finds it there instead of choosing a build of its own.
$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: env
	$(BIN)/lstm train configs/quickstart.yaml
	$(BIN)/lstm eval latest
	$(BIN)/lstm generate latest --prompt 'def ' --length 400 --seed 1

# A file of tests is one worker's, whole: its fixtures are made once.
WORKERS ?= 2
test: env
	$(BIN)/ruff check lstmcli tests
	$(BIN)/ruff format --check lstmcli tests
	$(BIN)/mypy
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

# The kernels for GPUs in Triton's interpreter, and compiled to a card's machine code; no card is needed.
TRITON := build/triton
test-triton: env
	[ -d $(TRITON) ] || $(BIN)/python -m pip install --quiet --no-deps --target $(TRITON) triton
	PYTHONPATH=$(TRITON) $(BIN)/python -m pytest -n $(WORKERS) tests/engine/kernels/test_gpu.py

# All that a card can tell, in eight minutes; `make gpu REHEARSE=1` tries the script without one.
gpu: env
	$(BIN)/python tests/gpu/measure.py $(if $(REHEARSE),--rehearse)

test-slow: env
	$(BIN)/python -m pytest -m slow

# The wheel in an empty environment, used from a folder elsewhere.
test-wheel:
	PYTHON=$(PYTHON) tests/wheel/check.sh

# The lowest versions that pyproject.toml allows, in an environment of their own, with the parts of the suite
# that call other libraries. Old libraries warn about new ones: here warnings are no errors.
LOWEST := build/lowest
test-lowest:
	$(PYTHON) -m venv --clear $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-lowest.txt torch
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-lowest.txt \
		-e '.[tune]' hypothesis pytest
	$(LOWEST)/bin/python -m pytest -o filterwarnings=default tests/config tests/core tests/cli \
		tests/kinds/files tests/kinds/series tests/run/telemetry tests/run/checkpoint/test_roundtrip.py \
		tests/sweep/test_space.py tests/sweep/test_search.py tests/sweep/test_tune.py tests/inspect/test_report.py

# Runs are killed at random moments, resumed, and compared with runs that were left alone.
KILLS ?= 500
torture: env
	KILLS=$(KILLS) $(BIN)/python -m pytest -m torture tests/resume tests/sweep

# Every reader gets inputs that are nearly right; guided by coverage where atheris can be installed:
# `make fuzz ENGINE=atheris TARGET=yaml` (one target at a time). What is found lands in build/fuzz.
INPUTS ?= 100000
ENGINE ?= own
fuzz: env
	[ $(ENGINE) = own ] || $(BIN)/python -m pip install --quiet --disable-pip-version-check atheris
	$(BIN)/python tests/fuzz/fuzz.py --inputs $(INPUTS) --engine $(ENGINE) $(TARGET)

# A run of 20,000 steps whose memory, open files and log are watched.
soak: env
	$(BIN)/python -m pytest -s -m slow tests/soak

# The code of checkpoints, batches and metrics is changed at random places, in a copy: do the tests notice?
MUTANTS ?= 150
mutation: env
	$(BIN)/python tests/mutation/mutants.py --sample $(MUTANTS)

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
