"""A new run with the weights of another: what goes where, what is told, and what is kept of it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from lstmcli.core.errors import ConfigError
from lstmcli.kinds.text.meanings import symbol_axis
from lstmcli.kinds.text.model import TextModel
from lstmcli.kinds.text.settings import LanguageModel
from lstmcli.kinds.text.vocabulary import Vocabulary
from lstmcli.run.inherit import Axis, Heritage, Old, freeze, transplant

LOOP = "lstmcli.run.loop"


def heritage():
    return Heritage("old", "/runs/old", 10, None, "0" * 64)


def text_model(size, seed, **settings):
    torch.manual_seed(seed)
    return TextModel(LanguageModel(hidden_size=12, embedding_size=6, num_layers=2, **settings), size).eval()


def meanings(axis):
    rows = axis._replace(new="fresh")
    return {"embedding.weight": (axis, None), "head.weight": (rows, None), "head.bias": (rows,)}


def labelled(symbols):
    return Axis([("symbol", None), *(("symbol", s) for s in symbols)], "symbols", "mean")


@pytest.mark.parametrize("settings", [{}, {"mixtures": 2}, {"cell": "gru"}])
def test_a_permuted_alphabet_gives_exactly_the_same_loss(settings):
    torch.manual_seed(0)
    alphabet, ids = "abcdefghij", torch.randint(0, 11, (40, 3))
    order = torch.tensor([0, *(torch.randperm(10) + 1)])  # the new model's id of each old one
    permuted = [""] * 10
    for old_id, new_id in enumerate(order.tolist()[1:]):
        permuted[new_id - 1] = alphabet[old_id]
    old, new = text_model(11, 1, **settings), text_model(11, 2, **settings)
    told = heritage()
    transplant(new, meanings(labelled(permuted)), Old(old.state_dict(), meanings(labelled(alphabet))), told)
    assert not told.new and not told.lost and not told.anew and told.kept == {"symbols": 10}
    for name, value in old.state_dict().items():
        rows = order if name.startswith(("embedding", "head")) else slice(None)
        assert torch.equal(value, new.state_dict()[name][rows]), name
    with torch.no_grad():  # a product rounds by the place of a row, so in float64
        wanted = old.double().loss(ids[:-1], ids[1:], old.initial_state(3))[0]
        found = new.double().loss(order[ids[:-1]], order[ids[1:]], new.initial_state(3))[0]
    assert float(found) == pytest.approx(float(wanted), abs=1e-13)


def test_new_symbols_get_the_mean_embedding_and_fresh_rows_of_the_head():
    old, new = text_model(4, 1), text_model(5, 2)
    fresh = new.head.weight.detach().clone()
    told = heritage()
    transplant(new, meanings(labelled("bcxy")), Old(old.state_dict(), meanings(labelled("abc"))), told)
    assert told.kept == {"symbols": 2} and told.new == {"symbols": ["'x'", "'y'"]}
    assert told.lost == {"symbols": ["'a'"]} and not told.anew
    mean = old.embedding.weight[1:].mean(0)  # the unknown symbol is in no mean
    assert torch.equal(new.embedding.weight[:3], old.embedding.weight[[0, 2, 3]])
    assert torch.equal(new.embedding.weight[3], mean) and torch.equal(new.embedding.weight[4], mean)
    assert torch.equal(new.head.weight[:3], old.head.weight[[0, 2, 3]])
    assert torch.equal(new.head.weight[3:], fresh[3:])
    for name, value in old.layers.state_dict().items():
        assert torch.equal(new.layers.state_dict()[name], value), name


def test_a_layer_of_another_shape_begins_anew_as_a_whole_and_says_so():
    old = text_model(4, 1)
    torch.manual_seed(2)
    new = TextModel(LanguageModel(hidden_size=[12, 20], embedding_size=6, num_layers=2), 4)
    before = {name: value.clone() for name, value in new.state_dict().items()}
    told = heritage()
    axes = meanings(labelled("abc"))
    transplant(new, axes, Old(old.state_dict(), axes), told)
    assert [each.split(" ")[0] for each in told.anew] == ["layer1", "head"]
    assert "[48, 12]" in told.anew[0] and "[80, 12]" in told.anew[0]
    for name, value in new.state_dict().items():
        taken = name.startswith(("embedding", "layers.0"))
        assert torch.equal(value, old.state_dict()[name] if taken else before[name]), name


def test_bytes_are_the_characters_that_they_are_in_ascii():
    axis = symbol_axis(Vocabulary("bytes"), "mean")
    assert axis.labels[65] == symbol_axis(Vocabulary("characters", "A"), "mean").labels[1]
    assert axis.labels[200] == ("byte", 200)


def test_frozen_parts_are_those_named_and_one_that_is_not_there_is_refused():
    model = text_model(4, 1)
    freeze(model, ["embedding", "layer0"])
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {n for n, _ in model.named_parameters() if n.startswith(("embedding", "layers.0."))}
    with pytest.raises(ConfigError, match="layer2") as refused:
        freeze(model, ["layer2"])
    assert "embedding, layer0, layer1, head" in str(refused.value)
    with pytest.raises(ConfigError, match="nothing is left"):
        freeze(model, ["embedding", "layer0", "layer1", "head"])


@pytest.fixture(scope="module")
def house(shared_lab):
    """A run `old`, and a text with other characters in `other.yaml`."""
    shared_lab.train("old", "train.max_steps=40")
    text = (shared_lab.folder / "text.txt").read_text()
    (shared_lab.folder / "other.txt").write_text(text.replace("w", "Z").replace("m", "W"))
    shared_lab.configure("other.yaml", data={"path": "other.txt"}, train={"max_steps": 10})
    return shared_lab


def manifest_of(lab, run):
    return json.loads((lab.path(run) / "manifest.json").read_text())


def test_a_run_on_another_text_begins_with_the_old_weights(house):
    made = house.lstm("train", "other.yaml", "--from", "old@20", "--run", "new", "--json")
    assert made.code == 0, made.err
    assert "from   old at step 20" in made.err
    assert "symbols known; 2 new: 'W', 'Z'; 2 lost: 'm', 'w'" in made.err
    first = house.metrics("new")[0]
    assert first["step"] == 0 and f"have val loss {first['val/loss']:.4f}" in made.err
    assert made.json["from"] == {"run": "old", "step": 20, "loss": first["val/loss"]}
    assert made.json["steps"] == 10
    kept = manifest_of(house, "new")["from"]
    assert kept["new"] == {"symbols": 2} and kept["loss"] == first["val/loss"]
    again = house.lstm("train", "config.yaml", "--from", "new", "--run", "third", "train.max_steps=1")
    assert again.code == 0, again.err
    assert [each["run"] for each in manifest_of(house, "third")["from"]["ancestors"]] == ["old"]


def test_on_the_same_text_the_old_weights_are_worth_what_they_were(house):
    made = house.lstm("train", "config.yaml", "--from", "old@last", "--run", "same", "train.max_steps=5")
    assert made.code == 0, made.err
    wanted = [line["val/loss"] for line in house.metrics("old") if "val/loss" in line][-1]
    assert house.metrics("same")[0]["val/loss"] == wanted
    numbers = house.checkpoint("same").document["progress"]
    assert numbers["step"] == 5 and numbers["best_step"] in (0, 5)


def test_a_run_that_was_stopped_before_its_first_checkpoint_inherits_again(house, same):
    words = ["train", "other.yaml", "--from", "old", "evaluation.every=null", "telemetry.every=5"]
    assert house.lstm(*words, "--run", "straight").code == 0
    fault = [(f"{LOOP}:_evaluate", 1, "SIGKILL")]
    assert house.process(*words, "--run", "killed", faults=fault).code == -9
    assert house.steps("killed") == []
    resumed = house.lstm("train", "--resume", "killed")
    assert resumed.code == 0, resumed.err
    same(house, "straight", "killed")


def test_frozen_parts_do_not_move_and_a_frozen_run_resumes(house, same):
    words = ["train", "other.yaml", "--from", "old", "train.freeze=[embedding,layer0]", "--run"]
    assert house.lstm(*words, "frozen").code == 0
    fault = [(f"{LOOP}:_step", 6, "SIGTERM")]
    assert house.process(*words, "halved", faults=fault).code == 143
    assert house.lstm("train", "--resume", "halved").code == 0
    same(house, "frozen", "halved")
    before, after = house.checkpoint("frozen", 0).tensors, house.checkpoint("frozen", 10).tensors
    moved = {name for name, value in after.items()
             if name.startswith("model.") and not np.array_equal(value, before[name])}  # fmt: skip
    assert moved and all(name.startswith(("model.layers.1.", "model.head.")) for name in moved)
    refused = house.lstm(*words[:-2], "train.freeze=[layer9]", "--run", "no")
    assert refused.code == 3 and "layer9" in refused.err and "layer1" in refused.err


def test_what_cannot_be_inherited_is_refused(house):
    both = house.lstm("train", "config.yaml", "--from", "old", "--resume", "old")
    assert both.code == 2 and "--from" in both.err
    missing = house.lstm("train", "config.yaml", "--from", "older", "--run", "x")
    assert missing.code == 5 and "did you mean: old" in missing.err
    wide = ["model.hidden_size=24", "model.embedding_size=24"]
    nothing = house.lstm("train", "config.yaml", "--from", "old", "--run", "x", *wide)
    assert nothing.code == 5 and "nothing of run old fits" in nothing.err
    assert not house.path("x").exists()


def test_another_cell_leaves_the_layers_and_keeps_the_ends(house):
    made = house.lstm(
        "train", "config.yaml", "--from", "old", "--run", "gru", "model.cell=gru", "model.path=engine",
        "train.max_steps=1",
    )  # fmt: skip
    assert made.code == 0 and "layer0 begins anew: its cell was lstm and is gru" in made.err


def test_python_trains_on_from_a_run(house, monkeypatch):
    import lstmcli

    monkeypatch.chdir(house.folder)
    run = lstmcli.train("other.yaml", from_run="old", run="python", quiet=True, train__max_steps=2)
    assert manifest_of(house, run.directory.name)["from"]["run"] == "old"


@pytest.fixture(scope="module")
def tables(shared_lab):
    rng = np.random.default_rng(0)

    def write(name, series, extra=()):
        rows = [",".join(["time", "store", "price", *extra, "sales"])]
        for s in series:
            for t in range(120):
                value = np.sin(t / 4 + len(s)) + rng.normal(scale=0.1)
                rows.append(",".join([f"2024-01-{1 + t // 24:02d} {t % 24:02d}:00", s, f"{t % 7}",
                                      *(["1.5"] * len(extra)), f"{value:.4f}"]))  # fmt: skip
        (shared_lab.folder / name).write_text("\n".join(rows) + "\n")

    write("old.csv", ["a", "b", "c"])
    write("new.csv", ["b", "d"], ["promo"])
    series = {"kind": "series", "time": "time", "target": "sales", "group": "store", "known": ["price"],
              "context_length": 24, "horizon": 6, "val_length": 12, "test_length": 12}  # fmt: skip
    for name, table, known in (("s.yaml", "old.csv", ["price"]), ("t.yaml", "new.csv", ["promo", "price"])):
        shared_lab.configure(
            name,
            data=series | {"path": table, "known": known},
            forecast={"patch_length": 6, "series_embedding": 3, "loss": "quantile"},
            train={"max_steps": 10},
        )
    (shared_lab.folder / "f").mkdir(exist_ok=True)
    return shared_lab


def test_series_columns_and_covariates_find_each_other_by_name(tables):
    import yaml

    for name in ("s.yaml", "t.yaml"):
        found = yaml.safe_load((tables.folder / name).read_text())
        found["forecast"] = {
            "patch_length": 6,
            "series_embedding": 3,
            "loss": "quantile",
            "decoder": "direct",
        }
        (tables.folder / name).write_text(yaml.safe_dump(found))
    assert (made := tables.lstm("train", "s.yaml", "--run", "table")).code == 0, made.err
    made = tables.lstm("train", "t.yaml", "--from", "table@last", "--run", "next", "evaluation.every=5")
    assert made.code == 0, made.err
    assert "1 series known; 1 new: 'd'; 2 lost: 'a', 'c'" in made.err
    old, new = (tables.checkpoint(run, step).tensors for run, step in (("table", 10), ("next", 0)))
    name = "model.members.0.series.weight"
    assert np.array_equal(new[name][0], old[name][1])  # b
    assert np.allclose(new[name][1], old[name][:3].mean(0)) and not new[name][2].any()
    # Of each step of a patch: value, calendar, and price, or promo and price.
    name = "model.members.0.embed.weight"
    width, wide = (each[name].shape[1] - 3 for each in (old, new))
    one, two = width // 6, wide // 6
    assert two == one + 1
    for step in range(6):
        theirs, ours = old[name][:, step * one :], new[name][:, step * two :]
        assert np.array_equal(ours[:, : one - 1], theirs[:, : one - 1])
        assert np.array_equal(ours[:, one], theirs[:, one - 1])  # price
    assert np.array_equal(new[name][:, -3:], old[name][:, -3:])
