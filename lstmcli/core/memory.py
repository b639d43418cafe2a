"""How much memory there is, so that what cannot fit is refused before it is asked for.

A system may promise more memory than it has and end the process when it is used: then nobody hears why.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lstmcli.core.errors import ResourceError

UNITS = ("bytes", "KB", "MB", "GB", "TB", "PB", "EB")
CGROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def available_bytes() -> int | None:
    """What this process can still get: free memory and swap, within a container's and its own limit; None
    where the system does not tell."""
    told = [_free(), _limit(), *(_container(limit, used) for limit, used in CGROUPS)]
    found = [free for free in told if free is not None]
    return max(0, min(found)) if found else None


@contextmanager
def uncollected() -> Iterator[None]:
    """No search for garbage inside: where a million lasting objects are made, as in the first import of a
    compiler, the collector looks through all of them again and again, for a fifth of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def require(needed: int, what: str, hint: str) -> None:
    """ResourceError if `needed` bytes are more than there are; `what` needs them."""
    free = available_bytes()
    if free is not None and needed > free:
        raise ResourceError(
            f"{what} needs at least {needed:,} bytes of memory ({size(needed)}), "
            f"and {free:,} are free ({size(free)})",
            hint,
        )


def size(count: int) -> str:
    """A number of bytes as a person says it: 512 bytes, 1.5 GB; of powers of 1000."""
    power = min(len(UNITS) - 1, (len(str(abs(count))) - 1) // 3)
    return f"{count} bytes" if power == 0 else f"{count / 1000**power:,.1f} {UNITS[power]}"


def _free() -> int | None:
    with suppress(OSError, ValueError):
        lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
        told = {line[0].rstrip(":"): int(line[1]) << 10 for line in lines if len(line) > 1}
        if "MemAvailable" in told:
            return told["MemAvailable"] + told.get("SwapFree", 0)
    with suppress(AttributeError, OSError, ValueError):  # all there is: what is free is not told everywhere
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _container(limit: str, used: str) -> int | None:
    with suppress(OSError, ValueError):
        return int(Path(limit).read_text()) - int(Path(used).read_text())
    return None


def _limit() -> int | None:
    """RLIMIT_AS less what is mapped."""
    with suppress(ImportError, OSError, ValueError, IndexError):
        import resource

        soft = resource.getrlimit(resource.RLIMIT_AS)[0]
        if soft != resource.RLIM_INFINITY:
            return soft - int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    return None
