"""Kernels are built once, found again, and never half there."""

from __future__ import annotations

import os
import stat
import subprocess
import sys

import pytest
import torch

from lstmcli.core.errors import UsageError
from lstmcli.engine.kernels import build, native
from lstmcli.engine.kernels import compiled as door
from lstmcli.engine.kernels.compiled import compiled, compiler_available
from lstmcli.engine.kernels.operations import RECORDED
from lstmcli.engine.kernels.source import Source, source
from lstmcli.engine.kernels.trace import trace
from lstmcli.engine.kernels.values import Fault, Unsupported

H = 16
needs_compiler = pytest.mark.skipif(not compiler_available(), reason="needs a C++ compiler")


def double(x, into):
    into.copy_(x * 2.0)


def tensors(width=H):
    return [torch.randn(4, width), torch.empty(4, width)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    build._folder.cache_clear()
    yield tmp_path / "lstmcli" / "kernels"
    build._folder.cache_clear()


def made(width=H):
    given = tensors(width)
    kernel = native.NativeKernel(source(trace(double, given)), 2)
    kernel(*given)
    assert torch.equal(given[1], 2.0 * given[0])


@needs_compiler
def test_built_once_and_found_without_a_compiler(folder, monkeypatch):
    made()
    (library,) = folder.iterdir()
    before = library.stat().st_mtime_ns
    monkeypatch.setattr(build, "find_compiler", lambda: None)
    made()
    assert [p.stat().st_mtime_ns for p in folder.iterdir()] == [before]
    with pytest.raises(Unsupported, match="no C"):
        made(width=2 * H)


@needs_compiler
@pytest.mark.parametrize("content", [b"", b"not a library" * 100])
def test_a_damaged_library_is_built_again(folder, content):
    library = build.build(source(trace(double, tensors())))
    library.write_bytes(content)
    made()
    assert library.read_bytes() != content


def library_of_double():
    return build.build(source(trace(double, tensors())))


@needs_compiler
@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-4096]),  # which would be a bus error
        lambda path: path.write_bytes(path.read_bytes().replace(b"\x00" * 16, b"\xcc" * 16)),
        lambda path: path.chmod(0o777),
    ],
    ids=["truncated", "altered", "open"],
)
def test_a_library_is_loaded_only_if_it_is_what_was_built(folder, damage, capsys, monkeypatch):
    """In a process of its own nothing would be left to tell after a bus error: here it is never loaded."""
    monkeypatch.setattr("lstmcli.core.notices._said", set())
    library = library_of_double()
    assert stat.S_IMODE(library.stat().st_mode) == stat.S_IMODE(folder.stat().st_mode) == 0o700
    whole = library.read_bytes()
    damage(library)
    made()
    assert library.read_bytes() == whole and stat.S_IMODE(library.stat().st_mode) == 0o700
    assert "built again" in capsys.readouterr().err


@needs_compiler
def test_a_link_in_place_of_a_library_is_replaced(folder, tmp_path):
    library = library_of_double()
    library.rename(tmp_path / "elsewhere.so")
    library.symlink_to(tmp_path / "elsewhere.so")
    made()
    assert not library.is_symlink()


@needs_compiler
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_another_user_made_is_never_loaded(folder, capsys, monkeypatch):
    monkeypatch.setattr("lstmcli.core.notices._said", set())
    library = library_of_double()
    os.chown(library, 12345, 12345)
    made()
    assert library.stat().st_uid == 0 and "another user's" in capsys.readouterr().err
    os.chown(folder, 12345, 12345)
    library.write_bytes(b"planted")
    build._folder.cache_clear()
    made()
    assert build._folder() != folder and library.read_bytes() == b"planted"
    assert "kernels are built anew for this process" in capsys.readouterr().err


@needs_compiler
def test_a_folder_that_was_open_is_closed_and_emptied(folder, capsys, monkeypatch):
    monkeypatch.setattr("lstmcli.core.notices._said", set())
    library = library_of_double()
    library.write_bytes(b"planted")
    folder.chmod(0o777)
    build._folder.cache_clear()
    made()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700 and library.read_bytes() != b"planted"
    assert "it is closed now" in capsys.readouterr().err


def test_a_relative_cache_home_is_ignored(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", "here")
    build._folder.cache_clear()
    assert build._folder() == tmp_path / "home" / ".cache" / "lstmcli" / "kernels"
    build._folder.cache_clear()
    assert not (tmp_path / "here").exists()


LEAVES = "import os, sys; from lstmcli.engine.kernels import build; print(build._folder()); {end}"


def test_without_a_cache_a_process_leaves_nothing_behind(tmp_path):
    """A killed one cannot clean up: the next one does."""
    (tmp_path / "file").write_text("")
    places = {"XDG_CACHE_HOME": str(tmp_path / "file"), "TMPDIR": str(tmp_path)}
    for end, left in (("os._exit(0)", 1), ("", 0)):
        code = LEAVES.format(end="sys.stdout.flush(); " + (end or "pass"))
        done = subprocess.run([sys.executable, "-c", code], env=os.environ | places, capture_output=True)
        assert str(tmp_path) in done.stdout.decode(), done.stderr
        assert len(list(tmp_path.glob("lstmcli-kernels-*"))) == left


@needs_compiler
def test_a_library_is_on_the_disk_before_it_has_its_name(folder, monkeypatch):
    seen = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda d: (seen.append(os.readlink(f"/proc/self/fd/{d}")), fsync(d))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (seen.append("renamed"), replace(a, b))[1])
    library = library_of_double()
    assert seen[0].startswith(str(folder)) and seen[1:] == ["renamed", str(folder)] and library.exists()


def fake_compiler(path, script):
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_a_compiler_that_fails_leaves_nothing_behind(folder, tmp_path, monkeypatch):
    broken = fake_compiler(tmp_path / "g++", "echo 'error: no such thing' >&2; exit 1")
    monkeypatch.setattr(build, "find_compiler", lambda: broken)
    with pytest.raises(Unsupported, match="error: no such thing"):
        made()
    assert list(folder.iterdir()) == []


def test_a_kernel_without_vectors_is_refused(folder, tmp_path, monkeypatch):
    slow = fake_compiler(tmp_path / "g++", "exit 0")
    monkeypatch.setattr(build, "find_compiler", lambda: slow)
    with pytest.raises(Unsupported, match="no vectors"):
        build.build(Source("nothing", loops=1))
    assert list(folder.iterdir()) == []


@needs_compiler
def test_a_wide_cell_is_made_vectors(folder):
    given = tensors(256)
    made_of = source(trace(double, given))
    assert made_of.loops == 1
    native.NativeKernel(made_of, 2)  # refused otherwise


@needs_compiler
@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(folder):
    folder.parent.mkdir(parents=True)
    folder.parent.chmod(0o500)
    made()
    folder.parent.chmod(0o700)
    assert not folder.exists()


@needs_compiler
def test_a_home_that_is_a_file(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    build._folder.cache_clear()
    made()
    build._folder.cache_clear()


@needs_compiler
def test_what_the_kernels_do_not_know_goes_to_the_slower_compiler():
    def function(x, into):
        into.copy_(x.cumprod(-1))

    given = tensors()
    kernel = compiled(function, given)
    assert kernel is not function and not isinstance(kernel, native.NativeKernel)
    kernel(*given)
    torch.testing.assert_close(given[1], given[0].cumprod(-1))


def test_what_nothing_can_compile_runs_as_it_is_with_a_notice(monkeypatch):
    told = []
    monkeypatch.setattr(door, "notice", told.append)
    monkeypatch.setattr(door, "_slower_ones", set())

    def function(x, into):
        into.copy_(x if float(x.max()) > 0 else -x)

    assert compiled(function, tensors()) is function
    assert len(told) == 1 and "cannot be compiled" in told[0]


def mistaken(*_):
    raise Fault("a mistake")


@needs_compiler
def test_a_fault_is_an_error_where_strict_and_a_told_slower_way_elsewhere(monkeypatch):
    told = []
    monkeypatch.setattr(door, "notice", told.append)
    monkeypatch.setattr(door, "_slower_ones", set())
    monkeypatch.setattr(door, "source", mistaken)
    with pytest.raises(Fault, match="a mistake"):
        compiled(double, tensors())
    monkeypatch.setenv("LSTM_KERNELS", "")
    kernel = compiled(double, given := tensors())
    kernel(*given)
    assert torch.equal(given[1], 2.0 * given[0])
    assert len(told) == 1 and "TorchInductor" in told[0] and "a mistake" in told[0]


@needs_compiler
def test_what_is_no_expected_failure_is_raised_in_every_mode(monkeypatch):
    monkeypatch.setenv("LSTM_KERNELS", "")
    monkeypatch.setattr(door, "trace", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        compiled(double, tensors())


@needs_compiler
def test_a_rule_that_fails_is_a_fault(monkeypatch):
    monkeypatch.setitem(RECORDED, "mul", lambda *_: {}["missing"])
    with pytest.raises(Fault, match="the operation mul"):
        trace(double, tensors())


@needs_compiler
def test_what_is_compiled_is_shown_with_its_text(folder, monkeypatch):
    told = []
    monkeypatch.setattr(door, "notice", told.append)
    monkeypatch.setenv("LSTM_KERNELS", "show")
    compiled(double, tensors(), name="the cell Double")
    (text,) = folder.glob("*.cpp")
    assert told == [f"the cell Double, double: C++, {text}"]
    assert text.read_text() == source(trace(double, tensors())).text


def test_kernels_can_be_switched_off(monkeypatch):
    monkeypatch.setenv("LSTM_KERNELS", "off")
    assert compiled(double, tensors()) is double
    assert not compiler_available()
    assert door.why_uncompiled(torch.device("cpu")) == "LSTM_KERNELS=off"
    monkeypatch.setenv("LSTM_KERNELS", "of")
    with pytest.raises(UsageError, match="LSTM_KERNELS is 'of'"):
        compiled(double, tensors())
