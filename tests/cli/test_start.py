"""The first seconds of a command: what lies in the current folder is not imported, and Ctrl-C is quiet."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

SHADOWS = ["numpy", "yaml", "torch", "typer", "rich", "pydantic", "json", "typing", "random", "safetensors"]


@pytest.fixture
def folder(lab):
    """A folder with modules whose import is noticed, and a run's data."""
    for name in SHADOWS:
        (lab.folder / f"{name}.py").write_text(f"open({str(lab.folder / 'ran')!r}, 'a').write('{name} ')\n")
    return lab.folder


def start(folder, *words, **options):
    return subprocess.Popen(
        [sys.executable, *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        **options,
    )


def test_modules_in_the_current_folder_are_never_imported(folder):
    ended = start(folder, "-m", "lstmcli", "train", "config.yaml", "train.max_steps=1", "--run", "r")
    _, err = ended.communicate(timeout=120)
    assert ended.returncode == 0 and not (folder / "ran").exists(), err


def test_nor_by_the_ranks_that_torchrun_starts(folder):
    words = ["-P", "-m", "torch.distributed.run", "--nproc-per-node", "1", "-m", "lstmcli"]
    ended = start(folder, *words, "train", "config.yaml", "train.max_steps=1")
    _, err = ended.communicate(timeout=120)
    assert ended.returncode == 0 and not (folder / "ran").exists(), err


@pytest.mark.parametrize(
    "verb", [["train", "config.yaml", "train.max_steps=9999"], ["cells", "check", "lstm"]]
)
def test_an_interrupt_in_the_first_seconds_is_quiet(lab, verb):
    """At moments from the first import to the first steps; a process that is not yet ours is left out."""
    for number, seconds in enumerate((0.15, 0.4, 0.9, 1.6, 2.5)):
        more = ["--run", f"r{number}"] if verb[0] == "train" else []
        process = start(lab.folder, "-c", CODE, *verb, *more)
        assert process.stdout.readline() == b"begun\n"
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.returncode in (130, 0, -2), (seconds, process.returncode, err)
        assert b"Traceback" not in err and b"terminate called" not in err, (seconds, err)


CODE = """
print("begun", flush=True)
import sys
sys.argv[0] = "lstm"
from lstmcli.__main__ import main
main()
"""
