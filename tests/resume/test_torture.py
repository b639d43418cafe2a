"""A run that is killed again and again, at any moment, and resumed is the run that was never stopped.

    make torture                500 kills
    make torture KILLS=50       as many as you like

Each trial is a run that is killed by SIGKILL one to four times: after a random time, or at a random call of
one of the functions below (before it, after it, or when half of a write has arrived), in one of its ranks.
It is resumed each time, and in the end compared with a run that was left alone: weights, optimizer, carried
state and all numbers of the last checkpoint, every line of metrics.jsonl and every point in TensorBoard are
equal bit for bit, but for what the clock says.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from collections import Counter
from typing import Any

import numpy as np
import pytest
import yaml

KILLS = int(os.environ.get("KILLS", "500"))
ONLY = os.environ.get("ONLY", "")
"""Part of the names of the courses to be run."""
SEED = int(os.environ.get("SEED", "1"))
STEPS = 30
SETTINGS: dict[str, Any] = {
    "model": {"dropout": 0.2, "weight_drop": 0.2, "num_layers": 1},
    "train": {
        "max_steps": STEPS, "average": 0.9, "warmup_steps": 8, "early_stopping": 9, "weight_decay": 0.1,
        "learning_rate": 0.005,
    },
    "evaluation": {"every": 8},
    "telemetry": {"every": 3, "gates_every": 6, "tensorboard": True, "pictures": False},
    "checkpoint": {"every": 5, "keep": 2},
}  # fmt: skip
SERIES: dict[str, Any] = {
    "data": {
        "kind": "series", "path": "table.csv", "time": "day", "context_length": 8, "horizon": 3,
        "splits": [0.7, 0.3], "missing": ["", "gap"],
    },
    "forecast": {"loss": "quantile", "patch_length": 2},
}  # fmt: skip
IMPORTS = ["torch.utils.tensorboard", "torch.nn.parallel", "lstmcli.kinds.series.task"]
IMPORTS += ["lstmcli.kinds.sequence.task"]
PICTURES = ("lstmcli.run.telemetry.logger:Logger.figure", "lstmcli.kinds.series.plot:forecast_figure")
"""Not drawn: they would take most of the time."""
LABELLED: dict[str, Any] = {
    "data": {"path": "rows.csv", "label": "label", "splits": [0.7, 0.3]},
}
SYNTHETIC: dict[str, Any] = {"data": {"kind": "synthetic", "task": "recall", "length": 3, "symbols": 3}}
OTHERS = {
    "swa": {"train": {"average": "swa", "average_from": 0.4, "schedule": "plateau", "plateau_patience": 1}},
    "nt-asgd": {"train": {"average": "nt-asgd", "average_patience": 1, "optimizer": "Muon"}},
}
"""Averages, schedules and optimizers that keep a state of their own."""
COURSES = {
    "text": 1, "series": 1, "text, 2 ranks": 2, "series, 2 ranks": 2, "labelled": 1, "synthetic": 1,
    "labelled, 2 ranks": 2, "text, swa": 1, "text, nt-asgd": 1,
}  # fmt: skip
"""By name, the number of ranks."""
QUICK = ["text", "series", "text, 2 ranks", "series, 2 ranks", "labelled", "synthetic", "text, nt-asgd"]
"""Those that a few kills are tried on each time."""
PLACES = {
    "os:write": 60,
    "os:fsync": 90,
    "os:replace": 6,
    "os:rename": 24,
    "os:mkdir": 14,
    "os:unlink": 60,
    "lstmcli.run.loop:_step": STEPS,
    "lstmcli.run.update:clip": STEPS,
    "lstmcli.run.loop:_log": STEPS // 3,
    "lstmcli.run.hooks:gate_statistics": STEPS // 6,
    "lstmcli.run.loop:_evaluate": STEPS // 8 + 1,
    "lstmcli.run.loop:_note_score": STEPS // 8 + 1,
    "lstmcli.run.loop:save_checkpoint": 9,
    "lstmcli.run.loop:prune": 9,
    "lstmcli.run.telemetry.metrics:MetricsFile.write": 20,
    "lstmcli.run.telemetry.tensorboard:TensorBoard.scalars": 20,
    "lstmcli.run.telemetry.logger:Logger.flush": 5,
    "lstmcli.run.telemetry.logger:Logger.sync": 9,
    "lstmcli.run.session:start": 1,
    "lstmcli.run.session:check_identity": 12,
    "lstmcli.run.execute:set_run_state": 2,
    "lstmcli.run.state:TrainState.restore": 1,
}
"""Functions, and about how often a whole run calls them."""


class Course:
    """One configuration, and the run of it that is never stopped."""

    def __init__(self, lab: Any, name: str):
        self.lab, self.name, self.ranks = lab, name, COURSES[name]
        lab.imports, lab.agent = IMPORTS, True
        kind, _, more = name.partition(", ")
        others = OTHERS.get(more, {"train": {}})
        train = SETTINGS["train"] | others["train"]
        if kind == "text":
            lab.configure(**(SETTINGS | {"train": train | {"state_reset": 0.2}}))
        else:
            write_table(lab.folder / "table.csv")
            write_rows(lab.folder / "rows.csv")
            config = yaml.safe_load(lab.configure(**SETTINGS).read_text())
            del config["train"]["sequence_length"], config["evaluation"]["sample_length"]  # of texts
            own = {"series": SERIES, "labelled": LABELLED, "synthetic": SYNTHETIC}[kind]
            (lab.folder / "config.yaml").write_text(yaml.safe_dump(config | own))
        lab.process("--version")  # the imports are not part of a run
        began = time.monotonic()
        codes, _, err = self.run("train", "config.yaml", "--run", "whole")
        assert codes == [0] * self.ranks, err
        self.milliseconds = 1000 * (time.monotonic() - began)
        self.points = points_of(lab.path("whole"))

    def run(self, *words: str, fault: tuple[Any, ...] | None = None) -> tuple[list[int], str, str]:
        faults = [(where, 0, "skip", rank) for where in PICTURES for rank in range(self.ranks)]
        faults += [] if fault is None else [fault]
        return self.lab.ranks(self.ranks, *words, faults=faults)  # type: ignore[no-any-return]

    def fault(self, draw: random.Random) -> tuple[str, int, str, int]:
        """Where, when and in which rank the next kill is to be."""
        rank = draw.randrange(self.ranks)
        if draw.random() < 0.3:
            return "clock", draw.randint(1, int(1.1 * self.milliseconds)), "SIGKILL", rank
        where = draw.choice(list(PLACES))
        what = draw.choice(["SIGKILL", "after SIGKILL", "half SIGKILL" if where == "os:write" else "SIGKILL"])
        return where, draw.randint(1, PLACES[where]), what, rank

    def trial(self, run: str, draw: random.Random, kills: int) -> list[tuple[str, int, str, int]]:
        """A run that is killed so many times (fewer if it ends before that); the kills."""
        done: list[tuple[str, int, str, int]] = []
        while True:
            fault = self.fault(draw) if len(done) < kills else None
            words = ["train", "--resume", run]
            if not (self.lab.path(run) / "manifest.json").exists():  # new, or killed before it began
                words = ["train", "config.yaml", "--run", run]
            codes, _, err = self.run(*words, fault=fault)
            if -9 in codes and fault is not None:
                ends = {-9, -15, 143, 7, 0}
                assert set(codes) <= ends and "Traceback" not in err, (codes, done, fault, err)
                done.append(fault)
                continue
            assert codes == [0] * self.ranks, (codes, done, fault, err)
            return done

    def check(self, run: str, same: Any) -> None:
        same(self.lab, "whole", run)
        assert points_of(self.lab.path(run)) == self.points


def write_rows(path: Any) -> None:
    draw, words = random.Random(3), ("low", "high", "even")
    rows = [f"{''.join(draw.choices(f'{word}xyz', k=draw.randint(3, 9)))},{word}" for word in words * 30]
    path.write_text("\n".join(["text,label", *rows]) + "\n")


def write_table(path: Any) -> None:
    rows = ["day,a,b"]
    for day in range(120):
        a = "gap" if day % 7 == 3 else f"{np.sin(day / 3):.5f}"
        rows.append(f"{np.datetime64('2020-01-01') + day},{a},{np.cos(day / 5):.5f}")
    path.write_text("\n".join(rows) + "\n")


def points_of(path: Any) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows of a run, by tag."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(path), size_guidance={"scalars": 0}).Reload()
    tags = [tag for tag in found.Tags()["scalars"] if not tag.startswith("speed/")]
    return {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in tags}


@pytest.mark.parametrize("name", QUICK)
def test_five_kills(lab, same, name):
    course, total, trial = Course(lab, name), 0, 0
    while total < 5:
        draw = random.Random(f"{name} {trial}")
        kills = course.trial(f"trial-{trial}", draw, 5 - total)
        course.check(f"trial-{trial}", same)
        total, trial = total + len(kills), trial + 1


@pytest.mark.torture
def test_torture(lab, _warm, same, tmp_path, capsys):
    """The great one."""
    courses = [name for name in COURSES if ONLY in name]
    each = -(-KILLS // len(courses))
    report: Counter[str] = Counter()
    failures = []
    began = time.monotonic()
    for name in courses:
        folder = tmp_path / name.replace(", ", "-").replace(" ", "-")
        folder.mkdir()
        course, total, trial = Course(type(lab)(folder, _warm), name), 0, 0
        while total < each:
            draw = random.Random(f"{SEED} {name} {trial}")
            run, kills = f"trial-{trial}", []
            try:
                kills = course.trial(run, draw, min(each - total, draw.randint(1, 4)))
                course.check(run, same)
                shutil.rmtree(course.lab.path(run))
            except AssertionError as error:
                failures.append((name, trial, kills, str(error)[:2000]))
                kills = kills or [("unknown", 0, "", 0)]
            total, trial = total + len(kills), trial + 1
            report.update(where for where, *_ in kills)
        with capsys.disabled():
            print(f"\n{name}: {total} kills in {trial} runs, {len(failures)} failures so far, "
                  f"{time.monotonic() - began:.0f} s")  # fmt: skip
    with capsys.disabled():
        print("kills by place: " + ", ".join(f"{where} {n}" for where, n in report.most_common()))
        for failure in failures:
            print("FAILED", *failure)
    assert not failures
