"""What a model is looked at with."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from lstmcli.core.errors import UsageError
from lstmcli.inspect.gates import inspect_gates
from lstmcli.inspect.source import Reading, symbols_of
from lstmcli.inspect.units import inspect_units
from lstmcli.kinds.sequence.settings import SyntheticConfig
from lstmcli.kinds.text.vocabulary import Vocabulary


def test_the_character_of_each_id():
    assert symbols_of(Vocabulary("characters", "\nab")) == ["", "\n", "a", "b"]
    found = symbols_of(Vocabulary("bytes"))
    assert len(found) == 256 and found[97] == "a" and found[200] == ""


@pytest.mark.parametrize("look", [inspect_gates, inspect_units])
def test_runs_of_another_kind_are_refused(look):
    config = SyntheticConfig(data={"kind": "synthetic", "task": "adding"})
    run = SimpleNamespace(config=config, directory=SimpleNamespace(name="r"))
    with pytest.raises(UsageError, match="r learned a synthetic task; such a run has no lstm inspect"):
        look(run, Reading())
