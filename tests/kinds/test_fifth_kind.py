"""A fifth kind of data, in one file that a person could have written: nothing of the tool knows it, and it is
trained, resumed, evaluated, read from, drawn, searched over and refused like those that come with it.

Sequences of numbers, each with a number that it makes: `1 4 -2 = 3` on each line of a file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
import torch
import yaml
from torch import Tensor, nn

from lstmcli.cells import find_cell
from lstmcli.config.data import Data
from lstmcli.config.schema import Config
from lstmcli.config.section import PositiveInt
from lstmcli.core.errors import DataError, UsageError
from lstmcli.core.output import print_line
from lstmcli.core.tables import Table
from lstmcli.engine.layers import Trace
from lstmcli.engine.stack import RecurrentModel, Stack, StackState
from lstmcli.run.kind import Evaluated, Kind, Products, register
from lstmcli.run.options import Option
from lstmcli.run.own_cell import cell_files
from lstmcli.run.state import load_model, tensors_of
from lstmcli.run.task import Measured, Score
from lstmcli.run.trained import TrainedRun

Examples = tuple[Tensor, Tensor]  # (T, B, 1) and (B,)


class NumberData(Data):
    """Sequences of numbers."""

    kind: Literal["numbers"] = "numbers"
    path: str
    """The file."""
    held_out: PositiveInt = 8
    """So many of the last lines are for validation."""


class NumberConfig(Config):
    """A model that makes one number of many."""

    learned = "numbers"
    called = "numbers"

    data: NumberData

    @property
    def window(self) -> int:
        return 16


def read(path: str) -> Examples:
    """All lines; shorter sequences begin with zeros."""
    try:
        lines = Path(path).read_text().splitlines()
        pairs = [(line.partition("=")[0].split(), float(line.partition("=")[2])) for line in lines]
        rows = [[float(word) for word in words] for words, _ in pairs]
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as numbers: {error}") from error
    longest = max(map(len, rows))
    padded = torch.tensor([[0.0] * (longest - len(row)) + row for row in rows])
    return padded.T.unsqueeze(-1), torch.tensor([answer for _, answer in pairs])


class NumberModel(RecurrentModel):
    def __init__(self, config: NumberConfig):
        super().__init__()
        self.layers = Stack(config.model, find_cell(config.model.cell), 1, config.window)
        self.layers.reset_parameters()
        self.head = nn.Linear(config.model.sizes[-1], 1)
        self.product_dtype = torch.float32

    def forward(self, x: Tensor) -> Tensor:
        outputs, _ = self.layers(
            lambda layer, start: layer(x.to(self.product_dtype), start), self.layers.initial_state(x.shape[1])
        )
        return self.head(outputs[-1].float())[:, 0]


class NumberTask:
    unit = "sequences"
    has_validation = True

    def __init__(self, config: NumberConfig):
        self.config, data = config, config.data
        x, y = read(data.path)
        self.train, self.val = (
            (x[:, : -data.held_out], y[: -data.held_out]),
            (
                x[:, -data.held_out :],
                y[-data.held_out :],
            ),
        )
        self.fingerprint = hashlib.sha256(Path(data.path).read_bytes()).hexdigest()
        self.summary: dict[str, Any] = {"lines": len(y)}
        self.steps_per_epoch = max(1, len(self.train[1]) // config.train.batch_size)
        self.model = NumberModel(config)
        self._seen = x[:, :1]

    def judged(self):
        return ""

    def stacks(self) -> list[Stack]:
        return [self.model.layers]

    def place(self, device: torch.device) -> None:
        self.model.to(device)
        self.train, self.val = (tuple(part.to(device) for part in each) for each in (self.train, self.val))

    def start_state(self) -> StackState:
        return ()

    def _batch(self, step: int) -> Examples:
        draw = torch.Generator().manual_seed(self.config.seed * 1_000_003 + step)
        chosen = torch.randint(len(self.train[1]), (self.config.train.batch_size,), generator=draw)
        return self.train[0][:, chosen], self.train[1][chosen]

    def loss(self, step: int, carried: StackState) -> Measured:
        self._seen, wanted = self._batch(step)
        return Measured((self.model(self._seen) - wanted).square().mean(), carried, len(wanted))

    def warm_up(self) -> None:
        self.loss(0, ()).loss.backward()
        self.model.zero_grad(set_to_none=True)

    def traces(self) -> list[Trace]:
        return self.model.layers.observe(self._seen, self.model.layers.initial_state(self._seen.shape[1]))

    def loss_values(self, loss: float) -> dict[str, float]:
        return {"train/loss": loss}

    def evaluate(self, stop: Callable[[], bool]) -> Score | None:
        with torch.no_grad():
            loss = float((self.model(self.val[0]) - self.val[1]).square().mean())
        return Score(loss, {"val/loss": loss, "val/rmse": loss**0.5})

    def show(self, step: int, logger: Any, console: Any) -> None:
        logger.scalars(step, {"val/sequences": float(len(self.val[1]))})

    def files(self) -> dict[str, str]:
        return cell_files(self.config.model.cell, self.model.layers.layers[0].cell)

    def restore(self, folder: Path) -> None:
        """Nothing but tensors and numbers outlives a step."""

    def manifest(self) -> dict[str, Any]:
        return {"longest": len(self.train[0])}

    def plan(self) -> dict[str, Any]:
        return {"sequences": len(self.train[1])}

    def describe(self) -> str:
        return f"data   {len(self.train[1])} sequences"


@dataclass(frozen=True)
class NumberRun(TrainedRun):
    @cached_property
    def model(self) -> NumberModel:
        model = NumberModel(self.config)
        load_model(model, tensors_of(self._snapshot, model))
        return model.eval()

    def answers(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return self.model(x)


@dataclass
class NumberReport:
    rmse: float
    count: int

    def to_json(self) -> dict[str, Any]:
        return {"rmse": self.rmse, "sequences": self.count}

    def tables(self) -> list[Table]:
        return [Table("", ["sequences", "rmse"], [[str(self.count), f"{self.rmse:.3g}"]])]


class NumberKind(Kind[NumberConfig]):
    name = "numbers"
    forms = (NumberConfig,)
    purpose = "to make a number of many"
    counts = ("Sequences", "sequences")
    charts: ClassVar = {"Squared error": ["Multiline", ["train/loss", "val/loss"]]}
    space: ClassVar = {"train.learning_rate": {"low": 1e-3, "high": 1e-1, "log": True}}
    makes = "Answers"
    options: ClassVar = {
        "eval": (Option("--data", "another file", Path), Option("--bias", "add this", float, 0.0)),
        "init": (Option("--size", "hidden units", int, 7),),
        "generate": (Option("--sequence", "numbers, parted by spaces"),),
    }

    def task(self, config: NumberConfig, on_progress: Any, ranks: Any) -> Any:
        return NumberTask(config)

    def trained(self, directory: Any, config: NumberConfig, checkpoint: Path) -> NumberRun:
        return NumberRun(directory, config, checkpoint)

    def check_data(self, config: NumberConfig) -> dict[str, Any]:
        return {"lines": len(read(config.data.path)[1])}

    def evaluate(self, run: NumberRun, chosen: Any, on_progress: Any) -> Evaluated:
        path = str(chosen["data"] or run.config.data.path)
        x, y = read(path)
        if chosen["data"] is None:
            x, y = x[:, -run.config.data.held_out :], y[-run.config.data.held_out :]
        found = run.answers(x) + chosen["bias"]
        return Evaluated(path, NumberReport(float((found - y).square().mean().sqrt()), len(y)))

    def takes(self, file: Path) -> int:
        return 3 if file.suffix == ".numbers" else 0

    def propose(self, file: Path, chosen: Any) -> str:
        return f"data: {{kind: numbers, path: {file}}}\nmodel: {{hidden_size: {chosen['size']}}}\n"

    def write(self, run: NumberRun, chosen: Any, as_json: bool) -> dict[str, Any]:
        if chosen["sequence"] is None:
            raise UsageError("--sequence is needed", 'such as --sequence "1 2 3"')
        words = [float(word) for word in chosen["sequence"].split()]
        answer = float(run.answers(torch.tensor(words).view(-1, 1, 1)))
        if not as_json:
            print_line(f"{answer:.3f}")
        return {"answer": answer}

    def products(self, run: NumberRun) -> Products:
        return Products("of the first line", [f"{float(run.answers(read(run.config.data.path)[0])[0]):.3f}"])


register(NumberKind())  # in a process that LSTM_KINDS tells of this file; in the tests' own it is taken back


if not __name__.startswith("lstmcli_own"):
    from lstmcli.config import forms
    from lstmcli.run import kind as registry

    registry._kinds.pop("numbers")
    forms._forms.remove(NumberConfig)

OWN = {"LSTM_KINDS": __file__}
CONFIG = {
    "seed": 3,
    "data": {"kind": "numbers", "path": "numbers.txt"},
    "model": {"hidden_size": 6, "num_layers": 1},
    "train": {
        "batch_size": 8, "max_steps": 12, "learning_rate": 0.02, "schedule": "constant",
        "warmup_steps": 2, "threads": 1, "precision": "fp32", "device": "cpu",
    },
    "evaluation": {"every": 6},
    "checkpoint": {"every": 6, "keep": 9},
    "telemetry": {"every": 3, "gates_every": 6},
}  # fmt: skip


@pytest.fixture(scope="module")
def numbers_lab(shared_lab):
    """A lab with a run `whole` of the kind."""
    draw = torch.Generator().manual_seed(0)
    rows = torch.randint(-4, 5, (48, 6), generator=draw).tolist()
    lines = [f"{' '.join(map(str, row))} = {sum(row) / 6:.4f}" for row in rows]
    (shared_lab.folder / "numbers.txt").write_text("\n".join(lines))
    (shared_lab.folder / "numbers.yaml").write_text(yaml.safe_dump(CONFIG))
    done = lstm(shared_lab, "train", "numbers.yaml", "--run", "whole")
    assert done.code == 0, done.err
    return shared_lab


def lstm(lab, *words, **environment):
    """The command in a process that knows the kind."""
    return lab.process(*words, **OWN, **environment)


def test_it_is_trained_and_learns(numbers_lab):
    records = numbers_lab.metrics("whole")
    losses = [record["val/loss"] for record in records if "val/loss" in record]
    assert len(losses) == 2 and losses[1] < losses[0]
    assert any("gates/layer0/forget/mean" in record for record in records)


def test_it_goes_on_bit_for_bit(numbers_lab, same):
    part = lstm(numbers_lab, "train", "numbers.yaml", "--run", "part", "train.max_steps=6")
    assert part.code == 0, part.err
    gone_on = lstm(numbers_lab, "train", "--resume", "part", "train.max_steps=12")
    assert gone_on.code == 0, gone_on.err
    same(numbers_lab, "part", "whole")
    other = lstm(numbers_lab, "train", "--resume", "part", "data.held_out=9")
    assert other.code == 5 and "cannot be resumed with another data.held_out" in other.err


def test_it_is_evaluated_with_options_of_its_own(numbers_lab):
    found = lstm(numbers_lab, "eval", "whole", "--json").json
    best = min(r["val/loss"] for r in numbers_lab.metrics("whole") if "val/loss" in r)
    assert found["rmse"] == pytest.approx(best**0.5, rel=1e-6) and found["sequences"] == 8
    assert lstm(numbers_lab, "eval", "whole", "--bias", "1", "--json").json["rmse"] != found["rmse"]
    said = lstm(numbers_lab, "eval", "whole", "--data", "numbers.txt")
    assert said.code == 0 and "whole at step 12 on numbers.txt" in said.out and "48" in said.out
    refused = lstm(numbers_lab, "eval", "whole", "--protocol", "windows")
    assert refused.code == 2 and "--protocol: of no use to whole, which learned to make a" in refused.err
    assert "there are --data and --bias" in refused.err
    assert "numbers: another file" in lstm(numbers_lab, "eval", "--help", COLUMNS="300").out


def test_it_is_read_from(numbers_lab):
    found = lstm(numbers_lab, "generate", "whole", "--sequence", "1 2 3", "--json").json
    said = lstm(numbers_lab, "generate", "whole", "--sequence", "1 2 3").out
    assert said == f"{found['answer']:.3f}\n"
    refused = lstm(numbers_lab, "generate", "whole", "--prompt", "a")
    assert refused.code == 2 and "--prompt: of no use to whole" in refused.err


def test_it_is_drawn_in_tensorboard(numbers_lab):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(numbers_lab.path("whole"))).Reload()
    assert {"train/loss", "val/loss", "val/rmse", "speed/sequences_per_second"} <= set(
        events.Tags()["scalars"]
    )
    layout = str(events.Tensors("custom_scalars__config__")[0])
    assert "Squared error" in layout and "Sequences per second" in layout


def test_it_has_a_page_and_no_topic_that_it_does_not_name(numbers_lab):
    done = lstm(numbers_lab, "report", "whole", "--output", "page.html")
    assert done.code == 0, done.err
    page = (numbers_lab.folder / "page.html").read_text()
    assert "<h2>Answers</h2>" in page and "rmse" in page and "<h2>Gates</h2>" not in page
    refused = lstm(numbers_lab, "inspect", "whole", "gates")
    assert refused.code == 2 and "such a run has no lstm inspect gates" in refused.err


def test_it_is_validated(numbers_lab):
    found = lstm(numbers_lab, "validate", "numbers.yaml", "--json").json
    assert found["valid"] and found["data"] == {"lines": 48}
    assert found["config"]["data"] == {"kind": "numbers", "path": "numbers.txt", "held_out": 8}
    wrong = lstm(numbers_lab, "validate", "numbers.yaml", "train.state_reset=0.1", "data.path=none.txt")
    assert (
        wrong.code == 3 and "train.state_reset" in wrong.err and "numbers, but where it is text" in wrong.err
    )
    assert lstm(numbers_lab, "train", "numbers.yaml", "data.path=none.txt").code == 4
    properties = lstm(numbers_lab, "validate", "--schema").json["$defs"]["Data"]["properties"]
    assert "held_out" in properties


def test_a_config_of_it_is_proposed(numbers_lab):
    file = numbers_lab.folder / "some.numbers"
    file.write_text("1 2 = 3\n" * 20)
    done = lstm(numbers_lab, "init", "some.numbers", "--size", "9")
    assert done.code == 0 and "wrote some.yaml" in done.out, done.err
    found = lstm(numbers_lab, "validate", "some.yaml", "--json").json
    assert found["config"]["model"]["hidden_size"] == 9 and found["data"] == {"lines": 20}
    refused = lstm(numbers_lab, "init", "numbers.txt", "--size", "9", "-o", "text.yaml")
    assert refused.code == 2 and "--size: of no use to numbers.txt" in refused.err


def test_it_is_searched_over(numbers_lab):
    pytest.importorskip("optuna")
    done = lstm(numbers_lab, "tune", "numbers.yaml", "--trials", "2", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert [trial["state"] for trial in found["trials"]] == ["complete", "complete"]
    assert set(found["best"]) == {"trial", "loss", "train.learning_rate"}


def test_without_it_there_is_no_such_kind(numbers_lab):
    unknown = numbers_lab.lstm("validate", "numbers.yaml")
    assert unknown.code == 3 and "data.kind" in unknown.err and "'synthetic'" in unknown.err


@pytest.mark.parametrize("content", [None, "import nothing_of_this_name", "raise SystemExit"])
def test_a_kind_that_cannot_be_imported_is_one_clear_message(lab, content):
    if content is not None:
        (lab.folder / "own.py").write_text(content)
    refused = lab.process("validate", "config.yaml", LSTM_KINDS="own.py")
    assert refused.code == 3 and "LSTM_KINDS: " in refused.err and "own.py" in refused.err
    assert "Traceback" not in refused.err
