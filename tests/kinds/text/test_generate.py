"""Generated text: prompts, stop texts, streaming, batches, and what a terminal may be given."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from lstmcli.core.errors import UsageError
from lstmcli.kinds.text.decoder import NumpyDecoder
from lstmcli.kinds.text.generate import (
    GenerateOptions,
    generate,
    notices,
    unseen_notice,
)
from lstmcli.kinds.text.vocabulary import Vocabulary

LETTERS = Vocabulary("characters", "\nabcdefgh")
BYTES = Vocabulary("bytes")


class Script:
    """A decoder that writes given texts, sample j the j-th; all begin with the same symbol."""

    def __init__(self, vocabulary, *texts):
        self.size = vocabulary.size
        self.texts = [vocabulary.encode(text) for text in texts]
        self.read = []  # the prompt
        self.batches = []  # the batch size of each step

    def initial_state(self, num):
        return {"texts": None, "position": 0}

    def copy_state(self, state, rows):
        texts = state["texts"]
        chosen = range(len(rows)) if texts is None else [texts[row] for row in rows]
        return {"texts": list(chosen), "position": state["position"]}

    def step(self, ids, state):
        self.batches.append(len(ids))
        if state["texts"] is None:
            self.read += ids.tolist()
        else:
            state["position"] += 1
        logits = np.full((len(ids), self.size), -1000.0, dtype=np.float32)
        for row, text in enumerate(state["texts"] or [0]):
            logits[row, self.texts[text][state["position"]]] = 0.0
        return logits


def write(text, vocabulary=LETTERS, prompt="a", **options):
    """The sample of a decoder that would write ``text``, and its streamed pieces."""
    length = len(vocabulary.encode(text))
    pieces = []
    samples = generate(
        Script(vocabulary, text),
        vocabulary,
        prompt,
        GenerateOptions(**({"length": length} | options)),
        lambda index, piece: pieces.append(piece),
    )
    return samples[0], pieces


def make_decoder(size, hidden=12, seed=0):
    rng = np.random.default_rng(seed)
    shapes = {
        "embedding.weight": (size, hidden),
        "layers.0.weight_ih": (4 * hidden, hidden),
        "layers.0.weight_hh": (4 * hidden, hidden),
        "layers.0.bias": (4 * hidden,),
        "head.weight": (size, hidden),
        "head.bias": (size,),
    }
    return NumpyDecoder(
        {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    )


def test_the_text_is_what_the_model_writes_without_the_prompt():
    sample, pieces = write("hade\nface", prompt="gag")
    assert sample.text == "hade\nface"
    assert sample.tokens == 9
    assert sample.seconds > 0
    assert pieces == list("hade\nface")


def test_the_prompt_is_read_once_whatever_the_number_of_samples():
    script = Script(LETTERS, "abc", "aef", "aha")
    samples = generate(script, LETTERS, "cab", GenerateOptions(length=3, num=3))
    assert [sample.text for sample in samples] == ["abc", "aef", "aha"]
    assert script.read == LETTERS.encode("cab").tolist()
    assert script.batches == [1, 1, 1, 3, 3]


@pytest.mark.parametrize(
    ("vocabulary", "start"),
    [
        (LETTERS, [1]),
        (Vocabulary("characters", "\t\nxy"), [2]),
        (Vocabulary("characters", "xy"), [1]),
        (BYTES, [10]),
    ],
)
def test_an_empty_prompt_is_a_newline_or_symbol_1(vocabulary, start):
    script = Script(vocabulary, "xy")
    generate(script, vocabulary, "", GenerateOptions(length=2))
    assert script.read == start


def test_length_nought_gives_empty_samples():
    samples = generate(Script(LETTERS, "a"), LETTERS, "a", GenerateOptions(length=0, num=2))
    assert [(sample.text, sample.tokens) for sample in samples] == [("", 0), ("", 0)]


@pytest.mark.parametrize(
    ("text", "stops", "expected", "tokens"),
    [
        ("abcdef", ("cd",), "ab", 4),
        ("abcdef", ("a",), "", 1),
        ("aabaac", ("aac",), "aab", 6),  # a false start inside the stop text
        ("ababac", ("abac",), "ab", 6),
        ("abcdef", ("de", "bcd"), "a", 4),  # the first to be complete
        ("abcdef", ("cd", "bcd"), "a", 4),  # the longer of two that end together
        ("abcdef", ("bcdh", "f"), "abcde", 6),
        ("abcdef", ("efg",), "abcdef", 6),  # only begun when the length is reached
        ("abcdef", ("h",), "abcdef", 6),
        ("ab\n\ncd", ("\n\n",), "ab", 4),
    ],
)
def test_a_stop_text_ends_the_sample_and_is_not_part_of_it(text, stops, expected, tokens):
    sample, pieces = write(text, stop=stops)
    assert (sample.text, sample.tokens) == (expected, tokens)
    assert "".join(pieces) == expected


def test_streaming_holds_back_only_what_may_begin_a_stop_text():
    _, pieces = write("abacad", stop=("ad",))
    assert pieces == ["ab", "ac"]
    _, pieces = write("hhaah", stop=("aaa",))
    assert pieces == ["h", "h", "aah"]


def test_finished_samples_leave_the_batch_and_the_others_go_on():
    script = Script(LETTERS, "abcdefg", "ahaaaaa", "abbbhaa", "acccccc")
    streamed = {}
    samples = generate(
        script,
        LETTERS,
        "a",
        GenerateOptions(length=7, num=4, stop=("h",)),
        lambda index, piece: streamed.update({index: streamed.get(index, "") + piece}),
    )
    texts = ["abcdefg", "a", "abbb", "acccccc"]
    assert [sample.text for sample in samples] == texts
    assert [sample.tokens for sample in samples] == [7, 2, 5, 7]
    assert streamed == dict(enumerate(texts))
    assert script.batches == [1, 4, 3, 3, 3, 2, 2]
    assert samples[1].seconds < samples[2].seconds < samples[0].seconds


def test_generating_ends_when_all_samples_have_stopped():
    script = Script(LETTERS, "ahb", "abh")
    generate(script, LETTERS, "a", GenerateOptions(length=1000, num=2, stop=("h",)))
    assert script.batches == [1, 2, 1]


def test_bytes_are_streamed_as_whole_characters():
    sample, pieces = write("né€😀!", BYTES)
    assert pieces == ["n", "é", "€", "😀", "!"]
    assert (sample.text, sample.tokens) == ("né€😀!", 11)


def test_an_unfinished_character_at_the_end_is_replaced():
    sample, pieces = write("a€", BYTES, length=3)
    assert sample.text == "a\ufffd"
    assert pieces == ["a", "\ufffd"]


def test_a_stop_text_of_several_bytes():
    sample, _ = write("ab→→c", BYTES, stop=("→→",))
    assert (sample.text, sample.tokens) == ("ab", 8)


def test_a_flushed_character_can_complete_a_stop_text():
    sample, _ = write("ab€", BYTES, length=4, stop=("b\ufffd",))
    assert sample.text == "a"


def test_sample_j_is_the_same_however_many_there_are():
    decoder = make_decoder(LETTERS.size)
    options = {"length": 60, "temperature": 1.0, "seed": 7}
    many = generate(decoder, LETTERS, "abc", GenerateOptions(num=4, **options))
    one = generate(decoder, LETTERS, "abc", GenerateOptions(num=1, **options))
    other = generate(decoder, LETTERS, "abc", GenerateOptions(num=1, **(options | {"seed": 8})))
    assert one[0].text == many[0].text
    assert len({sample.text for sample in [*many, *other]}) == 5


@pytest.mark.parametrize("seed", range(4))
def test_a_stopped_neighbour_does_not_change_a_sample(seed):
    decoder = make_decoder(LETTERS.size)
    options = {"length": 60, "temperature": 1.0, "num": 4, "seed": seed}
    whole = generate(decoder, LETTERS, "abc", GenerateOptions(**options))
    stopped = generate(decoder, LETTERS, "abc", GenerateOptions(stop=("gg", "h"), **options))
    assert len({sample.tokens for sample in stopped}) > 1
    for before, after in zip(whole, stopped, strict=True):
        assert before.text.startswith(after.text)


def test_the_unknown_symbol_is_never_drawn():
    decoder = make_decoder(LETTERS.size)
    samples = generate(decoder, LETTERS, "Zz", GenerateOptions(length=200, temperature=50.0))
    assert len(samples[0].text) == 200
    assert set(samples[0].text) == set(LETTERS.symbols)


def test_notices_name_unseen_characters_and_the_clamp():
    assert notices(LETTERS, "abc", GenerateOptions()) == []
    found = notices(LETTERS, "aéa\u202eé", GenerateOptions(top_k=99))
    assert found == [
        "characters of the prompt that training never saw: 'é' (U+00E9), '\\u202e' (U+202E); "
        "each is read as the unknown symbol",
        "top-k 99 is above the vocabulary's 10: 10 is used",
    ]


def test_a_notice_lists_at_most_ten_characters():
    found = unseen_notice(LETTERS, "ABCDEFGHIJKLM")
    assert found is not None
    assert "'J' (U+004A) and 3 more;" in found
    assert unseen_notice(BYTES, "é😀") is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": -1}, "length is -1"),
        ({"num": 0}, "number of samples is 0"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_k": 0}, "top-k is 0"),
        ({"top_p": 2.0}, "top-p is 2"),
        ({"seed": -5}, "seed is -5"),
        ({"stop": ("a", "")}, "stop text is empty"),
    ],
)
def test_senseless_options_are_a_usage_error(options, message):
    with pytest.raises(UsageError, match=message):
        GenerateOptions(**options)


def test_nothing_here_imports_torch():
    modules = "decoder, sampling, generate, ngram"
    code = f"import sys\nfrom lstmcli.kinds.text import {modules}\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
