"""Every setting of every kind: another value of it changes the run, or is refused by its name. A setting that
does neither would be one that a person turns in vain."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from lstmcli.config.forms import forms, settings_of
from lstmcli.config.schema import Config

ELSEWHERE = "elsewhere"
"""Another folder for what is prepared."""
SHARED: dict[str, Any] = {
    "seed": 5,
    "model": {"hidden_size": 6, "num_layers": 2},
    "train": {
        "batch_size": 4, "max_steps": 4, "learning_rate": 0.05, "warmup_steps": 2, "threads": 1,
        "precision": "fp32", "device": "cpu",
    },
    "evaluation": {"every": 2},
    "telemetry": {"every": 2, "gates_every": 2, "tensorboard": False, "pictures": False},
    "checkpoint": {"every": 2, "keep": 3},
}  # fmt: skip
OWN: dict[str, dict[str, Any]] = {
    "TextConfig": {
        "data": {"path": ["text.txt", "more.txt"], "cache": "cache"},
        "train": {"sequence_length": 12},
        "evaluation": {"sample_length": 0},
    },
    "SeriesConfig": {
        "data": {
            "kind": "series", "path": "series.csv", "time": "date", "group": "store", "target": "sales",
            "context_length": 12, "horizon": 3, "splits": [0.6, 0.2, 0.2], "cache": "cache",
        },
    },
    "LabelledTextConfig": {"data": {"path": "texts.csv", "label": "label", "cache": "cache"}},
    "LabelledSeriesConfig": {
        "data": {"kind": "series", "path": "waves.csv", "label": "label", "group": "wave", "cache": "cache"}
    },
    "SyntheticConfig": {
        "data": {"kind": "synthetic", "task": "copy", "length": 5},
        "evaluation": {"max_windows": 20},
    },
}  # fmt: skip
"""What each kind's own small run adds to that."""


UNSEEN = {
    "data.kind": "it is what makes the kind",
    "model.recompute": "the same numbers with less memory",
    "forecast.portfolio": "models of their own, each with settings that are checked as such",
    ("SeriesConfig", "data.cache"): "it is for what data.url names",
    ("LabelledTextConfig", "data.cache"): "it is for what data.url names",
    ("LabelledSeriesConfig", "data.cache"): "it is for what data.url names",
}
"""Settings whose effect cannot be seen like this, and why."""


def write_files(folder: Path) -> None:
    """Data in which every setting of theirs could matter."""
    draw = random.Random(0)
    words = ["caf\u00e9", "cafe\u0301", "the", "cat", "sat", "on", "a", "mat"]
    for name, count in (("text", 150), ("more", 60), ("other", 150)):
        text = " ".join(draw.choices(words, k=count)).replace(" sat ", " sat\r\n") + " Zq"
        (folder / f"{name}.txt").write_text(text, encoding="utf-8", newline="")
    rows = ["date,store,sales,price,heat,size,label,day"]
    for store in ("a", "b"):
        for day in range(90):
            sales = 20 + 8 * (day % 7 == 3) + 0.1 * day + draw.random() + (3 if store == "b" else 0)
            value = "NA" if day % 29 == 5 else f"{sales:.3f}"
            rows.append(
                f"2021-{1 + day // 28:02}-{1 + day % 28:02},{store},{value},{draw.random():.3f},"
                f"{draw.random():.3f},{len(store) + (store == 'b')},{store},{day}"
            )
    (folder / "series.csv").write_text("\n".join(rows))
    (folder / "series2.csv").write_text("\n".join(rows[:80]))
    later = [row.replace("2021-", "2022-") for row in rows[1:]]
    (folder / "later.csv").write_text("\n".join([rows[0], *later]))
    texts = ["text,label,other,second"]
    for k in range(60):
        label = "yes" if k % 3 else "no"
        texts.append(
            f"{' '.join(draw.choices(words, k=4))}{'Q' if k == 7 else ''},{label},{k} b,{label}{k % 2}"
        )
    for name in ("texts", "texts2"):
        (folder / f"{name}.csv").write_text("\n".join(texts if name == "texts" else texts[:40]))
    waves = ["wave,step,value,second,label,other"]
    for wave in range(30):
        for step in range(8 - wave % 3):
            waves.append(
                f"w{wave},{(step * 5) % 8},{np.sin(step * (1 + wave % 2)):.3f},{draw.random():.3f},"
                f"{wave % 2},{wave % 3}"
            )
    for name in ("waves", "waves2"):
        (folder / f"{name}.csv").write_text("\n".join(waves if name == "waves" else waves[:150]))


@pytest.fixture(scope="module")
def settings_lab(shared_lab):
    """A lab with a small config of each kind."""
    write_files(shared_lab.folder)
    for name, own in OWN.items():
        merged = {k: v | own.get(k, {}) if isinstance(v, dict) else v for k, v in SHARED.items()} | {
            k: v for k, v in own.items() if k not in SHARED
        }
        (shared_lab.folder / f"{name}.yaml").write_text(yaml.safe_dump(merged))
    return shared_lab


def all_settings() -> Iterator[tuple[str, str]]:
    """Every setting with the kind that it is of; `data.kind` is left out, for it is what makes the kind."""
    for form in forms():
        for section in form.model_fields:
            for name in settings_of(form, section) or [""]:
                setting = f"{section}.{name}" if name else section
                if setting not in UNSEEN and (form.__name__, setting) not in UNSEEN:
                    yield form.__name__, setting


def schema_of(form: type[Config], setting: str) -> dict[str, Any]:
    section, _, name = setting.partition(".")
    if not name:
        return form.model_json_schema()["properties"][section]
    return form.model_fields[section].annotation.model_json_schema()["properties"][name]


ALL = list(all_settings())


def values(schema: dict[str, Any]) -> list[Any]:
    """Other values of a setting than its default, by its JSON schema: of each sort that it takes."""
    found: list[Any] = []
    for part in schema.get("anyOf", [schema]):
        sort = part.get("type")
        found += part.get("enum", [])
        if sort == "boolean":
            found += [True, False]
        elif sort == "integer":
            found += [part.get("minimum", 0) + k for k in (1, 2, 5, 0)]
        elif sort == "number":
            low = part.get("minimum", part.get("exclusiveMinimum", 0.0))
            high = part.get("maximum", part.get("exclusiveMaximum", low + 1.0))
            found += [low + 0.3 * (high - low), low + 0.9 * (high - low)]
        elif sort == "null":
            found.append(None)
    default = schema.get("default")
    return [v for v in found if json.dumps(v) != json.dumps(default)]


CONTEXT: dict[str, list[str]] = {
    "train.plateau_factor": ["train.schedule=plateau", "evaluation.every=1", "train.plateau_patience=1",
                             "train.learning_rate=3"],
    "train.plateau_patience": ["train.schedule=plateau", "evaluation.every=1", "train.learning_rate=3",
                               "train.max_steps=9"],
    "train.average_from": ["train.average=swa"],
    "train.average_patience": ["train.average=nt-asgd", "evaluation.every=1", "train.learning_rate=3",
                               "train.max_steps=12"],
    "train.early_stopping": ["evaluation.every=1", "train.learning_rate=3", "train.max_steps=12"],
    "train.clip_norm": ["train.clip_norm=0.01"],
    "model.locked_dropout": ["model.dropout=0.5"],
    "model.chrono_steps": ["model.forget_bias=chrono"],
    "model.forget_bias": [],
    "evaluation.sample_temperature": ["evaluation.sample_length=20", "telemetry.tensorboard=true"],
    "evaluation.sample_length": ["telemetry.tensorboard=true"],
    "checkpoint.keep": ["checkpoint.every=1"],
    "forecast.channels": ['data.target=["sales","price"]'],
    "forecast.samples": ["forecast.decoder=recursive", "forecast.loss=gaussian"],
    "evaluation.protocol": ["data.splits=[0.5,0.5]"],
    "telemetry.tensorboard": ["telemetry.tensorboard=true"],
    "telemetry.pictures": ["telemetry.tensorboard=true", "telemetry.pictures=true"],
}  # fmt: skip
"""What a setting needs beside it to have an effect."""
VALUES: dict[str, list[Any]] = {
    "data.path": ["other.txt", "texts2.csv", "waves2.csv", "series2.csv"],
    "data.url": ["https://example.org/a.txt"],
    "data.sha256": ["0" * 64],
    "data.cache": [ELSEWHERE],
    "data.splits": [[0.5, 0.25, 0.25]],
    "data.val_path": ["other.txt", "texts2.csv"],
    "data.test_path": ["other.txt", "texts2.csv", "later.csv"],
    "data.encoding": ["latin-1", "utf-16"],
    "data.separator": ["###"],
    "data.label": ["other"],
    "data.text": ["second"],
    "data.time": ["step", "day"],
    "data.target": ["price", "second"],
    "data.group": ["other", "label", None],
    "data.frequency": ["1d", "2d"],
    "data.known": [["price"]],
    "data.past": [["heat"]],
    "data.static": [["size"]],
    "data.missing": [["x"]],
    "data.train_length": [[2, 9]],
    "model.cell": ["gru"],
    "model.hidden_size": [[6, 8]],
    "data.time_format": ["%Y-%d-%m"],
    "train.freeze": [["layers"]],
    "train.device": ["cuda"],
    "train.optimizer": ["SGD"],
    "train.optimizer_options": [{"betas": [0.5, 0.9]}],
    "train.max_minutes": [1e-6],
    "train.max_epochs": [0.05],
    "train.max_steps": [2],
    "checkpoint.minutes": [1e-6],
    "forecast.lags": [[1, 7]],
    "forecast.quantiles": [[0.1, 0.9]],
}
"""Other values where a schema does not tell them."""


CLOCK = ("seconds", "cached", "mb_per_second", "tokens_per_second", "seed")
"""What is told of a run and no two runs have alike."""


class Runs:
    """Runs of the same settings are made once."""

    def __init__(self, lab):
        self.lab, self.made, self.cached_elsewhere = lab, {}, set()
        self.looks = {
            "course": self._course, "files": self._files, "events": self._events, "answers": self._answers
        }  # fmt: skip

    def train(self, form: str, words: list[str]) -> Any:
        key = (form, *words)
        if key not in self.made:
            name = f"r{len(self.made)}"
            before = (self.lab.folder / ELSEWHERE).exists()
            self.made[key] = name, self.lab.lstm("train", f"{form}.yaml", *words, "--run", name)
            if not before and (self.lab.folder / ELSEWHERE).exists():
                self.cached_elsewhere.add(name)
        return self.made[key]

    def differ(self, form: str, words: list[str], other: list[str]) -> bool | str:
        """Whether two runs differ in anything; a message where the second is refused."""
        (first, done), (second, told) = self.train(form, words), self.train(form, other)
        return self.compare(first, done, second, told)

    def compare(self, first, done, second, told):
        assert done.code == 0, done.err
        if told.code:
            assert "Traceback" not in told.err, told.err
            return told.err
        return next((name for name, look in self.looks.items() if look(first) != look(second)), None)

    def _course(self, run: str) -> Any:
        manifest = json.loads((self.lab.path(run) / "manifest.json").read_text())
        final = self.lab.checkpoint(run)
        kept = {name: value.tobytes() for name, value in final.tensors.items()}
        about = {k: manifest.get(k) for k in ("path", "precision", "threads", "data", "data_fingerprint")}
        about["data"] = {k: v for k, v in about["data"].items() if k not in CLOCK}
        return self.lab.metrics(run), kept, about

    def _files(self, run: str) -> Any:
        below = self.lab.path(run)
        found = sorted(str(p.relative_to(below)) for p in below.rglob("*") if "tfevents" not in p.name)
        return found, [p.name[:10] for p in below.glob("events.*")], run in self.cached_elsewhere

    def _events(self, run: str) -> Any:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(self.lab.path(run)), size_guidance={"tensors": 0}).Reload()
        tags = events.Tags()
        texts = [
            str(e.tensor_proto.string_val)
            for t in tags["tensors"]
            if "hparams" not in t
            for e in events.Tensors(t)
        ]
        return sorted(map(str, tags.items())), texts

    def _answers(self, run: str) -> Any:
        found = []
        for words in (["eval", run, "--json"], ["generate", run, "--json", "--seed", "1"]):
            said = self.lab.lstm(*words)
            shown = [line for line in said.out.splitlines() if not any(f'"{k}"' in line for k in CLOCK)]
            found.append((said.code, [line.replace(f'"{run}"', "") for line in shown]))
        return found


@pytest.fixture(scope="module")
def runs(settings_lab):
    return Runs(settings_lab)


def others(form: str, setting: str) -> list[Any]:
    found = next(each for each in forms() if each.__name__ == form)
    return VALUES.get(setting) or values(schema_of(found, setting))


def check_setting(runs: Runs, form: str, setting: str) -> None:
    """Of the other values one changes the run, or all are refused by the setting's name."""
    context = CONTEXT.get(setting, [])
    beside = [word for word in context if word.partition("=")[0] != setting]
    found = {
        json.dumps(value): runs.differ(form, context, [*beside, f"{setting}={json.dumps(value)}"])
        for value in others(form, setting)
    }
    changed = any(each in runs.looks for each in found.values())
    assert found and (changed or all(setting in str(each) for each in found.values())), found


QUICK = [
    ("LabelledSeriesConfig", "model.embedding_size"),
    ("SeriesConfig", "forecast.samples"),
    ("TextConfig", "data.newlines"),
]
"""Those that the quick tests look at."""


@pytest.mark.parametrize(("form", "setting"), QUICK)
def test_another_value_changes_the_run_or_is_refused(runs, form, setting):
    check_setting(runs, form, setting)


@pytest.mark.slow
@pytest.mark.parametrize(("form", "setting"), [each for each in ALL if each not in QUICK])
def test_another_value_of_every_setting_changes_the_run_or_is_refused(runs, form, setting):
    check_setting(runs, form, setting)


@pytest.mark.slow
@pytest.mark.parametrize("form", list(OWN))
def test_the_same_settings_give_the_same_run(runs, form):
    """Without that nothing would follow from a run that differs."""
    for words in ([], ["telemetry.tensorboard=true", "telemetry.pictures=true"]):
        first, done = runs.train(form, words)
        again, told = runs.train(form, [*words, f"seed={SHARED['seed']}"])
        assert runs.compare(first, done, again, told) is None


FEW, MANY = 6, 200
"""Generated configs of each kind, in the quick tests and in all."""
NOT_READ = ("data.url", "data.source", "train.freeze")
"""Not asked for here: `lstm validate` downloads nothing and makes no model, whose parts `freeze` names; and a
built-in text is large."""


def words_of(form: str, seed: int) -> list[str]:
    """One to four settings of a kind with a value that its schema takes."""
    draw = random.Random(f"{form} {seed}")
    own = [setting for each, setting in ALL if each == form and setting not in NOT_READ]
    own = [setting for setting in own if others(form, setting)]
    chosen = draw.sample(own, k=draw.randint(1, 4))
    return [f"{setting}={json.dumps(draw.choice(others(form, setting)))}" for setting in chosen]


def agree(lab, form: str, seed: int) -> None:
    """What `lstm validate` lets pass can be trained, and what it refuses cannot, for the same reasons."""
    words = words_of(form, seed)
    checked = lab.lstm("validate", f"{form}.yaml", *words)
    rehearsed = lab.lstm("train", f"{form}.yaml", *words, "--dry-run")
    said = (words, checked.code, checked.err, rehearsed.code, rehearsed.err)
    assert (checked.code == 0) == (rehearsed.code == 0), said
    assert "Traceback" not in checked.err + rehearsed.err, said
    if checked.code == 3:
        assert rehearsed.code == 3 and errors(checked.err) == errors(rehearsed.err), said


def errors(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("error:")]


@pytest.mark.parametrize("form", ["LabelledSeriesConfig", "SyntheticConfig"])
def test_validate_and_a_rehearsal_agree(settings_lab, form):
    for seed in range(FEW):
        agree(settings_lab, form, seed)


@pytest.mark.slow
@pytest.mark.parametrize("form", list(OWN))
def test_validate_and_a_rehearsal_agree_on_many(settings_lab, form):
    for seed in range(MANY):
        agree(settings_lab, form, seed)
