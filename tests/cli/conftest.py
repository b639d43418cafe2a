"""A forecaster to look into."""

from __future__ import annotations

import pytest

CSV = "time,value\n" + "".join(f"{k},{10 + k % 7 + 0.1 * k:.2f}\n" for k in range(160))


@pytest.fixture(scope="module")
def forecaster_lab(shared_lab):
    """A lab with a small forecaster `f`."""
    (shared_lab.folder / "table.csv").write_text(CSV)
    shared_lab.configure(
        "series.yaml",
        data={
            "path": "table.csv", "kind": "series", "time": "time", "target": "value", "season": 7,
            "context_length": 16, "horizon": 4, "val_length": 20, "test_length": 30,
        },
        model={"hidden_size": 6, "num_layers": 1, "embedding_size": 4},
    )  # fmt: skip
    done = shared_lab.lstm("train", "series.yaml", "train.max_steps=4", "--run", "f")
    assert done.code == 0, done.err
    return shared_lab
