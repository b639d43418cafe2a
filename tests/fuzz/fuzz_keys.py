"""Run directories altered key by key: every value of every JSON and YAML file of a run, a search or an
experiment is left out, replaced by something else, or put in the wrong place."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from fuzz_files import folder
from fuzz_runs import resign, small_run, use_series, use_text

from lstmcli.config.load import parse_config
from lstmcli.core.errors import LstmError

JUNK: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 10**30, 1.5, -0.0, float("nan"), float("inf"), "", "x", "../../etc/passwd",
    "/etc/passwd", "\x1b[2J", "9" * 400, [], [0], [[]], ["x"] * 50, {}, {"x": 1}, {"": None}, "cpu", "latest",
)  # fmt: skip
Reader = Callable[[Path], object]


def altered(document: Any, draw: random.Random) -> Any:
    """The document with one to three of its values changed, at any depth."""
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        places = list(_places(document, ()))
        if not places:
            return draw.choice(JUNK)
        path = draw.choice(places)
        document = _changed(document, path, draw)
    return document


def _places(value: Any, path: tuple[Any, ...]) -> Any:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in list(inside)[:40]:
        yield (*path, key)
        yield from _places(each, (*path, key))


def _changed(value: Any, path: tuple[Any, ...], draw: random.Random) -> Any:
    copy = dict(value) if isinstance(value, dict) else list(value)
    key, rest = path[0], path[1:]
    if rest:
        copy[key] = _changed(copy[key], rest, draw)
    elif draw.random() < 0.25:
        del copy[key]
    elif isinstance(copy, dict) and draw.random() < 0.1:
        copy[draw.choice(("x", "step", "__class__"))] = copy.pop(key)
    else:
        copy[key] = draw.choice(JUNK)
    return copy


def read_all(kind: str) -> Reader:
    """Everything that is read of a run: listed, shown, loaded, gone on with."""

    def read(run: Path) -> None:
        from lstmcli.cli.runs import _facts
        from lstmcli.run.directory import RunDir, list_runs, summary_of
        from lstmcli.run.foreign import is_own
        from lstmcli.run.records import check_document, config_of, read_run
        from lstmcli.run.set_back import choose_checkpoint, left_behind, set_back
        from lstmcli.run.telemetry.metrics import MetricsFile

        found = RunDir(run)
        list_runs(run.parent)  # never raises
        for attempt in (
            lambda: _facts(found, summary_of(found)),
            lambda: left_behind(found, read_run(found)),
            lambda: set_back(found, read_run(found), 1),
            lambda: choose_checkpoint(found, read_run(found), None),
            lambda: is_own(read_run(found), config_of(found)),
            lambda: MetricsFile(found.metrics_path, last_step=1, evaluated=False).close(),
            lambda: _document(run, check_document),
        ):
            try:
                attempt()  # type: ignore[no-untyped-call]
            except LstmError:
                continue
        (use_text if kind == "text" else use_series)(run)

    return read


def _document(run: Path, check: Any) -> None:
    folder = max((run / "checkpoints").iterdir())
    check(json.loads((folder / "state.json").read_text()), folder, 2)


FILES = {
    "text": ("manifest.json", "metrics.jsonl", "config.yaml", "state.json", "vocab.json", "checkpoint"),
    "series": ("manifest.json", "config.yaml", "state.json", "series.json", "series.json"),
}


def keys_of_run(kind: str) -> Callable[[bytes], None]:
    """The input is nothing but a seed of what is altered."""

    def target(data: bytes) -> None:
        draw = random.Random(data)
        run = _fresh(kind)
        name = draw.choice(FILES[kind])
        newest = max((run / "checkpoints").iterdir())
        if name in ("manifest.json", "metrics.jsonl"):
            path = run / name
            lines = path.read_text().splitlines() if name == "metrics.jsonl" else [path.read_text()]
            number = draw.randrange(len(lines))
            lines[number] = json.dumps(altered(json.loads(lines[number]), draw))
            path.write_text("\n".join(lines))
        elif name == "checkpoint":
            path = newest / "manifest.json"
            path.write_text(json.dumps(altered(json.loads(path.read_text()), draw)))
        elif name == "config.yaml":
            config = yaml.safe_load((newest / name).read_text())
            sizes = {k: config["model"].get(k) for k in ("hidden_size", "num_layers", "embedding_size")}
            config = altered(config, draw)
            if isinstance(config, dict) and isinstance(config.get("model"), dict):
                config["model"] |= sizes  # sizes have a test of their own
            text = yaml.safe_dump(config).encode()
            resign(newest, name, text)
            (run / name).write_bytes(text)
        else:
            document = altered(json.loads((newest / name).read_text()), draw)
            resign(newest, name, json.dumps(document).encode())
        read_all(kind)(run)

    return target


@cache
def _whole(kind: str) -> Path:
    run = small_run(kind)
    return Path(shutil.copytree(run, run.parent / "whole"))


def _fresh(kind: str) -> Path:
    """The run as it was made."""
    whole = _whole(kind)
    run = whole.parent / "altered"
    shutil.rmtree(run, ignore_errors=True)
    return Path(shutil.copytree(whole, run))


def seeds() -> list[bytes]:
    return [str(number).encode() for number in range(40)]


def plans(data: bytes) -> None:
    """tune.json and the plan of an experiment."""
    from lstmcli.sweep import experiment, search
    from lstmcli.sweep.space import from_json

    draw = random.Random(data)
    place = folder() / "plans"
    place.mkdir(exist_ok=True)
    base = {"data": {"path": "text.txt"}, "train": {"max_steps": 2}}
    config = parse_config(base, "seed")
    space = {"train.learning_rate": {"low": 0.1, "high": 1.0, "log": True}, "model.hidden_size": [8, 16]}
    search.Plan("x", config, from_json(space), 1.0, 3, 1).save(place)
    path = place / "tune.json"
    path.write_text(json.dumps(altered(json.loads(path.read_text()), draw)))
    base = "base: {data: {path: text.txt}, train: {max_steps: 2}}"
    text = f"{base}\nvariants: {{a: {{}}, b: {{model.hidden_size: 8}}}}\n"
    (place / "e.yaml").write_text(text)
    experiment.make_plan(str(place / "e.yaml"))[0].save(place)
    other = place / experiment.RECORD
    other.write_text(json.dumps(altered(json.loads(other.read_text()), draw)))
    for load in (search.load_plan, experiment.load_plan):
        try:
            load(place)
        except LstmError:
            continue
