"""Small snapshots and the damage done to them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lstmcli.run.checkpoint.store import Snapshot, save_checkpoint


def make_snapshot(step: int = 10, fill: float = 1.0, best: int | None = None) -> Snapshot:
    tensors = {
        "model.head.weight": np.full((3, 2), fill, np.float32),
        "model.head.bias": np.arange(3, dtype=np.float32),
        "optimizer.step": np.array(step, np.int64),
        "random.cpu": np.arange(16, dtype=np.uint8),
    }
    document = {"best": {"step": best, "loss": 1.25}, "seen": [step, 0.1, None], "fill": fill}
    return Snapshot(step, tensors, document, {"vocab.json": '["a", "ä"]', "config.yaml": "seed: 1"})


@pytest.fixture
def snapshot() -> Callable[..., Snapshot]:
    return make_snapshot


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for checkpoints that does not exist yet."""
    return tmp_path / "checkpoints"


@pytest.fixture
def saved(folder: Path) -> Callable[..., Path]:
    def save(step: int = 10, fill: float = 1.0, best: int | None = None) -> Path:
        return save_checkpoint(folder, make_snapshot(step, fill, best))

    return save


@pytest.fixture
def resign() -> Callable[[Path, str, bytes], None]:
    """Put other bytes in a file of a checkpoint and make its manifest agree with them."""

    def replace(path: Path, name: str, data: bytes) -> None:
        (path / name).write_bytes(data)
        manifest = json.loads((path / "manifest.json").read_text())
        digest = hashlib.sha256(data).hexdigest()
        manifest["files"][name] = {"size": len(data), "sha256": digest}
        (path / "manifest.json").write_text(json.dumps(manifest))

    return replace
