"""lstm init: a config that fits a file, whatever the file holds and however it is called."""

from __future__ import annotations

import pytest
import yaml

TEXT = "the cat sat on the mat and saw the dog.\n" * 40
QUICK = ["train.max_minutes=null", "train.max_steps=2", "train.threads=1", "data.cache=cache"]
QUICK += ["model.path=fused", "model.hidden_size=16", "train.precision=fp32", "--run", "r"]
NAMES = [
    *("novel.txt", "a b.txt", "ünï 日本.txt", "x=1.txt", 'quo"te.txt', "it's.txt", "back\\slash.txt", "no"),
    *("null", "1e5", ".5", "true", "# hash.txt", "a: b.txt", "tab\there.txt", "line\nbreak.txt", "{x}.txt"),
    *("%s.txt", "~.txt", "*.txt", "[a].txt", "deep/er/file.txt", ".hidden", "two.dots.txt"),
]


def trains(lab, config):
    outcome = lab.lstm("train", config, *QUICK)
    assert outcome.code == 0, outcome.err
    return outcome


@pytest.mark.parametrize(
    "content",
    [
        TEXT.encode(),
        ("日本語の文章。\n" * 300).encode(),
        bytes(range(256)) * 8,
        b"caf\xe9 " * 300,
        b"the cat " * 12,
    ],
    ids=["ascii", "utf-8", "binary", "latin-1", "tiny"],
)
def test_a_config_that_loads_and_trains(lab, content):
    (lab.folder / "input").write_bytes(content)
    outcome = lab.lstm("init", "input", "--output", "my.yaml")
    assert outcome.code == 0 and "lstm train my.yaml" in outcome.out
    assert lab.lstm("validate", "my.yaml").code == 0
    trains(lab, "my.yaml")
    assert lab.lstm("generate", "r", "--length", "5").code == 0


@pytest.mark.parametrize("name", NAMES)
def test_any_name_of_a_file(lab, name):
    file = lab.folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(TEXT)
    outcome = lab.lstm("init", name, "-o", "my.yaml")
    assert outcome.code == 0, outcome.err
    path = yaml.safe_load((lab.folder / "my.yaml").read_text(encoding="utf-8"))["data"]["path"]
    assert path in (name, str(file)) and lab.lstm("validate", "my.yaml").code == 0


def test_the_config_is_named_after_the_file(lab):
    (lab.folder / "novel.txt").write_text(TEXT)
    assert lab.lstm("init", "novel.txt").code == 0
    assert (lab.folder / "novel.yaml").is_file()
    trains(lab, "novel.yaml")


def test_a_larger_file_gets_a_larger_model(lab):
    sizes = []
    for size in (50_000, 500_000, 2_000_000):
        (lab.folder / "input").write_bytes((TEXT * (size // len(TEXT) + 1)).encode()[:size])
        assert lab.lstm("init", "input", "-o", f"{size}.yaml").code == 0
        sizes.append(yaml.safe_load((lab.folder / f"{size}.yaml").read_text())["model"]["hidden_size"])
    assert sizes == sorted(set(sizes))


def test_symbols_are_counted_not_bytes(lab):
    ideographs = "".join(chr(0x4E00 + i) for i in range(2000))
    for name, text in (("few", TEXT * 300), ("many", ideographs * 240)):
        (lab.folder / name).write_text(text, encoding="utf-8")
        assert lab.lstm("init", name, "-o", f"{name}.yaml").code == 0
    few, many = (yaml.safe_load((lab.folder / f"{n}.yaml").read_text())["model"] for n in ("few", "many"))
    assert few["hidden_size"] == many["hidden_size"], "about 480,000 symbols each, in 0.5 and 1.4 MB"
    assert few["embedding_size"] < many["embedding_size"], "thousands of distinct symbols"


def test_nothing_is_ever_overwritten(lab):
    (lab.folder / "my.yaml").write_text("mine")
    refused = lab.lstm("init", "text.txt", "-o", "my.yaml")
    assert refused.code == 2 and "already there" in refused.err
    assert (lab.folder / "my.yaml").read_text() == "mine"
    (lab.folder / "link.yaml").symlink_to(lab.folder / "target.yaml")  # leads to nothing yet
    assert lab.lstm("init", "text.txt", "-o", "link.yaml").code == 2
    assert not (lab.folder / "target.yaml").exists()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["none.txt"], 4),
        (["."], 4),
        (["empty.txt"], 4),
        (["table.csv"], 2),
        (["text.txt", "-o", "no/such/folder/x.yaml"], 7),
        ([], 2),
    ],
)
def test_what_cannot_be_done(lab, words, code):
    (lab.folder / "table.csv").write_text("a,b\n1,2\n")
    (lab.folder / "empty.txt").write_text("")
    refused = lab.lstm("init", *words)
    assert refused.code == code and "Traceback" not in refused.err
    assert not (lab.folder / "empty.yaml").exists()


def test_a_recipe_is_copied_out_with_its_series(lab):
    done = lab.lstm("init", "--recipe", "air-passengers")
    assert done.code == 0 and "wrote air-passengers.yaml" in done.out, done.err
    assert lab.lstm("validate", "air-passengers.yaml").code == 0
    assert (lab.folder / "data" / "air-passengers.csv").is_file()
    assert lab.lstm("init", "--recipe", "air-passengers").code == 2  # it is already there


def test_a_recipe_that_is_not_there_and_a_file_beside_one(lab):
    wrong = lab.lstm("init", "--recipe", "shakespear")
    assert wrong.code == 3 and "did you mean shakespeare" in wrong.err
    assert lab.lstm("init", "text.txt", "--recipe", "co2").code == 2
    assert lab.lstm("init").code == 2


def test_a_text_is_sized_by_the_minutes_too(lab):
    (lab.folder / "long.txt").write_text("It was a dark and stormy night, and so on. " * 30_000)
    (lab.folder / "short.txt").write_text("It was a dark and stormy night, and so on. " * 2_000)
    found = {}
    for name, minutes in (("long", 1.5), ("long", 10), ("short", 10)):
        assert lab.lstm("init", f"{name}.txt", "--minutes", minutes, "-o", f"{name}{minutes}.yaml").code == 0
        found[name, minutes] = yaml.safe_load((lab.folder / f"{name}{minutes}.yaml").read_text())
    assert [found["long", m]["model"]["num_layers"] for m in (1.5, 10)] == [1, 2]
    assert [found["long", m]["train"]["max_minutes"] for m in (1.5, 10)] == [1.5, 10]
    assert found["short", 10]["train"]["max_epochs"] < found["long", 10]["train"]["max_epochs"]
    assert all(config["train"]["early_stopping"] for config in found.values())
    assert lab.lstm("init", "short.txt", "--horizon", 3).code == 2
