"""Text of users, data and models, made harmless for a person's terminal.

A terminal acts on control characters: one name in a table could retitle its window, hide what is printed
after it, or answer a question in the user's place. Whatever comes from data, configs, runs or models
therefore goes through `sanitize` (which keeps line breaks and tabs) or `one_line` where it is printed for
a person. JSON escapes by itself, and text that goes into a pipe or a file stays as it is.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from contextlib import suppress
from typing import Any, TextIO, cast

# C0 but for newline and tab, DEL, C1; overrides and isolates of the writing direction, which can
# make a terminal show a line as something else; separators of lines and paragraphs; surrogates and
# non-characters, which it cannot show at all.
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
BREAKS = re.compile("[\t\n]")


def sanitize(text: str) -> str:
    """Control characters become escapes such as \\x1b, \\u202e."""
    return CONTROLS.sub(_escape, text)


def one_line(text: str) -> str:
    """`sanitize` for a name or a value within a line: line breaks and tabs become escapes, too."""
    return BREAKS.sub(_escape, sanitize(text))


def _escape(found: re.Match[str]) -> str:
    code = ord(found.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


# --- a console that can be lost -----------------------------------------------------------------


class Expendable:
    """Standard error, of which a loss is no fault of the command's: the reader of a pipe that goes, a
    terminal that vanishes, a log on a disk that is full. What cannot be written is left out, and why stands
    in `lost`; a disk may have room again, so there the next line is tried all the same.
    """

    def __init__(self, stream: TextIO):
        self.stream = stream
        self.lost: str | None = None

    def write(self, text: str) -> int:
        try:
            self.stream.write(text)
        except OSError as error:
            self._lose(error)
        return len(text)

    def flush(self) -> None:
        try:
            self.stream.flush()
        except OSError as error:
            self._lose(error)

    def _lose(self, error: OSError) -> None:
        self.lost = self.lost or error.strerror or str(error)
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EAGAIN):
            discard(self.stream)  # nobody will read it ever again

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def make_console_expendable() -> None:
    """From here on, standard error can be lost without harm."""
    if not isinstance(sys.stderr, Expendable):
        sys.stderr = cast(TextIO, Expendable(sys.stderr))


def console_lost() -> str | None:
    """Why part of what was said on standard error reached nobody, if so."""
    return getattr(sys.stderr, "lost", None)


def discard(stream: TextIO) -> None:
    """Let what is written to a stream, and what it still holds, go nowhere: Python would try it again at the
    end, and turn the exit code into 120."""
    with suppress(OSError, ValueError, AttributeError):  # a stream that was replaced has no descriptor
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())
        os.close(nothing)


def settle_console() -> None:
    """At the end of a command: what standard error still holds is written now or never."""
    stream = sys.stderr
    stream.flush()
    if console_lost():
        discard(stream)
