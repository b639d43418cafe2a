"""What is saved is what is read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from lstmcli.core.errors import RunError
from lstmcli.run.checkpoint.store import Snapshot, read_checkpoint, save_checkpoint, verify

DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.bool),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.uint16, torch.uint64),
]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 5), (2, 0, 4)], ids=str)
def test_torch_tensors_of_any_dtype_and_shape(
    folder: Path, dtype: torch.dtype, shape: tuple[int, ...]
) -> None:
    tensor = (torch.rand(shape) * 100).to(dtype)
    path = save_checkpoint(folder, Snapshot(1, {"model.x": tensor, "x": tensor}, {}))
    found = read_checkpoint(path).tensors
    for name in ("model.x", "x"):
        assert found[name].dtype == dtype and found[name].shape == shape
        assert torch.equal(found[name], tensor)


def test_shared_transposed_and_trained_tensors(folder: Path) -> None:
    weight = torch.nn.Parameter(torch.arange(12.0).reshape(3, 4))
    tensors = {"model.a": weight, "model.b": weight, "rows": weight[1:], "turned": weight.t()}
    tensors |= {"strided": weight[0, ::2], "expanded": weight[:1].expand(5, 4)}
    found = read_checkpoint(save_checkpoint(folder, Snapshot(1, tensors, {}))).tensors
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(found[name], tensor)
    found["model.a"].add_(1)  # each tensor read owns its memory
    assert torch.equal(found["model.b"], weight)


def test_numpy_arrays_of_any_order(folder: Path) -> None:
    array = np.arange(12, dtype=">f4").reshape(3, 4)
    tensors = {"model.big_endian": array, "turned": array.T, "every_second": array[:, ::2]}
    path = save_checkpoint(folder, Snapshot(1, {**tensors, "zero": np.float32(2.5)}, {}))
    found = read_checkpoint(path, framework="numpy").tensors
    for name, value in tensors.items():
        np.testing.assert_array_equal(found[name], value)
    assert found["zero"].shape == () and found["zero"] == np.float32(2.5)


def test_files_are_what_the_safetensors_library_reads(folder: Path) -> None:
    """The writer here against the library's reader; weights lie under their plain names."""
    tensors = {
        "model.half": torch.ones(3, dtype=torch.bfloat16),
        "model.flag": torch.tensor([True]),
        "model.wide": torch.tensor(7, dtype=torch.int64),
        "state": torch.rand(5),
    }
    path = save_checkpoint(folder, Snapshot(1, tensors, {}))
    model = safetensors.torch.load_file(path / "model.safetensors")
    assert model.keys() == {"half", "flag", "wide"}
    assert all(torch.equal(model[name], tensors[f"model.{name}"]) for name in model)
    state = safetensors.numpy.load_file(path / "state.safetensors")
    np.testing.assert_array_equal(state["state"], tensors["state"].numpy())


def test_every_tensor_is_aligned_to_its_width(folder: Path) -> None:
    tensors = {
        "a": np.ones(3, np.bool_),
        "b": np.ones(3, np.int64),
        "c": np.ones(3, np.float16),
        "d": np.ones(0, np.float64),
    }
    path = save_checkpoint(folder, Snapshot(1, tensors, {}))
    data = (path / "state.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    assert length % 8 == 0
    assert all(header[n]["data_offsets"][0] % tensors[n].itemsize == 0 for n in "abc")


def test_document_and_files(folder: Path) -> None:
    document = {
        "loss": 0.1 + 0.2,
        "generator": 2**127 - 1,
        "infinite": float("inf"),
        "text": "ä\u2028\n",
        "nested": {"none": None, "list": [1, [2]]},
    }
    files = {"vocab.json": '["ü", "\\n"]', "empty.txt": "", "lines.txt": "a\r\nb\n"}
    path = save_checkpoint(folder, Snapshot(123456789, {}, document, files))
    found = read_checkpoint(path, framework="numpy")
    assert path.name == "step_123456789" and verify(path) == []
    assert (found.step, found.document, found.files) == (123456789, document, files)


def test_model_alone_does_not_read_the_training_state(folder: Path, saved) -> None:
    path = saved()
    (path / "state.safetensors").write_bytes(b"broken")
    found = read_checkpoint(path, tensors="model", framework="numpy")
    assert set(found.tensors) == {"model.head.weight", "model.head.bias"}
    assert found.files["vocab.json"] == '["a", "ä"]'
    with pytest.raises(RunError, match=r"state\.safetensors is truncated"):
        read_checkpoint(path, framework="numpy")


def test_numpy_refuses_bfloat16(folder: Path) -> None:
    tensors = {"model.x": torch.ones(2, dtype=torch.bfloat16)}
    path = save_checkpoint(folder, Snapshot(1, tensors, {}))
    with pytest.raises(RunError, match=r"model\.x is bfloat16"):
        read_checkpoint(path, framework="numpy")


@pytest.mark.parametrize("name", ["manifest.json", "state.json", "../x", "a/b", ".hidden", "nul"])
def test_a_file_name_that_is_not_plain_is_a_mistake(folder: Path, name: str) -> None:
    with pytest.raises(ValueError, match="cannot hold a file"):
        save_checkpoint(folder, Snapshot(1, {}, {}, {name: ""}))
    assert not folder.exists()


def test_reading_with_numpy_does_not_import_torch(saved) -> None:
    code = (
        "import sys, pathlib; import lstmcli.run.directory; from lstmcli.run.checkpoint import store;"
        "path = store.resolve(pathlib.Path(sys.argv[1]), None, print);"
        "store.read_checkpoint(path, framework='numpy'); store.prune(path.parent, 1, {10}, print);"
        "sys.exit('torch' in sys.modules or 'pydantic' in sys.modules)"
    )
    folder = str(saved().parent)
    root = Path(__file__).parents[3]
    assert subprocess.run([sys.executable, "-c", code, folder], cwd=root).returncode == 0
