"""Trials side by side in worker processes, for experiments and for searches.

A trial is a config and the name of a directory in the folder of the experiment or search:

    NAME/              its run, for TensorBoard and every other command
    NAME/trial.json    its record, once it is over: how it ended, and what was measured of it
    logs/NAME.log      what it said

A trial without a record is made, or gone on with, when its folder is resumed. One process at a time works on
a folder; what an earlier one left running ends with it (see worker.py).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from typing import IO, Any, cast

from pydantic import BaseModel, ConfigDict, ValidationError

from lstmcli.cells.trust import allow, is_allowed
from lstmcli.config.load import parse_config
from lstmcli.config.schema import Config
from lstmcli.core.errors import ResourceError, RunError, UsageError
from lstmcli.core.files import name_problem, read_json
from lstmcli.core.locking import hold
from lstmcli.run.foreign import check_reach_of_trial, is_own_plan
from lstmcli.run.kind import Asked
from lstmcli.run.own_cell import check_original, note_original
from lstmcli.run.signals import StopSignals

RECORD_FILE = "trial.json"
LOGS = "logs"
PATIENCE = 30.0
"""Seconds for a trial to save what it has."""
POLL = 0.3
"""Seconds between looks at what trials have logged, and at whether somebody asked to stop."""


@dataclass(frozen=True)
class Trial:
    """A run to be made and measured."""

    name: str  # of its directory
    config: Config
    labels: Mapping[str, Any] = field(default_factory=dict)
    """What its record says beside what was measured: variant and seed, or settings."""
    asked: Asked = field(default_factory=Asked)
    until_solved: bool = False
    """End it at the first evaluation that solves its task."""
    minutes: float | None = None
    """End it after so many minutes, whatever its budget says."""

    def encode(self, trusted: bool) -> bytes:
        """The line that a worker is given."""
        document = vars(self) | {"config": self.config.model_dump(), "asked": asdict(self.asked)}
        return json.dumps(document | {"trusted": trusted}).encode() + b"\n"

    @classmethod
    def decode(cls, line: str) -> tuple[Trial, bool]:
        """The trial of a line, and whether the code that lies in its folder may run."""
        document = json.loads(line)
        trusted = document.pop("trusted")
        config, asked = parse_config(document["config"], document["name"]), Asked(**document["asked"])
        return cls(**(document | {"config": config, "asked": asked})), trusted


Record = dict[str, Any]
Propose = Callable[[], Trial | None]
"""The next trial; None: none. It is asked again whenever there is room for one."""
Report = Callable[[Trial, Record], None]
"""Told of each record as it comes."""
Hopeless = Callable[[Trial], bool]
"""Whether a trial is to end early."""


def make_folder(name: str, run: str | None, root: Path, kind: str) -> Path:
    """The directory of a new experiment or search, named `run`, or by its `kind`, name and time."""
    if run is not None and (problem := name_problem(run)):
        raise UsageError(f"{run!r} cannot name a directory of runs: {problem}")
    path = root / (run or f"{kind}-{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}")
    try:
        path.mkdir(parents=True)
        (path / LOGS).mkdir()
    except FileExistsError:
        raise UsageError(
            f"{path} exists already; it is never overwritten",
            f"choose another --run, or continue it with --resume {path}",
        ) from None
    except OSError as error:
        raise ResourceError(f"cannot make {path}: {error.strerror or error}") from error
    return path


def record_of(folder: Path, trial: Trial) -> Record | None:
    """What a trial found, if it is over. A record that is damaged is made again."""
    with suppress(RunError, ValidationError):
        found = _Stored.model_validate(read_json(folder / trial.name / RECORD_FILE))
        return found.model_dump() | {"trial": trial.name, **trial.labels}
    return None


class _Stored(BaseModel):
    """What a record must hold to be one; `numbers` and `curves` are as in `Measurement`."""

    model_config = ConfigDict(extra="allow", strict=True)

    state: str
    message: str | None = None
    numbers: dict[str, float]
    curves: dict[str, dict[str, list[float | None]]]
    seconds: float = 0.0
    steps: int = 0


def log_of(folder: Path, name: str) -> Path:
    """Where a worker writes what a trial says."""
    return folder / LOGS / f"{name}.log"


def unfinished(trial: Trial, state: str, said: str = "") -> Record:
    """The record of a trial that failed or was ended; it is not written, so a resume would try it again."""
    told = {"trial": trial.name, **trial.labels, "state": state, "message": said}
    return told | {"numbers": {}, "curves": {}}


class _Worker:
    """A process that makes trials, and the one that it makes now."""

    def __init__(self, folder: Path, threads: int | None):
        self.trial: Trial | None = None
        names = () if threads is None else ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        (folder / LOGS).mkdir(exist_ok=True)
        with (folder / LOGS / "workers.log").open("ab") as log:
            # A session of its own: Ctrl-C reaches this process alone, which then ends the trials in order.
            self.process = subprocess.Popen(
                command(folder),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=os.environ | dict.fromkeys(names, str(threads)),
                start_new_session=True,
            )

    @property
    def told(self) -> IO[bytes]:
        """A line for every trial that is over; its end when the process ends."""
        return cast(IO[bytes], self.process.stdout)

    def give(self, trial: Trial, trusted: bool) -> None:
        self.trial = trial
        with suppress(BrokenPipeError):  # it has died: the end of what it tells says so
            to = cast(IO[bytes], self.process.stdin)
            to.write(trial.encode(trusted))
            to.flush()

    @property
    def killed(self) -> str | None:
        """That a signal has ended it, which its last words cannot say."""
        code = self.process.returncode
        if code is None or code >= 0:
            return None
        memory = ", as when memory runs out" if -code == signal.SIGKILL else ""
        return f"error: its process was ended by {signal.Signals(-code).name}{memory}"

    def end(self, patience: float) -> None:
        """Wait until what it makes is saved; end it if that takes too long. It lives by its pipe."""
        if self.trial is not None:
            self.process.terminate()
        with suppress(BrokenPipeError):
            cast(IO[bytes], self.process.stdin).close()
        try:
            self.process.wait(max(0.0, patience))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.told.close()


def command(folder: Path) -> list[str]:
    """How a worker is started: on the safe path, so that nothing is imported from the current folder, where a
    `yaml.py` or a `numpy.py` may lie that is not what its name says."""
    return [sys.executable, "-P", "-m", "lstmcli.sweep.worker", str(folder)]


class Pool:
    """Workers, each of which makes one trial after the other: to start a process costs more than a small
    trial does. `Here` in worker.py makes them without processes."""

    def __init__(self, folder: Path, threads: int | None = None):
        self._folder, self._threads = folder, threads
        self._workers: list[_Worker] = []
        self._selector = DefaultSelector()

    @property
    def running(self) -> list[Trial]:
        return [worker.trial for worker in self._workers if worker.trial is not None]

    def give(self, trial: Trial, trusted: bool) -> None:
        """Have a trial made, by a worker that is free or a new one."""
        worker = next((worker for worker in self._workers if worker.trial is None), None)
        if worker is None:
            worker = _Worker(self._folder, self._threads)
            self._workers.append(worker)
            self._selector.register(worker.told, EVENT_READ, worker)
        worker.give(trial, trusted)

    def wait(self, seconds: float) -> list[tuple[Trial, Record]]:
        """The trials that end within some seconds, as soon as one does, with their records."""
        over = []
        for key, _ in self._selector.select(seconds):
            worker: _Worker = key.data
            alive, trial = worker.told.readline() != b"", worker.trial
            worker.trial = None
            if not alive:
                self._let_go(worker, PATIENCE)
            if trial is not None:
                said = worker.killed or last_words(self._folder, trial.name)
                over.append((trial, record_of(self._folder, trial) or unfinished(trial, "failed", said)))
        return over

    def end(self, trial: Trial) -> None:
        """End a trial that runs; what it has is saved."""
        worker = next(worker for worker in self._workers if worker.trial == trial)
        self._let_go(worker, PATIENCE)

    def close(self) -> None:
        """Ask every trial to save and end; end those that do not."""
        for worker in self._workers:
            if worker.trial is not None:
                worker.process.terminate()
        deadline = time.perf_counter() + PATIENCE
        for worker in list(self._workers):
            self._let_go(worker, deadline - time.perf_counter())
        self._selector.close()

    def _let_go(self, worker: _Worker, patience: float) -> None:
        self._selector.unregister(worker.told)
        self._workers.remove(worker)
        worker.end(patience)


def last_words(folder: Path, name: str) -> str:
    """What a trial said before it ended without a record: the error, or else its last line."""
    try:
        text = log_of(folder, name).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        text = ""
    lines = text.splitlines()
    errors = [number for number, line in enumerate(lines) if line.startswith("error: ")]
    return "\n".join(lines[errors[-1] :] if errors else lines[-1:]) or "it said nothing"


def make_trials(
    folder: Path,
    verb: str,
    pool: Pool,
    jobs: int,
    propose: Propose,
    report: Report,
    hopeless: Hopeless | None = None,
) -> None:
    """Make trials, `jobs` at a time, until none is proposed and none runs.

    Args:
        verb: `lstm VERB --resume FOLDER` goes on with what was stopped.

    Raises:
        Interrupted, Terminated: asked to stop; every trial has saved what it had.
        RunError: a trial would run code or reach for data that its folder names, and that are not trusted.
        ResourceError: another process works on the folder.
    """
    with hold(folder), StopSignals() as stop:
        own = is_allowed(folder) or any(map(is_own_plan, _plans(folder)))
        try:
            while True:
                while len(pool.running) < jobs and (trial := propose()) is not None:
                    if not (folder / trial.name / "manifest.json").exists():
                        _check_new(folder, trial, own)
                    pool.give(trial, is_allowed(folder))
                if not pool.running:
                    return
                for trial, record in pool.wait(POLL):
                    report(trial, record)
                for trial in filter(hopeless, pool.running) if hopeless else ():
                    pool.end(trial)
                    report(trial, record_of(folder, trial) or unfinished(trial, "pruned"))
                if stop.asked:
                    raise stop.asked(
                        f"stopped; what is done is kept in {folder}\n"
                        f"  go on with: lstm {verb} --resume {folder}"
                    )
        finally:
            pool.close()


def _plans(folder: Path) -> Iterator[Record]:
    """The documents of a folder that may say what it is."""
    for name in ("experiment.json", "tune.json"):
        with suppress(RunError):
            yield read_json(folder / name)


def _check_new(folder: Path, trial: Trial, own: bool) -> None:
    """A run that is there asks for trust in what it holds when it goes on; a new one asks here."""
    check_original(trial.config.model.cell, folder)
    if not own:
        check_reach_of_trial(trial.config)


def trust_folder(folder: Path, cells: Iterable[str]) -> None:
    """Experiments and searches that begin here run the cells that their user named; this is noted, so that
    they may run when the folder is resumed."""
    allow(folder)
    for cell in cells:
        note_original(cell)
