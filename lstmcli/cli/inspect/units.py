"""lstm inspect RUN units: units that track something, and a text coloured by one of them."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lstmcli.cli.inspect import Data, Json, Plot, Split, Tokens, load_run, reading, show
from lstmcli.cli.options import Given, of_kinds
from lstmcli.core.errors import ResourceError, UsageError
from lstmcli.core.terminal import sanitize

if TYPE_CHECKING:
    from lstmcli.inspect.units import UnitsFinding


@of_kinds("inspect units")
def command(
    context: typer.Context,
    given: Given,
    unit: Annotated[
        str | None, typer.Option("--unit", help="LAYER:INDEX from 0, such as 1:233; default the best.")
    ] = None,
    data: Data = None,
    split: Split = None,
    tokens: Tokens = 200_000,
    as_json: Json = False,
    plot: Plot = None,
) -> None:
    """Units that track something: a place in the line, a name, quotes, a level, a season.

    \b
    Examples:
      lstm inspect latest units
      lstm inspect shakespeare units --unit 1:233 --length 1000
      lstm inspect shakespeare units --plot units.png --html unit.html
      lstm generate shakespeare --clamp 1:233=+2
    """
    wanted = parse_unit(unit)
    from lstmcli.inspect.units import inspect_units

    with reading(data, split, plot, tokens) as what:
        run, chosen = load_run(context, given)
        finding = inspect_units(run, what, wanted, chosen.get("length", 0))
    show(finding, as_json, plot)
    _show_text(finding, as_json, chosen.get("html"))


def parse_unit(text: str | None) -> tuple[int, int] | None:
    """LAYER:INDEX as two numbers."""
    if text is None:
        return None
    found = re.fullmatch(r"([0-9]{1,9}):([0-9]{1,9})", text)
    if found is None:
        raise UsageError(f"--unit {text}: not LAYER:INDEX", "such as 1:233; both count from 0")
    return int(found[1]), int(found[2])


def _show_text(finding: UnitsFinding, as_json: bool, html: Path | None) -> None:
    """The coloured text: on the terminal, and as a page if asked."""
    from lstmcli.inspect.coloured import print_coloured, to_html

    if finding.text is None:
        return
    if not as_json:
        print()
        print_coloured(finding.text)
    if html is not None:
        try:
            html.write_text(to_html(finding.text), encoding="utf-8")
        except OSError as error:
            raise ResourceError(f"{html} cannot be written: {error.strerror}") from error
        print(f"wrote {sanitize(str(html))}", file=sys.stderr)
