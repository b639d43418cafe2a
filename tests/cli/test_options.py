"""An option that a run has no use for is an error, and the message says what the run takes instead."""

from __future__ import annotations

import pytest
import typer

from lstmcli.cli import eval as evaluation
from lstmcli.cli import generate, report
from lstmcli.cli.app import app


@pytest.mark.parametrize(
    "words",
    [["generate", "f", "--length", "48"], ["generate", "f", "--temperature", "0.8"],
     ["generate", "f", "--prompt", "a", "--num", "2"], ["eval", "f", "--protocol", "windows"],
     ["inspect", "f", "gates", "--characters", "9"],
     ["eval", "f", "--dynamic"], ["eval", "f", "--mix", "ngram"], ["eval", "f", "--length", "3"]],
)  # fmt: skip
def test_options_of_texts_are_refused_for_a_forecaster(forecaster_lab, words):
    refused = forecaster_lab.lstm(*words)
    assert refused.code == 2 and not refused.out
    for option in (word for word in words if word.startswith("--")):
        assert option in refused.err
    assert "of no use to f, which learned to forecast series" in refused.err
    instead = {"generate": "--horizon", "eval": "--data, --split and --by", "inspect": "leave it out"}
    assert instead[words[0]] in refused.err


@pytest.mark.parametrize(
    "words",
    [["generate", "good", "--horizon", "3"], ["generate", "good", "--samples", "0"],
     ["generate", "good", "-o", "a.csv"], ["eval", "good", "--length", "3"]],
)  # fmt: skip
def test_options_of_other_runs_are_refused_for_a_text(trained_lab, words):
    refused = trained_lab.lstm(*words)
    assert refused.code == 2 and not refused.out and "which learned to write text" in refused.err
    assert {"-o": "--output"}.get(words[2], words[2]) in refused.err


def test_what_a_text_is_scored_by_is_not_what_series_are(trained_lab):
    refused = trained_lab.lstm("eval", "good", "--by", "step")
    assert refused.code == 2 and not refused.out and "--by step: there are line and symbol" in refused.err


@pytest.mark.parametrize(
    ("name", "module", "of_all"),
    [("generate", generate, set()), ("eval", evaluation, set()),
     ("report", report, {"output", "evaluation"})],
)  # fmt: skip
def test_every_option_has_its_kinds_of_run(name, module, of_all):
    group = typer.main.get_command(app)
    parameters = {parameter.name for parameter in group.commands[name].params}
    sorted_out = {each for names in module.USES.values() for each in names}
    assert parameters - sorted_out == {"run", "trust", "as_json"} | of_all and sorted_out <= parameters
