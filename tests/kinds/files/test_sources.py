"""A setting becomes files."""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

from lstmcli.core.errors import DataError
from lstmcli.kinds.files import sources
from lstmcli.kinds.files.sources import find_files, stdlib_files

Write = Callable[[str, str], Path]


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def test_a_path_is_that_file(write: Write) -> None:
    path = write("a.txt", "a")
    assert find_files(str(path), "data.path") == [path]


def test_a_glob_is_sorted_by_code_point_and_holds_files_only(write: Write, tmp_path: Path) -> None:
    for name in ["b.txt", "a10.txt", "a2.txt", "B.txt", "é.txt", "c.md", "folder.txt/x.txt"]:
        write(name, "x")
    found = names(find_files(str(tmp_path / "*.txt"), "data.path"))
    assert found == ["B.txt", "a10.txt", "a2.txt", "b.txt", "é.txt"]


def test_a_list_keeps_its_order_and_each_file_comes_once(write: Write, tmp_path: Path) -> None:
    a, b = write("a.txt", "a"), write("b.txt", "b")
    (tmp_path / "link.txt").symlink_to(a)
    setting = [str(b), str(tmp_path / "*.txt"), str(tmp_path / "x" / ".." / "b.txt")]
    (tmp_path / "x").mkdir()
    assert find_files(setting, "data.path") == [b, a]


def test_subfolders_with_two_stars(write: Write, tmp_path: Path) -> None:
    for name in ["z.txt", "m/a.txt", "m/n/b.txt"]:
        write(name, "x")
    assert names(find_files(str(tmp_path / "**" / "*.txt"), "w")) == ["a.txt", "b.txt", "z.txt"]


def test_a_name_with_brackets_is_taken_as_it_stands(write: Write) -> None:
    path = write("poem[1].txt", "x")
    write("poem1.txt", "y")
    assert find_files(str(path), "data.path") == [path]


def test_a_relative_path_and_the_home_folder(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("a.txt", "a")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_files("a.txt", "data.path") == [Path("a.txt")]
    assert find_files("~/a.txt", "data.path") == [tmp_path / "a.txt"]


def test_a_missing_file_names_the_folder_and_a_near_name(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("shakespeare.txt", "a")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as caught:
        find_files("shakespear.txt", "data.val_path")
    assert str(caught.value) == (
        "data.val_path: there is no file shakespear.txt\n"
        f"  looked in {tmp_path}; did you mean shakespeare.txt?"
    )
    assert caught.value.exit_code == 4


def test_a_glob_without_a_match_names_the_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        find_files(str(tmp_path / "*.txt"), "data.path")
    assert f"looked in {tmp_path}" in str(caught.value)
    with pytest.raises(DataError, match="there is no folder"):
        find_files(str(tmp_path / "none" / "*.txt"), "data.path")


def test_a_folder_a_pipe_and_an_impossible_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a folder"):
        find_files(str(tmp_path), "data.path")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="is not a regular file"):
        find_files(str(tmp_path / "pipe"), "data.path")
    for name in ["a\0b", "x" * 5000]:
        with pytest.raises(DataError, match="cannot be read"):
            find_files(name, "data.path")
    with pytest.raises(DataError, match="empty list"):
        find_files([], "data.path")


def test_a_folder_out_of_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: object) -> object:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(sources.os, "stat", denied)
    with pytest.raises(DataError, match="Permission denied"):
        find_files(str(tmp_path / "a.txt"), "data.path")


def test_the_standard_library_is_the_same_text_each_time() -> None:
    root = Path(sysconfig.get_path("stdlib"))
    found = stdlib_files()
    relative = [path.relative_to(root) for path in found]
    assert found == stdlib_files()
    assert [each.as_posix() for each in relative] == sorted(each.as_posix() for each in relative)
    assert not any(sources.STDLIB_LEFT_OUT & set(each.parts) for each in relative)
    assert Path("argparse.py") in relative
    sizes = [path.stat().st_size for path in found]
    assert min(sizes) > 0
    assert 4e6 < sum(sizes) <= sources.STDLIB_CAP_BYTES


def test_what_is_left_out_of_the_standard_library(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources.sysconfig, "get_path", lambda name: str(tmp_path))
    for name in ["b.py", "a/c.py", "a.py", "test/x.py", "a/tests/x.py", "site-packages/x.py"]:
        write(name, "x = 1\n")
    write("empty.py", "")
    (tmp_path / "latin.py").write_bytes(b"# caf\xe9\n")
    (tmp_path / "nul.py").write_bytes(b"\0")
    write("notes.txt", "x")
    expected = [tmp_path / "a.py", tmp_path / "a" / "c.py", tmp_path / "b.py"]
    assert stdlib_files() == expected
    monkeypatch.setattr(sources, "STDLIB_CAP_BYTES", 13)
    assert stdlib_files() == expected[:2]


def test_a_python_without_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources.sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(DataError, match="no standard library source"):
        stdlib_files()


def test_the_home_of_nobody_known_is_a_data_error():
    with pytest.raises(DataError, match="no-such-user-here"):
        find_files("~no-such-user-here/text.txt", "data.path")
