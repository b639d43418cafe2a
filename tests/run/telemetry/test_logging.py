"""metrics.jsonl and TensorBoard tell the same, once per step, on pages that are readable at once."""

from __future__ import annotations

import json
import math
import re

import pytest

from lstmcli.run.telemetry.metrics import MetricsFile, read_metrics

event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
GATES = ("input", "forget", "cell", "output")


@pytest.fixture(scope="module")
def run(shared_lab):
    shared_lab.train("r", "telemetry.tensorboard=true")
    return shared_lab.path("r")


@pytest.fixture(scope="module")
def events(run):
    keep_all = {"scalars": 0, "tensors": 0}
    return event_accumulator.EventAccumulator(str(run), size_guidance=keep_all).Reload()


def by_tag(run):
    """(step, value) pairs of metrics.jsonl by tag."""
    found = {}
    for line in (run / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        step = record.pop("step")
        for tag, value in record.items():
            found.setdefault(tag, []).append((step, value))
    return found


def test_tags_steps_and_values_are_the_same_in_both(run, events):
    in_file = by_tag(run)
    assert set(events.Tags()["scalars"]) == set(in_file)
    for tag, pairs in in_file.items():
        there = [(e.step, e.value) for e in events.Scalars(tag)]
        assert [step for step, _ in there] == [step for step, _ in pairs], tag
        assert [value for _, value in there] == pytest.approx([v for _, v in pairs], rel=1e-6), tag


def test_what_is_logged_and_when(run):
    found = by_tag(run)
    every = {tag: [step for step, _ in pairs] for tag, pairs in found.items()}
    for tag in ("loss", "bpc", "learning_rate", "gradient_norm", "epoch"):
        assert every[f"train/{tag}"] == [5, 10, 15, 20]
    for tag in ("loss", "bpc", "accuracy"):
        assert every[f"val/{tag}"] == [10, 20]
    for layer in (0, 1):
        for gate in GATES:
            for value in ("std",) if gate == "cell" else ("mean", "low", "high"):
                assert every[f"gates/layer{layer}/{gate}/{value}"] == [1, 10, 20]
    assert every["speed/tokens_per_second"] == every["speed/seconds"] == [5, 10, 15, 20]
    for step, value in found["train/bpc"]:
        assert value == pytest.approx(dict(found["train/loss"])[step] / math.log(2))
    assert found["train/epoch"][-1] == (20, pytest.approx(20 / 15))


def test_the_training_loss_is_the_mean_since_the_line_before(shared_lab, run):
    shared_lab.train("every-step", "telemetry.every=1")
    single = [value for _, value in by_tag(shared_lab.path("every-step"))["train/loss"]]
    for step, value in by_tag(run)["train/loss"]:
        assert value == pytest.approx(sum(single[step - 5 : step]) / 5)


def test_one_event_file_and_no_run_within_the_run(run):
    assert len(list(run.rglob("events.out.tfevents*"))) == 1


def test_the_pages_show_losses_training_and_gates(events):
    from tensorboard.plugins.custom_scalar import layout_pb2, metadata

    (event,) = events.Tensors(metadata.CONFIG_SUMMARY_TAG)
    layout = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
    pages = {page.title: page for page in layout.category}
    assert list(pages) == ["Loss", "Training", "Layer 0: gates and gradients", "Layer 1: gates and gradients"]
    tags = set(events.Tags()["scalars"])
    for page in layout.category:
        for chart in page.chart:
            shown = set(chart.multiline.tag)
            for series in chart.margin.series:
                shown |= {series.value, series.lower, series.upper}
            assert shown, (page.title, chart.title)
            for pattern in shown:
                assert any(re.fullmatch(pattern, tag) for tag in tags), (page.title, chart.title)
    (band,) = [c for c in pages["Layer 0: gates and gradients"].chart if c.margin.series]
    (series,) = band.margin.series
    assert (series.value[-3:], series.lower[-3:], series.upper[-3:]) == ("p50", "p10", "p90")


def test_samples_and_hyper_parameters_are_there(events):
    tags = events.Tags()["tensors"]
    assert "sample/text_summary" in tags
    assert [e.step for e in events.Tensors("sample/text_summary")] == [10, 20]
    assert "_hparams_/session_start_info" in events.summary_metadata or "_hparams_/session_start_info" in tags


def test_tensorboard_can_be_switched_off(shared_lab):
    shared_lab.train("off")
    assert not list(shared_lab.path("off").glob("events*"))


def test_gate_statistics_can_be_switched_off(shared_lab):
    shared_lab.train("no-gates", "telemetry.gates_every=null")
    assert not any(tag.startswith("gates/") for tag in by_tag(shared_lab.path("no-gates")))


# --- metrics.jsonl by itself


def test_a_line_that_a_kill_cut_short_is_left_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "a": 1.5}\n{"step": 2, "a"')
    assert read_metrics(path) == [{"step": 1, "a": 1.5}]
    file = MetricsFile(path, last_step=1)
    file.write(2, {"a": 2.5})
    file.close()
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"step": 1, "a": 1.5},
        {"step": 2, "a": 2.5},
    ]


def test_what_lies_past_the_checkpoint_is_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(f'{{"step": {k}, "train/loss": {k}}}\n' for k in range(1, 8)))
    MetricsFile(path, last_step=4).close()
    assert [record["step"] for record in read_metrics(path)] == [1, 2, 3, 4]


def test_an_evaluation_that_the_checkpoint_does_not_know_is_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = ['{"step": 3, "val/loss": 2}', '{"step": 4, "train/loss": 1}', '{"step": 4, "val/loss": 1}']
    path.write_text("\n".join(lines) + "\n")
    MetricsFile(path, last_step=4, evaluated=False).close()
    assert read_metrics(path) == [{"step": 3, "val/loss": 2}, {"step": 4, "train/loss": 1}]


def test_nan_is_kept_as_a_number(tmp_path):
    file = MetricsFile(tmp_path / "metrics.jsonl")
    file.write(1, {"val/loss": math.nan})
    file.close()
    assert math.isnan(read_metrics(tmp_path / "metrics.jsonl")[0]["val/loss"])


def test_lines_of_other_things_are_passed_over(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('[1]\n"x"\n{"step": "y"}\n{"no": 1}\n\n{"step": 5}\n')
    assert read_metrics(path) == [{"step": 5}]
    assert read_metrics(tmp_path / "none") == []
