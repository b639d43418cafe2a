"""A folder of runs from a stranger, made as hostile as can be: what the verbs open, connect to and run is
watched from inside (PEP 578)."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import sys
from pathlib import Path

import pytest
import yaml

VERBS = {
    "list": ["runs"],
    "show": ["runs", "show", "x"],
    "compare": ["runs", "compare", "x", "x"],
    "generate": ["generate", "x", "--length", "3"],
    "eval": ["eval", "x"],
    "eval lines": ["eval", "x", "--by", "line"],
    "report": ["report", "x", "--output", "page.html"],
    "gates": ["inspect", "gates", "x"],
    "gradients": ["inspect", "gradients", "x"],
    "units": ["inspect", "units", "x"],
    "memory": ["inspect", "memory", "x"],
    "export": ["export", "x", "model.html"],
    "resume": ["train", "--resume", "x", "train.max_steps=21"],
}

_watching: list[list[tuple[str, str]]] = []


def _hook(event, arguments):
    if not _watching:
        return
    if event in ("open", "os.rename", "os.mkdir", "os.listdir", "os.remove", "os.symlink"):
        _watching[-1].extend((event, str(each)) for each in arguments[:2] if isinstance(each, (str, Path)))
    elif event in ("socket.connect", "socket.getaddrinfo", "os.system", "subprocess.Popen"):
        _watching[-1].append((event, str(arguments)))
    elif event == "exec":
        _watching[-1].append((event, str(getattr(arguments[0], "co_filename", ""))))
    elif event == "import":
        _watching[-1].append((event, f"{arguments[0]} {arguments[1]}"))


@pytest.fixture(scope="module")
def watch():
    """A list of what happened, while it is set; a hook stays for the life of the process."""
    sys.addaudithook(_hook)
    yield _watching
    _watching.clear()


@pytest.fixture(scope="module")
def outside(tmp_path_factory):
    """What is no business of a run: a file of the user's, and a folder that can be written."""
    folder = tmp_path_factory.mktemp("outside")
    (folder / "secret.txt").write_text("my own letters, line by line\n" * 200)
    (folder / "text.txt").write_text("another text of mine\n" * 200)
    (folder / "cell.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\n")
    return folder


@pytest.fixture(scope="module")
def made(shared_lab):
    """Trained by somebody else: its signature is none of ours."""
    shared_lab.train("r", "train.max_steps=20")
    return shared_lab


@pytest.fixture
def stranger(made, monkeypatch, tmp_path_factory):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
    return made


def alter(lab, change):
    """A copy `x` of the run whose configs and manifest say other things, rightly signed."""
    x = lab.path("x")
    shutil.rmtree(x, ignore_errors=True)
    shutil.copytree(lab.path("r"), x)
    for path in [x / "config.yaml", *x.glob("checkpoints/*/config.yaml")]:
        config = yaml.safe_load(path.read_text())
        change(config)
        path.write_text(yaml.safe_dump(config))
    for folder in (x / "checkpoints").iterdir():
        data = (folder / "config.yaml").read_bytes()
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["files"]["config.yaml"] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        (folder / "manifest.json").write_text(json.dumps(manifest))
    return x


def hostile(outside):
    """What a run's config may say to reach out, by name."""
    return {
        "path": lambda c: c["data"].update(path=str(outside / "secret.txt")),
        "dots": lambda c: c["data"].update(path="../../outside0/secret.txt"),
        "list": lambda c: c["data"].update(path=["text.txt", str(outside / "secret.txt")]),
        "val": lambda c: c["data"].update(val_path=str(outside / "secret.txt")),
        "link": lambda c: c["data"].update(path="link.txt"),
        "hidden": lambda c: c["data"].update(path=".netrc"),
        "home": lambda c: c["data"].update(path="~/.netrc"),
        "url": lambda c: c["data"].update(path=None, url="https://127.0.0.1:9/x.txt", sha256="0" * 64),
        "cache": lambda c: c["data"].update(cache=str(outside / "cache")),
        "cell": lambda c: c["model"].update(cell=f"{outside / 'cell.py'}:Cell"),
        "module": lambda c: c["model"].update(cell="planted:Cell"),
    }


NAMES = list(hostile(Path("/")))


@pytest.mark.parametrize("name", NAMES)
def test_a_strangers_run_opens_connects_and_runs_nothing_without_trust(stranger, outside, watch, name):
    (stranger.folder / "planted.py").write_text("open('ran', 'w')\n")
    (stranger.folder / ".netrc").write_text("machine secret " * 100)
    if not (stranger.folder / "link.txt").exists():
        (stranger.folder / "link.txt").symlink_to(outside / "secret.txt")
    x = alter(stranger, hostile(outside)[name])
    manifest = json.loads((x / "manifest.json").read_text())
    (x / "manifest.json").write_text(json.dumps(manifest | {"folder": str(outside)}))
    before = sorted(path.name for path in outside.iterdir())
    for verb, words in VERBS.items():
        seen: list[tuple[str, str]] = []
        watch.append(seen)
        try:
            ended = stranger.lstm(*words)
        finally:
            watch.clear()
        assert "Traceback" not in ended.err and ended.code in (0, 2, 3, 4, 5, 7), (verb, ended.err)
        bad = [
            each for each in seen if str(outside) in each[1] or "planted" in each[1] or ".netrc" in each[1]
        ]
        bad += [each for each in seen if each[0].startswith(("socket", "os.system"))]
        assert not bad, (verb, bad, ended.err)
    assert sorted(path.name for path in outside.iterdir()) == before
    assert not (stranger.folder / "ran").exists()


def test_what_it_may_not_read_is_told_and_asked_for(stranger, outside):
    alter(stranger, hostile(outside)["path"])
    refused = stranger.lstm("eval", "x")
    assert refused.code == 5 and "data.path leads out of the current folder" in refused.err
    assert "--data" in refused.err and "--trust" in refused.err
    assert stranger.lstm("eval", "x", "--data", "text.txt").code == 0
    assert stranger.lstm("generate", "x", "--length", 3).code == 0
    refused = stranger.lstm("train", "--resume", "x", "train.max_steps=21")
    assert refused.code == 5 and "data.path" in refused.err
    trusted = stranger.lstm("eval", "x", "--trust")
    assert (trusted.code == 0 and "data have changed" in trusted.err) or "vocabulary" in trusted.err


def test_a_strangers_run_evaluates_and_resumes_on_data_in_the_current_folder(stranger):
    """A run directory copied to another machine still works."""
    alter(stranger, lambda config: None)
    assert stranger.lstm("eval", "x").code == 0
    assert stranger.lstm("train", "--resume", "x", "train.max_steps=21").code == 0


def test_ones_own_run_reads_its_data_wherever_they_lie(lab, outside):
    lab.train("own", f"data.path={outside}/text.txt", "train.max_steps=2")
    assert lab.lstm("eval", "own").code == 0
    key = Path(os.environ["XDG_STATE_HOME"]) / "lstmcli" / "key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    # Its config altered by somebody else is no longer the one that was signed.
    path = lab.path("own")
    for config in [path / "config.yaml", *path.glob("checkpoints/*/config.yaml")]:
        config.write_text(config.read_text().replace("text.txt", "secret.txt"))
    folder = next((path / "checkpoints").iterdir())
    data = (folder / "config.yaml").read_bytes()
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["config.yaml"] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    refused = lab.lstm("eval", "own")
    assert refused.code == 5 and "data.path" in refused.err


def test_what_is_kept_of_a_text_is_private(lab):
    lab.train("r", "train.max_steps=1")
    kept = [path for path in (lab.folder / "cache").rglob("*") if path.is_file()]
    assert kept and {stat.S_IMODE(path.stat().st_mode) for path in kept} == {0o600}
    assert {stat.S_IMODE(path.parent.stat().st_mode) for path in kept} == {0o700}
