"""lstm generate: what a run's model writes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lstmcli.cli.options import refuse_others
from lstmcli.cli.output import print_json, print_text
from lstmcli.cli.trust import Trust
from lstmcli.core.errors import DataError, UsageError

if TYPE_CHECKING:
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
    text = _prompt(prompt, prompt_file)
    if output is not None:
        from lstmcli.core.tables import check_file

        check_file(output)
    options = {
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
    from lstmcli.kinds.text.clamp import parse_clamp
    from lstmcli.kinds.text.generate import GenerateOptions, notices

    checked = GenerateOptions(**options)  # type: ignore[arg-type]
    clamps = [parse_clamp(each) for each in clamp or ()]
    loaded = load(run, trust)
    if isinstance(loaded, SyntheticRun):
        raise UsageError("a synthetic task has nothing to write", f"lstm eval {loaded.directory.name}")
    refuse_others(context, loaded, USES)
    if isinstance(loaded, ClassifierRun):
        from lstmcli.cli.classify import write_classes

        asked = None if prompt is None and prompt_file is None else text
        write_classes(loaded, asked, input_file, output, as_json)
        return
    if not isinstance(loaded, Run):
        from lstmcli.cli.forecast import write_forecast

        write_forecast(loaded, horizon, input_file, samples, seed, output, plot, as_json)
        return
    for said in notices(loaded.vocabulary, text, checked):
        notice(said)
    stream = None if as_json or num > 1 else _Stream(text)
    texts = loaded.generate(text, on_text=stream, clamps=clamps, **options)
    if as_json:
        print_json(_result(texts, options))
    elif stream is not None:
        stream.end()
    else:
        _print_all(texts, text)


class _Stream:
    """Writes pieces to standard output as they come; a flush per piece only where a person reads."""

    def __init__(self, prompt: str):
        self._interactive = sys.stdout.isatty()
        self._write(prompt)

    def __call__(self, sample: int, piece: str) -> None:
        self._write(piece)

    def _write(self, text: str) -> None:
        print_text(text)
        if self._interactive:
            sys.stdout.flush()

    def end(self) -> None:
        sys.stdout.write("\n")


def _print_all(samples: list[Sample], prompt: str) -> None:
    for number, sample in enumerate(samples, 1):
        print_text(f"--- {number} ---\n{prompt}{sample.text}\n")


def _result(samples: list[Sample], options: dict[str, Any]) -> dict[str, Any]:
    tokens = sum(s.tokens for s in samples)
    seconds = max((s.seconds for s in samples), default=0.0)
    return {
        "samples": [{"text": s.text, "tokens": s.tokens, "seconds": s.seconds} for s in samples],
        "tokens_per_second": tokens / seconds if seconds > 0 else 0.0,
        "seed": options["seed"],
    }


def _prompt(prompt: str | None, prompt_file: str | None) -> str:
    if prompt is not None and prompt_file is not None:
        raise UsageError("give --prompt or --prompt-file, not both")
    if prompt_file is None:
        if prompt is not None and any("\ud800" <= c <= "\udfff" for c in prompt):
            raise UsageError("--prompt is not valid UTF-8")
        return prompt or ""
    try:
        raw = sys.stdin.buffer.read() if prompt_file == "-" else Path(prompt_file).read_bytes()
    except OSError as error:
        raise DataError(f"{prompt_file} cannot be read: {error.strerror}") from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{prompt_file} is not UTF-8 at byte {error.start}") from error


def _fresh_seed() -> int:
    import secrets

    return secrets.randbelow(2**31)
