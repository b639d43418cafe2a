"""What a person sees beside the results."""

from __future__ import annotations

import io

import pytest

from lstmcli.core.notices import notice, route_notices
from lstmcli.run.telemetry.console import Console, duration


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.2, "0 s"),
        (43.4, "43 s"),
        (59.9, "60 s"),
        (60, "1:00 min"),
        (725, "12:05 min"),
        (3600, "1:00 h"),
        (12_000, "3:20 h"),
        (5 * 86_400, "5 days"),
    ],
)
def test_a_length_of_time_as_a_person_says_it(seconds, said):
    assert duration(seconds) == said


def test_a_notice_is_said_once(capsys, monkeypatch):
    monkeypatch.setattr("lstmcli.core.notices._said", set())
    for _ in range(3):
        notice("mind the step")
    notice("and the other")
    assert capsys.readouterr().err == "note: mind the step\nnote: and the other\n"


def test_notices_can_be_routed_and_come_back(capsys, monkeypatch):
    monkeypatch.setattr("lstmcli.core.notices._said", set())
    heard = []
    route_notices(heard.append)
    notice("one")
    route_notices(None)
    notice("two")
    assert heard == ["one"] and capsys.readouterr().err == "note: two\n"


def test_lines_are_harmless_and_not_wrapped(monkeypatch):
    err = io.StringIO()
    monkeypatch.setattr("sys.stderr", err)
    monkeypatch.setenv("COLUMNS", "20")
    Console().line("run \x1b[31mred [bold]not markup[/bold] " + "x" * 60)
    assert err.getvalue() == "run \\x1b[31mred [bold]not markup[/bold] " + "x" * 60 + "\n"


def test_quiet_says_nothing(monkeypatch):
    err = io.StringIO()
    monkeypatch.setattr("sys.stderr", err)
    with Console(quiet=True) as console:
        console.line("hello")
        console.data_progress("reading", 1, 2)
        console.evaluated(1, 2.0, True)
    assert err.getvalue() == ""
