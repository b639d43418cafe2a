"""What is fuzzed of files that a user gives: configs, tables, texts, prompts.

They are written to a folder in memory where there is one.
"""

from __future__ import annotations

import io
import math
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from lstmcli.config.load import dump_config, load_config, parse_config
from lstmcli.core.errors import LstmError
from lstmcli.kinds.series.settings import SeriesTable
from lstmcli.kinds.text.settings import TextSource

MEMORY = Path("/dev/shm")
TEXT = "the cat sat on the mat.\nand the dog? né à Rouen\n" * 8


@cache
def folder() -> Path:
    """Of this process; gone at its end."""
    import atexit

    made = Path(tempfile.mkdtemp(prefix="fuzz-", dir=MEMORY if MEMORY.is_dir() else None))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


# --- configs ------------------------------------------------------------------------------------


def yaml_file(data: bytes) -> None:
    """A config read from a file is a Config that survives a dump, or an error that names the file."""
    path = folder() / "config.yaml"
    path.write_bytes(data)
    try:
        config = load_config(path)
    except LstmError as error:
        if error.exit_code != 3 or str(path) not in str(error):
            raise AssertionError(f"no config error with the file's name: {error}") from error
        return
    path.write_text(dump_config(config), encoding="utf-8")
    if load_config(path) != config:
        raise AssertionError("the dump of the config is another config")


def yaml_seeds() -> list[bytes]:
    shipped = (Path(__file__).parents[2] / "configs").glob("*.yaml")
    made = dump_config(parse_config({"data": {"path": "a.txt"}}, "seed"))
    odd = ["data: {path: a.txt}\ntrain: {max_steps: 1e3, optimizer_options: {betas: [0.9, 0.99]}}\n"]
    odd += ["data:\n  path: [a.txt, 'b']\n  splits: [.9, .1]\nmodel: {cell: gru, hidden_size: [3, 4]}\n"]
    odd += ['data: {path: "\\U0001F600\\x41"}\nseed: 0x10\n', "%YAML 1.2\n---\ndata: !!str x\n...\n"]
    return [made.encode(), *(path.read_bytes() for path in sorted(shipped)), *(each.encode() for each in odd)]


def overrides(data: bytes) -> None:
    """Words of a command line, one per line."""
    words = data.decode("utf-8", "surrogateescape").split("\n")
    try:
        parse_config({"data": {"path": "a.txt"}}, "run", words)
    except LstmError as error:
        if error.exit_code != 3:
            raise AssertionError(f"no config error: {error}") from error


def override_seeds() -> list[bytes]:
    return [
        b"train.max_steps=1000\nmodel.hidden_size=[3,4]\nmodel.num_layers=2",
        b"train.optimizer_options.betas=[0.9, 0.99]\ntrain.clip_norm=null",
        b"data.path=a=b.txt\nseed=7",
        b"data.kind=series\ndata.time=[year, month]\ndata.splits=[0.7,0.2,0.1]",
        b"forecast.quantiles=[0.1,0.5,0.9]\nforecast.calendar=true",
    ]


# --- tables and texts ---------------------------------------------------------------------------


def table(data: bytes) -> None:
    """A CSV or Parquet file; its first byte chooses how it is read."""
    from lstmcli.kinds.series.scaling import Scaler
    from lstmcli.kinds.series.table.panel import prepare_series, read_series
    from lstmcli.kinds.series.windows import training_windows

    way, content = (data[0] if data else 0), data[1:]
    path = folder() / "table.csv"
    path.write_bytes(content)
    settings = WAYS[way % len(WAYS)]
    options = SeriesTable(path=str(path), splits=[0.8, 0.2], context_length=4, horizon=2, **settings)
    made = prepare_series(options)
    windows = training_windows(made, 4, 2)
    windows.batch([0, len(windows) - 1])
    Scaler.fit(made, ("none", "log1p", "box-cox")[way % 3], "standard").to_json()
    read_series(options, path, made.meta())


WAYS: tuple[dict[str, Any], ...] = (
    {"time": "t"},
    {"time": "t", "group": "g", "static": ["s"]},
    {"layout": "rows"},
    {"time": "t", "known": ["b"], "target": "a"},
    {"time": ["year", "month"]},
    {"time": "t", "frequency": "1d"},
)


def table_seeds() -> list[bytes]:
    import polars as pl

    days = [f"2024-01-{day:02}" for day in range(1, 29)]
    wide = "t,a,b\n" + "".join(f"{day},{k},{math.sin(k):.3f}\n" for k, day in enumerate(days))
    long = "g;t;v;s\n" + "".join(f"{g};{day};{k};x{g}\n" for g in "pq" for k, day in enumerate(days))
    rows = "id,V1,V2,V3,V4,V5,V6,V7,V8,V9,V10\n" + "".join(
        f"H{k}," + ",".join(str(v) for v in range(10)) + "\n" for k in range(3)
    )
    months = "year,month,v\n" + "".join(f"{2000 + k // 12},{k % 12 + 1},{k}.5\n" for k in range(30))
    stamps = "t,a\n" + "".join(f"2024-03-31T{h:02}:30:00+02:00,{h}\n" for h in range(24))
    quoted = 't,a,b\n"2024-01-01","1","x,y"\n"2024-01-02",,"z\n2"\n"2024-01-03",NA,""\n'
    numbers = "t,a\n" + "".join(f"{k},{k % 5}\n" for k in range(40))
    file = io.BytesIO()
    pl.read_csv(wide.encode(), try_parse_dates=True).write_parquet(file)
    csv = [(0, wide), (3, wide), (1, long), (2, rows), (4, months), (0, stamps), (0, quoted), (0, numbers)]
    return [bytes([way]) + text.encode() for way, text in csv] + [b"\0" + file.getvalue()]


def text(data: bytes) -> None:
    """A text file, at one of the two levels, with and without splits of its own."""
    from lstmcli.kinds.text.source import encode_file, prepare_text

    way, content = (data[0] if data else 0), data[1:]
    path, cache_folder = folder() / "text.txt", folder() / "cache"
    path.write_bytes(content)
    shutil.rmtree(cache_folder, ignore_errors=True)
    splits = [[0.9, 0.1], [1.0], [0.8, 0.1, 0.1]][way % 3]
    level = ("characters", "bytes")[way // 3 % 2]
    settings = TextSource(
        path=str(path), cache=str(cache_folder), splits=splits, level=level, min_count=1 + way % 2
    )
    try:
        made = prepare_text(settings)
    except LstmError as error:
        if error.exit_code != 4:
            raise AssertionError(f"no data error: {error}") from error
        return
    ids = encode_file(path, made.vocabulary)
    if level == "bytes" and ids.tobytes() != content:
        raise AssertionError("bytes are not what they were")


def text_seeds() -> list[bytes]:
    texts = [
        TEXT.encode(),
        "静夜思 床前明月光\r\n".encode() * 9,
        b"\xef\xbb\xbfabc\n" * 9,
        "a😀".encode() * 9,
    ]
    return [bytes([way]) + each for way in range(6) for each in texts]


def proposal(data: bytes) -> None:
    """`lstm init` of a file with any name and any columns writes a config that is read again."""
    from lstmcli.kinds.series.proposal import series_config
    from lstmcli.kinds.text.propose import propose_text

    kind, name, content = (data[:1], *data[1:].partition(b"\n")[::2])
    shown = "".join(c for c in name.decode("utf-8", "replace") if c not in "/\0")[:40] or "x"
    path = folder() / (f"{shown}.csv" if kind < b"\x80" else f"{shown}.txt")
    path.write_bytes(content)
    target = folder() / "proposed.yaml"
    try:
        target.write_text(series_config(path) if kind < b"\x80" else propose_text(path), encoding="utf-8")
    finally:
        path.unlink()
    if load_config(target).data.path != str(path):
        raise AssertionError("the proposed config names another file")


def proposal_seeds() -> list[bytes]:
    tables = [b"\0name\n" + seed[1:] for seed in table_seeds()[:8]]
    return [*tables, b"\x90n\xc3\xa9\n" + TEXT.encode(), b"\x90a: b\xe2\x80\xa8 # c\n" + TEXT.encode()]


# --- prompts ------------------------------------------------------------------------------------


@cache
def small_decoder() -> tuple[Any, Any]:
    from lstmcli.kinds.text.decoder import NumpyDecoder
    from lstmcli.kinds.text.vocabulary import Vocabulary

    draw, size, hidden = np.random.default_rng(0), 20, 8
    shapes = {"embedding.weight": (size, 4), "head.weight": (size, hidden), "head.bias": (size,)}
    for layer, inputs in ((0, 4), (1, hidden)):
        shapes |= {f"layers.{layer}.weight_ih": (4 * hidden, inputs), f"layers.{layer}.bias": (4 * hidden,)}
        shapes[f"layers.{layer}.weight_hh"] = (4 * hidden, hidden)
    tensors = {name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return NumpyDecoder(tensors), Vocabulary(
        "characters", "".join(sorted("\n abcdefghijklmné静?"))[: size - 1]
    )


def prompt(data: bytes) -> None:
    """Eight bytes of options, then stop texts and the prompt, one per line."""
    from lstmcli.core.terminal import sanitize
    from lstmcli.kinds.text.generate import GenerateOptions, generate, notices

    decoder, vocabulary = small_decoder()
    head, rest = data[:8].ljust(8, b"\0"), data[8:8192].decode("utf-8", "surrogateescape").split("\n", 2)
    temperature = (0.8, 0.0, -1.0, math.nan, math.inf, 1e-300, 1e300, 5e-324, 1.0)[head[0] % 9]
    top_p = (None, 0.0, 0.5, 1.0, -1.0, math.nan, 1e-12, 2.0)[head[1] % 8]
    top_k = (None, 0, 1, 3, -5, 1 << 70)[head[2] % 6]
    options = {"temperature": temperature, "top_p": top_p, "top_k": top_k, "stop": tuple(rest[:-1])}
    numbers = {"length": head[3] % 12 - 1, "num": head[4] % 4, "seed": (0, -1, 1 << 80, 7)[head[5] % 4]}
    try:
        checked = GenerateOptions(**options, **numbers)
    except LstmError as error:
        if error.exit_code != 2:
            raise AssertionError(f"no usage error: {error}") from error
        return
    for said in notices(vocabulary, rest[-1], checked):
        sanitize(said).encode("utf-8")
    for sample in generate(decoder, vocabulary, rest[-1], checked):
        sanitize(sample.text).encode("utf-8")


def prompt_seeds() -> list[bytes]:
    heads = [bytes([k, 0, 0, 8, 1, 0, 0, 0]) for k in range(9)] + [
        bytes([0, k, k, 9, 2, k, 0, 0]) for k in range(8)
    ]
    texts = ["abc", "\n\nné静", "ab\nc\nthe cat", "", "x\x1b[31m\udcff\u202e"]
    return [head + each.encode("utf-8", "surrogateescape") for head in heads for each in texts]
