"""lstm generate: what a run's model writes."""

from __future__ import annotations

from typing import Annotated

import typer

from lstmcli.cli.options import Given, of_kinds
from lstmcli.cli.trust import Trust
from lstmcli.core.output import print_json


@of_kinds("generate")
def command(
    run: Annotated[str, typer.Argument(help="A run: directory, name, or latest; RUN@STEP, RUN@last.")],
    given: Given,
    trust: Trust = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print samples as JSON.")] = False,
) -> None:
    """Write text with a trained model, or a forecast, or the classes of texts or series.

    \b
    Examples:
      lstm generate latest
      lstm generate shakespeare --prompt "ROMEO:" --length 1000 --temperature 0.7
      lstm generate latest --num 5 --stop $'\\n\\n' --json
      lstm generate shakespeare --clamp 1:8=-2 --seed 7
      cat story.txt | lstm generate latest --prompt-file - --seed 7
      lstm generate etth1 --output forecast.csv --plot forecast.png
      lstm generate etth1 --input new.csv --horizon 48 --samples 20 --json
      lstm generate reviews --prompt "a fine film"
      lstm generate reviews --input new.csv --output classes.csv
    """
    from lstmcli.run.kind import kind_of
    from lstmcli.run.trained import load

    loaded = load(run, trust)
    kind = kind_of(loaded.config)
    kind.check_writes(loaded.directory.name)
    document = kind.write(loaded, given.of(loaded, kind), as_json)
    if as_json:
        print_json(document)
