"""How much memory there is, and what is refused for want of it."""

from __future__ import annotations

import gc

import pytest

from lstmcli.core import memory
from lstmcli.core.errors import ResourceError
from lstmcli.kinds.text.settings import LanguageModel


def test_what_fits_passes_and_what_does_not_is_told_with_the_bytes(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 1000)
    memory.require(1000, "a thing", "mend it")
    with pytest.raises(ResourceError) as caught:
        memory.require(1001, "a thing", "mend it")
    assert str(caught.value) == (
        "a thing needs at least 1,001 bytes of memory (1.0 KB), and 1,000 are free (1.0 KB)\n  mend it"
    )


def test_a_system_that_does_not_tell_refuses_nothing(monkeypatch):
    for name in ("_free", "_limit"):
        monkeypatch.setattr(memory, name, lambda: None)
    monkeypatch.setattr(memory, "CGROUPS", ())
    assert memory.available_bytes() is None
    memory.require(1 << 70, "a thing", "")


def test_the_least_of_all_limits_counts(monkeypatch, tmp_path):
    limit, used = tmp_path / "max", tmp_path / "current"
    limit.write_text("5000\n")
    used.write_text("2000\n")
    monkeypatch.setattr(memory, "CGROUPS", ((str(limit), str(used)),))
    assert memory.available_bytes() == 3000
    used.write_text("9000\n")
    assert memory.available_bytes() == 0
    limit.write_text("max\n")
    found = memory.available_bytes()
    assert found is not None and found > 10_000


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 KB"), (1_500_000, "1.5 MB"), (48 * 10**18, "48.0 EB"),
     (10**24, "1,000,000.0 EB")],
)  # fmt: skip
def test_a_number_of_bytes_as_a_person_says_it(count, said):
    assert memory.size(count) == said


@pytest.mark.parametrize(
    ("cell", "tied"),
    [("lstm", False), ("lstm", True), ("gru", False), ("minlstm", False), ("mogrifier-lstm", False)],
)
def test_the_parameters_are_counted_right_before_the_model_is_made(cell, tied):
    from lstmcli.kinds.text.model import TextModel, text_parameters

    settings = LanguageModel(cell=cell, hidden_size=[24, 16], embedding_size=16, tie_weights=tied)
    model = TextModel(settings, 30)
    counted = text_parameters(settings, 30)
    assert 0.95 * model.parameter_count() <= counted <= model.parameter_count()


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_is_left_alone_for_a_while_and_then_as_before(enabled):
    before = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        with pytest.raises(KeyError), memory.uncollected():
            assert not gc.isenabled()
            raise KeyError
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if before else gc.disable)()
