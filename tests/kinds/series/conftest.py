from __future__ import annotations

import pytest

from lstmcli.core import notices as spoken
from lstmcli.kinds.series.settings import SeriesTable


@pytest.fixture(autouse=True)
def notices(monkeypatch):
    """What is said during the test, and nothing said before it counts."""
    said: list[str] = []
    monkeypatch.setattr(spoken, "_said", set())
    monkeypatch.setattr(spoken, "_write", [said.append])
    return said


@pytest.fixture
def table(tmp_path):
    """Writes a table; settings for it."""

    def write(text, name="table.csv", **settings):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return SeriesTable(path=str(path), **{"splits": [1.0], **settings})

    return write
