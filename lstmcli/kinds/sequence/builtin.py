"""A small real table of texts and classes that every Python has: which package of its standard library a
line of code comes from."""

from __future__ import annotations

import hashlib
import sysconfig
from pathlib import Path

from lstmcli.core.errors import DataError
from lstmcli.kinds.files.sources import STDLIB_LEFT_OUT
from lstmcli.kinds.sequence.rows import TextRows

PACKAGES = (
    "asyncio",
    "ctypes",
    "email",
    "http",
    "importlib",
    "logging",
    "multiprocessing",
    "unittest",
    "xml",
)
SHORTEST, LONGEST = 20, 100
"""Characters of a line without its indentation."""
MOST = 1500
"""Lines of a package, evenly spread, so that no class is rare."""


def package_lines() -> TextRows:
    """Lines of code with their package: each once, none that two packages share, without indentation and
    comments."""
    by_package = {name: _lines(name) for name in PACKAGES}
    owners: dict[str, int] = {}
    for lines in by_package.values():
        for line in lines:
            owners[line] = owners.get(line, 0) + 1
    texts, labels = [], []
    for name, lines in by_package.items():
        own = [line for line in lines if owners[line] == 1]
        chosen = [own[k * len(own) // MOST] for k in range(MOST)] if len(own) > MOST else own
        texts += chosen
        labels += [name] * len(chosen)
    if not texts:
        raise DataError("data.source: this Python has no source of its packages", "give data.path instead")
    return TextRows(texts, labels, hashlib.sha256("\n".join(texts).encode()).hexdigest())


def _lines(package: str) -> list[str]:
    root = Path(sysconfig.get_path("stdlib"), package)
    files = [path for path in root.rglob("*.py") if not STDLIB_LEFT_OUT.intersection(path.parts)]
    found: dict[str, None] = {}
    for path in sorted(files, key=lambda path: path.relative_to(root).as_posix()):
        found |= dict.fromkeys(filter(_is_code, _stripped(path)))
    return list(found)


def _stripped(path: Path) -> list[str]:
    """The lines of a file; none of one that is not UTF-8."""
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError):
        return []


def _is_code(line: str) -> bool:
    return SHORTEST <= len(line) <= LONGEST and not line.startswith("#") and line.isprintable()
