"""lstm export: a trained model as a file that runs without this package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lstmcli.cli.trust import Trust
from lstmcli.core.output import print_json, print_line


def command(
    run: Annotated[str, typer.Argument(help="A run: directory, name, or latest; RUN@STEP, RUN@last.")],
    file: Annotated[Path, typer.Argument(help="What to write; the ending says which format.")],
    trust: Trust = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Write a trained model as a file that runs without this package (docs/trained.md): .onnx, for
    onnxruntime and the like; .pt2, for PyTorch; .html, a page that runs the model alone in a browser.

    \b
    Examples:
      lstm export latest model.onnx
      lstm export shakespeare@2000 model.pt2
      lstm export shakespeare page.html
    """
    from lstmcli.api import load
    from lstmcli.run.kind import kind_of

    loaded = load(run, trust)
    kind = kind_of(loaded.config)
    found = kind.export(loaded, file)
    if as_json:
        print_json(found)
        return
    off = "" if found["off"] is None else f"; at most {found['off']:.1e} off the model"
    print_line(f"wrote {file}: {found['bytes']:,} bytes{off}")
