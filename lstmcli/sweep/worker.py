"""A process that makes trials, one after the other: `python -P -m lstmcli.sweep.worker FOLDER`.

It reads trials from standard input, a line of JSON each (`Trial.encode`), and writes a trial's name to
standard output when that trial is over, however it ended. What a trial says goes to a log of its own. When
standard input is closed there is nothing more to do; a trial that is being made then is stopped, so that
nothing outlives the process which began it.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
import time
import traceback
from dataclasses import asdict
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from lstmcli.cells.trust import allow
from lstmcli.core.errors import DivergedError, LstmError
from lstmcli.core.files import read_json, write_json_atomic
from lstmcli.core.locking import is_held
from lstmcli.core.terminal import make_console_expendable, sanitize
from lstmcli.run.directory import RunDir
from lstmcli.run.execute import Job, execute
from lstmcli.run.hooks import Evaluation, Hooks
from lstmcli.run.kind import Curves, Kind, Measurement, Numbers, kind_of
from lstmcli.run.session import Session
from lstmcli.run.telemetry.console import Console
from lstmcli.run.telemetry.metrics import read_metrics
from lstmcli.run.trained import load
from lstmcli.sweep.pool import PATIENCE, RECORD_FILE, Pool, Record, Trial, log_of, unfinished

START = "start.json"
SOLVED, OUT_OF_TIME = "solved", "out of time"


def run_trial(folder: Path, trial: Trial, trusted: bool = False, quiet: bool = True) -> Record:
    """Train the run of a trial, or go on with it; measure it; write and give its record.

    A loss that is not finite is a result, too: the record's state is then `diverged`.

    Args:
        trusted: run the code that lies in the trial's directory, whoever wrote it.

    Raises:
        Interrupted, Terminated: asked to stop; the run is saved and can be resumed.
        LstmError: the trial cannot be made.
    """
    path = folder / trial.name
    if trusted:
        allow(path)
    record: Record = {"trial": trial.name, **trial.labels}
    began, watch = time.perf_counter(), Watch(path, trial)
    state, said = "complete", None
    try:
        if execute(_job(path, trial), [watch], Console(quiet)).reason == OUT_OF_TIME:
            state = OUT_OF_TIME
    except DivergedError as error:
        state, said = "diverged", error.message
    trained = watch.session.state
    record |= {"parameters": trained.model.parameter_count(), "state": state, "message": said}
    record |= {"steps": trained.progress.step, "seconds": trained.progress.seconds}
    measured = watch.start | measure(path, trial)
    record |= {"numbers": measured.numbers, "curves": measured.curves}
    record |= {"seconds_all": time.perf_counter() - began}
    write_json_atomic(path / RECORD_FILE, record)
    return record


def _job(path: Path, trial: Trial) -> Job:
    """A new run; or the one that is there, where it left off."""
    deadline = time.monotonic() + PATIENCE
    while is_held(path) and time.monotonic() < deadline:
        time.sleep(0.1)  # a worker whose parent was killed still saves it
    run = RunDir(path)
    if run.manifest_path.exists():
        return Job(trial.config, resumed=run)
    return Job(trial.config, trial.name, trial.name, path.parent)


class Watch(Hooks):
    """Measures the untrained model, and ends the run when its minutes are over, or (if that is wanted) when
    its task is solved."""

    session: Session
    start: Measurement

    def __init__(self, path: Path, trial: Trial):
        self._path, self._trial = path, trial

    def on_start(self, session: Session) -> str | None:
        self.session = session
        self.start = self._measure_start()
        left = 60.0 * (self._trial.minutes or 1e9) - session.state.progress.seconds
        self._deadline = time.perf_counter() + left
        # Killed after it was solved, but before it had a record: it does not train on.
        solved = self._trial.until_solved and solved_at(curves_of(session.run)) is not None
        return SOLVED if solved else None

    def on_step(self, step: int, done: float) -> str | None:
        return OUT_OF_TIME if time.perf_counter() > self._deadline else None

    def on_evaluation(self, evaluation: Evaluation) -> str | None:
        solved = evaluation.values.get("val/solved", 0.0) > 0.0
        return SOLVED if self._trial.until_solved and solved else None

    def _measure_start(self) -> Measurement:
        """What is measured of the untrained model: kept beside the run, for a resume has it no longer."""
        kept = self._path / START
        if kept.exists():
            return Measurement(**read_json(kept))
        found = kind_of(self._trial.config).measure_start(self.session.task, self._trial.asked)
        if found.numbers:
            write_json_atomic(kept, asdict(found))
        return found


def measure(path: Path, trial: Trial) -> Measurement:
    """How the run at `path` learned, and all else that is asked of it; a run without a checkpoint has only
    its log."""
    kind, curves = kind_of(trial.config), curves_of(RunDir(path))
    found = Measurement(numbers_of(curves, kind), curves)
    if any((path / "checkpoints").glob("step_*")):
        for what in trial.asked.measures:
            found |= kind.measure(what, load(path), trial.asked)
    return found


def curves_of(run: RunDir) -> Curves:
    """What metrics.jsonl says: each tag by step."""
    curves: Curves = {}
    for entry in read_metrics(run.metrics_path):
        for tag, value in entry.items():
            if tag.startswith(("val/", "train/loss", "train/gradient")) and isinstance(value, (int, float)):
                curve = curves.setdefault(tag, {"x": [], "y": []})
                curve["x"].append(entry["step"])
                curve["y"].append(value)
    return curves


def solved_at(curves: Curves) -> int | None:
    """The step of the first evaluation that solved the task."""
    curve = curves.get("val/solved", {"x": [], "y": []})
    return next((int(x) for x, y in zip(curve["x"], curve["y"], strict=True) if y > 0.0), None)


def numbers_of(curves: Curves, kind: Kind[Any]) -> Numbers:
    """What the curves say of a run in a few numbers."""
    found: Numbers = {}
    losses = [y for y in curves.get(kind.minimised, {"y": []})["y"] if math.isfinite(y)]
    if losses:
        found = {"best_loss": min(losses), "final_loss": losses[-1]}
    if norms := curves.get("train/gradient_norm", {"y": []})["y"]:
        found["gradient_norm_max"] = max(norms)
    if (step := solved_at(curves)) is not None:
        found["solved_at"] = float(step)
    return found


class Here(Pool):
    """Makes trials in this very process, each where it is given."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        self._over: list[tuple[Trial, Record]] = []

    @property
    def running(self) -> list[Trial]:
        return [trial for trial, _ in self._over]

    def give(self, trial: Trial, trusted: bool) -> None:
        try:
            record = run_trial(self._folder, trial, trusted)
        except LstmError as error:
            if error.exit_code >= 128:
                raise
            record = unfinished(trial, "failed", str(error))
        self._over.append((trial, record))

    def wait(self, seconds: float) -> list[tuple[Trial, Record]]:
        over, self._over = self._over, []
        return over


def main(folder: Path) -> int:
    """The exit code: 0, or that of whoever asked it to stop."""
    make_console_expendable()  # a log that cannot be written costs no trial
    lines: SimpleQueue[str | None] = SimpleQueue()
    busy = threading.Event()
    threading.Thread(target=_read, args=(lines, busy), daemon=True).start()
    told = os.fdopen(os.dup(1), "w")
    while (line := lines.get()) is not None:
        busy.set()
        trial, trusted = Trial.decode(line)
        code = _make(folder, trial, trusted)
        busy.clear()
        if code >= 128:
            return code
        print(trial.name, file=told, flush=True)
    return 0


def _read(lines: SimpleQueue[str | None], busy: threading.Event) -> None:
    for line in sys.stdin:
        lines.put(line)
    lines.put(None)
    if busy.is_set():
        os.kill(os.getpid(), signal.SIGTERM)


def _make(folder: Path, trial: Trial, trusted: bool) -> int:
    """One trial; everything it says, and what went wrong, goes to its log."""
    log = os.open(log_of(folder, trial.name), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    os.close(log)
    try:
        run_trial(folder, trial, trusted, quiet=False)
    except LstmError as error:
        print(sanitize(f"error: {error}"), file=sys.stderr, flush=True)
        return error.exit_code
    except Exception:  # a bug in one trial (a user's cell, say) must not cost the others
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
