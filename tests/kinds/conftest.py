"""A small house for text files: they look an hour old, as downloaded corpora do."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lstmcli.kinds.text.settings import TextSource

AN_HOUR_AGO = time.time() - 3600


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    """Write a file below the test's folder; its path."""

    def writer(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        os.utime(path, (AN_HOUR_AGO, AN_HOUR_AGO))
        return path

    return writer


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., TextSource]:
    """Data settings with the cache inside the test's folder."""

    def maker(**options: Any) -> TextSource:
        named = {key: str(value) if isinstance(value, Path) else value for key, value in options.items()}
        return TextSource(**{"cache": str(tmp_path / "cache"), **named})

    return maker
