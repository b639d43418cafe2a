"""C++ of a kernel, built by the machine's compiler once, and found built ever after."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import torch

from lstmcli.engine.kernels.source import Source
from lstmcli.engine.kernels.values import Fault, Unsupported

COMPILERS = ("g++", "clang++", "c++")
# No redundancy elimination: it makes branches, of which no vectors can be made.
ARITHMETIC = ("-fno-math-errno", "-fno-trapping-math", "-fno-tree-pre")
OPTIONS = ("-x", "c++", "-std=c++17", "-O3", *ARITHMETIC, "-shared", "-fPIC")
THREADS = (("-fopenmp",), ("-fopenmp-simd",))
"""With threads, or, as Apple's compiler knows none, without."""


def find_compiler() -> str | None:
    return next((path for name in COMPILERS if (path := shutil.which(name))), None)


def load(source: Source) -> tuple[ctypes.CDLL, Path]:
    """The library of this source and where it lies, built if it is not there, or cannot be read.

    Raises:
        Unsupported: there is no compiler, or it makes no vectors of the loops.
        Fault: the compiler fails, or makes what cannot be loaded.
    """
    library = build(source)
    try:
        return ctypes.CDLL(str(library)), library
    except OSError:  # damaged
        library.unlink(missing_ok=True)
    try:
        return ctypes.CDLL(str(build(source))), library
    except OSError as error:
        raise Fault(f"a library just built cannot be loaded: {error}") from error


def build(source: Source) -> Path:
    """The library of this source for this CPU.

    Raises:
        Unsupported: there is no compiler, or it makes no vectors of the loops.
        Fault: the compiler fails, or there is no room for what it makes.
    """
    key = hashlib.sha256("\n".join((source.text, *OPTIONS, *_target(), _cpu())).encode()).hexdigest()[:32]
    library = _folder() / f"{key}.so"
    if library.exists():
        return library
    compiler = find_compiler()
    if compiler is None:
        raise Unsupported("no C++ compiler")
    # On macOS g++ is clang, which says nothing about vectors.
    is_gcc = sys.platform == "linux" and Path(compiler).name.startswith("g++")
    tells = ("-fopt-info-vec",) if is_gcc else ()
    try:
        handle, fresh = tempfile.mkstemp(suffix=".so", dir=library.parent)
        os.close(handle)
    except OSError as error:
        raise Fault(f"no file can be made for a library: {error}") from error
    try:
        for threads in THREADS:
            command = [compiler, *OPTIONS, *threads, *_target(), *tells, "-o", fresh, "-"]
            done = subprocess.run(command, input=source.text, capture_output=True, text=True, check=False)
            if not done.returncode:
                break
        else:
            raise Fault((done.stderr.strip() or f"{compiler} failed").splitlines()[0])
        vectors = {t.split(": ")[0] for t in done.stderr.splitlines() if "loop vectorized" in t}
        if tells and len(vectors) < source.loops:
            raise Unsupported("the compiler makes no vectors of it")
        os.replace(fresh, library)  # whole or not at all, whoever else builds it now
    finally:
        Path(fresh).unlink(missing_ok=True)
    return library


def _target() -> tuple[str, ...]:
    if platform.machine() in ("x86_64", "AMD64", "i686"):
        wide = torch.backends.cpu.get_cpu_capability() == "AVX512"
        return ("-march=native", *(("-mprefer-vector-width=512",) if wide else ()))
    return ("-mcpu=native",)


@cache
def _cpu() -> str:
    """What code for this very CPU depends on: a folder may be shared by machines of several kinds."""
    try:
        told = Path("/proc/cpuinfo").read_text(errors="replace").split("\n\n", 1)[0].splitlines()
    except OSError:
        told = [platform.processor()]
    lines = [t for t in told if t.split(":")[0].strip() in ("model name", "flags", "Features", "CPU part")]
    return "\n".join([platform.machine(), *(lines or told)])


@cache
def _folder() -> Path:
    """Where kernels are kept: the user's own, for what lies there will be run."""
    cache_home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(cache_home) / "lstmcli" / "kernels"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix="lstmcli-kernels-"))
