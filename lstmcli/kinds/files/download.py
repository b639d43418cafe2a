"""Download a file once, over https, and only if its checksum is right."""

from __future__ import annotations

import glob
import hashlib
import http.client
import os
import secrets
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, Request, build_opener

from lstmcli.core.errors import DataError, ResourceError
from lstmcli.core.files import download_path, sha256_of
from lstmcli.core.progress import Progress, throttled

BLOCK_BYTES = 1 << 18
TIMEOUT_SECONDS = 30.0
STALE_SECONDS = 20 * TIMEOUT_SECONDS


def download(
    url: str,
    sha256: str,
    folder: Path,
    progress: Progress | None = None,
    context: ssl.SSLContext | None = None,
) -> Path:
    """The local file; nothing is sent if it is already there and right.

    It appears under its name complete, checked and on disk, or not at all. ResourceError: no
    network, an HTTP error, a redirect away from https, no room. DataError: a wrong checksum, or an
    address that is not https.
    """
    target = download_path(url, sha256, folder)
    if urlsplit(url).scheme != "https":
        raise DataError(f"{url} does not begin with https://", "only https is downloaded")
    if sha256_of(target) == sha256:
        return target
    by_hand = f"or by hand: download {url}, put it at {target.absolute()}; its SHA-256 is {sha256}"
    with _saved_as(target, by_hand) as temporary:
        found = _fetch(url, temporary, throttled(progress), context, by_hand)
        if found != sha256:
            raise DataError(
                f"{url} has the SHA-256 {found}, but {sha256} was expected",
                "the file at that address has changed or was damaged on the way: "
                f"correct data.sha256, {by_hand}",
            )
    return target


@contextmanager
def _saved_as(target: Path, by_hand: str) -> Iterator[Path]:
    """A temporary name beside the target, renamed at the end; gone after an error."""
    temporary = target.with_name(f".{target.name}-{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove_stale(target)
        yield temporary
        os.replace(temporary, target)
        _sync_folder(target.parent)
    except OSError as error:
        raise ResourceError(
            f"cannot write {target}: {error.strerror or error}",
            f"set data.cache to a folder with room, {by_hand}",
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _remove_stale(target: Path) -> None:
    """What killed downloads left: a download that lives has written within the last minutes."""
    for leftover in target.parent.glob(f".{glob.escape(target.name)}-*.part"):
        with suppress(OSError):
            if time.time() - leftover.stat().st_mtime > STALE_SECONDS:
                leftover.unlink()


def _fetch(url: str, path: Path, report: Progress, context: ssl.SSLContext | None, by_hand: str) -> str:
    """Stream the address into a new file, flushed to disk; its SHA-256."""
    digest = hashlib.sha256()
    with open(path, "xb") as file:
        for block in _blocks(url, report, context, by_hand):
            digest.update(block)
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _blocks(url: str, report: Progress, context: ssl.SSLContext | None, by_hand: str) -> Iterator[bytes]:
    """The body, block by block; whatever the network does becomes a ResourceError."""
    opener = build_opener(HTTPSHandler(context=context), _HttpsOnly())
    request = Request(url, headers={"User-Agent": "lstmcli"})
    with _network_errors(url, by_hand):
        response = opener.open(request, timeout=TIMEOUT_SECONDS)
    with response:
        length = response.headers.get("Content-Length", "")
        total, done = int(length) if length.isdecimal() else 0, 0
        while True:
            with _network_errors(url, by_hand):
                block = response.read(BLOCK_BYTES)
                if not block and done < total:
                    raise URLError(f"the connection ended after {done:,} of {total:,} bytes")
            if not block:
                return
            done += len(block)
            report("downloading", done, total)
            yield block


@contextmanager
def _network_errors(url: str, by_hand: str) -> Iterator[None]:
    try:
        yield
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        code = ""
        if isinstance(error, HTTPError):
            code = f"HTTP {error.code} "
            error.close()
        message = f"cannot download {url}: {code}{reason}"
        raise ResourceError(message, f"try again, {by_hand}") from error


class _HttpsOnly(HTTPRedirectHandler):
    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        if urlsplit(newurl).scheme != "https":
            fp.close()
            raise URLError(f"it redirects to {newurl}, which is not https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable, where the system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
