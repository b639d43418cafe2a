"""A small experiment in a folder of its own: a text, a file, and its plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from lstmcli.sweep.experiment import Plan, make_plan, trials

BASE: dict[str, Any] = {
    "data": {"path": "text.txt", "cache": "cache"},
    "model": {"hidden_size": 8, "embedding_size": 4, "num_layers": 1, "path": "fused"},
    "train": {
        "batch_size": 4,
        "sequence_length": 16,
        "max_steps": 4,
        "learning_rate": 0.01,
        "precision": "fp32",
    },
    "evaluation": {"every": 2, "sample_length": 0},
    "telemetry": {"every": 2, "gates_every": None, "tensorboard": False},
}
TASK = {
    "data": {"kind": "synthetic", "task": "recall", "length": 2, "symbols": 2},
    "model": {"hidden_size": 8, "num_layers": 1, "path": "fused"},
    "train": {"batch_size": 16, "max_steps": 120, "learning_rate": 0.05, "precision": "fp32"},
    "evaluation": {"every": 10, "max_windows": 50},
    "telemetry": {"every": 10, "gates_every": None, "tensorboard": False},
    "checkpoint": {"every": None, "keep": 1},
}
EXPERIMENT: dict[str, Any] = {
    "title": "Small",
    "claim": "Wide is better than narrow.",
    "base": BASE,
    "variants": {"narrow": {}, "wide": {"model.hidden_size": 12}},
    "seeds": [1, 2],
    "measure": ["loss"],
}


class Desk:
    """Where experiment files are written and planned."""

    def __init__(self, folder: Path):
        self.folder = folder
        (folder / "text.txt").write_text("a cat sat on a mat and saw a dog. " * 60)

    def write(self, name: str = "small.yaml", **changes: Any) -> Path:
        path = self.folder / name
        path.write_text(yaml.safe_dump(EXPERIMENT | changes, sort_keys=False))
        return path

    def plan(self, *words: str, count: int | None = None, quick: bool = False, **changes: Any) -> Plan:
        return make_plan(str(self.write(**changes)), words, count, quick)[0]

    def place(self, plan: Plan, name: str = "here") -> Path:
        """The directory of an experiment that begins."""
        from lstmcli.sweep.pool import make_folder, trust_folder

        folder = make_folder(plan.name, name, self.folder / "runs", "experiment")
        trust_folder(folder, {trial.config.model.cell for trial in trials(plan)})
        plan.save(folder)
        return folder


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.chdir(tmp_path)
    return Desk(tmp_path)


@pytest.fixture
def task() -> dict[str, Any]:
    return TASK


@pytest.fixture
def base() -> dict[str, Any]:
    return BASE
