"""Runs `lstm` in processes of its own at the price of a fork: PyTorch is imported here, once.

    python warm_process.py SOCKET

Each message on the inherited socket holds a job (JSON) and three file descriptors; the answers are
the process's id and, when it has ended, its exit code (negative: the signal that killed it).

A job's `imports` are made here first, once, for it and all that follow. A job of several ranks is as many
processes, which torchrun's environment joins; the answers then hold as many ids and exit codes. With `agent`
the end of one that fails is the end of all.

A job's faults are what goes wrong in that process: {"where": "package.module:function", "call": 3, "what":
"SIGKILL"} kills it when that function is called for the third time; `what` may hold several words: names of
signals, `fsize=N` (no file may grow beyond N bytes), `remove=PATH`, `sleep=SECONDS`, `nohup` (SIGHUP is
ignored); or it is `nan` (the function's result times that). `after SIGKILL` is when the function is done,
`half SIGKILL` when os:write has written half. `skip` leaves the function out altogether. Where `where` is
`clock`, `call` is in milliseconds from the start. All this happens in the rank that `rank` names (0).
"""

from __future__ import annotations

import importlib
import json
import math
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any, NoReturn

import numpy  # noqa: F401
import torch

import lstmcli.api
import lstmcli.run.loop  # noqa: F401
from lstmcli.cli.app import main as lstm


def serve(connection: socket.socket) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests, not for this process
    while True:
        message, descriptors, _, _ = socket.recv_fds(connection, 1 << 16, 3)
        if not message:
            return
        job = json.loads(message)
        for name in job.get("imports", []):
            importlib.import_module(name)
        pids = []
        for environment in ranks_of(job.get("ranks", 1)):
            pids.append(os.fork())
            if pids[-1] == 0:
                connection.close()
                job["environment"] = environment | job["environment"]
                work(job, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        connection.sendall(f"{' '.join(map(str, pids))}\n".encode())
        codes = wait_for(pids, job.get("agent", False))
        connection.sendall(f"{' '.join(map(str, codes))}\n".encode())


def wait_for(pids: list[int], agent: bool) -> list[int]:
    """The exit codes of all; an `agent` asks the others to end when one has failed, as torchrun does."""
    codes: dict[int, int] = {}
    while len(codes) < len(pids):
        pid, status = os.wait()
        codes[pid] = os.waitstatus_to_exitcode(status)
        if agent and codes[pid] != 0:
            for other in set(pids) - set(codes):
                os.kill(other, signal.SIGTERM)
    return [codes[pid] for pid in pids]


def ranks_of(size: int) -> list[dict[str, str]]:
    """The environment of each rank, as torchrun would set it."""
    if size == 1:
        return [{}]
    same = {"WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
    each = [same | {"RANK": rank, "LOCAL_RANK": rank} for rank in range(size)]
    return [{key: str(value) for key, value in one.items()} for one in each]


def work(job: dict[str, Any], descriptors: list[int]) -> NoReturn:
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(job["folder"])
    os.environ.update(job["environment"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, "utf-8", "backslashreplace", closefd=False)  # noqa: SIM115
    sys.argv = ["lstm", *job["words"]]
    for fault in job["faults"]:
        if fault.pop("rank", 0) == int(os.environ.get("RANK", "0")):
            arm(**fault)
    code = 1
    try:
        lstm(job["words"])
    except SystemExit as leaving:
        code = int(leaving.code or 0)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    os._exit(code)


def arm(where: str, call: int, what: str) -> None:
    if where == "clock":
        threading.Timer(call / 1000, strike, [what]).start()
        return
    module_name, _, path = where.partition(":")
    owner: Any = importlib.import_module(module_name)
    *classes, name = path.split(".")
    for each in classes:
        owner = getattr(owner, each)
    original = getattr(owner, name)
    calls = 0

    def faulty(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        words = what.split() if calls == call else []
        if words[:1] == ["half"]:  # of what os.write is given
            original(args[0], args[1][: len(args[1]) // 2])
        if words[:1] == ["after"]:
            original(*args, **options)
        for word in words:
            strike(word)
        result = original(*args, **options)
        return result * math.nan if words == ["nan"] else result

    setattr(owner, name, faulty if what != "skip" else lambda *args, **options: None)


def strike(word: str) -> None:
    kind, _, value = word.partition("=")
    if kind == "fsize":
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(value), resource.RLIM_INFINITY))
    elif kind in ("nan", "half", "after"):
        return
    elif kind == "sleep":
        time.sleep(float(value))
    elif kind == "remove":
        shutil.rmtree(value)
    elif kind == "nohup":
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    elif kind == "run":
        subprocess.run(value.split(","), check=True)
    elif kind == "room":  # bytes of memory beyond what the process has
        have = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (have + int(value), resource.RLIM_INFINITY))
    else:
        os.kill(os.getpid(), getattr(signal, kind))


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))])  # what the first optimizer imports
    serve(socket.socket(fileno=int(sys.argv[1])))
