"""metrics.jsonl: a line is there as soon as it is logged, and nothing else is a line."""

from __future__ import annotations

import json

from lstmcli.run.telemetry.metrics import MetricsFile, read_metrics


def test_a_line_is_on_its_way_to_the_disk_before_the_next_step(tmp_path):
    """A killed run has lost no line that it had logged."""
    path = tmp_path / "metrics.jsonl"
    file = MetricsFile(path)
    for step in range(3):
        file.write(step, {"train/loss": 1.5})
        assert path.read_text().count("\n") == step + 1
    file.close()


def test_lines_that_are_no_records_are_passed_over(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = [
        "[" * 100_000,
        '{"step": "3"}',
        '{"step": 4}',
        "[4]",
        "",
        '{"a": 1}',
        '{"step": 5}',
        '{"step": 6',
    ]
    path.write_text("\n".join(lines))
    assert [record["step"] for record in read_metrics(path)] == [4, 5]
    assert read_metrics(tmp_path / "nothing") == []


def test_what_lies_past_a_checkpoint_is_dropped_with_the_evaluation_that_it_does_not_know(tmp_path):
    path = tmp_path / "metrics.jsonl"
    records = [{"step": 5, "val/loss": 2.0}, {"step": 7}, {"step": 7, "val/loss": 1.0}, {"step": 8}]
    for evaluated, kept in ((True, records[:3]), (False, records[:2])):
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        MetricsFile(path, last_step=7, evaluated=evaluated).close()
        assert read_metrics(path) == kept


def test_a_new_run_keeps_what_there_is(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n')
    file = MetricsFile(path)
    file.write(2, {})
    file.close()
    assert [record["step"] for record in read_metrics(path)] == [1, 2]
