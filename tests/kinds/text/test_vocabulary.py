"""Symbols and their ids."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstmcli.core.errors import DataError, RunError
from lstmcli.kinds.text.vocabulary import CODE_POINTS, Vocabulary

texts = st.text(st.characters(exclude_categories=["Cs"]))
BYTES = Vocabulary("bytes")


def vocabulary_of(text: str, min_count: int = 1) -> Vocabulary:
    counts = np.zeros(CODE_POINTS, dtype=np.int64)
    for character in text:
        counts[ord(character)] += 1
    return Vocabulary.from_counts(counts, min_count)


def slow_encode(vocabulary: Vocabulary, text: str) -> list[int]:
    ids = {character: index + 1 for index, character in enumerate(sorted(vocabulary.symbols))}
    return [ids.get(character, 0) for character in text]


@given(known=texts, text=texts)
def test_encoding_agrees_with_a_dictionary(known: str, text: str) -> None:
    vocabulary = vocabulary_of(known)
    assert vocabulary.encode(text).tolist() == slow_encode(vocabulary, text)
    expected = "".join(c if c in known else "\ufffd" for c in text)
    assert vocabulary.decode(vocabulary.encode(text)) == expected


@given(known=texts, text=texts)
def test_unseen_lists_each_unknown_character_once_in_order(known: str, text: str) -> None:
    expected: list[str] = []
    for character in text:
        if character not in known and character not in expected:
            expected.append(character)
    assert vocabulary_of(known).unseen(text) == expected


@given(text=texts)
def test_bytes_come_back(text: str) -> None:
    ids = BYTES.encode(text)
    assert ids.tolist() == list(text.encode("utf-8"))
    assert BYTES.decode(ids) == text
    assert BYTES.unseen(text) == []


@given(raw=st.binary())
def test_streamed_bytes_give_the_same_text_as_all_at_once(raw: bytes) -> None:
    decoder = BYTES.speller()
    streamed = "".join(decoder.feed(byte) for byte in raw) + decoder.flush()
    assert streamed == raw.decode("utf-8", "replace") == BYTES.decode(list(raw))


@given(text=texts)
def test_streamed_characters_give_the_same_text_as_all_at_once(text: str) -> None:
    vocabulary = vocabulary_of(text[::2])
    decoder = vocabulary.speller()
    ids = vocabulary.encode(text)
    assert "".join(map(decoder.feed, ids.tolist())) + decoder.flush() == vocabulary.decode(ids)


def test_a_character_cut_in_its_middle_is_shown_only_when_it_is_whole() -> None:
    decoder = BYTES.speller()
    assert [decoder.feed(byte) for byte in "é!".encode()] == ["", "é", "!"]
    assert decoder.feed(0xC3) == ""
    assert decoder.flush() == "\ufffd"


@pytest.mark.parametrize(
    ("symbols", "dtype"),
    [(255, np.uint8), (256, np.uint16), (65535, np.uint16), (65536, np.uint32)],
)
def test_ids_take_the_smallest_type(symbols: int, dtype: type) -> None:
    text = "".join(chr(0x20000 + index) for index in range(symbols))
    vocabulary = Vocabulary("characters", text)
    assert vocabulary.size == symbols + 1
    assert vocabulary.encode(text[-2:] + "a").dtype == dtype
    assert vocabulary.encode(text[-2:] + "a").tolist() == [symbols - 1, symbols, 0]
    assert vocabulary.decode(vocabulary.encode(text)) == text


def test_ascii_in_a_large_vocabulary() -> None:
    vocabulary = vocabulary_of("ab" + "".join(chr(0x4E00 + index) for index in range(300)))
    assert vocabulary.encode("bac").tolist() == [2, 1, 0]


def test_rare_characters_are_left_out() -> None:
    vocabulary = vocabulary_of("aaabbc", min_count=2)
    assert vocabulary.symbols == "ab"
    assert vocabulary.unknown == 0
    assert vocabulary.unseen("cab") == ["c"]


def test_arguments_that_are_no_utf8_become_the_same_bytes_again() -> None:
    assert BYTES.encode(b"caf\xe9".decode("utf-8", "surrogateescape")).tolist() == list(b"caf\xe9")
    assert vocabulary_of("caf").encode("caf\udce9").tolist() == [2, 1, 3, 0]
    with pytest.raises(DataError, match="character 2 "):
        BYTES.encode("a\ud800")


def test_raw_bytes_at_level_characters_are_read_as_utf8() -> None:
    assert vocabulary_of("aé").encode("éa".encode()).tolist() == [2, 1]
    with pytest.raises(DataError, match="byte offset 1"):
        vocabulary_of("a").encode(b"a\xff")


@pytest.mark.parametrize("wrong", [[-1], [3], [0, 99]])
def test_an_id_outside_the_vocabulary_is_not_decoded(wrong: list[int]) -> None:
    with pytest.raises(IndexError):
        vocabulary_of("ab").decode(wrong)


@given(text=texts.filter(bool))
def test_json_round_trip(text: str) -> None:
    vocabulary = vocabulary_of(text)
    assert Vocabulary.from_json(json.loads(json.dumps(vocabulary.to_json()))) == vocabulary
    assert Vocabulary.from_json(BYTES.to_json()) == BYTES


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        [],
        {},
        {"level": "characters"},
        {"level": "characters", "symbols": "ab", "more": 1},
        {"level": "words", "symbols": "ab"},
        {"level": ["characters"], "symbols": "ab"},
        {"level": "characters", "symbols": ["a", "b"]},
        {"level": "characters", "symbols": ""},
        {"level": "bytes", "symbols": "ab"},
        {"level": "characters", "symbols": "ba"},
        {"level": "characters", "symbols": "aa"},
        {"level": "characters", "symbols": "a\ud800"},
    ],
)
def test_a_malformed_vocabulary_is_refused(wrong: object) -> None:
    with pytest.raises(RunError, match="vocabulary is malformed"):
        Vocabulary.from_json(wrong)
