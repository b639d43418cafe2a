"""A damaged or hostile checkpoint is named and refused; nothing of it is used."""

from __future__ import annotations

import json
import os
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lstmcli.core.errors import RunError
from lstmcli.run.checkpoint.store import (
    Snapshot,
    check_tensors,
    describe,
    read_checkpoint,
    save_checkpoint,
    verify,
)

FILES = [
    *("model.safetensors", "state.safetensors", "state.json", "vocab.json", "config.yaml"),
    "manifest.json",
]


def refused(path: Path, match: str) -> str:
    """Both ways of looking at a checkpoint find the same fault; return the message."""
    assert any(re.search(match, problem) for problem in verify(path)), verify(path)
    with pytest.raises(RunError, match=match) as caught:
        read_checkpoint(path, framework="numpy")
    return str(caught.value)


def edit_manifest(path: Path, **changes: Any) -> None:
    file = path / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


@pytest.mark.parametrize("name", FILES)
def test_truncated(saved, name: str) -> None:
    path = saved()
    data = (path / name).read_bytes()
    (path / name).write_bytes(data[:-5])
    match = "not JSON" if name == "manifest.json" else f"truncated: {len(data) - 5} of {len(data)}"
    assert name in refused(path, match)


@pytest.mark.parametrize("name", FILES[:-1])
def test_one_flipped_byte(saved, name: str) -> None:
    path = saved()
    data = bytearray((path / name).read_bytes())
    data[len(data) // 2] ^= 1
    (path / name).write_bytes(data)
    assert name in refused(path, "SHA-256 differs")


def test_any_flipped_byte_of_the_manifest(saved) -> None:
    file = saved() / "manifest.json"
    sound = file.read_bytes()
    for place in range(len(sound)):
        data = bytearray(sound)
        data[place] ^= 1
        file.write_bytes(data)
        assert verify(file.parent), f"byte {place}: {bytes(data[place - 9 : place + 9])!r}"


@pytest.mark.parametrize("name", FILES)
def test_missing_file(saved, name: str) -> None:
    path = saved()
    (path / name).unlink()
    assert name in refused(path, "is missing")


def test_longer_than_promised(saved) -> None:
    path = saved()
    with (path / "state.json").open("ab") as file:
        file.write(b" ")
    assert "state.json" in refused(path, "bytes, .* expected")


def test_missing_checkpoint(folder: Path) -> None:
    refused(folder / "step_00000010", "does not exist")


def test_all_problems_are_listed(saved) -> None:
    path = saved()
    (path / "vocab.json").unlink()
    (path / "model.safetensors").write_bytes(b"")
    assert len(verify(path)) == 2


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "a\\b", "..", ".x", "manifest.json"])
def test_a_manifest_cannot_name_files_elsewhere(saved, name: str) -> None:
    path = saved()
    files = json.loads((path / "manifest.json").read_text())["files"]
    edit_manifest(path, files={**files, name: files["vocab.json"]})
    refused(path, "which is refused")


def test_a_link_in_place_of_a_file(saved, tmp_path: Path) -> None:
    path = saved()
    for name in ("vocab.json", "model.safetensors", "manifest.json"):
        os.rename(path / name, tmp_path / name)
        (path / name).symlink_to(tmp_path / name)
        refused(path, f"{name} is a symbolic link")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"format_version": 3}, "format version 3; this lstmcli reads versions 1 to 2"),
        ({"format_version": None}, "no format_version"),
        ({"format_version": True}, "no format_version"),
        ({"step": 11}, "says step 11 in a folder named step_00000010"),
        ({"step": -1}, "no step"),
        ({"files": []}, "no step, or no list of files"),
        ({"files": {}}, "does not list"),
    ],
)
def test_a_manifest_that_says_something_else(saved, changes: dict[str, Any], match: str) -> None:
    path = saved()
    edit_manifest(path, **changes)
    refused(path, match)


@pytest.mark.parametrize("record", [None, {}, {"size": "3", "sha256": "0" * 64}, {"size": 2**70}])
def test_a_record_without_size_or_sum(saved, record: Any) -> None:
    path = saved()
    files = json.loads((path / "manifest.json").read_text())["files"]
    edit_manifest(path, files={**files, "vocab.json": record})
    refused(path, r"no size or SHA-256 of vocab\.json")


@pytest.mark.parametrize("data", [b"", b"[1]", b"\xff", b"{", b"[" * 100_000])
def test_a_document_that_is_no_json_object(saved, resign, data: bytes) -> None:
    path = saved()
    resign(path, "state.json", data)
    assert "state.json" in refused(path, "not JSON|expected a JSON object")


def raw(header: bytes | dict[str, Any], data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def tensor(shape: list[int], begin: int, end: int) -> dict[str, Any]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}


HOSTILE = {
    "header beyond the file": raw({}, length=2**62),
    "huge header that is there": raw(b"{}" + b" " * (17 << 20)),
    "no header": b"\x00\x01",
    "header is no JSON": raw(b"not json"),
    "overlap": raw({"a": tensor([2], 0, 8), "b": tensor([2], 4, 12)}, bytes(12)),
    "gap": raw({"a": tensor([1], 0, 4), "b": tensor([1], 8, 12)}, bytes(12)),
    "overflowing shape": raw({"a": tensor([2**40, 2**40], 0, 4)}, bytes(4)),
    "offsets beyond the data": raw({"a": tensor([2**30], 0, 2**32)}, bytes(4)),
    "negative shape": raw({"a": tensor([-1], 0, 4)}, bytes(4)),
    "unknown dtype": raw({"a": {"dtype": "F7", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)),
    "a dtype of no use here": raw(
        {"a": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}}, bytes(4)
    ),
    "bytes after the data": raw({"a": tensor([1], 0, 4)}, bytes(8)),
}


@pytest.mark.parametrize("name", ["model.safetensors", "state.safetensors"])
@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_safetensors_with_a_right_sum(saved, resign, name: str, case: str) -> None:
    path = saved()
    resign(path, name, HOSTILE[case])
    assert name in refused(path, f"{name}(:| is damaged)")


class Bomb:
    """Unpickling this creates a file."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self) -> Any:
        return open, (str(self.target), "w")


def test_a_planted_pickle_is_never_unpickled(saved, resign, tmp_path: Path) -> None:
    path, target = saved(), tmp_path / "exploded"
    bomb = pickle.dumps(Bomb(target))
    for place in (path / "optimizer.pt", path / "model.pkl", path.parent / "latest.pt"):
        place.write_bytes(bomb)
    read_checkpoint(path)  # files that the manifest does not list do not matter
    for name in FILES[:-1]:
        resign(path, name, bomb)
    assert len(verify(path)) == len(FILES) - 1
    with pytest.raises(RunError):
        read_checkpoint(path)
    assert not target.exists()
    pickle.loads(bomb).close()
    assert target.exists()  # the bomb was a live one


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_nan_in_the_weights_is_refused(folder: Path, dtype: str, value: float) -> None:
    weight = torch.tensor([1.0, value, 3.0, value], dtype=getattr(torch, dtype))
    path = save_checkpoint(folder, Snapshot(1, {"model.w": weight, "model.b": weight[:1]}, {}))
    with pytest.raises(RunError, match=r"tensor w holds 2 values that are NaN or infinite"):
        read_checkpoint(path)
    assert "NaN" in verify(path)[0]


def test_large_bfloat16_values_are_no_nan(folder: Path) -> None:
    weight = torch.tensor([3.38e38, -3.38e38, 0.0, 1e-40], dtype=torch.bfloat16)
    assert verify(save_checkpoint(folder, Snapshot(1, {"model.w": weight}, {}))) == []


def test_nan_in_the_training_state_is_no_damage(folder: Path) -> None:
    nan = np.array([np.nan], np.float32)
    assert verify(save_checkpoint(folder, Snapshot(1, {"metrics": nan}, {}))) == []


EXPECTED = {"w": ((3, 2), "float32"), "b": ((3,), "float32")}


@pytest.mark.parametrize(
    ("found", "match"),
    [
        ({"w": ((3, 2), "float32")}, "no tensor b"),
        ({**EXPECTED, "x": ((), "int64")}, "a tensor x that the model does not"),
        ({**EXPECTED, "w": ((2, 3), "float32")}, r"w has shape \[2, 3\], not \[3, 2\]"),
        ({**EXPECTED, "b": ((3,), "float16")}, "b has dtype float16, not float32"),
    ],
)
def test_tensors_that_do_not_fit_the_model(found: dict[str, Any], match: str) -> None:
    with pytest.raises(RunError, match=match):
        check_tensors(EXPECTED, found)


def test_tensors_that_fit() -> None:
    arrays = {"w": np.zeros((3, 2), np.float32), "b": np.zeros(3, np.float32)}
    check_tensors(EXPECTED, describe(arrays))
    check_tensors(EXPECTED, describe({name: torch.from_numpy(a) for name, a in arrays.items()}))
