"""Text from a decoder: read a prompt once, then sample from it any number of texts side by side."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from lstmcli.core.errors import UsageError
from lstmcli.core.memory import require
from lstmcli.kinds.text.decoder import TABLE_ENTRIES, Decoder
from lstmcli.kinds.text.sampling import Sampler, check_options
from lstmcli.kinds.text.vocabulary import Speller

OnText = Callable[[int, str], None]

NAMED = 10  # characters that a notice lists
SAMPLE_BYTES = 1024  # of a finished sample, its text aside
WRITING_BYTES = 24  # of a symbol of a sample that is being written
TOGETHER = 1024  # samples that are written side by side; more are written one batch after the other


class Symbols(Protocol):
    """What generating needs of a vocabulary."""

    @property
    def size(self) -> int: ...

    @property
    def unknown(self) -> int | None: ...

    def encode(self, text: str, /) -> npt.NDArray[Any]: ...

    def unseen(self, text: str, /) -> list[str]: ...

    def speller(self) -> Speller: ...


@dataclass(frozen=True)
class GenerateOptions:
    """How to generate; UsageError for values that make no sense."""

    length: int = 500
    """Symbols per sample, unless a stop text comes first."""
    num: int = 1
    """Samples."""
    temperature: float = 0.8
    """Divides the logits; 0 takes the likeliest symbol."""
    top_k: int | None = None
    """Sample among the k likeliest symbols; above the vocabulary's size: all of them."""
    top_p: float | None = None
    """Sample among the fewest symbols that together have this probability."""
    stop: tuple[str, ...] = ()
    """Texts that end a sample; they are not part of it."""
    seed: int = 0
    """Sample j depends on the seed and j, not on how many samples there are."""

    def __post_init__(self) -> None:
        check_options(self.temperature, self.top_k, self.top_p, self.seed, self.num)
        if self.length < 0:
            raise UsageError(f"the length is {self.length}; it must be 0 or more")
        if "" in self.stop:
            raise UsageError("a stop text is empty", "leave it out to generate the whole length")


@dataclass
class Sample:
    """One generated text, without the prompt."""

    text: str
    """At level bytes U+FFFD stands for what is not UTF-8; `raw` has the bytes."""
    tokens: int
    """Symbols drawn, those of a stop text included."""
    seconds: float
    """From the end of the prompt to the sample's last symbol."""
    raw: bytes | None = None
    """At level bytes: what was written, exactly."""


class _Writer:
    """Turns the ids of one sample into text, and holds back what may begin a stop text."""

    def __init__(self, speller: Speller, stops: tuple[str, ...], emit: Callable[[str], None] | None):
        self._speller = speller
        # The longest first, for one stop text may end with another.
        self._stops = sorted(stops, key=len, reverse=True)
        self._emit = emit
        self._pieces: list[str] = []
        self._held = ""
        self._start = time.perf_counter()
        self.seconds = 0.0
        self.tokens = 0
        self._ids: list[int] = []
        self._stopped = False

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    def raw(self, again: Speller) -> bytes:
        """At level bytes: what was written, a stop text left out; `again`: a new speller."""
        if not self._stopped:
            return bytes(self._ids)
        length, count = len(self.text), 0
        while length > 0:
            length -= len(again.feed(self._ids[count]))
            count += 1
        return bytes(self._ids[:count])

    def feed(self, symbol: int) -> bool:
        """Take one id; True when a stop text is complete, which ends the sample."""
        self.tokens += 1
        self._ids.append(symbol)
        return self._take(self._speller.feed(symbol))

    def finish(self) -> None:
        """The length is reached: write what unfinished bytes and an unfinished stop text leave."""
        if not self._take(self._speller.flush()):
            self._write(self._held)
            self._stop_clock()

    def _take(self, text: str) -> bool:
        if not self._stops:
            self._write(text)
            return False
        for character in text:
            self._held += character
            found = next((stop for stop in self._stops if self._held.endswith(stop)), None)
            if found is not None:
                self._write(self._held[: -len(found)])
                self._stopped = True
                self._stop_clock()
                return True
            self._release()
        return False

    def _release(self) -> None:
        """Write all but the longest end of the held text that begins a stop text."""
        held = self._held
        begins = (n for n in range(len(held)) if any(s.startswith(held[n:]) for s in self._stops))
        cut = next(begins, len(held))
        self._write(held[:cut])
        self._held = held[cut:]

    def _write(self, text: str) -> None:
        if text:
            self._pieces.append(text)
            if self._emit is not None:
                self._emit(text)

    def _stop_clock(self) -> None:
        self.seconds = time.perf_counter() - self._start


def generate(
    decoder: Decoder,
    vocabulary: Symbols,
    prompt: str,
    options: GenerateOptions,
    on_text: OnText | None = None,
) -> list[Sample]:
    """Samples that continue ``prompt``; ``on_text(index, piece)`` gets their text as it is written.

    The unknown symbol is never drawn. A prompt without symbols is read as a newline, or as symbol 1
    if the vocabulary has no newline. Finished samples leave the batch.
    """
    together = max(1, min(TOGETHER, TABLE_ENTRIES // vocabulary.size, options.num))
    characters = options.num * options.length
    require(
        options.num * SAMPLE_BYTES + 2 * characters + WRITING_BYTES * together * options.length,
        f"writing {characters:,} symbols in {options.num:,} samples",
        "ask for fewer or shorter ones, several times",
    )
    read = _read_prompt(decoder, prompt_ids(vocabulary, prompt))
    samples: list[Sample] = []
    for first in range(0, options.num, together):
        count = min(together, options.num - first)
        samples += _side_by_side(decoder, vocabulary, read, options, range(first, first + count), on_text)
    return samples


def _side_by_side(
    decoder: Decoder,
    vocabulary: Symbols,
    read: tuple[Any, Any],
    options: GenerateOptions,
    which: range,
    on_text: OnText | None,
) -> list[Sample]:
    """The samples of these numbers, after a prompt that was `read`: the logits (1, V) and the state."""
    logits, state = np.repeat(read[0], len(which), axis=0), decoder.copy_state(read[1], [0] * len(which))
    sampler = _sampler(vocabulary, options, which)
    writers = [_writer(vocabulary, options.stop, on_text, index) for index in which]
    running = writers
    for position in range(options.length):
        ids = sampler.sample(logits)
        pairs = zip(running, ids.tolist(), strict=True)
        rows = [row for row, (writer, symbol) in enumerate(pairs) if not writer.feed(symbol)]
        if len(rows) < len(running):
            running = [running[row] for row in rows]
            if not running:
                break
            ids = ids[rows]
            state = decoder.copy_state(state, rows)
            sampler.keep(rows)
        if position + 1 < options.length:
            logits = decoder.step(ids, state)
    for writer in running:
        writer.finish()
    return [_sample(vocabulary, writer) for writer in writers]


def _sample(vocabulary: Symbols, writer: _Writer) -> Sample:
    if vocabulary.unknown is not None:
        return Sample(writer.text, writer.tokens, writer.seconds)
    return Sample(writer.text, writer.tokens, writer.seconds, writer.raw(vocabulary.speller()))


def prompt_ids(vocabulary: Symbols, prompt: str) -> npt.NDArray[Any]:
    """Ids of a prompt, (n,), n >= 1: see ``generate`` for an empty one."""
    if prompt:
        return vocabulary.encode(prompt)
    newline = vocabulary.encode("\n")
    return np.array([1]) if newline[0] == vocabulary.unknown else newline


def notices(vocabulary: Symbols, prompt: str, options: GenerateOptions) -> list[str]:
    """What the user should be told before ``generate`` starts."""
    unseen = unseen_notice(vocabulary, prompt)
    found = [] if unseen is None else [unseen]
    found += [each for stop in options.stop for each in _stop_notices(vocabulary, stop)]
    return found + _sampler(vocabulary, options, range(1)).notices


ESCAPES = {r"\n": "line break", r"\t": "tab", r"\r": "carriage return"}


def escape_notices(option: str, text: str) -> list[str]:
    """What was typed as an escape but is read as it stands, as a backslash and a letter."""
    return [
        f"{option}: {escape} is read as two characters, a backslash and {escape[1]!r}; "
        f"$'{escape}' makes a {name} in the shell"
        for escape, name in ESCAPES.items()
        if escape in text
    ]


def _stop_notices(vocabulary: Symbols, stop: str) -> list[str]:
    unseen = vocabulary.unseen(stop)
    if not unseen:
        return []
    named = ", ".join(f"{each!r} (U+{ord(each):04X})" for each in unseen[:NAMED])
    return [f"--stop {stop!r} never ends a sample: the model cannot write {named}"]


def unseen_notice(vocabulary: Symbols, prompt: str) -> str | None:
    """Names the characters of the prompt that the vocabulary lacks; None if there are none."""
    unseen = vocabulary.unseen(prompt)
    if not unseen:
        return None
    named = ", ".join(f"{each!r} (U+{ord(each):04X})" for each in unseen[:NAMED])
    more = f" and {len(unseen) - NAMED} more" if len(unseen) > NAMED else ""
    return (
        f"characters of the prompt that training never saw: {named}{more}; each is read as the unknown symbol"
    )


def _read_prompt(decoder: Decoder, ids: npt.NDArray[Any]) -> tuple[Any, Any]:
    """Logits (1, V) and the state of one text after the prompt."""
    state = decoder.initial_state(1)
    for position in range(len(ids)):
        logits = decoder.step(ids[position : position + 1], state)
    return logits.copy(), state


def _sampler(vocabulary: Symbols, options: GenerateOptions, which: range) -> Sampler:
    return Sampler(
        vocabulary.size,
        temperature=options.temperature,
        top_k=options.top_k,
        top_p=options.top_p,
        seed=options.seed,
        num=len(which),
        first=which.start,
        forbidden=() if vocabulary.unknown is None else (vocabulary.unknown,),
    )


def _writer(vocabulary: Symbols, stops: tuple[str, ...], on_text: OnText | None, index: int) -> _Writer:
    emit = None if on_text is None else partial(on_text, index)
    return _Writer(vocabulary.speller(), stops, emit)
