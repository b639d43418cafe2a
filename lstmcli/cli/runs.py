"""lstm runs: what has been trained, one run in full, several beside each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from lstmcli.core.errors import UsageError
from lstmcli.core.output import print_json, print_line
from lstmcli.core.tables import Table, to_text

if TYPE_CHECKING:
    from lstmcli.config.schema import Config
    from lstmcli.run.directory import RunDir, RunSummary


def command(
    what: Annotated[str, typer.Argument(help="list, show or compare.")] = "list",
    names: Annotated[
        list[str] | None, typer.Argument(help="show: a run; compare: two or more runs.", metavar="[RUN]...")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """List the runs, show one, or set several side by side: results, and settings that differ.

    \b
    Examples:
      lstm runs
      lstm runs show latest
      lstm runs compare shakespeare shakespeare-fast
    """
    given = names or []
    if what == "list" and not given:
        _list(as_json)
    elif what == "show" and len(given) == 1:
        _show(given[0], as_json)
    elif what == "compare" and len(given) >= 2:
        _compare(given, as_json)
    else:
        counts = {"list": "takes no run", "show": "takes one run", "compare": "takes two runs or more"}
        if what not in counts:
            raise UsageError(f"there is no lstm runs {what!r}", f"lstm runs show {what}")
        raise UsageError(f"lstm runs {what} {counts[what]}, found {len(given)}")


def _list(as_json: bool) -> None:
    from lstmcli.run.directory import list_runs
    from lstmcli.run.telemetry.console import duration

    found = list_runs()
    if as_json:
        print_json({"runs": [vars(run) for run in found]})
        return
    if not found:
        print("no runs here yet; begin with: lstm train configs/quickstart.yaml")
        return
    rows = [
        [
            run.name, run.state, run.cell or "", "" if run.step is None else str(run.step),
            "" if run.best_loss is None else f"{run.best_loss:.4f}", duration(run.age_seconds),
        ]
        for run in found
    ]  # fmt: skip
    columns = ["run", "state", "cell", "step", "best loss", "age"]
    print_line(to_text(Table("", columns, rows, left=3)).rstrip("\n"))


def _show(name: str, as_json: bool) -> None:
    from lstmcli.config.load import dump_config
    from lstmcli.run.checkpoint.store import checkpoints

    run, config, summary = _read(name)
    kept = sorted(checkpoints(run.checkpoints))
    facts = _facts(run, summary)
    if as_json:
        print_json(facts | {"checkpoints": kept, "config": config.model_dump()})
        return
    rows = [[key.replace("_", " "), _shown(value)] for key, value in facts.items()]
    rows.append(["checkpoints", ", ".join(str(step) for step in kept) or "none"])
    print_line(to_text(Table("", ["", ""], rows, left=2)).lstrip("\n"))
    print_line(dump_config(config).rstrip("\n"))


def _compare(names: list[str], as_json: bool) -> None:
    read = [_read(name) for name in names]
    facts = [_facts(run, summary) for run, _, summary in read]
    settings = [_flat(config) for _, config, _ in read]
    differ = [k for k in settings[0] if len({repr(s.get(k)) for s in settings}) > 1]
    if as_json:
        found = [
            f | {"settings": {k: s.get(k) for k in differ}} for f, s in zip(facts, settings, strict=True)
        ]
        print_json({"runs": found})
        return
    columns = ["", *(str(f["run"]) for f in facts)]
    keys = [k for k in facts[0] if k not in ("run", "command")]
    rows = [[k.replace("_", " "), *(_shown(f[k]) for f in facts)] for k in keys]
    print_line(to_text(Table("", columns, rows)))
    if differ:
        rows = [[k, *("null" if s.get(k) is None else _shown(s[k]) for s in settings)] for k in differ]
        print_line(to_text(Table("settings that differ", columns, rows)).rstrip("\n"))
    else:
        print_line("all settings are the same")


def _read(name: str) -> tuple[RunDir, Config, RunSummary]:
    from lstmcli.run.directory import find_run, summary_of
    from lstmcli.run.records import config_of

    run = find_run(name)
    return run, config_of(run), summary_of(run)


def _facts(run: RunDir, summary: RunSummary) -> dict[str, Any]:
    from lstmcli.run.records import read_run
    from lstmcli.run.telemetry.metrics import read_metrics

    manifest = read_run(run)
    records = read_metrics(run.metrics_path)
    evaluated = [r for r in records if "val/loss" in r]
    return {
        "run": run.name,
        "state": summary.state,
        "cell": summary.cell,
        "parameters": summary.parameters,
        "step": summary.step,
        "best_loss": summary.best_loss,
        "last_loss": evaluated[-1]["val/loss"] if evaluated else None,
        "seconds": max((r["speed/seconds"] for r in records if "speed/seconds" in r), default=None),
        "device": f"{manifest.get('device')} in {manifest.get('precision')}",
        "command": " ".join(str(word) for word in manifest.get("command", [])),
    }


def _flat(config: Config) -> dict[str, Any]:
    """Every setting by its dotted name."""
    found: dict[str, Any] = {}
    for section, values in config.model_dump().items():
        if isinstance(values, dict):
            found |= {f"{section}.{key}": value for key, value in values.items()}
        else:
            found[section] = values
    return found


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
