"""An option that a run has no use for is an error, and the message says what the run takes instead."""

from __future__ import annotations

import pytest
import typer

from lstmcli.cli.app import app
from lstmcli.run.kind import kinds
from lstmcli.run.options import Option


@pytest.mark.parametrize(
    "words",
    [["generate", "f", "--length", "48"], ["generate", "f", "--temperature", "0.8"],
     ["generate", "f", "--prompt", "a", "--num", "2"], ["eval", "f", "--temperature", "2"],
     ["inspect", "f", "gates", "--characters", "9"],
     ["eval", "f", "--dynamic"], ["eval", "f", "--mix", "ngram"], ["eval", "f", "--length", "3"]],
)  # fmt: skip
def test_options_of_texts_are_refused_for_a_forecaster(forecaster_lab, words):
    refused = forecaster_lab.lstm(*words)
    assert refused.code == 2 and not refused.out
    for option in (word for word in words if word.startswith("--")):
        assert option in refused.err
    assert "of no use to f, which learned to forecast series" in refused.err
    instead = {
        "generate": "--horizon",
        "eval": "--data, --split, --protocol, --by, --origins and --output",
        "inspect": "leave it out",
    }
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
    ("name", "of_all"),
    [("generate", set()), ("eval", set()), ("report", {"output", "evaluation"})],
)
def test_every_option_has_its_kinds_of_run(name, of_all):
    parameters = {each.name: each for each in typer.main.get_command(app).commands[name].params}
    of_kinds = {option.name for kind in kinds() for option in kind.options.get(name, ())}
    assert parameters.keys() - of_kinds == {"run", "trust", "as_json"} | of_all
    assert of_kinds <= parameters.keys()


def test_a_kind_that_came_later_has_its_options_too(monkeypatch):
    """Beside it an option that two kinds share, where one of them takes a list."""
    from lstmcli.run import kind as registry

    class Later(registry.Kind):
        name, purpose = "later", "something else"
        options = {  # noqa: RUF012
            "eval": (
                Option("--length", "of the last part", int),
                Option("--odd", "only the odd", bool, False),
            )
        }

    monkeypatch.setattr(registry, "_kinds", dict(registry._kinds))
    registry.register(Later())
    parameters = {each.name: each for each in typer.main.get_command(app).commands["eval"].params}
    assert parameters["odd"].opts == ["--odd"] and parameters["odd"].default is False
    assert parameters["length"].multiple
    assert "Synthetic: evaluate at" in parameters["length"].help
    assert "later: of the last part" in parameters["length"].help


def test_an_option_that_is_a_list_elsewhere_is_given_once(forecaster_lab):
    refused = forecaster_lab.lstm("eval", "f", "--data", "table.csv", "--data", "table.csv")
    assert refused.code == 2 and "--data is given 2 times, but this run takes one" in refused.err
