"""Files without an end and requests without a bound: refused at once, or done in bounded memory."""

from __future__ import annotations

import os
import resource
import time

import pytest

from lstmcli.core.errors import DataError
from lstmcli.kinds.files import sources
from lstmcli.kinds.text import generate as generating


@pytest.mark.skipif(not os.path.exists("/proc/self/pagemap"), reason="needs /proc")
@pytest.mark.parametrize("path", ["/proc/kmsg", "/proc/self/pagemap", "/sys/kernel/uevent_seqnum", "link"])
def test_what_the_system_makes_up_is_no_data(lab, path):
    """They say that they are ordinary files, and wait for ever or never end."""
    (lab.folder / "link").symlink_to("/proc/kmsg")
    lab.train("r", "train.max_steps=1")
    table = lab.configure("series.yaml", data={"kind": "series", "path": path, "target": "a", "time": "t"})
    for words in (
        ["train", "config.yaml", f"data.path={path}"],
        ["validate", table],
        ["train", path],
        ["eval", "r", "--data", path],
        ["generate", "r", "--prompt-file", path],
        ["init", path],
    ):
        began = time.monotonic()
        refused = lab.lstm(*words)
        assert refused.code in (2, 3, 4) and "Traceback" not in refused.err, (words, refused.err)
        assert time.monotonic() - began < 5.0, words


def test_a_pattern_that_matches_a_whole_disk_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "MOST_MATCHES", 20)
    for number in range(30):
        (tmp_path / f"{number}.txt").write_text("text")
    with pytest.raises(DataError, match="matches more than 20 names"):
        sources.find_files(f"{tmp_path}/**/*", "data.path")
    assert len(sources.find_files(f"{tmp_path}/1*", "data.path")) == 11


def test_a_whole_disk_is_refused_in_time(lab):
    began = time.monotonic()
    refused = lab.lstm("train", "config.yaml", "data.path=/**/*")
    assert refused.code == 4 and "narrow it down" in refused.err and time.monotonic() - began < 20.0


@pytest.mark.parametrize("words", [["--length", 10**12], ["--num", 10**10], ["--length", 10**12, "--json"]])
def test_what_no_memory_holds_is_refused_before_it_is_begun(trained_lab, words):
    refused = trained_lab.lstm("generate", "good", *words)
    assert refused.code == 7 and "symbols in" in refused.err and "ask for fewer" in refused.err


def test_many_samples_are_written_in_bounded_memory_and_are_the_same(trained_lab, monkeypatch):
    options = ["--length", 6, "--seed", 3, "--json"]
    few = trained_lab.lstm("generate", "good", "--num", 50, *options).json["samples"]
    monkeypatch.setattr(generating, "TOGETHER", 8)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    many = trained_lab.lstm("generate", "good", "--num", 3000, *options).json["samples"]
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert [s["text"] for s in many[:50]] == [s["text"] for s in few] and len(many) == 3000
    assert len({s["text"] for s in many}) > 100 and grown < 100_000  # KB
