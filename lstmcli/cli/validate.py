"""lstm validate: a config and its data, all errors at once, nothing written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from lstmcli.core.errors import LstmError, UsageError
from lstmcli.core.output import print_json

if TYPE_CHECKING:
    from lstmcli.config.schema import Config


def command(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="CONFIG [KEY=VALUE]...", help="A YAML file.")
    ] = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON schema of configs, for editors.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Check a config and that its data are there; write nothing.

    \b
    Examples:
      lstm validate configs/shakespeare.yaml
      lstm validate my.yaml train.batch_size=128
      lstm validate --schema > configs/schema.json
    """
    from lstmcli.cli.train import split_words

    if schema:
        _print_schema()
        return
    path, overrides = split_words(words or [])
    if path is None:
        raise UsageError("no config is given", "lstm validate CONFIG.yaml")
    from lstmcli.config.load import dump_config, load_config
    from lstmcli.run.session import with_default_budget

    config = with_default_budget(load_config(path, overrides))
    found = _check_all(config)
    if as_json:
        print_json({"valid": True, "data": found, "config": config.model_dump()})
    else:
        print(dump_config(config), end="")


def _print_schema() -> None:
    import json
    import sys

    from lstmcli.config.json_schema import json_schema

    sys.stdout.write(json.dumps(json_schema(), indent=1) + "\n")


def _check_all(config: Config) -> dict[str, Any]:
    """What the data are; everything that is wrong with data and settings in one error."""
    from lstmcli.run.check import faults_of

    found: dict[str, Any] = {}
    errors = faults_of(config)
    try:
        found = _check_data(config)
    except LstmError as error:
        errors.insert(0, error)
    if errors:
        raise type(errors[0])("\n".join(str(error) for error in errors))
    return found


def _check_data(config: Config) -> dict[str, Any]:
    """Read the data as training would, with a cache that is thrown away."""
    from lstmcli.run.kind import kind_of

    if (url := getattr(config.data, "url", None)) is not None:
        return {"url": url, "note": "downloaded when training starts; not checked"}
    return kind_of(config).check_data(config)
