"""How this process was started: alone, or as one rank of several by torchrun. Imports no torch."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lstmcli.core.errors import RunError, UsageError
from lstmcli.run.directory import RunDir, read_json

TIMEOUT = "LSTM_RANK_TIMEOUT"
"""Environment: seconds to wait for another rank's gradients before it counts as lost."""


@dataclass(frozen=True)
class Launch:
    """What torchrun (or whoever sets the same variables) says of this process."""

    rank: int = 0
    size: int = 1  # of the world: ranks on all machines
    local_rank: int = 0
    local_size: int = 1  # ranks on this machine
    restarts: int = 0  # of all ranks, after one was lost
    name: str | None = None  # the same for all restarts of one launch, another for every other launch
    timeout: float = 60.0  # seconds

    @property
    def many(self) -> bool:
        return self.size > 1


def read_launch() -> Launch:
    """From the environment. UsageError if it contradicts itself."""
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return Launch(timeout=_timeout())
    rank, size = _number("RANK", 0), _number("WORLD_SIZE", 1)
    local_rank, local_size = _number("LOCAL_RANK", 0), _number("LOCAL_WORLD_SIZE", 1)
    if not (0 <= rank < size and 0 <= local_rank < local_size <= size):
        raise UsageError(
            f"the environment says RANK {rank} of WORLD_SIZE {size}, LOCAL_RANK {local_rank} of "
            f"LOCAL_WORLD_SIZE {local_size}, which cannot be",
            "start several ranks with torchrun: torchrun --nproc-per-node 2 -m lstmcli train CONFIG",
        )
    restarts = _number("TORCHELASTIC_RESTART_COUNT", 0)
    return Launch(rank, size, local_rank, local_size, restarts, _name(), _timeout())


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    try:
        return int(text or default)
    except ValueError:
        raise UsageError(f"the environment variable {name} is {text!r}, not a whole number") from None


def _timeout() -> float:
    text = os.environ.get(TIMEOUT, "60")
    with suppress(ValueError):
        if 1.0 <= float(text) <= 86400.0:
            return float(text)
    raise UsageError(f"the environment variable {TIMEOUT} is {text!r}, not a number of seconds from 1")


def _name() -> str | None:
    """torchrun's own id where it is one of its own; else the process that started this one, which lives
    as long as the launch does."""
    given = os.environ.get("TORCHELASTIC_RUN_ID")
    if given is None:
        return None
    return given if given != "none" else f"{socket.gethostname()}-{os.getppid()}"


def launched_run(launch: Launch, root: Path) -> RunDir | None:
    """The run that an earlier start of this same launch made or went on with."""
    if launch.restarts == 0 or launch.name is None or not root.is_dir():
        return None
    found: list[tuple[str, RunDir]] = []
    for path in root.iterdir():
        with suppress(RunError):
            manifest: dict[str, Any] = read_json(path / "manifest.json")
            if manifest.get("launch") == launch.name:
                found.append((str(manifest.get("created")), RunDir(path)))
    return max(found, key=lambda each: each[0])[1] if found else None
