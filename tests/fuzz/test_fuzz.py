"""Whatever a file, a word or a run holds: an answer or one message, within a second and some memory.

`make fuzz` does the same with a hundred thousand inputs; what it finds is kept below.
"""

from __future__ import annotations

import io
import random
import resource
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lstmcli.core.errors import LstmError

sys.path.insert(0, str(Path(__file__).parent))
import fuzz
import fuzz_mutate
import fuzz_targets

sys.path.pop(0)

INPUTS = {
    "yaml": 350, "overrides": 400, "table": 350, "text": 350, "proposal": 120, "prompt": 500,
    "checkpoint": 350, "records": 250, "text-run": 120, "series-run": 80,
    "text-keys": 40, "series-keys": 25, "plans": 40,
}  # fmt: skip


@pytest.mark.parametrize("name", fuzz_targets.TARGETS)
def test_inputs_that_are_nearly_right(name):
    target = fuzz_targets.TARGETS[name]
    with redirect_stderr(io.StringIO()):
        seeds = target.seeds()
        fuzz.warm_up(target.run, seeds, LstmError)
    near = st.integers(0, 2**64 - 1).map(lambda number: fuzz_mutate.mutated(seeds, random.Random(number)))

    @settings(
        max_examples=INPUTS[name],
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(near | near | near | st.binary(max_size=80))
    def check(data):
        assert fuzz.trial(target.run, data, LstmError) is None

    check()


def test_the_watch_sees_what_it_should():
    def hang(data):
        while True:
            pass

    def grow(data):
        # The watch reads the highest size so far, which earlier tests of this process may have set.
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        below = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10) - pages * resource.getpagesize()
        return len(bytearray(max(0, below) + (400 << 20)))

    def refuse(data):
        raise LstmError("no")

    def crash(data):
        raise KeyError("x")

    quick = pytest.MonkeyPatch()
    quick.setattr(fuzz, "SECONDS", 0.05)
    try:
        assert "more than" in fuzz.trial(hang, b"", LstmError)
    finally:
        quick.undo()
    quick.setattr(fuzz, "SECONDS", 60)  # a process of many tests has gigabytes to grow by
    try:
        assert "grew by" in fuzz.trial(grow, b"", LstmError)
    finally:
        quick.undo()
    assert "KeyError" in fuzz.trial(crash, b"", LstmError)
    assert fuzz.trial(refuse, b"", LstmError) is None


def test_mutations_follow_from_the_seed_alone():
    seeds = fuzz_targets.yaml_seeds()
    one, two = ([fuzz_mutate.mutated(seeds, random.Random(k)) for k in range(300)] for _ in range(2))
    assert one == two and len(set(one)) > 200


# --- what fuzzing found ---------------------------------------------------------------------------


def refused(name, data):
    """The message with which a target's reader refuses an input."""
    with pytest.raises(LstmError) as caught, redirect_stderr(io.StringIO()), redirect_stdout(io.StringIO()):
        fuzz_targets.TARGETS[name].run(data)
    return str(caught.value)


@pytest.mark.parametrize(
    "word", ["model.hidden_size=256.0", "model.hidden_size=[3.0, 4]\nmodel.num_layers=2"]
)
def test_a_whole_float_where_a_number_or_a_list_is_allowed(word):
    from lstmcli.config.load import parse_config

    sizes = parse_config({"data": {"path": "a"}}, "run", word.split("\n")).model.sizes
    assert sizes in ([256, 256], [3, 4]) and all(type(size) is int for size in sizes)


def test_a_setting_within_one_that_is_no_section():
    from lstmcli.config.load import parse_config

    for document, words in (({"sed": {"x": 1}}, []), ({}, ["sead.x=1"]), ({}, ["seed.x=1"])):
        with pytest.raises(LstmError, match=r"there is no such setting|nothing inside"):
            parse_config({"data": {"path": "a"}} | document, "run", words)


def test_a_line_of_the_log_that_is_nested_without_end():
    fuzz_targets.records(b'{"step": 3}\n' + b"[" * 100_000 + b"\n\0\0" + b"[" * 100_000)


@pytest.mark.parametrize("name", ["a: b\u2028 # c", "\x7f\x9f", "\U000e0001\u200b", "'\"\\"])
def test_a_config_is_proposed_for_a_file_of_any_name(name):
    fuzz_targets.proposal(b"\x90" + name.encode() + b"\nthe cat sat on the mat\n")


def test_a_config_is_proposed_for_columns_of_any_name():
    rows = "".join(f"2024-01-{day:02},{day},x\n" for day in range(1, 29))
    fuzz_targets.proposal(f"\0n\nt,v\u2028\x9f,\U000e0001\n{rows}".encode())


def test_rows_whose_first_column_has_no_name():
    """As a data frame's index is written."""
    fuzz_targets.table(
        b"\2,V1,V2,V3,V4,V5,V6,V7,V8\n" + b"".join(b"H%d,1,2,3,4,5,6,7,8\n" % k for k in range(3))
    )


def test_values_whose_square_is_no_number():
    message = refused("table", b"\0t,a\n" + b"".join(b"%d,%de300\n" % (k, k) for k in range(1, 30)))
    assert "a has 1e+300 (step 1)" in message


def parquet(column):
    file = io.BytesIO()
    pl.DataFrame({"t": column, "a": [float(k) for k in range(len(column))]}).write_parquet(file)
    return b"\0" + file.getvalue()


@pytest.mark.parametrize("kind", [pl.Date, pl.Datetime("ms"), pl.Datetime("us"), pl.Datetime("ns")])
def test_stored_times_outside_the_calendar(kind):
    least = 2**31 - 20 if kind == pl.Date else 2**63 - 20
    column = pl.Series([least + k for k in range(15)], dtype=pl.Int32 if kind == pl.Date else pl.Int64)
    shown = refused("table", parquet(column.cast(kind)))
    assert "calendar" in shown or "date" in shown or "time" in shown


def test_a_damaged_parquet_file_says_so_and_its_reader_nothing(tmp_path, capfd):
    """The library writes a traceback of its own to standard error where it panics."""
    good = parquet(pl.Series(range(40)))
    draw = random.Random(0)
    for _ in range(150):
        data = fuzz_mutate.mutated([good], draw)
        try:
            fuzz_targets.table(b"\0" + data[1:])
        except LstmError:
            continue
    assert "panicked" not in capfd.readouterr().err


SERIES_DAMAGE = {
    "scaler": (b'"scaler"', b'"scalar"'),
    "past": (b'"past": []', b'"post": []'),
    "names": (b'"names": [""]', b'"names": ["", "b"]'),
    "calibration": (b'"calibration": [[', b'"calibration": [[1.0], ['),
    "season": (b'"season": 7', b'"season": 0'),
    "a scale of nought": (b'"scale": [[', b'"scale": [[0.0], ['),
}


@pytest.mark.parametrize("case", SERIES_DAMAGE)
def test_a_rightly_signed_series_file_that_makes_no_sense(case):
    with redirect_stderr(io.StringIO()):
        seed = next(s for s in fuzz_targets.TARGETS["series-run"].seeds() if b'"scaler"' in s)
    old, new = SERIES_DAMAGE[case]
    assert old in seed, case
    assert fuzz.trial(fuzz_targets.TARGETS["series-run"].run, seed.replace(old, new, 1), LstmError) is None


TEXT_DAMAGE = {
    "an optimizer without numbers": (b"\2", b'"optimizer": {', b'"optimizer": {"1e999": {}'),
    "a step that is text": (b"\2", b'"step": 2', b'"step": "2"'),
    "a loss that is a list": (b"\2", b'"loss_sum": ', b'"loss_sum": [1], "x": '),
    "a symbol too few": (
        b"\3",
        b'{"level": "characters", "symbols": "',
        b'{"level": "characters", "symbols": "!',
    ),
}


@pytest.mark.parametrize("case", TEXT_DAMAGE)
def test_a_rightly_signed_file_of_a_text_run_that_makes_no_sense(case):
    which, old, new = TEXT_DAMAGE[case]
    with redirect_stderr(io.StringIO()):
        seed = next(s for s in fuzz_targets.TARGETS["text-run"].seeds() if s.startswith(which))
    target = fuzz_targets.TARGETS["text-run"].run
    assert old in seed and fuzz.trial(target, seed.replace(old, new, 1), LstmError) is None
