"""Several processes that learn one model together, each from its part of every batch.

Every rank holds the whole model and makes the same updates: DistributedDataParallel gives all of them the
mean of their gradients. What else they must agree on (losses, who was asked to stop, the time) goes
through `exchange`, a few numbers on the CPU. Only rank 0 writes. With one process nothing here does
anything.

    in a step         gradients by NCCL where each rank has a GPU of its own, else gloo; numbers by gloo; a
                      rank that is waited for longer than `Launch.timeout` counts as lost
    between steps     gloo, with patience: one rank may prepare data, evaluate or save while the others wait
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lstmcli.core.errors import ConfigError, DataError, DivergedError, Interrupted, LstmError, ResourceError
from lstmcli.engine.stack import StackState
from lstmcli.run.launch import TIMEOUT, Launch

START = timedelta(minutes=10)
"""Until all ranks have come together."""
PATIENCE = timedelta(minutes=20)
"""While one rank prepares data, evaluates or saves. A rank that dies is noticed at once all the same."""
LAST_WORDS = 0.5
"""Seconds in which the others look for what a rank that failed said of it."""
ANSWER = 3.0
"""Seconds for whoever keeps that to answer, which it cannot where the network is gone."""
BROKEN = re.compile(
    r"gloo|nccl|processgroup|pair closure|connection (closed|reset|refused)|broken pipe|timed? ?out|socket",
    re.IGNORECASE,
)
"""What torch says where another rank is gone."""
END = "lstmcli/end"
"""Key of the store: which rank said why all of them end, and the exit code."""
Json = TypeVar("Json")
"""What JSON can hold: texts, numbers, lists, dictionaries with texts as keys."""


class Ranks:
    """This process among all that train together."""

    def __init__(self, launch: Launch, store: Any = None, control: Any = None):
        self.launch = launch
        self.rank, self.size = launch.rank, launch.size
        self.many, self.first = launch.many, launch.rank == 0
        self._store, self._control = store, control

    def exchange(self, *values: float, patient: bool = True) -> list[list[float]]:
        """One row per rank with its values."""
        if not self.many:
            return [list(values)]
        own = torch.tensor(values, dtype=torch.float64)
        rows = [torch.empty_like(own) for _ in range(self.size)]
        dist.all_gather(rows, own, group=self._control if patient else None)
        return [[float(value) for value in row.tolist()] for row in rows]

    def share(self, make: Callable[[], Json]) -> Json:
        """What rank 0 makes, on every rank. It travels as JSON: nothing that comes from another process is
        unpickled."""
        if not self.many:
            return make()
        text = json.dumps(make()).encode() if self.first else b""
        size = torch.tensor([len(text)], dtype=torch.int64)
        dist.broadcast(size, src=0, group=self._control)
        data = torch.frombuffer(bytearray(text or bytes(int(size))), dtype=torch.uint8)
        dist.broadcast(data, src=0, group=self._control)
        found: Json = json.loads(data.numpy().tobytes())
        return found

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """The first rank of each machine goes through this block before its others do."""
        if self.launch.local_rank > 0:
            self.exchange()
        yield
        if self.launch.local_rank == 0:
            self.exchange()

    def part_of(self, batch_size: int) -> int:
        """How much of a batch is this rank's. ConfigError where it cannot be divided."""
        if batch_size % self.size:
            lower = batch_size // self.size * self.size
            fits = " or ".join(str(n) for n in (lower, lower + self.size) if n)
            raise ConfigError(
                f"train.batch_size {batch_size} is for all {self.size} ranks together, and cannot be divided",
                f"set it to {fits}, or start another number of ranks",
            )
        return batch_size // self.size

    def check_same(self, what: str, text: str) -> None:
        """DataError unless `text` is the same on every rank."""
        digest = float(int(hashlib.sha256(text.encode()).hexdigest()[:12], 16))
        others = [k for k, row in enumerate(self.exchange(digest)) if row[0] != digest]
        if others:
            raise DataError(
                f"rank {self.rank} and rank {others[0]} have not the same {what}",
                "every machine needs the same config, the same data and the same kind of device "
                "(or set train.precision and model.path)",
            )

    def share_of(self, terms: Tensor | None) -> float:
        """What a rank's mean over `terms` values counts in the mean over all ranks, times their number."""
        if not self.many or terms is None:
            return 1.0
        counts = [row[0] for row in self.exchange(float(terms), patient=False)]
        return counts[self.rank] * self.size / max(1.0, sum(counts))

    def together(self, model: nn.Module, loss: Callable[..., Any]) -> Callable[..., Any] | None:
        """`loss`, after whose backward every rank has the mean gradient; None with one process."""
        if not self.many:
            return None
        # Unused parameters are looked for, which also keeps the buckets of gradients as they are: they
        # would else be laid out anew after the first step, and after each resume, and with them the order
        # in which more than two ranks are summed.
        return DistributedDataParallel(
            _Objective(model, loss),
            find_unused_parameters=True,
            gradient_as_bucket_view=True,
        )

    def gathered(self, state: StackState) -> StackState:
        """The state of the streams of all ranks, on rank 0; elsewhere this rank's own."""
        if not self.many:
            return state
        return tuple(tuple(self._gather(s) for s in layer) for layer in state)

    def _gather(self, own: Tensor) -> Tensor:
        here = own.detach().cpu().contiguous()
        rows = [torch.empty_like(here) for _ in range(self.size)] if self.first else None
        dist.gather(here, rows, dst=0, group=self._control)
        return torch.cat(rows) if rows is not None else own

    def part(self, value: Tensor) -> Tensor:
        """This rank's streams of a state of all."""
        if not self.many or value.dim() == 0 or value.shape[0] % self.size:
            return value
        return value.chunk(self.size)[self.rank]

    def outcome(self, error: BaseException) -> BaseException:
        """What this rank leaves with, so that one of all ranks says what happened."""
        if not self.many:
            return error
        if isinstance(error, (DivergedError, Interrupted)):  # all ranks found this together
            return error if self.first else SystemExit(error.exit_code)
        if is_broken(error):
            return self._after(error)
        code = error.exit_code if isinstance(error, LstmError) else 1
        code = Interrupted.exit_code if isinstance(error, KeyboardInterrupt) else code
        spoken = self._speak({"rank": self.rank, "code": code})
        if spoken["rank"] != self.rank:
            return SystemExit(spoken["code"])
        if isinstance(error, LstmError) and not self.first:
            error.message = f"rank {self.rank}: {error.message}"
        return error

    def _after(self, error: BaseException) -> BaseException:
        """Another rank is gone: it may have said why; if not, one of those that are left says so."""
        spoken = self._speak({"rank": self.rank, "code": ResourceError.exit_code}, LAST_WORDS)
        if spoken["rank"] != self.rank:
            return SystemExit(spoken["code"])
        said = str(error).strip().splitlines()[0]
        return ResourceError(
            f"rank {self.rank} of {self.size} has lost another rank: {said}",
            "the last checkpoint is safe: go on with `lstm train --resume RUN`, or let torchrun start all "
            f"ranks again by --max-restarts ({TIMEOUT} is how many seconds a rank is waited for)",
        )

    def _speak(self, words: dict[str, int], wait: float = 0.0) -> dict[str, int]:
        """The first words that any rank said of the end; these, if there are none after so many seconds."""
        found = [words]

        def ask() -> None:
            deadline = time.monotonic() + wait
            with suppress(Exception):  # whoever kept the store may be gone, too
                while not self._store.check([END]) and time.monotonic() < deadline:
                    time.sleep(0.05)
                found[0] = json.loads(self._store.compare_set(END, "", json.dumps(words)))

        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        asking.join(ANSWER)
        return found[0]


class _Objective(nn.Module):
    """The task's loss as a module whose parameters are the model's."""

    def __init__(self, model: nn.Module, loss: Callable[..., Any]):
        super().__init__()
        self.model, self._loss = model, loss
        self.idle = nn.Parameter(torch.zeros(1))  # never used; torch warns where all parameters are

    def forward(self, *args: Any) -> Any:
        return self._loss(*args)


ALONE = Ranks(Launch())


def is_broken(error: BaseException) -> bool:
    """Whether an error is about talking to other ranks."""
    if isinstance(error, dist.DistError):
        return True
    return isinstance(error, RuntimeError) and BROKEN.search(str(error)) is not None


@contextmanager
def connected(launch: Launch) -> Iterator[Ranks]:
    """The ranks of this launch, for as long as the context lasts.

    Raises:
        ResourceError: they do not find each other, or one is lost later.
        SystemExit: another rank tells why all end.
    """
    if not launch.many:
        yield ALONE
        return
    ranks = _connect(launch)
    try:
        yield ranks
        ranks.exchange()  # nobody leaves before rank 0 has written everything
    except BaseException as error:
        outcome = ranks.outcome(error)
        if is_broken(error):
            code = getattr(outcome, "exit_code", getattr(outcome, "code", 1))
            atexit.register(_leave, code, error)
        raise outcome from None
    dist.destroy_process_group()


def _leave(code: int, error: BaseException) -> None:
    """End the process as it is: torch would wait for connections whose other end does not answer. (`error`
    keeps alive, through its traceback, all that would wait when it is freed.)"""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(code)


def _connect(launch: Launch) -> Ranks:
    from torch.distributed.rendezvous import rendezvous

    timeout = timedelta(seconds=launch.timeout)
    try:
        store, rank, size = next(rendezvous("env://", timeout=START))
        dist.init_process_group(_backend(launch), store=store, rank=rank, world_size=size, timeout=timeout)
        control = dist.new_group(backend="gloo", timeout=PATIENCE)
    except (RuntimeError, ValueError, OSError) as error:
        raise ResourceError(
            f"rank {launch.rank} of {launch.size} cannot join the others: {str(error).splitlines()[0]}",
            "start all ranks with torchrun, and let each machine reach the first one's address and port",
        ) from error
    return Ranks(launch, store, control)


def _backend(launch: Launch) -> str:
    """By kind of device. NCCL wants a GPU for each rank."""
    if not torch.cuda.is_available():
        return "gloo"
    torch.cuda.set_device(launch.local_rank % torch.cuda.device_count())
    own = dist.is_nccl_available() and launch.local_size <= torch.cuda.device_count()
    return "cpu:gloo,cuda:nccl" if own else "cpu:gloo,cuda:gloo"
