# `make demo`: environment, a first model, its evaluation, and text that it writes.
# `make test`: environment and the whole suite.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-slow lint env clean

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

test: env
	$(BIN)/ruff check lstmcli tests
	$(BIN)/mypy
	$(BIN)/python -m pytest

test-slow: env
	$(BIN)/python -m pytest -m slow

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
