"""What could steer a terminal becomes visible, wherever something is printed for a person."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

from lstmcli.core import notices
from lstmcli.core.output import print_line, print_rows
from lstmcli.core.tables import Table, to_text
from lstmcli.core.terminal import one_line, sanitize

PACKAGE = Path(__file__).parents[2] / "lstmcli"
EVIL = "\x1b]0;title\x07\x9b2J\u202ename"
SHOWN = "\\x1b]0;title\\x07\\x9b2J\\u202ename"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 😀\n\ttext \\x1b", "plain é 😀\n\ttext \\x1b"),
        ("\x1b[31mred\x00\r\x7f", "\\x1b[31mred\\x00\\x0d\\x7f"),
        ("\x80\x9b\x9f\xa0", "\\x80\\x9b\\x9f\xa0"),
        ("\u202a\u202e\u2066\u2069\u2028\ufffe", "\\u202a\\u202e\\u2066\\u2069\\u2028\\ufffe"),
        ("\udcff", "\\udcff"),
    ],
)
def test_what_could_steer_a_terminal_becomes_visible(text, shown):
    assert sanitize(text) == shown


def test_within_a_line_breaks_become_visible_too():
    assert one_line("a\nb\tc\x1b") == "a\\x0ab\\x09c\\x1b"


def printed(call, *args):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        call(*args)
    return out.getvalue() + err.getvalue()


def test_tables_stay_aligned_and_harmless_whatever_a_cell_holds():
    rows = [["group", "mse"], [f"{EVIL}\nfalse\trow", "1.0"], ["b", "2.0"]]
    shown = printed(print_rows, rows)
    assert len(shown.splitlines()) == 3 and SHOWN in shown and "\x1b" not in shown
    assert len({len(line) for line in shown.splitlines()}) == 1
    table = to_text(Table(EVIL, rows[0], rows[1:], EVIL))
    assert table.count(SHOWN) == 3 and "\x1b" not in table and len(table.splitlines()) == 5


def test_lines_and_notices_are_harmless(monkeypatch):
    monkeypatch.setattr(notices, "_said", set())
    assert printed(print_line, EVIL) == SHOWN + "\n"
    assert printed(notices.notice, EVIL) == f"note: {SHOWN}\n"


def test_errors_are_harmless(lab):
    for words in (["eval", EVIL], ["train", f"{EVIL}.yaml"], ["train", "config.yaml", f"{EVIL}=1"]):
        refused = lab.lstm(*words)
        assert refused.code in (3, 5) and refused.err
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", refused.err), words


# Where something is printed as it is, and why that is harmless.
BARE = {
    "cli/app.py": "the version; `_say` sanitizes",
    "cli/bench.py": "figures of the tool's own",
    "cli/cells.py": "figures, and names of built-in cells",
    "cli/inspect/__init__.py": "`to_text` sanitizes; so does what is said of a path",
    "core/output.py": "JSON; sanitized rows, lines and texts",
    "cli/runs.py": "a sentence",
    "cli/experiment.py": "figures and paths of the tool's own",
    "cli/inspect/units.py": "a blank line; sanitized",
    "sweep/worker.py": "sanitized",
    "inspect/coloured.py": "sanitized symbol by symbol",
    "cli/validate.py": "YAML that escapes by itself; JSON",
    "core/notices.py": "sanitized",
    "benchmark/cells.py": "within the source of a process that is measured",
}


def test_nobody_prints_past_the_helpers():
    """A module that prints by itself, not by `lstmcli.core.output`, needs a reason in BARE."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        if re.search(r"(?<![\w.])print\(|std(?:out|err)\.write\(", path.read_text(encoding="utf-8")):
            found.add(path.relative_to(PACKAGE).as_posix())
    assert found <= BARE.keys(), f"print by lstmcli.core.output in {sorted(found - BARE.keys())}"
