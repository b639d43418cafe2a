"""Whole runs in a small house: a text, a config, and `lstm` in this process or in one of its own."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

os.environ.setdefault("LSTM_KERNELS", "strict")  # here, and in every process that a test starts
HERE = Path(__file__).parent
WORDS = ["the", "cat", "sat", "on", "a", "mat", "and", "dog", "saw", "it", "run", "far", "away", "home"]
SETTINGS: dict[str, Any] = {
    "seed": 7,
    "data": {"path": "text.txt", "cache": "cache"},
    "model": {"hidden_size": 16, "embedding_size": 8, "num_layers": 2, "path": "fused"},
    "train": {
        "batch_size": 4,
        "sequence_length": 16,
        "max_steps": 20,
        "learning_rate": 0.01,
        "warmup_steps": 5,
        "threads": 1,
        "precision": "fp32",
    },
    "evaluation": {"every": 10, "sample_length": 20},
    "telemetry": {"every": 5, "gates_every": 10, "tensorboard": False},
    "checkpoint": {"every": 10, "keep": 20},
}
"""Of 1,000 symbols for training an epoch has 15 steps."""


def make_text(symbols: int, seed: int = 0) -> str:
    """Lines of a few words in no order; ASCII."""
    draw = random.Random(seed)
    text = ""
    while len(text) < symbols:
        text += " ".join(draw.choices(WORDS, k=8)) + ".\n"
    return text[:symbols]


def without_text(config: dict[str, Any]) -> dict[str, Any]:
    """Leave out what only a text reads, in place."""
    config["train"].pop("sequence_length", None)
    config["evaluation"].pop("sample_length", None)
    return config


@dataclass
class Outcome:
    """How a command ended and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, which must be one JSON document."""
        return json.loads(self.out)


class WarmProcess:
    """Starts `lstm` in forked processes, one at a time; see warm_process.py."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        command = [sys.executable, str(HERE / "warm_process.py"), str(theirs.fileno())]
        self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=environment)
        theirs.close()
        self._answers = self._socket.makefile()

    def start(self, job: dict[str, Any], descriptors: list[int]) -> list[int]:
        """The processes' ids; `wait` must follow."""
        socket.send_fds(self._socket, [json.dumps(job).encode()], descriptors)
        return [int(word) for word in self._answers.readline().split()]

    def wait(self) -> list[int]:
        """Their exit codes."""
        return [int(word) for word in self._answers.readline().split()]

    def close(self) -> None:
        self._answers.close()
        self._socket.close()
        self._process.wait(60)


class Lab:
    """A folder with `text.txt` and `config.yaml`, and the command line run in it."""

    def __init__(self, folder: Path, warm: Any):
        self.folder = folder
        self._warm = warm
        self.agent = False  # whether the end of one rank is that of all, as under torchrun
        self.imports: list[str] = []  # what its processes need not import each for itself
        (folder / "text.txt").write_text(make_text(1112), encoding="utf-8")
        self.configure()

    def configure(self, name: str = "config.yaml", **sections: Any) -> Path:
        """Write a config: SETTINGS with some sections changed."""
        merged = {
            key: {**value, **sections.get(key, {})} if isinstance(value, dict) else value
            for key, value in SETTINGS.items()
        }
        if merged["data"].get("kind", "text") != "text":
            without_text(merged)
        path = self.folder / name
        path.write_text(yaml.safe_dump(merged), encoding="utf-8")
        return path

    def lstm(self, *words: object, stdin: bytes = b"") -> Outcome:
        """`lstm WORDS` in this process."""
        from lstmcli.cli.app import main
        from lstmcli.core import notices

        notices._said.clear()  # "once per process", and each command is a process
        if trust := sys.modules.get("lstmcli.cells.trust"):
            trust._allowed.clear()
        out, err = io.StringIO(), io.StringIO()
        before, stdin_before = os.getcwd(), sys.stdin
        os.chdir(self.folder)
        sys.stdin = io.TextIOWrapper(io.BytesIO(stdin))
        code: Any = 0
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                main([str(word) for word in words])
        except SystemExit as leaving:
            code = leaving.code or 0
        finally:
            os.chdir(before)
            sys.stdin = stdin_before
        return Outcome(code, out.getvalue(), err.getvalue())

    def train(self, run: str, *words: object) -> Outcome:
        """A run by that name; it must succeed."""
        outcome = self.lstm("train", "config.yaml", *words, "--run", run)
        assert outcome.code == 0, outcome.err
        return outcome

    def process(
        self, *words: object, faults: tuple[tuple[str, int, str], ...] = (), **environment: str
    ) -> Outcome:
        """`lstm WORDS` in a process of its own, in which the faults (where, call, what) happen."""
        codes, out, err = self._watched(words, faults, environment, 1)
        return Outcome(codes[0], out, err)

    def ranks(
        self,
        size: int,
        *words: object,
        faults: tuple[tuple[str, int, str, int], ...] = (),
        **environment: str,
    ) -> tuple[list[int], str, str]:
        """`lstm WORDS` in several processes that train together; a fault is (where, call, what, rank).
        Their exit codes, and what all of them wrote."""
        from torch.distributed import TCPStore

        # As torchrun does, this process keeps what the ranks tell each other: it outlives all of them.
        store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        agent = {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"}
        agent |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port)}
        return self._watched(words, faults, agent | environment, size)

    def _watched(
        self, words: Any, faults: Any, environment: dict[str, str], size: int
    ) -> tuple[list[int], str, str]:
        pipes = [os.pipe() for _ in range(2)]
        nothing = os.open(os.devnull, os.O_RDONLY)
        found: list[bytes] = [b"", b""]
        try:
            self._start(words, faults, environment, [nothing, pipes[0][1], pipes[1][1]], size)
        finally:
            for descriptor in (nothing, pipes[0][1], pipes[1][1]):
                os.close(descriptor)
        readers = [
            threading.Thread(target=lambda k=k: found.__setitem__(k, read_all(pipes[k][0]))) for k in range(2)
        ]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        return self._warm().wait(), found[0].decode("utf-8"), found[1].decode("utf-8")

    def terminal(self, *words: object, **environment: str) -> Outcome:
        """`lstm WORDS` in a process whose three streams are one terminal."""
        import pty

        ours, theirs = pty.openpty()
        try:
            self._start(words, (), environment, [theirs] * 3)
        finally:
            os.close(theirs)
        shown = read_all(ours)
        return Outcome(self._warm().wait()[0], shown.decode("utf-8"), "")

    def _start(
        self, words: Any, faults: Any, environment: dict[str, str], descriptors: list[int], size: int = 1
    ) -> None:
        keys = ("where", "call", "what", "rank")
        job = {
            "folder": str(self.folder),
            "ranks": size,
            "agent": self.agent,
            "imports": self.imports,
            "words": [str(word) for word in words],
            "faults": [dict(zip(keys, fault, strict=False)) for fault in faults],
            "environment": environment,
        }
        self._warm().start(job, descriptors)

    def path(self, run: str) -> Path:
        return self.folder / "runs" / run

    def steps(self, run: str) -> list[int]:
        """Steps of which there is a checkpoint."""
        return sorted(int(p.name.removeprefix("step_")) for p in self.path(run).glob("checkpoints/step_*"))

    def checkpoint(self, run: str, step: int | None = None) -> Any:
        """The snapshot of a step (default: the highest), as NumPy arrays."""
        from lstmcli.run.checkpoint.store import read_checkpoint, step_name

        number = self.steps(run)[-1] if step is None else step
        return read_checkpoint(self.path(run) / "checkpoints" / step_name(number), framework="numpy")

    def metrics(self, run: str) -> list[dict[str, Any]]:
        """metrics.jsonl without what the clock says."""
        lines = (self.path(run) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return [{k: v for k, v in json.loads(line).items() if not k.startswith("speed/")} for line in lines]

    def listing(self, under: str = ".") -> dict[str, bytes]:
        """Every file below the folder (or one in it) and its content."""
        files = sorted(p for p in (self.folder / under).rglob("*") if p.is_file())
        return {str(p.relative_to(self.folder)): p.read_bytes() for p in files}


def read_all(descriptor: int) -> bytes:
    found = b""
    try:
        while piece := os.read(descriptor, 1 << 16):
            found += piece
    except OSError:  # a terminal that nobody holds any longer
        pass
    finally:
        os.close(descriptor)
    return found


@pytest.fixture(scope="session", autouse=True)
def _state_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the tool notes of a user is not the user's who runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def _warm(_state_of_its_own: None) -> Iterator[Any]:
    """Started by the first test that needs it."""
    made: list[WarmProcess] = []

    def get() -> WarmProcess:
        if not made:
            made.append(WarmProcess())
        return made[0]

    yield get
    for each in made:
        each.close()


def assert_same(lab: Lab, run: str, other: str) -> None:
    """Everything but what the clock says is equal bit for bit: weights, optimizer, carried state, numbers
    and logged metrics."""
    assert lab.steps(run)[-1] == lab.steps(other)[-1]
    first, second = lab.checkpoint(run), lab.checkpoint(other)
    assert first.tensors.keys() == second.tensors.keys()
    for name, value in first.tensors.items():
        assert np.array_equal(value, second.tensors[name]), name
    assert without_clock(first.document) == without_clock(second.document)
    assert lab.metrics(run) == lab.metrics(other)


def without_clock(document: dict[str, Any]) -> dict[str, Any]:
    numbers = {k: v for k, v in document["progress"].items() if k != "seconds"}
    return {**document, "progress": numbers}


@pytest.fixture
def same() -> Callable[[Lab, str, str], None]:
    return assert_same


@pytest.fixture
def lab(tmp_path: Path, _warm: Any) -> Lab:
    """A lab of the test's own."""
    return Lab(tmp_path, _warm)


@pytest.fixture(scope="module")
def shared_lab(tmp_path_factory: pytest.TempPathFactory, _warm: Any) -> Lab:
    """A lab that the module's tests share; they must not disturb each other."""
    return Lab(tmp_path_factory.mktemp("lab"), _warm)


@pytest.fixture(scope="session")
def trained_lab(tmp_path_factory: pytest.TempPathFactory, _warm: Any) -> Lab:
    """A lab with a run `good` that has learned something. Tests only read it."""
    lab = Lab(tmp_path_factory.mktemp("trained"), _warm)
    (lab.folder / "text.txt").write_text(make_text(8000), encoding="utf-8")
    lab.train(
        "good",
        "model.hidden_size=32",
        "train.max_steps=150",
        "train.batch_size=8",
        "train.learning_rate=0.03",
        "train.state_reset=0.05",
        "data.splits=[0.8,0.1,0.1]",
        "evaluation.every=50",
        "checkpoint.every=50",
        "telemetry.tensorboard=true",
    )
    return lab
