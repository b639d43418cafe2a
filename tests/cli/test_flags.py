"""Every command and its flags, frozen: whoever changes one changes this list on purpose."""

from __future__ import annotations

import typer

from lstmcli.cli.app import app

HELP = ["--help", "-h"]
FLAGS = {
    "train": ["words", "--run", "--resume", "--force", "--dry-run", "--json"],
    "generate": [
        *("run", "--prompt", "--prompt-file", "--length", "--num", "--temperature", "--top-k", "--top-p"),
        *("--stop", "--seed", "--horizon", "--input", "--samples", "--output", "-o", "--plot", "--json"),
    ],
    "eval": ["run", "--data", "--split", "--protocol", "--by", "--json"],
    "bench": [
        *("what", "--hidden", "--layers", "--batch", "--window", "--rounds", "--precision", "--path"),
        *("--telemetry", "--json"),
    ],
    "cells": ["what", "cell", "--speed", "--hidden", "--json"],
    "runs": ["--json"],
    "validate": ["words", "--schema", "--json"],
    "init": ["file", "--output", "-o"],
}


def test_the_commands_and_their_flags():
    group = typer.main.get_command(app)
    found = {
        name: [flag for parameter in command.params for flag in parameter.opts]
        for name, command in group.commands.items()
    }
    assert found == FLAGS


def test_the_flags_of_the_tool_itself():
    group = typer.main.get_command(app)
    flags = [flag for parameter in group.params for flag in parameter.opts]
    assert flags == ["--version", "--install-completion", "--show-completion"]
    assert group.context_settings["help_option_names"] == ["-h", "--help"]


def test_every_command_has_help_with_examples(lab):
    for name in FLAGS:
        shown = lab.lstm(name, "-h")
        assert shown.code == 0 and "Examples" in shown.out and f"lstm {name}" in shown.out
    assert lab.lstm().code == 2  # no command: the help, as a usage error


def test_version(lab):
    import lstmcli

    assert lab.lstm("--version").out == f"{lstmcli.__version__}\n"
