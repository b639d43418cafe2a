"""What `lstm eval` and `lstm generate` do with a run of a text, and what they can be asked for."""

from __future__ import annotations

import base64
import glob
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lstmcli.core.errors import DataError, UsageError
from lstmcli.core.files import is_made_up
from lstmcli.core.notices import notice
from lstmcli.core.output import TextOut
from lstmcli.run.kind import Evaluated, Products, Progress
from lstmcli.run.options import Chosen, Option

if TYPE_CHECKING:
    from lstmcli.kinds.text.generate import Sample
    from lstmcli.kinds.text.report import Beside
    from lstmcli.kinds.text.trained import Run

EVAL = (
    Option("--data", "another text; also a pattern, - for standard input, repeated", list[str]),
    Option("--split", "val, test or train; default val"),
    Option(
        "--protocol", "windows (256 symbols, from zero state) or stateful (state carried)", default="windows"
    ),
    Option("--by", "a row per line or per symbol"),
    Option("--dynamic", "beside it, the model learning from what it has read", bool, False),
    Option("--dynamic-rate", "step size of --dynamic", float, shown="3e-4"),
    Option("--mix", "beside it, mixed with counts: ngram (training text) or cache (read so far)", list[str]),
    Option("--temperature", "beside it, with logits divided by this; best: by the best for it"),
)
GENERATE = (
    Option("--prompt", "text to continue"),
    Option("--prompt-file", "file to continue; - is standard input"),
    Option("--length", "symbols to write", int, 500),
    Option("--num", "samples, written side by side", int, 1),
    Option("--temperature", "below 1 bolder, above 1 wilder; 0 the likeliest", float, 0.8),
    Option("--top-k", "only the K likeliest", int),
    Option("--top-p", "only the likeliest that sum up to P", float),
    Option("--stop", "end before this text; may be repeated", list[str]),
    Option("--clamp", "hold a unit: LAYER:UNIT=VALUE, from 0; may be repeated", list[str]),
    Option("--seed", "for the same text again", int),
)
REPORT = (
    Option("--inside/--no-inside", "look at gates and gradients for it", bool, True),
    Option("--tokens", "symbols to look inside with", int, 50_000, least=2),
)
INIT = (Option("--minutes", "what training may take; default by size", float, least=0.05),)
GATES = (Option("--characters", "characters to show beside the marks", int, 8, least=0),)
UNITS = (
    Option("--length", "symbols to colour by the unit's state", int, 500, least=1),
    Option("--html", "write the coloured text as a web page", Path),
)
MOST_INPUT = 4 << 30
"""Bytes."""


# --- lstm eval ------------------------------------------------------------------------------------


def evaluate(run: Run, chosen: Chosen, on_progress: Progress) -> Evaluated:
    """A split or other texts: as a whole, or each line or symbol by itself."""
    data, by = chosen["data"], chosen["by"]
    if by not in (None, "line", "symbol"):
        raise UsageError(f"--by {by}: there are line and symbol")
    split = chosen["split"] or "val"
    where = ", ".join(data or [split])
    if by is not None:
        if given := [f"--{name}" for name in ("dynamic", "mix", "temperature") if chosen[name]]:
            raise UsageError(f"{', '.join(given)}: of no use beside --by")
        with _text_files(data) as files:
            return Evaluated(where, run.evaluate_lines(files, split, by))
    beside = _beside(chosen["dynamic"], chosen["dynamic_rate"], chosen["mix"] or [], chosen["temperature"])
    with _text_files(data) as files:
        return Evaluated(where, run.evaluate(files, split, chosen["protocol"], on_progress, beside))


@contextmanager
def _text_files(data: list[str] | None) -> Iterator[list[str] | None]:
    """What --data names, with standard input in a file for as long as it is read."""
    with tempfile.TemporaryDirectory() as folder:
        yield data and [_from_input(folder) if name in ("-", "/dev/stdin") else name for name in data]


def _from_input(folder: str) -> str:
    path = Path(folder, "standard-input")
    with path.open("wb") as file:
        while chunk := sys.stdin.buffer.read(1 << 20):
            if file.tell() + len(chunk) > MOST_INPUT:
                raise DataError("standard input holds more than 4 GB", "write it to a file, and name that")
            file.write(chunk)
    return glob.escape(str(path))


def _beside(dynamic: bool, rate: float | None, mix: list[str], temperature: str | None) -> Beside:
    from lstmcli.kinds.text.dynamic import Dynamics
    from lstmcli.kinds.text.report import Beside

    if rate is not None and not (dynamic and rate > 0.0):
        raise UsageError("--dynamic-rate goes with --dynamic, and must be above 0")
    settings = (Dynamics() if rate is None else Dynamics(rate=rate)) if dynamic else None
    beside = Beside(settings, tuple(mix), _temperature(temperature))
    beside.check()
    return beside


def _temperature(word: str | None) -> float | Literal["best"] | None:
    if word is None:
        return None
    try:
        return "best" if word == "best" else float(word)
    except ValueError:
        raise UsageError(f"--temperature {word}: a number above 0, or best") from None


# --- lstm generate --------------------------------------------------------------------------------


def write(run: Run, chosen: Chosen, as_json: bool) -> dict[str, Any]:
    """Continue the prompt. One sample is written as it comes, where nothing of it is undone later."""
    from lstmcli.kinds.text.generate import GenerateOptions, escape_notices, notices
    from lstmcli.kinds.text.sampling import parse_clamp

    raw = read_prompt(chosen)
    options = {name: chosen[name] for name in ("length", "num", "temperature", "top_k", "top_p")}
    options["seed"] = _fresh_seed() if chosen["seed"] is None else chosen["seed"]
    checked = GenerateOptions(**options, stop=tuple(chosen["stop"] or ()))
    clamps = [parse_clamp(each) for each in chosen["clamp"] or ()]
    text = decoded(chosen["prompt"] or "", raw, chosen["prompt_file"], run.config.data.level)
    text = _shaped(run, "--prompt", text)
    options["stop"] = stops = tuple(_shaped(run, "--stop", each) for each in checked.stop)
    typed = [("--prompt", chosen["prompt"] or ""), *(("--stop", each) for each in chosen["stop"] or ())]
    escaped = [said for option, word in typed for said in escape_notices(option, word)]
    for said in (*escaped, *notices(run.vocabulary, text, replace(checked, stop=stops))):
        notice(said)
    out = TextOut()
    streamed = not as_json and checked.num == 1 and (out.terminal or run.vocabulary.level == "characters")
    if streamed:
        out.write(text)
    samples = run.generate(
        text, on_text=(lambda _, piece: out.write(piece)) if streamed else None, clamps=clamps, **options
    )
    if streamed:
        out.write("\n")
    elif not as_json:
        _print(samples, text, out)
    return _document(samples, options["seed"])


def _print(samples: list[Sample], prompt: str, out: TextOut) -> None:
    if len(samples) == 1:
        _print_one(samples[0], prompt, out)
        return
    for number, sample in enumerate(samples, 1):
        out.write(f"--- {number} ---\n")
        _print_one(sample, prompt, out)
        out.write("\n")


def _print_one(sample: Sample, prompt: str, out: TextOut) -> None:
    """Bytes go into a file or pipe as they are; a terminal shows text."""
    if sample.raw is None or out.terminal:
        out.write(prompt + sample.text)
    else:
        out.write_bytes(prompt.encode("utf-8", "surrogateescape") + sample.raw)


def _document(samples: list[Sample], seed: int) -> dict[str, Any]:
    """What `--json` prints; at level bytes `base64` has the bytes that `text` may not be able to show."""
    tokens = sum(s.tokens for s in samples)
    seconds = max((s.seconds for s in samples), default=0.0)
    return {
        "samples": [
            {"text": s.text, "tokens": s.tokens, "seconds": s.seconds}
            | ({} if s.raw is None else {"base64": base64.b64encode(s.raw).decode("ascii")})
            for s in samples
        ],
        "tokens_per_second": tokens / seconds if seconds > 0 else 0.0,
        "seed": seed,
    }


def products(run: Run) -> Products:
    """Three samples for `lstm report`."""
    length, temperature = 400, 0.7
    made = run.generate(length=length, num=3, temperature=temperature, seed=1)
    about = f"{length} symbols each, temperature {temperature}, seed 1"
    return Products(about, [sample.text for sample in made])


def read_prompt(chosen: Chosen) -> bytes | None:
    """The prompt of a file, undecoded: whether it is text, the run says."""
    prompt_file = chosen["prompt_file"]
    if chosen["prompt"] is not None and prompt_file is not None:
        raise UsageError("give --prompt or --prompt-file, not both")
    if prompt_file is None:
        return None
    if prompt_file != "-" and is_made_up(prompt_file) and Path(prompt_file).is_file():
        raise DataError(f"{prompt_file} is not a regular file", "write it to a file first")
    try:
        return sys.stdin.buffer.read() if prompt_file == "-" else Path(prompt_file).read_bytes()
    except OSError as error:
        raise DataError(f"{prompt_file} cannot be read: {error.strerror}") from error


def decoded(prompt: str, raw: bytes | None, prompt_file: str | None, level: str) -> str:
    """The prompt as text; at level bytes any bytes, as surrogate escapes where they are not UTF-8."""
    if raw is None:
        if level != "bytes" and any("\ud800" <= c <= "\udfff" for c in prompt):
            raise UsageError("--prompt is not valid UTF-8")
        return prompt
    if level == "bytes":
        return raw.decode("utf-8", "surrogateescape")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{prompt_file} is not UTF-8 at byte {error.start}") from error


def _shaped(run: Run, what: str, text: str) -> str:
    """The text as the training text has it; told where that is another form of a character."""
    found = run.understood(text)
    for changed in run.vocabulary.unseen(text):
        written = run.understood(changed)
        if written != changed and changed not in found and not run.vocabulary.unseen(written):
            points = " + ".join(f"U+{ord(c):04X}" for c in written)
            notice(
                f"{what}: the training text has {changed!r} (U+{ord(changed):04X}) as {points}, and so it is "
                "read; `data.normalize: NFC` makes one form of both"
            )
            break
    return found


def _fresh_seed() -> int:
    import secrets

    return secrets.randbelow(2**31)
