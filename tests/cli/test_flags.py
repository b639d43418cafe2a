"""Every command and its flags, frozen: whoever changes one changes this list on purpose."""

from __future__ import annotations

import typer

from lstmcli.cli.app import app

HELP = ["--help", "-h"]
FLAGS = {
    "train": ["words", "--run", "--resume", "--from", "--force", "--trust", "--dry-run", "--json"],
    "generate": [
        *("run", "--prompt", "--prompt-file", "--length", "--num", "--temperature", "--top-k", "--top-p"),
        *("--stop", "--clamp", "--seed", "--horizon", "--input", "--samples", "--output", "-o", "--plot"),
        *("--series", "--trust", "--json"),
    ],
    "eval": [
        *(
            "run",
            "--data",
            "--split",
            "--protocol",
            "--by",
            "--dynamic",
            "--dynamic-rate",
            "--mix",
        ),
        *("--temperature", "--origins", "--output", "-o", "--length", "--trust", "--json"),
    ],
    "export": ["run", "file", "--trust", "--json"],
    "report": ["run", "--output", "--eval", "--inside", "--tokens", "--trust", "--json"],
    "bench": [
        *(
            "what",
            "folder",
            "--hidden",
            "--layers",
            "--batch",
            "--window",
            "--rounds",
            "--precision",
            "--path",
        ),
        *("--telemetry", "--seed", "--minutes", "--only", "--set", "--runs", "--series", "--steps", "--json"),
    ],
    "experiment": [
        *("words", "--seeds", "--jobs", "--run", "--out", "--resume", "--trust", "--quick", "--json"),
    ],
    "tune": [
        *("words", "--space", "--minutes", "--trials", "--jobs", "--run", "--resume", "--trust"),
        *("--learning-rates", "--plot", "--json"),
    ],
    "inspect": ["run", "--trust"],
    "cells": ["what", "cell", "--speed", "--hidden", "--json"],
    "runs": ["what", "names", "--json"],
    "validate": ["words", "--schema", "--json"],
    "init": ["file", "--output", "-o", "--recipe", "--minutes", "--horizon"],
}
TOPICS = {
    "gates": ["--data", "--split", "--tokens", "--characters", "--json", "--plot"],
    "units": ["--unit", "--data", "--split", "--tokens", "--length", "--html", "--json", "--plot"],
    "gradients": ["--data", "--split", "--lags", "--streams", "--initial", "--json", "--plot"],
    "memory": ["--data", "--split", "--context", "--positions", "--json", "--plot"],
}
"""Of `lstm inspect RUN`."""


def test_the_commands_and_their_flags():
    group = typer.main.get_command(app)
    found = {
        name: [flag for parameter in command.params for flag in parameter.opts]
        for name, command in group.commands.items()
    }
    assert found == FLAGS


def test_the_topics_of_inspect_and_their_flags():
    group = typer.main.get_command(app).commands["inspect"]
    for name, flags in TOPICS.items():
        assert [flag for p in group.commands[name].params for flag in p.opts] == flags


def test_the_flags_of_the_tool_itself():
    group = typer.main.get_command(app)
    flags = [flag for parameter in group.params for flag in parameter.opts]
    assert flags == ["--version", "--runs", "--install-completion", "--show-completion"]
    assert group.context_settings["help_option_names"] == ["-h", "--help"]


def test_every_command_has_help_with_examples(lab):
    for name in FLAGS:
        shown = lab.lstm(name, "-h")
        assert shown.code == 0 and "Examples" in shown.out and f"lstm {name}" in shown.out
    assert lab.lstm().code == 2  # no command: the help, as a usage error


def test_version(lab):
    import lstmcli

    assert lab.lstm("--version").out == f"{lstmcli.__version__}\n"
