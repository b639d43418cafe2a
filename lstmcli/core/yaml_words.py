"""Words and values as a YAML file may hold them."""

from __future__ import annotations

import json
import re
from typing import Any


def quoted(text: str) -> str:
    """Text as YAML reads it back: plain where that is safe (`null` and `.5` are not text)."""
    if re.fullmatch(r"[A-Za-z_/][\w./-]*\.[A-Za-z]+", text):
        return text
    return as_json(text)


def as_json(value: Any) -> str:
    """JSON as YAML may hold it: what is not printable, such as U+2028, would end the line there."""
    text = json.dumps(value, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in text)
