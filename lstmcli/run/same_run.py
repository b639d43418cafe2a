"""What `--resume` may change, and what would make another run of it.

A resumed run is the same run. How long it trains, how fast, where, and what is told of it may change; so may
what is dropped while it trains, and the batch size (the carried states then begin anew). What it learns from,
what its model is and how it is optimized may not: that is a new run, and `--from` begins it with the weights.

Data may change by `--force` alone, and only if what the model knows by name (symbols, series, classes) is
what it was: data that have grown, or been mended. What was best on other data, or by another evaluation, is
not the best any more: that and early stopping begin anew. Each checkpoint says which data it speaks of.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from shlex import quote
from typing import Any

import yaml

from lstmcli.config.load import parse_text
from lstmcli.config.schema import Config
from lstmcli.core.errors import DataError, RunError
from lstmcli.core.notices import notice
from lstmcli.run.checkpoint.store import Snapshot
from lstmcli.run.directory import RunDir
from lstmcli.run.inherit import Axis, meanings_of, shown
from lstmcli.run.task import Task

FINGERPRINT = "data_fingerprint"
"""In a manifest: of the data that a run learns from; in a checkpoint's document: of those it speaks of."""
FORCED = "forced"
"""In a manifest: what was accepted by --force, the first first."""

MAY_CHANGE = frozenset({
    *(f"data.{name}" for name in ("path", "val_path", "test_path", "url", "sha256", "source", "cache")),
    *(f"model.{name}" for name in ("dropout", "output_dropout", "input_dropout", "locked_dropout",
                                   "embedding_dropout", "weight_drop", "recurrent_dropout", "recompute")),
    *(f"train.{name}" for name in ("max_steps", "max_epochs", "max_minutes", "learning_rate",
                                   "final_learning_rate", "schedule", "plateau_factor", "plateau_patience",
                                   "warmup_steps", "weight_decay", "clip_norm", "state_reset",
                                   "activation_penalty", "temporal_penalty", "label_smoothing",
                                   "gradient_noise", "average_from", "average_patience", "early_stopping",
                                   "device", "threads", "batch_size")),
    "evaluation", "telemetry", "checkpoint",
})  # fmt: skip
"""Sections and settings; where the data lie may change, since their fingerprint is compared."""
JUDGES = ("protocol", "max_tokens", "stride", "max_windows")
"""Settings of `evaluation` without which a loss cannot be compared with an earlier one."""


def check_same_run(stored: Config, given: Config, run: RunDir | None = None) -> None:
    """RunError: settings given beside --resume would make another run of it; the message names them, and the
    command that begins such a run with the weights of `run`."""
    changed = [name for name in differences(stored, given) if not _may_change(name)]
    if changed:
        raise RunError(
            f"this run cannot be resumed with another {', '.join(changed)}",
            "leave these settings as they were"
            + (
                ""
                if run is None
                else f", or begin a new run with its weights:\n  {_begin(run, given, changed)}"
            ),
        )


def differences(stored: Config, given: Config) -> Iterator[str]:
    """Dotted names of the settings that differ; one that only one of the two has differs, too."""
    before, now = stored.model_dump(), given.model_dump()
    for section in dict.fromkeys([*before, *now]):
        theirs, ours = before.get(section), now.get(section)
        if isinstance(ours, dict) and isinstance(theirs, dict):
            names = dict.fromkeys([*theirs, *ours])
            yield from (f"{section}.{k}" for k in names if theirs.get(k) != ours.get(k))
        elif theirs != ours:
            yield section


def _may_change(name: str) -> bool:
    return name in MAY_CHANGE or name.partition(".")[0] in MAY_CHANGE


def _begin(run: RunDir, given: Config, changed: list[str]) -> str:
    words = [quote(f"{name}={_value(given, name)}") for name in changed]
    return " ".join(["lstm train", quote(str(run.config_path)), "--from", run.reference, *words])


def _value(config: Config, name: str) -> str:
    section, _, setting = name.partition(".")
    value = config.model_dump().get(section)
    value = value.get(setting) if setting and isinstance(value, dict) else value
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10**6)
    return text.removesuffix("...\n").strip()


# --- the data ------------------------------------------------------------------------------------


def check_data(
    task: Task,
    manifest: Mapping[str, Any],
    config: Config,
    checkpoint: Snapshot | None,
    run: RunDir,
    force: bool,
) -> dict[str, Any]:
    """See that the data are those that a run began with; what its manifest must say from now on.

    Raises:
        DataError: they are others, and `force` is not given.
        RunError: they are others, and so is what the model knows by name.
    """
    before, now = manifest.get(FINGERPRINT), task.fingerprint
    if before == now:
        return {}
    if not force:
        raise DataError(
            f"the data have changed since this run began (fingerprint {str(before)[:12]}, now {now[:12]})",
            "put the old data back; if they have only grown or been mended, go on with them by --force; else "
            f"begin a new run with these weights: lstm train CONFIG --from {run.reference}",
        )
    if checkpoint is not None:
        _check_meanings(task, config, checkpoint, run)
    notice("the data have changed since this run began; going on by --force: the best loss so far and early "
           "stopping begin anew")  # fmt: skip
    step = 0 if checkpoint is None else checkpoint.step
    accepted = {
        "step": step,
        "from": before,
        "to": now,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return {
        FINGERPRINT: now,
        FORCED: [*manifest.get(FORCED, []), accepted],
        "data": task.summary,
    } | task.manifest()


def _check_meanings(task: Task, config: Config, checkpoint: Snapshot, run: RunDir) -> None:
    """RunError: an index of a tensor means something else now than when it was learned."""
    ours, theirs = meanings_of(config, task.files()), meanings_of(config, checkpoint.files)
    own = task.model.state_dict()
    told: list[str] = []
    for name, axes in theirs.items():
        for before, now in zip(axes, ours.get(name, ()), strict=False):
            if name in own and before is not None and now is not None and before.labels != now.labels:
                told.append(_difference(name, before, now))
    if told:
        raise RunError(
            f"the data have changed so much that it is another model: {'; '.join(dict.fromkeys(told))}",
            "a new run with these weights takes over what both know: lstm train CONFIG --from "
            + run.reference,
        )


def _difference(name: str, before: Axis, now: Axis) -> str:
    new = [shown(label) for label in now.labels if label not in set(before.labels)]
    lost = [shown(label) for label in before.labels if label not in set(now.labels)]
    parts = [f"{len(each)} {what} ({', '.join(each[:5])}{', ...' if len(each) > 5 else ''})"
             for what, each in (("new", new), ("lost", lost)) if each]  # fmt: skip
    return f"{before.noun or name}: {' and '.join(parts) or 'in another order'}"


# --- what a checkpoint speaks of ------------------------------------------------------------------


def config_of(checkpoint: Snapshot) -> Config | None:
    """The config that a checkpoint was written with; None in one of an early version."""
    text = checkpoint.files.get("config.yaml")
    return None if text is None else parse_text(text, f"config.yaml of step {checkpoint.step}")


def judged_otherwise(
    checkpoint: Snapshot, before: Config | None, now: Config, manifest: Mapping[str, Any]
) -> bool:
    """Whether the best loss in a checkpoint cannot be compared with those of now."""
    forced = manifest.get(FORCED) or [{"from": manifest.get(FINGERPRINT)}]
    if checkpoint.document.get(FINGERPRINT, forced[0]["from"]) != manifest.get(FINGERPRINT):
        return True
    if before is None:
        return False
    changed = [f"evaluation.{name}" for name in JUDGES
               if getattr(before.evaluation, name, None) != getattr(now.evaluation, name, None)]  # fmt: skip
    if changed:
        notice(f"another {', '.join(changed)}: the best loss so far and early stopping begin anew")
    return bool(changed)


def keeps_carried(before: Config | None, now: Config) -> bool:
    """Whether the states that a checkpoint carries are those of as many streams as are read now."""
    if before is None or before.train.batch_size == now.train.batch_size:
        return True
    notice(
        f"another train.batch_size ({before.train.batch_size}, now {now.train.batch_size}): the carried "
        "states begin anew, and a step reads other data than it would have"
    )
    return False
