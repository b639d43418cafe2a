"""What a command imports, for that is how long it takes to start."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "tensorboard", "numpy", "safetensors", "yaml")


def imported_by(folder, *words):
    """Which of HEAVY a command has imported when it is done."""
    code = (
        "import sys\n"
        "from lstmcli.cli.app import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "except SystemExit as leaving:\n    code = leaving.code\n"
        f"print(code, [m for m in {HEAVY} if m in sys.modules], file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, *map(str, words)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    return done.stderr.splitlines()[-1]


def test_the_help_of_the_tool_does_not_import_pydantic_either(tmp_path):
    code = "import sys, lstmcli.cli.app; print('pydantic' in sys.modules)"
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).stdout == "False\n"


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["generate", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(tmp_path, words):
    assert imported_by(tmp_path, *words) == "0 []"


def test_a_wrong_word_imports_nothing_heavy(tmp_path):
    assert imported_by(tmp_path, "generate", "run", "--what") == "2 []"
    assert imported_by(tmp_path, "train") == "2 []"


def test_generating_with_the_stock_lstm_does_not_import_torch(trained_lab):
    said = imported_by(trained_lab.folder, "generate", "good", "--length", "20")
    assert said.startswith("0 ") and "torch" not in said and "tensorboard" not in said and "numpy" in said


def test_listing_runs_does_not_import_torch(trained_lab):
    said = imported_by(trained_lab.folder, "runs")
    assert said.startswith("0 ") and "torch" not in said and "yaml" not in said


def test_writing_a_config_does_not_import_torch(lab):
    assert "torch" not in imported_by(lab.folder, "init", "text.txt")


def test_a_config_that_is_wrong_is_told_without_torch(lab):
    said = imported_by(lab.folder, "train", "config.yaml", "seed=x")
    assert said.startswith("3 ") and "torch" not in said
