"""Scaling of covariates and codes of categories, fitted on the training part and kept as plain JSON."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lstmcli.core.notices import notice

Float = npt.NDArray[np.float64]
Single = npt.NDArray[np.float32]


def fit_scaler(columns: list[str], values: Float, training: npt.NDArray[np.bool_]) -> list[dict[str, Any]]:
    """Mean and deviation (ddof 0) of each column over the training steps; NaN does not count. A column
    that is constant or never observed there has deviation 1. ``values`` (N, K), ``training`` (N,)."""
    found = []
    for number, name in enumerate(columns):
        seen = values[training, number]
        found.append({"name": name, **_moments(seen)})
    return found


def _moments(values: Float) -> dict[str, float]:
    seen = values[~np.isnan(values)]
    mean = float(seen.mean()) if len(seen) else 0.0
    deviation = float(seen.std()) if len(seen) else 0.0
    # a constant column's deviation may be a rounding error instead of 0
    constant = len(seen) == 0 or float(seen.min()) == float(seen.max())
    return {"mean": mean, "std": 1.0 if constant or deviation == 0.0 else deviation}


def scaled(values: Float, scaler: list[dict[str, Any]]) -> Single:
    """Z-scores, (N, K); 0 where missing."""
    result = np.zeros(values.shape, dtype=np.float32)
    for number, column in enumerate(scaler):
        scores = (values[:, number] - column["mean"]) / column["std"]
        result[:, number] = np.nan_to_num(scores, nan=0.0)
    return result


def fit_static(names: list[str], text: list[str], columns: list[Any]) -> list[dict[str, Any]]:
    """How each static column is coded: z-scores over the series, or one-hot by sorted categories."""
    found: list[dict[str, Any]] = []
    for name, column in zip(names, columns, strict=True):
        if name in text:
            categories = sorted({value for value in column if value is not None})
            found.append({"name": name, "kind": "text", "categories": categories})
        else:
            found.append({"name": name, "kind": "number", **_moments(column)})
    return found


def coded_static(columns: list[Any], codes: list[dict[str, Any]], series: int) -> tuple[Single, list[str]]:
    """(S, F) and the names of the F features; zeros for what is missing or was never seen."""
    parts: list[Single] = [np.zeros((series, 0), dtype=np.float32)]
    names: list[str] = []
    for column, code in zip(columns, codes, strict=True):
        if code["kind"] == "number":
            parts.append(scaled(np.asarray(column)[:, None], [code]))
            names.append(code["name"])
            continue
        place = {category: number for number, category in enumerate(code["categories"])}
        one_hot = np.zeros((series, len(place)), dtype=np.float32)
        for row, value in enumerate(column):
            if value in place:
                one_hot[row, place[value]] = 1.0
        unseen = sorted({value for value in column if value is not None and value not in place})
        if unseen:
            shown = ", ".join(map(repr, unseen[:5]))
            notice(f"column {code['name']}: training never saw {shown}: taken as zeros")
        parts.append(one_hot)
        names += [f"{code['name']}={category}" for category in code["categories"]]
    return np.concatenate(parts, axis=1), names
