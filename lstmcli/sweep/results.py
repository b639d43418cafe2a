"""Many trials become rows: per variant the mean, the spread over seeds, and every single value."""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from lstmcli.core.tables import Table
from lstmcli.run.kind import kind_named
from lstmcli.sweep.experiment import Plan

LABELS = {
    "best_loss": "best val loss",
    "final_loss": "last val loss",
    "windows_loss": "val loss, windows",
    "stateful_loss": "val loss, stateful",
    "windows_tempered": "windows, at its best temperature",
    "stateful_tempered": "stateful, at its best temperature",
    "windows_temperature": "that temperature",
    "stateful_temperature": "that temperature",
    "gradient_norm_max": "largest gradient norm",
    "solved_at": "steps to solve",
    "solved_length": "solved up to",
    "free_mse": "free-running error",
    "mse": "squared error",
    "baseline_mse": "baseline",
    "baseline_accuracy": "baseline",
    "parameters": "parameters",
    "seconds": "seconds",
}
"""Columns of a table, where a number's own name is not enough."""
PATTERNS = (
    (r"start_gradient_(\d+)", r"lag \1, start"),
    (r"gradient_(\d+)", r"lag \1, trained"),
    (r"start_gradient_factor", "factor a step, start"),
    (r"gradient_factor", "factor a step, trained"),
)
HIDDEN = {"best_loss", "final_loss", "gradient_norm_max", "solved_at"} | {
    f"{protocol}_{name}" for protocol in ("windows", "stateful") for name in ("tempered", "temperature")
}
"""Not in a table unless asked for, where an experiment measures something else."""
RANGES = {"solved_length"}
"""Shown as what the seeds lie between: a mean of them says nothing."""
NOTE = "Mean ± standard deviation (n - 1) over seeds; what fewer seeds have reached counts those alone."


class Spread(NamedTuple):
    """One number over seeds."""

    values: list[float]
    mean: float
    sd: float | None  # None: of one value there is none
    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Row:
    """All seeds of a variant, at one value of the further setting."""

    variant: str
    at: Any
    records: list[dict[str, Any]]

    def spread(self, name: str) -> Spread | None:
        """A number of all trials that have it."""
        values = [v for record in self.records if (v := value_of(record, name)) is not None]
        return spread_of(values) if values else None

    @property
    def solved(self) -> int:
        return sum(value_of(record, "solved_at") is not None for record in self.records)

    @property
    def states(self) -> dict[str, int]:
        return dict(Counter(record["state"] for record in self.records))


def value_of(record: dict[str, Any], name: str) -> float | None:
    """A finite number of a trial, or None."""
    value = record.get("numbers", {}).get(name, record.get(name))
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def names_in(records: list[dict[str, Any]]) -> list[str]:
    """The numbers that trials have, in the order of the first that has each."""
    return list(dict.fromkeys(name for record in records for name in record.get("numbers", {})))


def spread_of(values: Sequence[float]) -> Spread:
    sd = statistics.stdev(values) if len(values) > 1 else None
    mean, median = statistics.fmean(values), statistics.median(values)
    return Spread(list(values), mean, sd, median, min(values), max(values))


@dataclass(frozen=True)
class Results:
    """What an experiment found, as JSON and tables."""

    plan: Plan
    records: list[dict[str, Any]]

    @cached_property
    def rows(self) -> list[Row]:
        grouped: dict[tuple[str, str], Row] = {}
        for record in self.records:
            key = (record["variant"], repr(record["at"]))
            grouped.setdefault(key, Row(record["variant"], record["at"], [])).records.append(record)
        return list(grouped.values())

    @cached_property
    def names(self) -> list[str]:
        """The numbers that the table has: those the experiment asks for, else all."""
        if self.plan.experiment.show:
            return self.plan.experiment.show
        found = names_in(self.records)
        return [name for name in found if name not in HIDDEN] or [n for n in found if n == "best_loss"]

    @property
    def _has_lengths(self) -> bool:
        """Whether `over` varies how hard a task is."""
        return self.has_task and self.plan.axis == "data.length"

    @property
    def has_task(self) -> bool:
        """Whether there is something to solve."""
        data = self.plan.experiment.base.get("data")
        return isinstance(data, dict) and kind_named(str(data.get("kind", "text"))).solves

    def document(self) -> dict[str, Any]:
        experiment = self.plan.experiment
        return {
            "experiment": self.plan.name,
            "title": experiment.title,
            "claim": experiment.claim,
            "source": experiment.source,
            "over": self.plan.axis,
            "seeds": experiment.seeds,
            "overrides": list(self.plan.words),
            "quick": self.plan.quick,
            "rows": [self._row_document(row) for row in self.rows],
            "against": self._difference_document(),
            "longest_solved": self._longest() if self._has_lengths else None,
            "trials": [{k: v for k, v in r.items() if k != "curves"} for r in self.records],
        }

    def _row_document(self, row: Row) -> dict[str, Any]:
        spreads = {name: row.spread(name) for name in names_in(row.records)}
        return {
            "variant": row.variant,
            "at": row.at,
            "trials": len(row.records),
            "states": row.states,
            "solved": row.solved if self.has_task else None,
            "numbers": {name: spread._asdict() for name, spread in spreads.items() if spread is not None},
        }

    def _difference_document(self) -> list[dict[str, Any]] | None:
        against = self.plan.experiment.against
        if against is None:
            return None
        rows: dict[tuple[str, str], dict[str, Any]] = {}
        for name in names_in(self.records):
            for (variant, at), spread in self.differences(against, name).items():
                row = rows.setdefault((variant, repr(at)), {"variant": variant, "at": at, "from": against})
                row.setdefault("numbers", {})[name] = spread._asdict()
        return list(rows.values())

    def tables(self) -> list[Table]:
        found = [self._main_table()]
        if self.plan.experiment.against:
            found.append(self._difference_table(self.plan.experiment.against))
        if self._has_lengths:
            found.append(self._longest_table())
        return found

    def _main_table(self) -> Table:
        axis = self.plan.axis
        head = ["variant", *([axis] if axis else []), "trials", *(["solved"] if self.has_task else [])]
        names = [n for n in self.names if any(row.spread(n) for row in self.rows)]
        names = [*(["solved_at"] if self.has_task and "solved_at" not in names else []), *names]
        rows = []
        for row in self.rows:
            cells = [row.variant, *([str(row.at)] if axis else []), _states(row)]
            cells += [f"{row.solved}/{len(row.records)}"] if self.has_task else []
            rows.append([*cells, *(_cell(row, name) for name in names)])
        columns = [*head, *map(label_of, names)]
        title = self.plan.experiment.title + (" (quick: a look, not a result)" if self.plan.quick else "")
        return Table(
            title, columns, rows, f"{self.plan.experiment.note} {NOTE}".strip(), left=2 if axis else 1
        )

    def differences(self, against: str, name: str) -> dict[tuple[str, Any], Spread]:
        """A number of each row less that of the variant `against`, seed by seed."""
        found = {}
        for row in self.rows:
            base = next((r for r in self.rows if r.variant == against and r.at == row.at), None)
            if base is None:  # not trained yet
                continue
            theirs = {record["seed"]: value_of(record, name) for record in base.records}
            pairs = [(value_of(record, name), theirs.get(record["seed"])) for record in row.records]
            values = [ours - other for ours, other in pairs if ours is not None and other is not None]
            if row.variant != against and values:
                found[row.variant, row.at] = spread_of(values)
        return found

    def _difference_table(self, against: str) -> Table:
        names = [name for name in self.names if self.differences(against, name)]
        found = {name: self.differences(against, name) for name in names}
        rows = []
        for row in self.rows:
            if row.variant != against:
                cells = [row.variant] if row.at is None else [row.variant, str(row.at)]
                rows.append([*cells, *(show(found[name].get((row.variant, row.at))) for name in names)])
        head = ["variant", self.plan.axis] if self.plan.axis else ["variant"]
        columns = [*head, *map(label_of, names)]
        return Table(f"Difference from {against}, seed by seed", columns, rows, left=len(head))

    def _longest(self) -> dict[str, dict[str, Any]]:
        """Per variant the largest value of `over` that every seed solved, and that some seed solved."""
        found: dict[str, dict[str, Any]] = {}
        for row in self.rows:
            best = found.setdefault(row.variant, {"every_seed": None, "some_seed": None})
            if row.solved:
                best["some_seed"] = max(best["some_seed"] or row.at, row.at)
            if row.solved == len(row.records):
                best["every_seed"] = max(best["every_seed"] or row.at, row.at)
        return found

    def _longest_table(self) -> Table:
        rows = [
            [variant, *("none" if value is None else str(value) for value in best.values())]
            for variant, best in self._longest().items()
        ]
        columns = ["variant", "by every seed", "by some seed"]
        return Table(f"The longest {self.plan.axis} that was solved", columns, rows)


def _cell(row: Row, name: str) -> str:
    spread = row.spread(name)
    if spread is not None and name.startswith("baseline_"):
        return f"{spread.mean:.3g}"  # no seed's doing
    if spread is None or name not in RANGES:
        return show(spread)
    return f"{spread.low:g}" if spread.low == spread.high else f"{spread.low:g} to {spread.high:g}"


def label_of(name: str) -> str:
    """The column's head for a number."""
    for pattern, label in PATTERNS:
        if re.fullmatch(pattern, name):
            return re.sub(pattern, label, name)
    return LABELS.get(name, name.replace("_", " "))


def _states(row: Row) -> str:
    """How many trials there were; of those that did not end well, how."""
    wrong = ", ".join(f"{count} {state}" for state, count in row.states.items() if state != "complete")
    return f"{len(row.records)} ({wrong})" if wrong else f"{len(row.records)}"


def show(spread: Spread | None) -> str:
    """A number with its spread, to the digits that the spread leaves."""
    if spread is None:
        return "-"
    mean, sd = spread.mean, spread.sd
    if mean != 0.0 and not 1e-3 <= max(abs(mean), sd or 0.0) < 1e6:
        return f"{mean:.1e}" if sd is None else f"{mean:.1e} ± {sd:.0e}"
    if not sd:
        text = f"{mean:.4g}" if abs(mean) < 1e4 else f"{mean:.0f}"
        return text if sd is None else f"{text} ± 0"
    digits = max(0, min(6, 1 - math.floor(math.log10(sd))))
    return f"{mean:.{digits}f} ± {sd:.{digits}f}"


def describe(record: dict[str, Any]) -> str:
    """How a trial ended, in a few words."""
    state, steps = record["state"], record.get("steps")
    if state == "failed":
        return f"failed: {record['message']}"
    solved, loss = value_of(record, "solved_at"), value_of(record, "best_loss")
    how = f"{state} at step {steps}" if solved is None else f"solved at step {solved:.0f}"
    best = "" if loss is None else f", best val loss {loss:.4g}"
    return f"{how} in {record.get('seconds', 0.0):.0f} s{best}"
