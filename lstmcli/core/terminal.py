"""Text of users, data and models, made harmless for a person's terminal.

A terminal acts on control characters: one name in a table could retitle its window, hide what is printed
after it, or answer a question in the user's place. Whatever comes from data, configs, runs or models
therefore goes through `sanitize` (which keeps line breaks and tabs) or `one_line` where it is printed for
a person. JSON escapes by itself, and text that goes into a pipe or a file stays as it is.
"""

from __future__ import annotations

import re

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
