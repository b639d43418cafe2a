"""A run on one page: what it is, how it went (its logged scalars as lines over steps), how good it is, what
it makes, what goes on inside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lstmcli.config.load import dump_config
from lstmcli.core.errors import LstmError, ResourceError
from lstmcli.core.files import write_atomic
from lstmcli.core.pictures import PALETTE, new_figure, picture_style
from lstmcli.inspect.finding import Finding
from lstmcli.inspect.page import Section, folded, page, paragraph, picture, tables, text
from lstmcli.run.kind import kind_of
from lstmcli.run.options import with_defaults
from lstmcli.run.telemetry.metrics import read_metrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lstmcli.core.tables import Table
    from lstmcli.run.trained import TrainedRun


POINTS = 1500
"""Points of a line; more are thinned."""
PANELS: tuple[tuple[str, tuple[tuple[str, str], ...], bool], ...] = (
    ("loss", (("train/loss", "training"), ("val/loss", "validation")), False),
    ("learning rate", (("train/learning_rate", ""),), False),
    ("gradient norm", (("train/gradient_norm", ""),), True),
)
"""Title, tags with their labels, and whether the axis is logarithmic."""


def curve(records: Sequence[dict[str, Any]], tag: str) -> tuple[list[int], list[float]]:
    """Steps and values of a tag, in order, thinned to at most `POINTS`."""
    found = [(r["step"], float(r[tag])) for r in records if isinstance(r.get(tag), (int, float))]
    found = found[:: max(1, -(-len(found) // POINTS))]
    return [step for step, _ in found], [value for _, value in found]


def curves_figure(records: Sequence[dict[str, Any]]) -> Figure | None:
    """Losses, learning rate and gradient norm; None where nothing was logged."""
    panels = [(t, tags, log) for t, tags, log in PANELS if any(curve(records, tag)[0] for tag, _ in tags)]
    if not panels:
        return None
    with picture_style():
        figure = new_figure((9.0, 2.9) if len(panels) > 1 else (6.0, 2.9))
        widths = [2.0] + [1.0] * (len(panels) - 1)
        grid = figure.subplots(1, len(panels), squeeze=False, gridspec_kw={"width_ratios": widths})[0]
        for axes, (title, tags, log) in zip(grid, panels, strict=True):
            for colour, (tag, label) in zip(PALETTE, tags, strict=False):
                steps, values = curve(records, tag)
                mark = "o" if len(steps) < 30 and label == "validation" else None
                axes.plot(steps, values, color=colour, linewidth=1.3, marker=mark, markersize=3, label=label)
            axes.set_title(title, loc="left")
            axes.set_xlabel("step")
            if log:
                axes.set_yscale("log")
            if len(tags) > 1:
                axes.legend(frameon=False)
    return figure


Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Wanted:
    """What the page shall hold beside config and curves, which cost nothing."""

    evaluation: bool = True
    inside: bool = True  # gates and gradients
    tokens: int = 50_000  # symbols, or steps of windows, that are read to look inside


def write_report(run: TrainedRun, path: Path, wanted: Wanted, on_progress: Progress) -> None:
    """Write the page. What cannot be made, such as an evaluation of data that are gone, is said in its
    place."""
    manifest = run.record
    records = read_metrics(run.directory.metrics_path)
    sections = list(_sections(run, records, wanted, on_progress))
    made = page(run.directory.name, _facts(run, manifest, records), sections)
    try:
        write_atomic(path, made.encode())
    except OSError as error:
        raise ResourceError(f"{path} cannot be written: {error.strerror or error}") from error


def _sections(
    run: TrainedRun, records: list[dict[str, Any]], wanted: Wanted, on_progress: Progress
) -> Iterator[Section]:
    curves = curves_figure(records)
    if curves is not None:
        yield Section("Training", picture(curves, "losses and learning rate by step"))
    if wanted.evaluation:
        yield _tried("Evaluation", lambda: tables(_evaluation(run, on_progress)))
    if title := kind_of(run.config).makes:
        yield _tried(title, lambda: _products(run))
    if wanted.inside and kind_of(run.config).topics:
        yield from _inside(run, wanted.tokens, on_progress)
    yield Section("Config", folded("all settings", text(dump_config(run.config))))


def _inside(run: TrainedRun, tokens: int, on_progress: Progress) -> Iterator[Section]:
    from lstmcli.inspect.gates import inspect_gates
    from lstmcli.inspect.gradients import inspect_gradients
    from lstmcli.inspect.source import Reading

    topics = kind_of(run.config).topics
    reading = Reading(tokens=tokens, on_progress=lambda done, total: on_progress("gates", done, total))
    if "gates" in topics:
        yield _tried("Gates", lambda: _finding(inspect_gates(run, reading)))
    if "gradients" in topics:
        yield _tried("Gradients", lambda: _finding(inspect_gradients(run, Reading(tokens=tokens))))


def _tried(title: str, make: Callable[[], str]) -> Section:
    """The section, or in its place why it could not be made."""
    try:
        return Section(title, make())
    except LstmError as error:
        return Section(title, paragraph(f"not made: {error.message}"))


def _finding(finding: Finding) -> str:
    pictures = [picture(figure, name, drawing=False) for name, figure in finding.figures().items()]
    return "\n".join(pictures) + tables(finding.tables())


def _evaluation(run: TrainedRun, on_progress: Progress) -> list[Table]:
    kind = kind_of(run.config)
    unasked = with_defaults(kind.options["eval"], {})
    return kind.evaluate(run, unasked, lambda *at: on_progress("evaluating", *at)).report.tables()


def _products(run: TrainedRun) -> str:
    """What the model writes, or forecasts."""
    made = kind_of(run.config).products(run)
    if made.figure is not None:
        return picture(made.figure, made.about)
    return paragraph(made.about) + "\n".join(text(each) for each in made.texts)


def _facts(run: TrainedRun, manifest: dict[str, Any], records: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """The cards under the title."""
    config = run.config
    sizes = " + ".join(str(size) for size in config.model.sizes)
    facts = [
        ("state", str(manifest.get("state", ""))),
        ("data", f"{config.data.kind}, {_source(run)}"),
        ("cell", f"{config.model.cell}, {sizes} units"),
        ("parameters", f"{manifest.get('parameters', 0):,}"),
        ("checkpoint", f"step {run.step:,}"),
    ]
    best = [r["val/loss"] for r in records if isinstance(r.get("val/loss"), (int, float))]
    if best:
        facts.append(("best validation loss", f"{min(best):.4f}"))
    seconds = [r["speed/seconds"] for r in records if "speed/seconds" in r]
    if seconds:
        facts.append(("training time", _time(seconds[-1])))
    facts.append(("computed on", f"{manifest.get('device', '')} in {manifest.get('precision', '')}"))
    return facts


def _source(run: TrainedRun) -> str:
    data = run.config.data
    given = next((v for k in ("task", "path", "url", "source") if (v := getattr(data, k, None))), "")
    return Path(given).name if isinstance(given, str) else f"{len(given)} files"


def _time(seconds: float) -> str:
    from lstmcli.run.telemetry.console import duration

    return duration(seconds)
