"""What is fuzzed of checkpoints and runs: files that are rightly signed, and records of a run."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_files import TEXT, folder, table_seeds

from lstmcli.config.load import dump_config, parse_config
from lstmcli.core.errors import LstmError
from lstmcli.run.checkpoint.store import Snapshot, read_checkpoint, resolve, save_checkpoint

NAMES = ("manifest.json", "model.safetensors", "state.safetensors", "state.json")


@cache
def small_checkpoint() -> Path:
    tensors = {
        "model.head.weight": np.ones((3, 2), np.float32),
        "model.head.bias": np.arange(3, dtype=np.float32),
        "optimizer.0.step": np.array(5, np.int64),
        "carried.0.0": np.zeros((2, 2), np.float16),
    }
    document = {"best": {"step": 5, "loss": 1.25}, "progress": {"step": 5}, "optimizer": {}}
    return save_checkpoint(
        folder() / "checkpoints", Snapshot(5, tensors, document, {"vocab.json": '{"a": 1}'})
    )


def resign(path: Path, name: str, data: bytes) -> None:
    """Put other bytes in a file of a checkpoint and make its manifest agree with them."""
    (path / name).write_bytes(data)
    if name != "manifest.json":
        manifest = json.loads((path / "manifest.json").read_text())
        manifest["files"][name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        (path / "manifest.json").write_text(json.dumps(manifest))


def _in_place(path: Path, name: str, data: bytes, read: Callable[[], object]) -> None:
    """`read` while a file of the checkpoint holds `data`, rightly signed."""
    before = {each: (path / each).read_bytes() for each in (name, "manifest.json")}
    try:
        resign(path, name, data)
        read()
    except LstmError as error:
        if error.exit_code not in (3, 4, 5, 7):
            raise AssertionError(f"the wrong kind of error: {error}") from error
        str(error).encode("utf-8", "backslashreplace")
    finally:
        for each, content in before.items():
            (path / each).write_bytes(content)


def checkpoint(data: bytes) -> None:
    """The first byte chooses the file that the rest takes the place of."""
    path = small_checkpoint()
    name = NAMES[(data[0] if data else 0) % len(NAMES)]

    def read() -> None:
        found = resolve(path.parent, None, lambda said: None)
        for framework in ("torch", "numpy"):
            read_checkpoint(found, framework=framework)  # type: ignore[arg-type]

    _in_place(path, name, data[1:], read)


def checkpoint_seeds() -> list[bytes]:
    path = small_checkpoint()
    return [bytes([k]) + (path / name).read_bytes() for k, name in enumerate(NAMES) for _ in range(2)]


RUN_FILES = {
    "text": ("model.safetensors", "state.safetensors", "state.json", "vocab.json", "config.yaml"),
    "series": ("model.safetensors", "series.json", "config.yaml", "series.json", "series.json"),
}


@cache
def small_run(kind: str) -> Path:
    """A run of a few steps on a few data, made by the command line."""
    home = folder() / kind
    home.mkdir()
    (home / "text.txt").write_text(TEXT, encoding="utf-8")
    (home / "table.csv").write_bytes(table_seeds()[0][1:])
    words = ["model.hidden_size=4", "model.num_layers=1", "train.batch_size=2", "train.max_steps=2"]
    words += [
        "telemetry.tensorboard=false",
        "train.threads=1",
        "model.path=fused",
    ]
    data: dict[str, Any] = {"path": str(home / "text.txt"), "cache": str(home / "cache")}
    if kind == "series":
        data = {"kind": "series", "path": str(home / "table.csv"), "time": "t", "static": []}
        data |= {"context_length": 4, "horizon": 2, "known": ["b"], "target": "a", "splits": [0.7, 0.3]}
        words += ["forecast.loss=quantile"]
    else:
        words += ["train.sequence_length=8", "evaluation.sample_length=0", "model.embedding_size=3"]
    (home / "config.yaml").write_text(dump_config(parse_config({"data": data}, "seed")), encoding="utf-8")
    before = os.getcwd()
    os.chdir(home)
    try:
        from lstmcli.cli.app import main

        main(["train", "config.yaml", *words, "--run", "r"])
    except SystemExit as leaving:
        if leaving.code:
            raise AssertionError("the seed run failed") from leaving
    finally:
        os.chdir(before)
    return home / "runs" / "r"


def use_text(run: Path) -> None:
    """Everything that is read of a run of text: to write, to evaluate, to go on."""
    from lstmcli.api import Run, load
    from lstmcli.run.optimizer import make_optimizer
    from lstmcli.run.state import Progress, TrainState

    loaded = load(f"{run}@last")
    if not isinstance(loaded, Run) or sum(loaded.config.model.sizes) > 64:
        return
    loaded.generate("the", length=2, seed=1)
    model = loaded.model
    state = TrainState(model, make_optimizer(loaded.config.train, model), model.initial_state(2), Progress())
    found = read_checkpoint(loaded.checkpoint)
    state.restore(found.tensors, found.document)


def use_series(run: Path) -> None:
    from lstmcli.api import load
    from lstmcli.kinds.series.trained import SeriesRun

    loaded = load(f"{run}@last")
    if isinstance(loaded, SeriesRun) and sum(loaded.config.model.sizes) <= 64:
        loaded.forecast(2, run.parent.parent / "table.csv", seed=1)


def run_target(kind: str, use: Callable[[Path], None]) -> Callable[[bytes], None]:
    def target(data: bytes) -> None:
        run = small_run(kind)
        name = RUN_FILES[kind][(data[0] if data else 0) % len(RUN_FILES[kind])]
        if name == "config.yaml" and b"hidden_size: 4\n" not in data:
            return  # sizes have a test of their own
        path = next((run / "checkpoints").glob("step_*"))
        _in_place(path, name, data[1:], lambda: use(run))

    return target


def run_seeds(kind: str) -> Callable[[], list[bytes]]:
    def seeds() -> list[bytes]:
        path = next((small_run(kind) / "checkpoints").glob("step_*"))
        return [bytes([k]) + (path / name).read_bytes() for k, name in enumerate(RUN_FILES[kind])]

    return seeds


def records(data: bytes) -> None:
    """metrics.jsonl and manifest.json of a run that is listed and resumed."""
    from lstmcli.run.directory import list_runs
    from lstmcli.run.telemetry.metrics import MetricsFile, read_metrics

    run = folder() / "runs" / "r"
    run.mkdir(parents=True, exist_ok=True)
    metrics, _, manifest = data.partition(b"\x00\x00")
    (run / "metrics.jsonl").write_bytes(metrics)
    (run / "manifest.json").write_bytes(manifest)
    list_runs(run.parent)
    MetricsFile(run / "metrics.jsonl", last_step=7, evaluated=False).close()
    read_metrics(run / "metrics.jsonl")


def record_seeds() -> list[bytes]:
    lines = b"".join(b'{"step": %d, "train/loss": 1.5, "val/loss": NaN}\n' % k for k in range(0, 12, 3))
    manifest = json.dumps(
        {"state": "complete", "created": "2026-01-01T00:00:00Z", "cell": "lstm", "parameters": 5}
    )
    return [lines + b"\0\0" + manifest.encode()]
