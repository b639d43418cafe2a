"""The command `lstm`: the verbs, and the one place where errors become exit codes.

Nothing here or in a verb's module imports torch before the verb runs.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

import lstmcli
from lstmcli.cli import (
    bench,
    cells,
    eval,
    experiment,
    export,
    generate,
    init,
    inspect,
    report,
    runs,
    train,
    tune,
    validate,
)
from lstmcli.cli.inspect import units, views
from lstmcli.core.errors import LstmError
from lstmcli.core.own_code import import_own_kinds
from lstmcli.core.terminal import discard, make_console_expendable, sanitize, settle_console


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and leave with the exit code of what happened."""
    _survive_closed_streams()
    _survive_any_locale()
    make_console_expendable()
    try:
        if code := _exit_code(import_own_kinds):  # what a command can be asked for, the kinds say
            sys.exit(code)
        app(args=hoisted(sys.argv[1:] if arguments is None else arguments))
    finally:
        settle_console()


def guarded(verb: Callable[..., None]) -> Callable[..., None]:
    """The verb, with everything that a user can cause turned into a message and an exit code."""

    @functools.wraps(verb)
    def run(*args: Any, **kwargs: Any) -> None:
        code = _exit_code(lambda: verb(*args, **kwargs))
        if code:
            raise typer.Exit(code)

    return run


def _exit_code(call: Callable[[], None]) -> int:
    try:
        call()
        sys.stdout.flush()
    except LstmError as error:
        _say(f"{'' if error.exit_code >= 128 else 'error: '}{error}")
        return error.exit_code
    except KeyboardInterrupt:
        _say("interrupted")
        return 130
    except BrokenPipeError:
        # The reader of a pipe has gone (`| head`): nothing more to say, and nothing to flush into.
        discard(sys.stdout)
    except MemoryError:
        return _out_of_memory()
    except RuntimeError as error:
        if "out of memory" not in str(error) and "can't allocate memory" not in str(error):
            raise
        return _out_of_memory()
    except OSError as error:
        _say(f"error: {error.strerror or error}: {error.filename or ''}".rstrip(": "))
        _abandon_output()
        return 7
    return 0


def _abandon_output() -> None:
    """Where a result cannot be written, Python need not try again."""
    try:
        sys.stdout.flush()
    except OSError:
        discard(sys.stdout)


def _out_of_memory() -> int:
    _say(
        "error: out of memory; the last checkpoint is safe\n"
        "  use a smaller train.batch_size or train.sequence_length"
    )
    return 7


def _say(text: str) -> None:
    print(sanitize(text), file=sys.stderr, flush=True)


def _survive_closed_streams() -> None:
    """Where standard output or error is closed (`>&-`), what is written to it is nobody's business."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115


def _survive_any_locale() -> None:
    """A terminal without Unicode gets escapes, not a crash."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None and (stream.encoding or "").lower() not in ("utf-8", "utf8"):
            reconfigure(errors="backslashreplace")


app = typer.Typer(
    name="lstm",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="A first run:  lstm train configs/quickstart.yaml  then  lstm generate latest",
)
for verb in (train, generate, eval, report, export, bench, experiment, tune, cells, runs, validate, init):
    app.command(name=verb.__name__.rpartition(".")[2])(guarded(verb.command))
app.add_typer(inspect.app, name="inspect")
inspect.app.command(name="gates")(guarded(views.gates))
inspect.app.command(name="units")(guarded(units.command))
inspect.app.command(name="gradients")(guarded(views.gradients))
inspect.app.command(name="memory")(guarded(views.memory))


def hoisted(words: list[str]) -> list[str]:
    """A command line with `--runs DIR`, which may stand anywhere, in front of the verb."""
    before = words[: words.index("--")] if "--" in words else words
    for place, word in enumerate(before):
        length = 2 if word == "--runs" else 1 if word.startswith("--runs=") else 0
        if length:
            return [*words[place : place + length], *words[:place], *words[place + length :]]
    return words


def _choose_runs(folder: Path | None) -> None:
    from lstmcli.run.directory import choose_runs_folder

    choose_runs_folder(folder)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(lstmcli.__version__)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and stop.", is_eager=True, callback=_print_version),
    ] = False,
    runs: Annotated[
        Path | None,
        typer.Option(
            "--runs",
            metavar="DIR",
            help="Folder of runs; else $LSTM_RUNS, else runs/. Also after the verb.",
        ),
    ] = None,
) -> None:
    """Train LSTMs on text, see what they write, measure how good they are."""
    _choose_runs(runs)


if __name__ == "__main__":
    main()
