"""A text coloured by a unit's state, with and without colours."""

from __future__ import annotations

import numpy as np
import pytest
from rich.console import Console

from lstmcli.core.pictures import figure_bytes
from lstmcli.inspect.coloured import (
    HIGH,
    LOW,
    Coloured,
    background,
    coloured_figure,
    to_html,
    to_marks,
    to_rich,
)


@pytest.fixture
def text():
    return Coloured("unit 0:1 cell", list("ab\n<c"), np.array([-2.0, 0.0, 2.0, 1.0, -1.0]))


def test_white_is_nought_where_the_state_has_both_signs():
    both = Coloured("", list("abc"), np.array([-1.0, 0.0, 4.0]))
    assert both.range == (-4.0, 4.0) and both.shades.tolist() == [-0.25, 0.0, 1.0]
    assert background(0.0) == "#ffffff"


def test_a_state_of_one_sign_uses_all_colours():
    one = Coloured("", list("abc"), np.array([10.0, 20.0, 30.0]))
    assert one.range == (10.0, 30.0) and one.shades.tolist() == [-1.0, 0.0, 1.0]


def test_a_state_that_never_changes_and_no_text_at_all():
    assert Coloured("", ["a", "b"], np.array([3.0, 3.0])).shades.tolist() == [0.0, 0.0]
    nothing = Coloured("", [], np.array([]))
    assert nothing.lines() == [] and to_marks(nothing) == "\n" and "<pre></pre>" in to_html(nothing)
    figure_bytes(coloured_figure(nothing))


def test_the_ends_are_blue_and_orange():
    def distance(colour, end):
        return sum(abs(int(colour[k : k + 2], 16) - int(end[k : k + 2], 16)) for k in (1, 3, 5))

    assert distance(background(-1.0), LOW) < distance(background(-0.5), LOW) < distance("#ffffff", LOW)
    assert distance(background(1.0), HIGH) < distance(background(0.5), HIGH) < distance("#ffffff", HIGH)


def test_marks_stand_under_their_symbols(text):
    assert to_marks(text) == "ab↵\n▁▄▇\n<c\n▆▂\n"
    assert to_marks(text, "123") == "ab↵\n123\n<c\n31\n"


def test_marks_of_wide_symbols_are_as_wide():
    assert to_marks(Coloured("", list("a漢b"), np.array([-1.0, 1.0, 0.0])), "123") == "a漢b\n1332\n"


def test_long_lines_are_broken():
    lines = Coloured("", ["x"] * 100, np.zeros(100)).lines(30)
    assert [len(line) for line in lines] == [30, 30, 30, 10]


def test_control_characters_do_not_reach_a_terminal():
    shown = to_marks(Coloured("", ["a", "\x1b", "\t", "\u202e"], np.arange(4.0)))
    assert shown.splitlines()[0] == "a\\x1b→\\u202e"


def test_colours_in_a_terminal(text):
    console = Console(force_terminal=True, color_system="truecolor", highlight=False, width=80)
    with console.capture() as capture:
        console.print(to_rich(text))
    shown = capture.get()
    red, green, blue = (int(background(-1.0)[k : k + 2], 16) for k in (1, 3, 5))
    assert f"48;2;{red};{green};{blue}ma" in shown and "48;2;255;255;255mb" in shown


def test_a_page_escapes_its_text_and_names_values(text):
    page = to_html(text)
    assert f'<span style="background:{background(-1.0)}" title="-2">a</span>' in page
    assert "&lt;</span>" in page and "↵\n</span>" in page and "<title>unit 0:1 cell</title>" in page


def test_the_picture_has_the_text(text):
    picture = figure_bytes(coloured_figure(text)).decode()
    assert all(f">{symbol}</text>" in picture for symbol in ("a", "b", "↵", "&lt;", "c"))
    figure_bytes(coloured_figure(Coloured("$", ["$", "^", "漢"], np.zeros(3))))  # no mathematics
