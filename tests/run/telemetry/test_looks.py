"""Pictures of the inside while training: drawn at every evaluation, switched off on demand."""

from __future__ import annotations

import json

import pytest
import torch

from lstmcli.config.load import parse_config
from lstmcli.engine.layers import Trace
from lstmcli.engine.measures.gradients import half_life
from lstmcli.kinds.text.inside import gradient_norms
from lstmcli.kinds.text.model import TextModel
from lstmcli.kinds.text.settings import LanguageModel
from lstmcli.run.telemetry import looks
from lstmcli.run.telemetry.looks import (
    STEPS,
    UNITS,
    gates_figure,
    gradients_figure,
    half_lives,
    shown_symbol,
)


def image(axes):
    return axes.get_images()[0].get_array()


def test_the_forget_gates_are_drawn_from_the_most_open_unit_down():
    gates = torch.rand(STEPS + 10, 1, 100, generator=torch.Generator().manual_seed(0))
    traces = [Trace({"input": 1 - gates, "forget": gates}, {}), Trace({"update": gates}, {}), Trace({}, {})]
    figure = gates_figure(traces, [shown_symbol(c) for c in "a \n$é" * 13][:STEPS])
    panels = [axes for axes in figure.axes if axes.get_images()]
    assert [axes.get_title(loc="left") for axes in panels] == ["layer 0, forget gate", "layer 1, update gate"]
    drawn = image(panels[0])
    assert drawn.shape == (UNITS, STEPS)
    means = drawn.mean(1)
    assert (means[:-1] >= means[1:]).all()
    assert means[0] == pytest.approx(float(gates[:STEPS].mean((0, 1)).max()))
    labels = [label.get_text() for label in panels[1].get_xticklabels()]
    assert labels[:5] == ["a", "␣", "↵", r"\$", "·"]


def test_activations_that_go_below_nought_have_a_scale_that_does():
    values = torch.linspace(-1, 1, 30).view(10, 1, 3)
    (panel, *_) = gates_figure([Trace({"candidate": values}, {})]).axes
    assert panel.get_images()[0].get_clim() == (-1.0, 1.0)


def test_without_gates_nothing_is_drawn():
    assert gates_figure([Trace({}, {"hidden": torch.zeros(3, 1, 2)})]) is None


def test_half_lives_are_those_of_each_layers_memory():
    torch.manual_seed(0)
    model = TextModel(LanguageModel(hidden_size=8, embedding_size=4, num_layers=2), 5)
    found = gradient_norms(model, torch.randint(5, (40, 3)), explain=False)
    scalars = half_lives(found)
    assert scalars  # gradients of a fresh model fade soon
    for number, layer in enumerate(found.layers):
        wanted = half_life(layer.states["cell"].mean(1).tolist())
        assert scalars.get(f"gradients/layer{number}/half_life") == wanted
    (axes,) = gradients_figure(found).axes
    labels = [line.get_label() for line in axes.get_lines()]
    assert labels == ["layer 0, hidden", "layer 0, cell", "layer 1, hidden", "layer 1, cell"]
    assert axes.get_yscale() == "log"


@pytest.mark.parametrize("wanted", [True, False])
def test_a_run_has_pictures_at_every_evaluation_if_they_are_wanted(lab, wanted, monkeypatch):
    monkeypatch.setattr(looks, "INTERVAL", 0.0)
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    lab.train("r", "telemetry.tensorboard=true", f"telemetry.pictures={str(wanted).lower()}")
    events = accumulator.EventAccumulator(str(lab.path("r")), size_guidance={"images": 0}).Reload()
    assert set(events.Tags()["images"]) == ({"gates", "gradients"} if wanted else set())
    if wanted:
        assert [e.step for e in events.Images("gates")] == [10, 20]
    records = [json.loads(line) for line in (lab.path("r") / "metrics.jsonl").read_text().splitlines()]
    assert any("gradients/layer0/half_life" in r for r in records) is wanted


def test_pictures_keep_their_distance(monkeypatch):
    config = parse_config({"data": {"path": "a"}}, "test")
    clock = iter([100.0, 101.0, 129.0, 130.5, 131.0])
    monkeypatch.setattr(looks.time, "monotonic", lambda: next(clock))
    pace = looks.Pace(config)
    assert [pace.due() for _ in range(5)] == [True, False, False, True, False]
