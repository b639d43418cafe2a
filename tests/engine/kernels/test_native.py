"""Kernels are built once, found again, and never half there."""

from __future__ import annotations

import os
import stat

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
