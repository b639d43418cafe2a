"""`--dry-run` says what a run will take of the disk; a run that is made takes that."""

from __future__ import annotations

import pytest
import yaml

from lstmcli.run.telemetry import looks

TEXT = ["telemetry.every=2", "telemetry.gates_every=8", "evaluation.every=20", "checkpoint.every=20"]
TIED = ["model.tie_weights=true", "model.embedding_size=16"]
EPOCHS = ["train.max_steps=null", "train.max_epochs=4"]
SERIES = {
    "data": {"kind": "series", "path": "t.csv", "time": "t", "context_length": 8, "horizon": 4},
    "model": {"hidden_size": 8, "num_layers": 1, "path": "fused"},
    "train": {"max_steps": 40, "threads": 1, "batch_size": 16, "precision": "fp32"},
    "evaluation": {"every": 20},
    "telemetry": {"every": 2, "gates_every": 8},
    "checkpoint": {"every": 20},
}
CASES = {
    "log alone": ["config.yaml", *TEXT, "train.max_steps=60"],
    "with pictures": ["config.yaml", *TEXT, "train.max_steps=60", "telemetry.tensorboard=true"],
    "epochs, an average": ["config.yaml", *TEXT, *EPOCHS, "train.average=0.9"],
    "SGD, tied": ["config.yaml", *TEXT, "train.optimizer=SGD", *TIED],
    "series": ["series.yaml"],
}


@pytest.fixture
def home(lab):
    (lab.folder / "t.csv").write_text("t,a\n" + "".join(f"{k},{k % 7 + k / 50}\n" for k in range(300)))
    (lab.folder / "series.yaml").write_text(yaml.safe_dump(SERIES))
    return lab


def log_bytes(lab, run):
    files = [lab.path(run) / "metrics.jsonl", *lab.path(run).glob("events.*")]
    return sum(file.stat().st_size for file in files)


@pytest.mark.parametrize("case", CASES)
def test_a_run_takes_what_the_dry_run_said(home, case, monkeypatch):
    monkeypatch.setattr(looks, "INTERVAL", 0.0)  # the plan counts pictures at every evaluation
    plan = home.lstm("train", *CASES[case], "--dry-run", "--json").json
    assert not (home.folder / "runs").exists()
    assert home.lstm("train", *CASES[case], "--run", "r").code == 0
    folders = [path for path in home.path("r").glob("checkpoints/*") if path.is_dir()]
    for folder in folders:
        real = sum(file.stat().st_size for file in folder.iterdir())
        assert plan["checkpoint_bytes"] == pytest.approx(real, rel=0.1)
    assert plan["log_bytes"] == pytest.approx(log_bytes(home, "r"), rel=0.15)
    assert len(folders) <= plan["checkpoints_kept"]
    assert plan["planned_steps"] == home.steps("r")[-1]
    all_of_it = sum(file.stat().st_size for file in home.path("r").rglob("*") if file.is_file())
    room = (plan["checkpoints_kept"] + 1 - len(folders)) * plan["checkpoint_bytes"]
    assert plan["disk_bytes"] == pytest.approx(all_of_it + room, rel=0.15)


def test_minutes_become_steps_by_a_speed_that_is_told(home):
    words = ["train", "config.yaml", "train.max_steps=null", "train.max_minutes=720", "--dry-run"]
    plan = home.lstm(*words, "--json")
    seconds = 720 * 60
    assert plan.json["planned_steps"] == pytest.approx(plan.json["steps_per_second"] * seconds, rel=1e-3)
    assert plan.json["log_bytes_per_hour"] == pytest.approx(plan.json["log_bytes"] / 12, rel=1e-3)
    assert "assuming " in plan.err and "of log an hour" in plan.err
    assert "assuming" not in home.lstm("train", "config.yaml", "--dry-run").err
