"""Fuzz the readers in this process: `python tests/fuzz/fuzz.py --inputs 100000 --seed 1`.

With atheris (coverage-guided) where it can be imported, else with mutations of seeds that follow from the
seed alone. An input fails if it raises anything but LstmError, takes more than a second, or makes the
process grow by more than 256 MB. Failing inputs are written to `--found` (default: a folder build/fuzz).
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import os
import random
import resource
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

SECONDS = 1.0
GROWTH = 256 << 20
ROOM = 8 << 30  # of address space beyond what the process has: what asks for more gets MemoryError

HERE = Path(__file__).parent
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("POLARS_MAX_THREADS", "2")
sys.path[:0] = [str(HERE), str(HERE.parents[1])]


class Hang(BaseException):
    """Not an Exception: nothing on the way may take it for a mishap of its own."""


def _ring(number: int, frame: FrameType | None) -> None:
    raise Hang


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """An alarm after SECONDS of processor time (twice that by the clock), and a limit on memory."""
    signal.signal(signal.SIGPROF, _ring)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)


def trial(run: Any, data: bytes, allowed: type[Exception]) -> str | None:
    """What is wrong with how `run` takes `data`: the last place in its traceback, or None."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        with watched(), contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            run(data)
    except allowed:
        pass
    except Hang:
        return f"more than {SECONDS:g} s"
    except BaseException as error:
        places = [f for f in traceback.extract_tb(error.__traceback__) if "lstmcli" in f.filename]
        place = f"{Path(places[-1].filename).name}:{places[-1].lineno}" if places else "?"
        return f"{type(error).__name__} at {place}: {str(error)[:100]!r}"
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
    return f"the process grew by {grown >> 20} MB" if grown > GROWTH else None


def warm_up(run: Any, seeds: list[bytes], allowed: type[Exception]) -> None:
    """What a first call imports and allocates is no growth, and takes its time."""
    for data in seeds:
        with contextlib.suppress(allowed), contextlib.redirect_stderr(io.StringIO()):
            run(data)


def fuzz(targets: ModuleType, name: str, inputs: int, seed: int, found: Path) -> Counter[str]:
    """Distinct failures of one target, with how often each was met."""
    from fuzz_mutate import mutated

    from lstmcli.core.errors import LstmError

    target = targets.TARGETS[name]
    seeds, draw, failures = target.seeds(), random.Random(f"{name}/{seed}"), Counter[str]()
    warm_up(target.run, seeds, LstmError)
    for number in range(inputs):
        data = mutated(seeds, draw)
        if wrong := trial(target.run, data, LstmError):
            wrong = f"{name}: {wrong}"
            if not failures[wrong]:
                found.mkdir(parents=True, exist_ok=True)
                (found / f"{name}-{seed}-{number}").write_bytes(data)
                print(f"{wrong} (input {name}-{seed}-{number})", flush=True)
            failures[wrong] += 1
    return failures


def fuzz_all(targets: ModuleType, names: list[str], inputs: int, seed: int, found: Path) -> int:
    total = sum(targets.TARGETS[name].share for name in names)
    failures, done = Counter[str](), 0
    for name in names:
        began, count = time.perf_counter(), -(-inputs * targets.TARGETS[name].share // total)
        failures += fuzz(targets, name, count, seed, found)
        done += count
        seconds = time.perf_counter() - began
        print(
            f"{name:12} {count:>7,} inputs in {seconds:6.1f} s, {count / seconds:8,.0f} a second", flush=True
        )
    print(f"{done:,} inputs, {len(failures)} distinct failures")
    return len(failures)


def with_atheris(targets: ModuleType, name: str, inputs: int, seed: int, found: Path) -> None:
    """Coverage-guided, one target; ends the process."""
    import atheris

    from lstmcli.core.errors import LstmError

    target = targets.TARGETS[name]
    corpus = found / f"corpus-{name}"
    corpus.mkdir(parents=True, exist_ok=True)
    seeds = target.seeds()
    warm_up(target.run, seeds, LstmError)
    for number, data in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(data)

    def one(data: bytes) -> None:
        if wrong := trial(target.run, data, LstmError):
            raise RuntimeError(wrong)

    options = [f"-runs={inputs}", f"-seed={seed}", f"-artifact_prefix={found}/{name}-", "-max_len=65536"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], one)
    atheris.Fuzz()


def load_targets(instrumented: bool) -> ModuleType:
    if not instrumented:
        import fuzz_targets

        return fuzz_targets
    import atheris

    with atheris.instrument_imports(include=["lstmcli", "yaml"], enable_loader_override=False):
        import fuzz_targets

        from lstmcli.cli import init, train  # noqa: F401
    return fuzz_targets


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engine", choices=["own", "atheris"], default="own")
    parser.add_argument("--found", type=Path, default=Path("build/fuzz"))
    parser.add_argument("targets", nargs="*", help="default: all")
    options = parser.parse_args()
    if options.engine == "atheris" and importlib.util.find_spec("atheris") is None:
        parser.error("atheris cannot be imported: pip install atheris, or leave --engine out")
    warnings.simplefilter("error")
    targets = load_targets(options.engine == "atheris")
    names = options.targets or list(targets.TARGETS)
    if options.engine == "atheris":
        if len(names) != 1:
            parser.error("atheris takes one target at a time")
        with_atheris(targets, names[0], options.inputs, options.seed, options.found)
    have = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (have + ROOM, resource.RLIM_INFINITY))
    return 1 if fuzz_all(targets, names, options.inputs, options.seed, options.found) else 0


if __name__ == "__main__":
    sys.exit(main())
