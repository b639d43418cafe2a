"""What a run that was not made here may read and write without being trusted.

A run's config names files, an address and a folder to write in, and whoever made the run chose them. One that
was made here is known by a signature in its manifest, made with a key that is this user's alone
(`$XDG_STATE_HOME/lstmcli/key`), over the run's id and those settings. For every other run, without `--trust`:

    data.path, val_path, test_path    files in the current folder and below it, none hidden; shipped data
    data.url                          no connection: the file must lie in the cache already
    data.cache                        a folder in the current one, not hidden
    the folder where it began         is not looked into

A search or an experiment is known by a signature over the whole of its plan; of a stranger's, the runs that
are still to be made may reach no further.

What the user says on the command line (`--data`, `data.path=...`) is the user's own.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from lstmcli.config.recipes import shipped
from lstmcli.config.schema import Config
from lstmcli.core.errors import RunError
from lstmcli.core.files import download_path, sha256_of
from lstmcli.core.notices import notice
from lstmcli.run.directory import RunDir
from lstmcli.run.records import config_of

SIGNED = "made_here"
"""Key of a run's manifest: signatures, one for each place that its data had."""
WHERE = ("path", "val_path", "test_path", "url", "cache")
HINT = "give the data with --data FILE (or data.path=FILE), or say --trust if you trust whoever made the run"


def signed(manifest: dict[str, Any], config: Config) -> dict[str, Any]:
    """The manifest of a run that this user begins or goes on with, signed for the places of its data."""
    try:
        new = _signature(_key(make=True), manifest, config)
    except (OSError, RuntimeError) as error:  # RuntimeError: no home
        notice(f"that this run is yours could not be noted ({error}): its data may need --trust elsewhere")
        return manifest
    known = [each for each in manifest.get(SIGNED, []) if each != new]
    return manifest | {SIGNED: [*known, new][-20:]}


def is_own(manifest: dict[str, Any], config: Config) -> bool:
    """Whether this user made the run, with its data where `config` has them."""
    with suppress(OSError, RuntimeError):
        own = _signature(_key(), manifest, config)
        given = manifest.get(SIGNED)
        return isinstance(given, list) and any(
            isinstance(each, str) and hmac.compare_digest(each.encode(), own.encode()) for each in given
        )
    return False


def may_sign(run: RunDir, manifest: dict[str, Any]) -> bool:
    """Whether a run that goes on is this user's own, or trusted, so that where its data lie now is noted."""
    from lstmcli.cells.trust import is_allowed

    return is_allowed(run.path) or is_own(manifest, config_of(run))


def check_reach(
    run: RunDir, manifest: dict[str, Any], stored: Config, config: Config | None = None
) -> str | None:
    """The folder where the run began, if its files may be looked for there; None if not.

    Args:
        stored: what the run says.
        config: the same with what the user said instead of some of it.

    Raises:
        RunError: the run is not this user's, is not trusted, and reaches beyond what it may.
    """
    from lstmcli.cells.trust import is_allowed  # which is a part that imports torch

    if is_allowed(run.path) or is_own(manifest, stored):
        folder = manifest.get("folder")
        return folder if isinstance(folder, str) else None
    told = stored.data if config is None else config.data
    for key, problem in _beyond(stored.data, told):
        raise RunError(f"this run was not made here, and {key} {problem}", HINT)
    return None


def signed_plan(plan: dict[str, Any]) -> dict[str, Any]:
    """The document of a search or an experiment that this user begins, signed as a whole."""
    try:
        return plan | {SIGNED: [_plan_signature(_key(make=True), plan)]}
    except (OSError, RuntimeError) as error:
        notice(f"that this is yours could not be noted ({error}): to go on may need --trust")
        return plan


def is_own_plan(plan: dict[str, Any]) -> bool:
    """Whether this user began the search or experiment of this document, and nobody has changed it since."""
    with suppress(OSError, RuntimeError):
        return plan.get(SIGNED) == [_plan_signature(_key(), plan)]
    return False


def check_reach_of_trial(config: Config) -> None:
    """RunError: the config of a new run that a stranger's plan asks for reaches beyond what it may."""
    for key, problem in _beyond(config.data, config.data):
        hint = "read its plan; if you trust whoever made it, say --trust"
        raise RunError(f"what this goes on with was not begun here, and {key} {problem}", hint)


def _plan_signature(key: bytes, plan: dict[str, Any]) -> str:
    said = json.dumps({name: value for name, value in plan.items() if name != SIGNED}, sort_keys=True)
    return hmac.new(key, said.encode(), hashlib.sha256).hexdigest()


def _beyond(stored: Any, told: Any) -> Iterator[tuple[str, str]]:
    """What reaches too far: the setting, and how."""
    for key in ("path", "val_path", "test_path"):
        given = getattr(told, key, None)
        if given is None or given != getattr(stored, key, None):
            continue
        for pattern in [given] if isinstance(given, str) else given:
            if not (_is_here(pattern) or _is_shipped(pattern)):
                yield f"data.{key}", f"leads out of the current folder: {pattern}"
    cache, url = getattr(told, "cache", None), getattr(told, "url", None)
    if cache is not None and cache == getattr(stored, "cache", None) and not _is_here(cache):
        yield "data.cache", f"leads out of the current folder: {cache}"
    if url is not None and url == getattr(stored, "url", None):
        target = download_path(url, str(told.sha256), Path(str(cache)) / "downloads")
        if sha256_of(target) != told.sha256:
            yield "data.url", f"would connect to an address of its choice: {url}"


def _is_here(pattern: str) -> bool:
    """Whether a path or pattern stays in the current folder, links followed, and names nothing hidden."""
    with suppress(RuntimeError, OSError, ValueError):
        path = Path(pattern).expanduser()
        if path.is_absolute() and not path.is_relative_to(Path.cwd()):
            return False
        here = Path.cwd().resolve()
        inside = path.resolve().relative_to(here) if path.resolve().is_relative_to(here) else None
        return inside is not None and not any(part.startswith(".") for part in (*path.parts, *inside.parts))
    return False


def _is_shipped(pattern: str) -> bool:
    with suppress(OSError, ValueError):
        return os.path.isabs(pattern) and Path(pattern).resolve().is_relative_to(shipped().resolve())
    return False


def _signature(key: bytes, manifest: dict[str, Any], config: Config) -> str:
    said = [manifest.get("id"), manifest.get("folder"), *(getattr(config.data, name, None) for name in WHERE)]
    return hmac.new(key, json.dumps(said).encode(), hashlib.sha256).hexdigest()


def _key(make: bool = False) -> bytes:
    """This user's own secret. OSError if there is none, or it is not closed to others."""
    from lstmcli.cells.trust import state_file

    path = state_file().with_name("key")
    if make and not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = path.with_name(f".key-{os.getpid()}")
        temporary.unlink(missing_ok=True)
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(32))
        with suppress(FileExistsError):  # another process was faster: its key counts
            os.link(temporary, path)
        temporary.unlink()
    found = path.stat()
    if hasattr(os, "geteuid") and (found.st_uid != os.geteuid() or found.st_mode & 0o077):
        raise PermissionError(f"{path} is not closed to other users")
    key = path.read_bytes()
    if len(key) != 32:
        raise OSError(f"{path} is damaged")
    return key
