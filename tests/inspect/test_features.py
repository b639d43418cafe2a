"""Features of texts and series against definitions that look at the whole prefix at every step."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from lstmcli.inspect.features import (
    MOST,
    SEASONAL_FEATURES,
    TEXT_FEATURES,
    Alphabet,
    TextFeatures,
    fill_forward,
    series_features,
)

PLAY = """First Citizen:
Before we proceed any further, hear me speak. "Speak,\t(speak)."

KING RICHARD III:
  The king's name! [Is {a} tower
\tof] strength? YEA.

All the men said: "no

one" \u201chere\u201d
# a comment "in" it
x = 1 // another /* one
y = /* a block
 comment ) */ 2 /*/ still */ 3 */ 4


All: (a (b)) ) c """


def slow_features(read):
    """Each feature by name of the text read so far, from that text alone."""
    line = read.rsplit("\n", 1)[-1]
    paragraph = re.split(r"\A\n|(?<=\n)\n", read)[-1]
    sentence = re.split(r"[.!?]|\A\n|(?<=\n)\n", read)[-1]
    word = re.search(r"[\w'\u2019]*\Z", read)[0]
    words = re.split(r"[\n:]", paragraph, maxsplit=1)
    heading = re.findall(r"[\w'\u2019]+", words[0])
    depth = 0
    for symbol in paragraph:
        depth = max(0, depth + (symbol in "([{") - (symbol in ")]}"))
    quoted = False
    for symbol in paragraph:
        quoted = not quoted if symbol == '"' else (quoted or symbol == "\u201c") and symbol != "\u201d"
    run = re.search(r"[A-Z]*\Z", read)[0]
    return {
        "position in line": len(line),
        "lines in paragraph": paragraph.count("\n"),
        "position in sentence": len(sentence),
        "position in word": len(word),
        "word boundary": word == "",
        "indentation": sum(4 if c == "\t" else 1 for c in re.match(r"[ \t]*", line)[0]),
        "capital letter": read[-1:].isupper(),
        "run of capitals": len(run) > 1,
        "capitalised word": word[:1].isupper(),
        "speaker's name": len(words) == 1 and bool(heading) and all(w[0].isupper() for w in heading),
        "quotes": quoted,
        "brackets": depth,
        "comment": slow_comment(read),
    }


def slow_comment(read):
    """Whether a comment is open, by removing one after the other."""
    while True:
        found = re.search(r"#|//|/\*", read)
        if found is None:
            return False
        end = re.compile(r"\*/" if found[0] == "/*" else r"\n").search(read, found.end())
        if end is None:
            return True
        read = read[: found.start()] + " " + read[end.end() :]


@pytest.fixture(scope="module")
def alphabet():
    return Alphabet.of(["\ufffd", *sorted(set(PLAY))])


def encode(text):
    known = sorted(set(PLAY))
    return np.array([known.index(c) + 1 for c in text])


@pytest.mark.parametrize("name", TEXT_FEATURES)
def test_a_feature_of_a_text_equals_its_definition(alphabet, name):
    found = TextFeatures(alphabet, 1).read(encode(PLAY)[:, None])[:, 0, TEXT_FEATURES.index(name)]
    wanted = [float(slow_features(PLAY[: t + 1])[name]) for t in range(len(PLAY))]
    wrong = [(t, PLAY[max(0, t - 10) : t + 1]) for t in range(len(PLAY)) if found[t] != wanted[t]]
    assert not wrong and len(set(wanted)) > 1


def test_rows_side_by_side_in_pieces_are_rows_by_themselves(alphabet):
    half = len(PLAY) // 2
    texts = np.stack([encode(PLAY)[:half], encode(PLAY)[half : 2 * half]], axis=1)
    together = TextFeatures(alphabet, 2)
    parts = (texts[:70], texts[70:71], texts[71:])
    found = np.concatenate([together.read(part) for part in parts])
    alone = [TextFeatures(alphabet, 1).read(texts[:, b : b + 1]) for b in range(2)]
    assert np.array_equal(found, np.concatenate(alone, axis=1))


def test_no_symbol_changes_nothing(alphabet):
    ids = encode(PLAY)[:, None]
    padded = np.concatenate([np.full((5, 1), -1), ids])
    found = TextFeatures(alphabet, 1).read(padded)
    assert not found[:5].any()
    assert np.array_equal(found[5:], TextFeatures(alphabet, 1).read(ids))


def test_counts_have_an_end(alphabet):
    found = TextFeatures(alphabet, 1).read(encode("a" * (MOST + 20))[:, None])
    assert found[:, 0, 0].max() == MOST


def test_symbols_of_a_vocabulary_of_bytes_that_are_no_character_belong_to_words():
    alphabet = Alphabet.of([chr(b) if b < 128 else "" for b in range(256)])
    found = TextFeatures(alphabet, 1).read(np.frombuffer("né e".encode(), np.uint8).astype(int)[:, None])
    assert found[:, 0, TEXT_FEATURES.index("position in word")].tolist() == [1, 2, 3, 0, 1]


@pytest.mark.parametrize(("season", "patch"), [(6, 2), (1, 4), (12, 3)])
def test_features_of_a_series_equal_their_definitions(season, patch):
    draw = np.random.default_rng(0)
    values, ends = draw.normal(size=(3, 24, 2)), np.array([24, 31, 100])
    values[0, 5] = np.nan
    values[1, :3] = np.nan
    values[2, 4, 1] = np.nan
    names, found = series_features(values, patch, season, ends)
    span = season if season > 1 else 8
    assert (names[-2:] == SEASONAL_FEATURES) == (season > 1)
    for r in range(3):
        one = slow_filled(values[r])
        for t in range(24 // patch):
            end = (t + 1) * patch
            value = sum(one[end - patch : end]) / patch
            level = slow_level(one, end, span)
            expected = [value, level, level - slow_level(one, max(1, end - span), span), value - level, end]
            if season > 1:
                angle = 2 * math.pi * (ends[r] - 24 + end - 1) / season
                expected += [math.sin(angle), math.cos(angle)]
            assert found[t, r].tolist() == pytest.approx(expected, abs=1e-12)


def slow_level(values, end, span):
    part = values[max(0, end - span) : end]
    return sum(part) / len(part)


def slow_filled(row):
    """The mean over the channels that are there, the last value where none is."""
    means = [[v for v in step if not math.isnan(v)] for step in row]
    means = [sum(step) / len(step) if step else None for step in means]
    filled, latest = [], next(m for m in means if m is not None)
    for mean in means:
        latest = latest if mean is None else mean
        filled.append(latest)
    return filled


def test_a_row_without_any_value_is_nought():
    assert fill_forward(np.full((1, 3), np.nan)).tolist() == [[0.0, 0.0, 0.0]]
