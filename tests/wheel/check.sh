#!/usr/bin/env bash
# The wheel as a stranger gets it: built, installed into an empty environment, and used from a folder elsewhere.
# Usage: tests/wheel/check.sh   (PYTHON=python3.12 for another Python)
set -euo pipefail
cd "$(dirname "$0")/../.."
source_tree=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A build in place leaves build/ behind, whose old files the next wheel would have: so it is built of a copy.
mkdir "$work/source"
tar -c --exclude=__pycache__ pyproject.toml setup.py MANIFEST.in README.md LICENSE configs data/README.md \
  data/*.csv lstmcli | tar -x -C "$work/source"
"${PYTHON:-python3}" -m venv "$work/venv"
pip() { "$work/venv/bin/python" -m pip --quiet --disable-pip-version-check "$@"; }
pip wheel --no-deps --wheel-dir "$work" "$work/source"
pip install --no-compile -c "$source_tree/constraints.txt" torch
pip install --no-compile -c "$source_tree/constraints.txt" "$work"/*.whl

mkdir "$work/elsewhere" && cd "$work/elsewhere"
unset PYTHONPATH
lstm() {
  echo "lstm $*"
  "$work/venv/bin/lstm" "$@" >"$work/out" 2>"$work/err" || { cat "$work/out" "$work/err"; exit 1; }
}
[[ $("$work/venv/bin/python" -c 'import lstmcli; print(lstmcli.__file__)') == "$work"/venv/* ]]

lstm --help
lstm experiment list
grep -q forget-bias "$work/out"
lstm validate air-passengers

lstm train quickstart train.max_steps=20 evaluation.every=10 --run text
lstm generate text --prompt 'def ' --length 40 --seed 1
grep -q '^def ' "$work/out"

"$work/venv/bin/python" - >sales.csv <<'TABLE'
from datetime import date, timedelta

print("day,sold")
for i in range(400):
    print(f"{date(2024, 1, 1) + timedelta(i)},{20 + i % 7 + i / 50:.2f}")
TABLE
lstm init sales.csv
lstm train sales.yaml train.max_steps=20 evaluation.every=10 --run sales
lstm eval sales --json
grep -q '"mase"' "$work/out"
lstm generate sales --output forecast.csv
[[ $(head -1 forecast.csv) == group,target,time,step,* ]]

mkdir copied && (cd copied && lstm init --recipe air-passengers && lstm validate air-passengers.yaml)
LSTM_RUNS=$PWD/runs lstm train quickstart --from text --run more train.max_steps=2 evaluation.max_tokens=1000
lstm eval more --runs runs
lstm export text text.pt2
lstm train air-passengers train.max_steps=5 evaluation.every=5 --run air
lstm eval air
lstm experiment forget-bias --seeds 1 --jobs 2 train.max_steps=2 evaluation.every=2
echo "the wheel works"
