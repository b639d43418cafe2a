"""C++ of a kernel, built by the machine's compiler once, and found built ever after."""

from __future__ import annotations

import atexit
import ctypes
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import sys
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch

from lstmcli.core.files import remove, sync_file, sync_folder
from lstmcli.core.notices import notice
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
    """The library of this source and where it lies, built if it is not there, or is not what was built.

    Raises:
        Unsupported: there is no compiler, or it makes no vectors of the loops.
        Fault: the compiler fails, or makes what cannot be loaded.
    """
    library = build(source)
    try:
        return ctypes.CDLL(str(library)), library
    except OSError:  # built for a system that has changed since
        library.unlink(missing_ok=True)
    library = build(source)
    try:
        return ctypes.CDLL(str(library)), library
    except OSError as error:
        raise Fault(f"a library just built cannot be loaded: {error}") from error


def build(source: Source) -> Path:
    """The library of this source for this CPU: KEY.SUM.so, where the sum is that of its own bytes. What a
    library does when it is loaded nobody can take back, so one is loaded only if it is what was built here.

    Raises:
        Unsupported: there is no compiler, or it makes no vectors of the loops.
        Fault: the compiler fails, or there is no room for what it makes.
    """
    key = hashlib.sha256("\n".join((source.text, *OPTIONS, *_target(), _cpu())).encode()).hexdigest()[:32]
    for library in sorted(_folder().glob(f"{key}.*.so")):
        if (problem := _problem(library)) is None:
            return library
        notice(f"a kernel that was kept is {problem}, and is built again: {library}")
        with suppress(OSError):
            library.unlink()
    compiler = find_compiler()
    if compiler is None:
        raise Unsupported("no C++ compiler")
    try:
        handle, fresh = tempfile.mkstemp(suffix=".so", dir=_folder())
        os.close(handle)
    except OSError as error:
        raise Fault(f"no file can be made for a library: {error}") from error
    try:
        _compile(source, compiler, fresh)
        return _keep(Path(fresh), key)
    except OSError as error:
        raise Fault(f"a library cannot be kept: {error}") from error
    finally:
        Path(fresh).unlink(missing_ok=True)


def _compile(source: Source, compiler: str, fresh: str) -> None:
    # On macOS g++ is clang, which says nothing about vectors.
    is_gcc = sys.platform == "linux" and Path(compiler).name.startswith("g++")
    tells = ("-fopt-info-vec",) if is_gcc else ()
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


def _keep(fresh: Path, key: str) -> Path:
    """Whole or not at all, whoever else builds it now, and also after a power cut."""
    library = fresh.with_name(f"{key}.{_sum(fresh)}.so")
    fresh.chmod(0o700)
    sync_file(fresh)
    os.replace(fresh, library)
    sync_folder(library.parent)
    return library


def _problem(library: Path) -> str | None:
    """What is wrong with a library that was kept, or None."""
    try:
        found = library.lstat()
        if not stat.S_ISREG(found.st_mode):
            return "no ordinary file"
        if (whose := _whose(found)) is not None:
            return whose
        return None if library.name.split(".")[1] == _sum(library) else "damaged"
    except OSError as error:
        return f"not readable ({error.strerror})"


def _whose(found: os.stat_result) -> str | None:
    """Who else might have written what is found; None if nobody."""
    if hasattr(os, "geteuid"):
        if found.st_uid != os.geteuid():
            return "another user's"
        if found.st_mode & 0o022:
            return "open to other users"
    return None


def _sum(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:32]


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


def inductor_folder() -> Path:
    """Where TorchInductor keeps what it makes: it would else be a name in /tmp that anybody can guess."""
    return _folder() / "inductor"


@cache
def _folder() -> Path:
    """Where kernels are kept: a folder that is the user's own and closed to others, for what lies there will
    be run. Without one, a folder that goes with this process."""
    problem = None
    try:
        folder = _cache_home() / "lstmcli" / "kernels"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        problem = _close_to_others(folder)
        if problem is None and os.access(folder, os.W_OK):
            return folder
    except (OSError, RuntimeError):  # RuntimeError: no home
        pass
    if problem is not None:
        notice(f"{problem}: kernels are built anew for this process")
    return _temporary()


def _cache_home() -> Path:
    """As the XDG base directory specification has it: a relative path is ignored."""
    told = os.environ.get("XDG_CACHE_HOME", "")
    return Path(told) if os.path.isabs(told) else Path.home() / ".cache"


def _close_to_others(folder: Path) -> str | None:
    """Close our own folders and empty one that was open; why they cannot be used, or None."""
    for place in (folder.parent, folder):
        whose = _whose(place.stat())
        if whose == "another user's":
            return f"{place} is {whose}"
        if whose is not None:
            place.chmod(0o700)
            for kept in folder.iterdir():
                remove(kept)
            notice(f"{place} was {whose}: it is closed now, and the kernels in it are built again")
    return None


def _temporary() -> Path:
    """A folder that goes with this process; those that killed ones left go now."""
    user = os.geteuid() if hasattr(os, "geteuid") else 0
    prefix = f"lstmcli-kernels-{user}-"
    for left in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        pid = left.name.removeprefix(prefix).partition("-")[0]
        with suppress(OSError):
            if pid.isdigit() and _whose(left.lstat()) is None and not _lives(int(pid)):
                shutil.rmtree(left)
    folder = tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
