"""The real torchrun: a rank is killed and all go on from the last checkpoint; two hosts with a network
between them. `make test-slow` runs these."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
HERE = str(Path(__file__).parents[2])


@pytest.fixture
def lab(lab):
    lab.configure(train={"max_steps": 200, "threads": 1}, telemetry={"every": 1}, checkpoint={"keep": 99})
    return lab


def torchrun(lab, *words, prefix=()):
    environment = os.environ | {"PYTHONPATH": HERE}
    return subprocess.Popen(
        [*prefix, *TORCHRUN, *words], cwd=lab.folder, env=environment, stderr=subprocess.PIPE, text=True
    )


def ranks_of(agent: int) -> list[int]:
    """The processes that an agent has started and that live, in the order of their ranks."""
    found = Path(f"/proc/{agent}/task/{agent}/children").read_text().split()
    return [int(pid) for pid in found if ") Z " not in Path(f"/proc/{pid}/stat").read_text()]


def wait_for_checkpoint(lab, run):
    deadline = time.monotonic() + 120
    while not (lab.path(run) / "checkpoints").is_dir() or not lab.steps(run):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def curve(lab, run):
    return [r["train/loss"] for r in lab.metrics(run) if "train/loss" in r]


def test_a_killed_rank_restarts_all_of_them_and_nothing_is_lost(lab, same):
    words = [
        "--nproc-per-node",
        "2",
        "--max-restarts",
        "2",
        "--monitor-interval",
        "0.1",
        "-m",
        "lstmcli",
        "--",
    ]
    whole = torchrun(lab, *words, "train", "config.yaml", "--run", "whole")
    assert whole.communicate(timeout=180) and whole.returncode == 0
    cut = torchrun(lab, *words, "train", "config.yaml", "--run", "cut")
    wait_for_checkpoint(lab, "cut")
    os.kill(ranks_of(cut.pid)[-1], signal.SIGKILL)
    _, said = cut.communicate(timeout=180)
    assert cut.returncode == 0 and "going on with run cut" in said, said
    same(lab, "whole", "cut")


@contextlib.contextmanager
def two_hosts() -> Iterator[None]:
    """Two network namespaces with a cable between them."""
    names = ("lstm-a", "lstm-b")
    try:
        for name in names:
            subprocess.run(["ip", "netns", "add", name], check=True, capture_output=True)
        cable = ["type", "veth", "peer", "name", "vb", "netns", "lstm-b"]
        subprocess.run(["ip", "link", "add", "va", "netns", "lstm-a", *cable], check=True)
        for name, device, address in (("lstm-a", "va", "10.77.0.1/24"), ("lstm-b", "vb", "10.77.0.2/24")):
            subprocess.run(["ip", "-n", name, "addr", "add", address, "dev", device], check=True)
            for each in ("lo", device):
                subprocess.run(["ip", "-n", name, "link", "set", each, "up"], check=True)
        yield
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def on_host(lab, number, *words):
    name, device = ("lstm-a", "va") if number == 0 else ("lstm-b", "vb")
    prefix = ["ip", "netns", "exec", name, "env", f"GLOO_SOCKET_IFNAME={device}", "LSTM_RANK_TIMEOUT=5"]
    rendezvous = ["--rdzv-backend", "c10d", "--rdzv-endpoint", "10.77.0.1:29511", "--rdzv-id", "two-hosts"]
    rendezvous += ["--rdzv-conf", f"is_host={int(number == 0)}", "--local-addr", f"10.77.0.{number + 1}"]
    sizes = ["--nnodes", "2", "--nproc-per-node", "1", "--monitor-interval", "0.1"]
    return torchrun(lab, *sizes, *rendezvous, "-m", "lstmcli", "--", *words, prefix=prefix)


needs_hosts = pytest.mark.skipif(
    os.name != "posix" or not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("ip") is None,
    reason="network namespaces need root and iproute2",
)


@needs_hosts
def test_two_hosts_learn_what_one_does(lab):
    lab.train("one")
    words = ["train", "config.yaml", "--run", "hosts"]
    with two_hosts():
        agents = [on_host(lab, number, *words) for number in (0, 1)]
        said = [agent.communicate(timeout=180)[1] for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], said
    assert np.abs(np.subtract(curve(lab, "hosts")[:100], curve(lab, "one")[:100])).max() < 1e-5


@needs_hosts
def test_a_cut_cable_ends_both_hosts(lab):
    """No packet says that the other host is gone: only time does."""
    words = ["train", "config.yaml", "train.max_steps=1000000", "--run", "cable"]
    with two_hosts():
        agents = [on_host(lab, number, *words) for number in (0, 1)]
        wait_for_checkpoint(lab, "cable")
        subprocess.run(["ip", "-n", "lstm-a", "link", "set", "va", "down"], check=True)
        deadline = time.monotonic() + 60
        while any(ranks_of(agent.pid) for agent in agents) and time.monotonic() < deadline:
            time.sleep(0.1)
        left = [pid for agent in agents for pid in ranks_of(agent.pid)]
        for agent in agents:  # torchrun itself looks for the other one for some minutes
            agent.kill()
        said = "".join(agent.communicate(timeout=30)[1] for agent in agents)
    assert not left and said.count("has lost another rank") == 2, said
    assert lab.checkpoint("cable").step > 0
