"""Pipes, terminals of any width, locales without Unicode, text that would command the terminal."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

ESCAPE = "\x1b"
NO_UNICODE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def shell(folder, command, **environment):
    """A command line of bash, with `lstm` as a process of its own."""
    line = command.replace("lstm ", f"{sys.executable} -m lstmcli ")
    return subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def strange(shared_lab):
    """A lab with a run `strange`, whose vocabulary holds é, 日 and what a terminal would act on."""
    text = "caf\u00e9 \u65e5\u672c\n\x1b[31mred\x07\x1b[0m\u202e\x9b2J plain text " * 40
    (shared_lab.folder / "text.txt").write_text(text, encoding="utf-8")
    shared_lab.train("strange", "evaluation.sample_temperature=1.0", "evaluation.sample_length=60")
    return shared_lab


# --- pipes


@pytest.mark.parametrize("options", ["", "--num 3", "--json"])
def test_a_reader_that_has_enough_ends_the_command_quietly(trained_lab, options):
    length = 100_000 if not options else 30_000
    command = f"lstm generate good --length {length} {options} | head -c 10; echo ${{PIPESTATUS[@]}}"
    done = shell(trained_lab.folder, command)
    assert done.stderr == b"" and done.stdout.endswith(b"0 0\n")
    assert len(done.stdout) == 10 + len(b"0 0\n")


def test_a_closed_standard_output_is_no_traceback(trained_lab):
    done = shell(trained_lab.folder, "lstm generate good --length 5 >&-")
    assert b"Traceback" not in done.stderr


def test_a_full_disk_for_the_output_is_an_error(trained_lab):
    done = shell(trained_lab.folder, "lstm generate good --length 50 > /dev/full")
    assert done.returncode == 7 and b"No space left" in done.stderr and b"Traceback" not in done.stderr


def test_text_in_a_pipe_is_raw(strange):
    prompt = "\x1b[31mred\x07\u202e\x9b2J caf\u00e9"
    outcome = strange.process("generate", "strange", "--prompt", prompt, "--length", 5)
    assert outcome.code == 0 and outcome.out.startswith(prompt) and outcome.err == ""


# --- terminals


def test_text_on_a_terminal_cannot_command_it(strange):
    prompt = "\x1b[31mred\x07\u202e\x9b2J caf\u00e9"
    shown = strange.terminal("generate", "strange", "--prompt", prompt, "--length", 5).out
    assert shown.startswith("\\x1b[31mred\\x07\\u202e\\x9b2J caf\u00e9") and ESCAPE not in shown
    several = strange.terminal("generate", "strange", "--prompt", prompt, "--length", 5, "--num", 2).out
    assert "--- 2 ---" in several and ESCAPE not in several and "\\x1b[31m" in several


def test_a_notice_about_a_prompt_cannot_command_a_terminal(trained_lab):
    shown = trained_lab.terminal("generate", "good", "--prompt", "\x1b]0;title\x07", "--length", 3).out
    assert ESCAPE not in shown and "U+001B" in shown


def test_the_live_view_cannot_be_commanded_by_a_sample(strange):
    shown = strange.terminal("train", "config.yaml", "train.max_steps=10", "--run", "live-strange").out
    assert "done   10 steps" in shown
    assert not re.search(r"\x1b\[31m|\x07|\u202e|\x9b", shown.replace("\x1b[91m", ""))


def test_the_live_view_hides_the_cursor_and_shows_it_again(lab):
    outcome = lab.terminal("train", "config.yaml", "--run", "r", TERM="xterm")
    assert outcome.code == 0 and "\x1b[?25l" in outcome.out
    assert outcome.out.rindex("\x1b[?25h") > outcome.out.rindex("\x1b[?25l")
    assert "done   20 steps" in outcome.out


@pytest.mark.parametrize("width", ["1", "20", "500"])
def test_any_width(lab, width):
    assert lab.terminal("train", "config.yaml", "--run", "r", COLUMNS=width, TERM="xterm").code == 0
    for words in (["runs"], ["eval", "r"], ["--help"], ["train", "--help"]):
        assert lab.terminal(*words, COLUMNS=width, TERM="xterm").code == 0


def test_no_color_and_a_dumb_terminal(lab):
    plain = lab.terminal("train", "config.yaml", "--run", "a", NO_COLOR="1", TERM="xterm")
    assert plain.code == 0 and not re.search(r"\x1b\[[0-9;]*3[0-9]m|\x1b\[9[0-9]m", plain.out)
    dumb = lab.terminal("train", "config.yaml", "--run", "b", TERM="dumb")
    assert dumb.code == 0 and ESCAPE not in dumb.out


def test_without_a_terminal_there_are_no_escapes_at_all(lab):
    lab.train("r")
    for words in (["train", "config.yaml"], ["eval", "r"], ["runs"], ["--help"], ["generate", "r"]):
        outcome = lab.process(*words, TERM="xterm-256color", COLORTERM="truecolor")
        assert outcome.code == 0 and ESCAPE not in outcome.out + outcome.err


# --- locales


def test_a_locale_without_unicode_gets_escapes_and_no_crash(strange):
    command = "lstm generate strange --length 200 --temperature 1.5 --seed 1"
    done = shell(strange.folder, command, **NO_UNICODE)
    assert done.returncode == 0 and done.stderr == b""
    done.stdout.decode("ascii")
    assert b"\\xe9" in done.stdout or b"\\u65e5" in done.stdout or b"\\u672c" in done.stdout


def test_json_is_ascii_in_any_locale(strange):
    outcome = strange.lstm("generate", "strange", "--length", "50", "--prompt", "caf\u00e9", "--json")
    outcome.out.encode("ascii")


def test_help_and_errors_in_a_locale_without_unicode(strange):
    command = "lstm --help && lstm runs && lstm generate nothing"
    done = shell(strange.folder, command, **NO_UNICODE, COLUMNS="20")
    assert done.returncode == 5 and b"Traceback" not in done.stderr
    (done.stdout + done.stderr).decode("ascii", "strict")


def test_training_in_a_locale_without_unicode(strange):
    command = "lstm train config.yaml train.max_steps=10 --run ascii"
    done = shell(strange.folder, command, **NO_UNICODE)
    assert done.returncode == 0 and b"done   10 steps" in done.stderr and b"Traceback" not in done.stderr
