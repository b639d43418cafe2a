"""lstm init: a config that fits a file."""

from __future__ import annotations

import re
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from lstmcli.cli.options import Given, of_kinds
from lstmcli.core.errors import ConfigError, DataError, ResourceError, UsageError
from lstmcli.core.output import print_line

SHEETS = (".xlsx", ".xls", ".ods")


@of_kinds("init")
def command(
    given: Given,
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="The text or table to learn.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to write; default NAME.yaml here.")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe", metavar="NAME", help="Copy a shipped recipe instead, with its small series."
        ),
    ] = None,
) -> None:
    """Write a config that fits a text, or a table of time series (CSV, TSV, Parquet).

    \b
    Examples:
      lstm init novel.txt
      lstm init novel.txt -o configs/novel.yaml
      lstm init sales.csv --horizon 28 --minutes 5
      lstm init --recipe co2
    """
    if (file is None) == (recipe is None):
        raise UsageError("give a FILE to write a config for, or --recipe NAME", "lstm init sales.csv")
    if file is None:
        if words := given.words():
            raise UsageError(f"{' and '.join(words)}: for a FILE alone; a recipe is copied as it is")
        _copy_recipe(str(recipe), output)
        return
    if file.suffix.lower() in SHEETS:
        raise UsageError(f"{file} is a spreadsheet", "export it as CSV (UTF-8)")
    if not file.is_file():
        raise DataError(f"there is no file {file}")
    if file.stat().st_size == 0:
        raise DataError(f"{file} is empty")
    target = output or Path(f"{file.stem}.yaml")
    _refuse_existing(target)
    from lstmcli.run.kind import kinds

    kind = max(kinds(), key=lambda each: each.takes(file))
    chosen = given.to(kind, f"{file}, which is read to be learned as {kind.name}", "such a file")
    _write(target, kind.propose(file, chosen))


def _copy_recipe(name: str, output: Path | None) -> None:
    """The recipe as it is, and the small series that it names, where none is here of that name."""
    from lstmcli.config.recipes import recipe_names, shipped, suggestion

    if name not in recipe_names():
        raise ConfigError(f"there is no recipe {name!r}", suggestion(name))
    target = output or Path(f"{name}.yaml")
    _refuse_existing(target)
    text = (shipped() / "configs" / f"{name}.yaml").read_text(encoding="utf-8")
    for series in sorted((shipped() / "data").glob("*.csv")):
        place = Path("data", series.name)
        if re.search(rf"path: {re.escape(place.as_posix())}$", text, re.MULTILINE) and not place.exists():
            place.parent.mkdir(exist_ok=True)
            place.write_bytes(series.read_bytes())
            print_line(f"wrote {place}")
    _write(target, text)


def _refuse_existing(target: Path) -> None:
    if target.exists():
        raise UsageError(f"{target} is already there", "choose another name with --output")


def _write(target: Path, proposed: str) -> None:
    try:
        with target.open("x", encoding="utf-8") as opened:
            opened.write(proposed)
    except FileExistsError:
        raise UsageError(f"{target} is already there", "choose another name with --output") from None
    except OSError as error:
        raise ResourceError(f"{target} cannot be written: {error.strerror}") from error
    print_line(f"wrote {target}\nnext: lstm train {quote(str(target))}")
