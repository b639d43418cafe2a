"""How a run learned, as its log says it; and what a measurement of a run is made of."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from typing import Any

from lstmcli.run.directory import RunDir

Numbers = dict[str, float]
Curve = dict[str, list[float]]  # x and y
Curves = dict[str, Curve]
Found = tuple[Numbers, Curves]


class History:
    """What metrics.jsonl says: each tag by step."""

    def __init__(self, run: RunDir):
        self.curves: Curves = {}
        with suppress(OSError), run.metrics_path.open(encoding="utf-8") as file:
            for line in file:
                with suppress(ValueError, KeyError, TypeError):
                    self._add(json.loads(line))

    def _add(self, entry: dict[str, Any]) -> None:
        for tag, value in entry.items():
            if tag.startswith(("val/", "train/loss", "train/gradient")) and isinstance(value, (int, float)):
                curve = self.curves.setdefault(tag, {"x": [], "y": []})
                curve["x"].append(entry["step"])
                curve["y"].append(value)

    @property
    def solved_at(self) -> int | None:
        """The step of the first evaluation that solved the task."""
        curve = self.curves.get("val/solved", {"x": [], "y": []})
        return next((int(x) for x, y in zip(curve["x"], curve["y"], strict=True) if y > 0.0), None)

    def numbers(self) -> Numbers:
        found: Numbers = {}
        losses = [y for y in self.curves.get("val/loss", {"y": []})["y"] if math.isfinite(y)]
        if losses:
            found = {"best_loss": min(losses), "final_loss": losses[-1]}
        norms = self.curves.get("train/gradient_norm", {"y": []})["y"]
        if norms:
            found["gradient_norm_max"] = max(norms)
        if self.solved_at is not None:
            found["solved_at"] = float(self.solved_at)
        return found
