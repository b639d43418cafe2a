"""lstm generate: what a run's model writes."""

from __future__ import annotations

import base64
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lstmcli.cli.options import refuse_others
from lstmcli.cli.output import TextOut, print_json
from lstmcli.cli.trust import Trust
from lstmcli.core.errors import DataError, UsageError
from lstmcli.core.files import is_made_up

if TYPE_CHECKING:
    from lstmcli.api import Run
    from lstmcli.kinds.text.generate import Sample

USES = {
    "text": (
        "prompt", "prompt_file", "length", "num", "temperature", "top_k", "top_p", "stop", "clamp", "seed",
    ),
    "series": ("input_file", "horizon", "samples", "seed", "output", "plot"),
    "labelled": ("prompt", "prompt_file", "input_file", "output"),
}  # fmt: skip
"""Parameters by what a run learned."""


def command(
    context: typer.Context,
    run: Annotated[str, typer.Argument(help="A run: directory, name, or latest; RUN@STEP, RUN@last.")],
    prompt: Annotated[str | None, typer.Option("--prompt", help="Text to continue, or to classify.")] = None,
    prompt_file: Annotated[
        str | None, typer.Option("--prompt-file", help="File to continue; - is standard input.")
    ] = None,
    length: Annotated[int, typer.Option("--length", help="Symbols to write.")] = 500,
    num: Annotated[int, typer.Option("--num", help="Samples, written side by side.")] = 1,
    temperature: Annotated[
        float,
        typer.Option("--temperature", help="Below 1 bolder, above 1 wilder; 0 the likeliest."),
    ] = 0.8,
    top_k: Annotated[int | None, typer.Option("--top-k", help="Only the K likeliest.")] = None,
    top_p: Annotated[
        float | None, typer.Option("--top-p", help="Only the likeliest that sum up to P.")
    ] = None,
    stop: Annotated[
        list[str] | None, typer.Option("--stop", help="End before this text; may be repeated.")
    ] = None,
    clamp: Annotated[
        list[str] | None,
        typer.Option("--clamp", help="Hold a unit: LAYER:UNIT=VALUE, from 0; may be repeated."),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="For the same text or paths again.")] = None,
    horizon: Annotated[
        int | None, typer.Option("--horizon", min=1, help="Series: steps to forecast; default as trained.")
    ] = None,
    input_file: Annotated[
        Path | None,
        typer.Option("--input", help="Series: another table, also with new series; or texts to classify."),
    ] = None,
    samples: Annotated[int, typer.Option("--samples", min=0, help="Series: sample paths.")] = 0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Series, classes: write them as .csv or .parquet.")
    ] = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="Series: draw it (.png, .pdf or .svg).")] = None,
    trust: Trust = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print samples as JSON.")] = False,
) -> None:
    """Write text with a trained model, or a forecast, or the classes of texts or series.

    \b
    Examples:
      lstm generate latest
      lstm generate shakespeare --prompt "ROMEO:" --length 1000 --temperature 0.7
      lstm generate latest --num 5 --stop $'\\n\\n' --json
      lstm generate shakespeare --clamp 1:8=-2 --seed 7
      cat story.txt | lstm generate latest --prompt-file - --seed 7
      lstm generate etth1 --output forecast.csv --plot forecast.png
      lstm generate etth1 --input new.csv --horizon 48 --samples 20 --json
      lstm generate reviews --prompt "a fine film"
      lstm generate reviews --input new.csv --output classes.csv
    """
    raw = _prompt(prompt, prompt_file)
    if output is not None:
        from lstmcli.core.tables import check_file

        check_file(output)
    options: dict[str, Any] = {
        "length": length,
        "num": num,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "stop": tuple(stop or ()),
        "seed": _fresh_seed() if seed is None else seed,
    }
    from lstmcli.api import Run, load
    from lstmcli.core.notices import notice
    from lstmcli.kinds.sequence.trained import ClassifierRun, SyntheticRun
    from lstmcli.kinds.text.generate import GenerateOptions, escape_notices, notices
    from lstmcli.kinds.text.sampling import parse_clamp

    checked = GenerateOptions(**options)
    clamps = [parse_clamp(each) for each in clamp or ()]
    loaded = load(run, trust)
    if isinstance(loaded, SyntheticRun):
        raise UsageError("a synthetic task has nothing to write", f"lstm eval {loaded.directory.name}")
    refuse_others(context, loaded, USES)
    text = _decoded(prompt or "", raw, prompt_file, loaded.config.data.level)
    if isinstance(loaded, ClassifierRun):
        from lstmcli.cli.classify import write_classes

        asked = None if prompt is None and prompt_file is None else text
        write_classes(loaded, asked, input_file, output, as_json)
        return
    if not isinstance(loaded, Run):
        from lstmcli.cli.forecast import write_forecast

        write_forecast(loaded, horizon, input_file, samples, seed, output, plot, as_json)
        return
    text = _shaped(loaded, "--prompt", text)
    options["stop"] = stops = tuple(_shaped(loaded, "--stop", each) for each in checked.stop)
    typed = [("--prompt", prompt or ""), *(("--stop", each) for each in stop or ())]
    escaped = [said for option, word in typed for said in escape_notices(option, word)]
    for said in (*escaped, *notices(loaded.vocabulary, text, replace(checked, stop=stops))):
        notice(said)
    out = TextOut()
    streamed = not as_json and num == 1 and (out.terminal or loaded.vocabulary.level == "characters")
    if streamed:
        out.write(text)
    texts = loaded.generate(
        text, on_text=(lambda _, piece: out.write(piece)) if streamed else None, clamps=clamps, **options
    )
    if as_json:
        print_json(_result(texts, options))
    elif streamed:
        out.write("\n")
    elif num == 1:
        _print_one(texts[0], text, out)
    else:
        _print_all(texts, text, out)


def _print_all(samples: list[Sample], prompt: str, out: TextOut) -> None:
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


def _result(samples: list[Sample], options: dict[str, Any]) -> dict[str, Any]:
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
        "seed": options["seed"],
    }


def _prompt(prompt: str | None, prompt_file: str | None) -> bytes | None:
    """The prompt of a file, undecoded: whether it is text, the run says."""
    if prompt is not None and prompt_file is not None:
        raise UsageError("give --prompt or --prompt-file, not both")
    if prompt_file is None:
        return None
    if prompt_file != "-" and is_made_up(prompt_file) and Path(prompt_file).is_file():
        raise DataError(f"{prompt_file} is not a regular file", "write it to a file first")
    try:
        return sys.stdin.buffer.read() if prompt_file == "-" else Path(prompt_file).read_bytes()
    except OSError as error:
        raise DataError(f"{prompt_file} cannot be read: {error.strerror}") from error


def _decoded(prompt: str, raw: bytes | None, prompt_file: str | None, level: str) -> str:
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
    from lstmcli.core.notices import notice

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
