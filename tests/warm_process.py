"""Runs `lstm` in processes of its own at the price of a fork: PyTorch is imported here, once.

    python warm_process.py SOCKET

Each message on the inherited socket holds a job (JSON) and three file descriptors; the answers are
the process's id and, when it has ended, its exit code (negative: the signal that killed it).

A job's faults are what goes wrong in that process: {"where": "package.module:function", "call": 3,
"what": "SIGKILL"} kills it when that function is called for the third time; `what` may hold several
words: names of signals, `fsize=N` (no file may grow beyond N bytes), `remove=PATH`.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import shutil
import signal
import socket
import sys
import traceback
from typing import Any, NoReturn

import numpy  # noqa: F401
import torch

import lstmcli.api
import lstmcli.training.loop  # noqa: F401
from lstmcli.cli.app import main as lstm


def serve(connection: socket.socket) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests, not for this process
    while True:
        message, descriptors, _, _ = socket.recv_fds(connection, 1 << 16, 3)
        if not message:
            return
        pid = os.fork()
        if pid == 0:
            connection.close()
            work(json.loads(message), descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        connection.sendall(f"{pid}\n".encode())
        _, status = os.waitpid(pid, 0)
        connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())


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
    module_name, _, name = where.partition(":")
    module = importlib.import_module(module_name)
    original = getattr(module, name)
    calls = 0

    def faulty(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            for word in what.split():
                strike(word)
        return original(*args, **options)

    setattr(module, name, faulty)


def strike(word: str) -> None:
    kind, _, value = word.partition("=")
    if kind == "fsize":
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(value), resource.RLIM_INFINITY))
    elif kind == "remove":
        shutil.rmtree(value)
    else:
        os.kill(os.getpid(), getattr(signal, kind))


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))])  # what the first optimizer imports
    serve(socket.socket(fileno=int(sys.argv[1])))
