"""A run, put together: config, data, model, optimizer, batches and what it tells."""

from __future__ import annotations

import os
import platform
import sys
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from lstmcli.config.load import dump_config
from lstmcli.config.schema import Config
from lstmcli.core.errors import LstmError, ResourceError, RunError
from lstmcli.core.locking import Hold
from lstmcli.core.notices import notice
from lstmcli.core.terminal import console_lost
from lstmcli.engine.hardware import (
    Hardware,
    choose_hardware,
    choose_path,
    needs_compiling,
    set_path,
    use_threads,
)
from lstmcli.run.average import Average
from lstmcli.run.check import check
from lstmcli.run.checkpoint.store import Snapshot, read_checkpoint
from lstmcli.run.directory import (
    RunDir,
    check_unbegun,
    create_run,
    created_now,
    lock,
    read_json,
    write_atomic,
    write_json_atomic,
)
from lstmcli.run.distributed import ALONE, Ranks
from lstmcli.run.foreign import may_sign, signed
from lstmcli.run.hooks import Hooks, Record, Screen
from lstmcli.run.inherit import Heir, Heritage, begin_again, freeze
from lstmcli.run.kind import kind_of
from lstmcli.run.optimizer import make_optimizer
from lstmcli.run.own_cell import note_own_cell
from lstmcli.run.records import check_document, read_run
from lstmcli.run.same_run import (
    FINGERPRINT,
    check_data,
    check_same_run,
    config_of,
    judged_otherwise,
    keeps_carried,
)
from lstmcli.run.set_back import choose_checkpoint, set_back
from lstmcli.run.state import Progress, TrainState, seed_step, tensors_of
from lstmcli.run.task import Task
from lstmcli.run.telemetry.console import Console
from lstmcli.run.telemetry.logger import Logger
from lstmcli.run.update import Objective
from lstmcli.version import __version__

DEFAULT_EPOCHS = 20.0


class Identity(NamedTuple):
    """What the directory of a run is known by while it trains."""

    hold: Hold
    id: str


@dataclass
class Session:
    """What the loop works with. Only `state` changes."""

    config: Config
    run: RunDir
    task: Task
    hardware: Hardware
    path: str
    state: TrainState
    objective: Objective  # the task's loss, whose gradient all ranks share
    hooks: list[Hooks]
    resumed_from: int | None = None
    discarded: bool = False  # what lay beyond the checkpoint resumed from is gone
    ranks: Ranks = ALONE
    identity: Identity | None = None  # in the process that writes
    broken_log: Callable[[], str | None] = lambda: None  # why part of the log is missing, if it is
    inherited: bool = False  # whether it began with the weights of another run


@dataclass(frozen=True)
class Parts:
    """A run before anything of it is written: what `--dry-run` shows."""

    config: Config
    task: Task
    hardware: Hardware
    path: str
    optimizer: torch.optim.Optimizer
    ranks: Ranks = ALONE
    heritage: Heritage | None = None  # what a new run has from another

    def first_state(self) -> TrainState:
        """All that the run is at step 0."""
        model, train = self.task.model, self.config.train
        average = Average(model, train) if train.average else None
        return TrainState(model, self.optimizer, self.task.start_state(), Progress(), average)


def with_default_budget(config: Config) -> Config:
    """A run without any budget trains for 20 epochs."""
    train = config.train
    if train.max_steps or train.max_epochs or train.max_minutes:
        return config
    return config.model_copy(update={"train": train.model_copy(update={"max_epochs": DEFAULT_EPOCHS})})


def assemble(
    config: Config, console: Console, manifest: dict[str, Any] | None = None, ranks: Ranks = ALONE
) -> Parts:
    """Data, model and hardware of a config. A resumed run keeps the precision and the path that its
    `manifest` names, so that it goes on as it began."""
    config = with_default_budget(config)
    train = config.train
    ranks.part_of(train.batch_size)
    use_threads(train.threads, ranks.launch.local_size)
    precision = manifest["precision"] if manifest else train.precision
    hardware = choose_hardware(train.device, precision, elsewhere=manifest is not None)
    if manifest is not None and train.precision == "auto":
        hardware = replace(hardware, reason=f"as at the start: {manifest.get('precision_reason', 'auto')}")
    check(config, elsewhere=manifest is not None)
    seed_step(config.seed, -1 + 2**31)  # the weights' own draw, apart from every step's
    with ranks.in_turn():  # one process of a machine prepares the data, the others find them prepared
        kind, began_in = kind_of(config), (manifest or {}).get("folder")
        task = kind.task(kind.found_again(config, began_in), console.data_progress, ranks)
    first = task.stacks()[0].layers[0]
    path = (
        manifest["path"] if manifest else choose_path(config, first, task.model.parameter_count(), hardware)
    )
    ranks.check_same(
        "config, data or arithmetic", f"{dump_config(config)} {task.fingerprint} {hardware.precision} {path}"
    )
    freeze(task.model, train.freeze)
    task.place(hardware.device)
    task.model.product_dtype = hardware.product_dtype
    for stack in task.stacks():
        # A stack of another cell than the first one's goes the nearest way that it knows.
        known = stack.layers[0].known_paths
        set_path(stack, path if path in known else known[0])
    return Parts(config, task, hardware, path, make_optimizer(train, task.model), ranks)


def start(
    parts: Parts,
    config_name: str,
    run_name: str | None,
    console: Console,
    stack: ExitStack,
    root: Path,
) -> Session:
    """A new run: its directory in `root`, and the state at step 0."""

    known: list[Identity] = []

    def make() -> str:
        run = create_run(config_name, run_name, root)
        held = stack.enter_context(lock(run))
        check_unbegun(run)
        _write_config(run, parts.config)
        manifest = signed(_manifest(parts, root), parts.config)
        write_json_atomic(run.manifest_path, manifest)
        known.append(Identity(held, manifest["id"]))
        note_own_cell(parts.task.files())
        return str(run.path)

    return _session(parts, RunDir(Path(parts.ranks.share(make))), console, stack, known)


def resume(
    parts: Parts, run: RunDir, which: str | None, force: bool, console: Console, stack: ExitStack
) -> Session:
    """The run again, exactly where the checkpoint `which` (default: the last of its course) left it. One
    that was stopped before its first checkpoint begins at step 0: there it is a function of its config."""

    known: list[Identity] = []

    read_here: list[Snapshot] = []

    def read() -> list[Any]:
        held = stack.enter_context(lock(run))
        manifest = {"id": _new_id()} | read_run(run)
        known.append(Identity(held, manifest["id"]))
        if may_sign(run, manifest):
            manifest = signed(manifest, parts.config)
        folder = choose_checkpoint(run, manifest, which)
        checkpoint = None if folder is None else read_checkpoint(folder)
        manifest |= check_data(parts.task, manifest, parts.config, checkpoint, run, force)
        if folder is not None and checkpoint is not None:
            check_document(checkpoint.document, folder, checkpoint.step)
            _check_own(checkpoint, folder, parts.config)
            parts.task.restore(folder)
        step = 0 if checkpoint is None else checkpoint.step
        manifest = set_back(run, manifest, step) | _launch(parts.ranks)
        write_json_atomic(run.manifest_path, manifest)  # before anything past the checkpoint is dropped
        note_own_cell(parts.task.files())
        read_here.extend([] if checkpoint is None else [checkpoint])
        return [manifest, None if folder is None else str(folder)]

    manifest, folder = parts.ranks.share(read)
    if folder is not None and not read_here:
        read_here.append(read_checkpoint(Path(folder)))  # each rank for itself
    checkpoint = read_here[0] if read_here else None
    if checkpoint is None:
        begin_again(parts.task, parts.config, manifest)
    step = 0 if checkpoint is None else checkpoint.step
    session = _session(parts, run, console, stack, known, checkpoint, step, manifest)
    _tell_differences(parts, manifest)
    if parts.ranks.first:
        _write_config(run, parts.config)  # a longer budget holds for the next resume, too
    return session


def _tell_differences(parts: Parts, manifest: dict[str, Any]) -> None:
    """What keeps the run from going on bit for bit."""
    here = {"device": str(parts.hardware.device), "threads": torch.get_num_threads()}
    for name, value in (here | {"ranks": parts.ranks.size}).items():
        before = manifest.get(name, 1 if name == "ranks" else None)
        if before != value:
            notice(f"this run began with {name} {before}, now {value}: it goes on, but not bit for bit")


def _launch(ranks: Ranks) -> dict[str, Any]:
    """Tells a restart of this launch from another one."""
    return {"launch": ranks.launch.name} if ranks.launch.name else {}


def _write_config(run: RunDir, config: Config) -> None:
    write_atomic(run.config_path, dump_config(config).encode())


def _session(
    parts: Parts,
    run: RunDir,
    console: Console,
    stack: ExitStack,
    known: list[Identity],
    checkpoint: Snapshot | None = None,
    logged_to: int | None = None,
    manifest: dict[str, Any] | None = None,
) -> Session:
    """`logged_to`: what is logged beyond that step is dropped; None: nothing is logged yet. `manifest`: that
    of the checkpoint's run."""
    console.phase("compiling the cell")
    if needs_compiling(parts.task.stacks()[0]):
        parts.task.warm_up()
    model, state, step = parts.task.model, parts.first_state(), None
    if checkpoint is not None:
        before = config_of(checkpoint)
        part = parts.ranks.part if keeps_carried(before, parts.config) else None
        state.restore(tensors_of(checkpoint, model), checkpoint.document, part)
        if judged_otherwise(checkpoint, before, parts.config, manifest or {}):
            state.judge_anew()
        step = checkpoint.step
    objective = parts.ranks.together(model, parts.task.loss) or parts.task.loss
    session = Session(
        parts.config, run, parts.task, parts.hardware, parts.path, state, objective, [Screen(console)], step,
        ranks=parts.ranks, identity=known[0] if known else None,
    )  # fmt: skip
    if parts.ranks.first:
        evaluated = state.progress.evaluated_at == logged_to
        logger = Logger(run, parts.config, model.layers, logged_to, evaluated)
        stack.callback(logger.close)
        session.hooks.insert(0, Record(logger, console))
        session.broken_log = lambda: logger.broken
    session.inherited = "from" in read_json(run.manifest_path)
    if session.inherited:
        session.hooks.append(Heir(run, console, parts.ranks.first))
    return session


def _new_id() -> str:
    """What tells a run from every other one, whatever their directories are called."""
    return uuid.uuid4().hex


def check_identity(session: Session) -> None:
    """Before anything is written into the run's directory: it is still there, it is still locked, and it is
    this run's. ResourceError if another one was put in its place."""
    if session.identity is None:
        return
    problem = session.identity.hold.problem() or _other_run(session.run, session.identity.id)
    if problem is not None:
        raise ResourceError(
            f"cannot save checkpoint of step {session.state.progress.step}: {problem}",
            "nothing was written there; go on from the last checkpoint by lstm train --resume",
        )


def _other_run(run: RunDir, own: str) -> str | None:
    try:
        found = read_json(run.manifest_path).get("id")
    except RunError:  # damaged, which is no other run's
        return None
    return None if found == own else f"{run.path} holds another run"


def _check_own(checkpoint: Snapshot, folder: Path, config: Config) -> None:
    """RunError if a checkpoint's own config is not that of the run whose directory it lies in."""
    if (own := config_of(checkpoint)) is None:
        return
    try:
        check_same_run(own, config)
    except RunError as error:
        raise RunError(
            f"checkpoint {folder} is of another run: {error.message}", "take it out of this run's checkpoints"
        ) from None


def _manifest(parts: Parts, root: Path) -> dict[str, Any]:
    return {
        "id": _new_id(),
        "created": created_now(root),
        "state": "running",
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "versions": {
            "lstmcli": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "platform": platform.platform(),
        },
        "folder": os.getcwd(),
        "device": str(parts.hardware.device),
        "threads": torch.get_num_threads(),
        "ranks": parts.ranks.size,
        "precision": parts.hardware.precision,
        "precision_reason": parts.hardware.reason,
        "path": parts.path,
        "cell": parts.config.model.cell,
        "kind": parts.config.data.kind,
        "parameters": parts.task.model.parameter_count(),
        FINGERPRINT: parts.task.fingerprint,
        "data": parts.task.summary,
        **parts.task.manifest(),
        **({} if parts.heritage is None else {"from": parts.heritage.document()}),
        **_launch(parts.ranks),
    }


def set_run_state(session: Session, state: str) -> None:
    """Note in the manifest how the run stands: running, complete, interrupted, diverged, failed; and, as
    `console_lost`, why part of what it said reached nobody.

    What keeps it from being written is told, but must not hide how the run ended.
    """
    run, lost = session.run, {"console_lost": reason} if (reason := console_lost()) else {}
    try:
        check_identity(session)
        manifest = read_json(run.manifest_path)
        if manifest.get("state") != state or lost:
            write_json_atomic(run.manifest_path, manifest | {"state": state} | lost)
    except LstmError as error:
        notice(f"the state of the run ({state}) could not be noted: {error.message}")
