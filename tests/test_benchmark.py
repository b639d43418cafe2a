"""`lstm bench`: both sides run and say what they measured. Times are for people, not for tests."""

import pytest

from lstmcli.benchmark.compare import Shape, bench_generate, bench_telemetry, bench_train
from lstmcli.core.errors import UsageError

TINY = Shape(hidden=8, layers=1, batch=2, window=4)


def test_train_measures_both_sides_and_names_the_machine():
    result = bench_train(TINY, 1, path="fused")
    assert result["lstmcli_tokens_per_second"] > 0 and result["plain_tokens_per_second"] > 0
    assert result["ratio"] == pytest.approx(
        result["lstmcli_tokens_per_second"] / result["plain_tokens_per_second"]
    )
    assert {"machine", "threads", "torch", "hidden", "batch", "precision", "path"} <= set(result)


def test_telemetry_is_a_share_of_a_step():
    result = bench_telemetry(TINY, 1)
    per_step = result["losses_seconds"] / result["losses_every"]
    per_step += result["gates_seconds"] / result["gates_every"]
    per_step += result["pictures_seconds"] / result["pictures_every"]
    assert result["share_of_training_time"] == pytest.approx(per_step / result["step_seconds"])


def test_generate_measures_both_sides():
    result = bench_generate(TINY, 30, 1)
    assert result["ratio"] > 0 and result["batch"] == 1


def test_intervals_are_measured_on_series_of_every_kind(monkeypatch, tmp_path):
    """Each is proposed for, trained, and counted on steps that it has not seen."""
    from lstmcli.benchmark import intervals
    from lstmcli.kinds.series.proposal import series_config

    told = []
    result = intervals.bench_intervals(series_config, 1, 2, lambda *of: told.append(of))
    assert set(result["kinds"]) == set(intervals.KINDS) == {kind for kind, _, _ in told}
    for found in result["kinds"].values():
        assert 0.0 <= found["coverage"] <= 1.0 and found["nominal"] == 0.9 and found["width"] > 0.0
    shares = [found["coverage"] for found in result["kinds"].values()]
    assert result["least"] == min(shares) and result["coverage"] == pytest.approx(sum(shares) / 5)


def test_an_unknown_bench_is_a_usage_error():
    from lstmcli.cli.bench import command

    with pytest.raises(UsageError, match="frobnicate"):
        command("frobnicate")
