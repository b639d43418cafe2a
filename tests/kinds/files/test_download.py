"""Downloads from an https server on this machine."""

from __future__ import annotations

import hashlib
import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from lstmcli.core.errors import DataError, LstmError, ResourceError
from lstmcli.core.files import download_path
from lstmcli.kinds.files import download as module
from lstmcli.kinds.files.download import download

BODY = "né à Rouen\n".encode() * 50_000
SUM = hashlib.sha256(BODY).hexdigest()


class Handler(BaseHTTPRequestHandler):
    requests: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.requests.append(self.path)
        name = self.path.rsplit("/", 1)[-1]
        if name.startswith("redirect-"):
            self.send_response(302)
            self.send_header("Location", self.where_to(name))
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif name == "missing.txt":
            self.send_error(404)
        else:
            self.send_response(200)
            if name != "no-length.txt":
                self.send_header("Content-Length", str(len(BODY)))
            self.end_headers()
            self.wfile.write(BODY[: len(BODY) // 2] if name == "half.txt" else BODY)

    def where_to(self, name: str) -> str:
        port = self.server.server_address[1]
        return {
            "redirect-plain": f"http://localhost:{port}/text.txt",
            "redirect-ftp": "ftp://localhost/text.txt",
            "redirect-https": f"https://localhost:{port}/text.txt",
            "redirect-loop": f"https://localhost:{port}/redirect-loop",
        }[name]

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("the certificate is made with openssl")
    path = tmp_path_factory.mktemp("certificate") / "both.pem"
    options = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    command = ["openssl", *options.split(), "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(path)]
    subprocess.run([*command, "-out", f"{path}.crt"], check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + Path(f"{path}.crt").read_bytes())
    return path


@pytest.fixture(scope="module")
def address(certificate: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("localhost", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.02))
    thread.start()
    yield f"https://localhost:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def fetch(certificate: Path) -> Callable[..., Path]:
    Handler.requests.clear()
    return partial(download, context=ssl.create_default_context(cafile=str(certificate)))


def assert_nothing_stays(folder: Path) -> None:
    assert not folder.exists() or list(folder.iterdir()) == []


def assert_says_how_by_hand(error: LstmError, url: str, sha256: str, folder: Path) -> None:
    assert f"download {url}, put it at {download_path(url, sha256, folder)}" in str(error)
    assert sha256 in str(error)


@pytest.mark.parametrize("name", ["text.txt", "redirect-https", "no-length.txt"])
def test_a_download_comes_whole_and_only_once(
    name: str, address: str, fetch: Callable[..., Path], tmp_path: Path
) -> None:
    heard: list[tuple[str, int, int]] = []
    folder = tmp_path / "new" / "folder"
    path = fetch(f"{address}/{name}", SUM, folder, lambda *told: heard.append(told))
    assert path.read_bytes() == BODY
    assert list(folder.iterdir()) == [path]
    assert heard[-1][0] == "downloading"
    assert name == "no-length.txt" or heard[-1] == ("downloading", len(BODY), len(BODY))
    count = len(Handler.requests)
    assert fetch(f"{address}/{name}", SUM, folder) == path
    assert len(Handler.requests) == count


def test_a_damaged_earlier_download_is_replaced(
    address: str, fetch: Callable[..., Path], tmp_path: Path
) -> None:
    path = download_path(f"{address}/text.txt", SUM, tmp_path)
    path.write_bytes(BODY[:-1])
    assert fetch(f"{address}/text.txt", SUM, tmp_path) == path
    assert path.read_bytes() == BODY


def test_a_wrong_checksum_names_both(address: str, fetch: Callable[..., Path], tmp_path: Path) -> None:
    url, wrong = f"{address}/text.txt", "0" * 64
    with pytest.raises(DataError) as caught:
        fetch(url, wrong, tmp_path)
    assert SUM in str(caught.value)
    assert_says_how_by_hand(caught.value, url, wrong, tmp_path)
    assert_nothing_stays(tmp_path)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("half.txt", r"ended after 325,000 of 650,000 bytes"),
        ("missing.txt", "HTTP 404"),
        ("redirect-plain", "redirects to http://localhost:.*not https"),
        ("redirect-ftp", "redirects to ftp://localhost"),
        ("redirect-loop", "infinite loop"),
    ],
)
def test_a_failed_download_says_why_and_leaves_nothing(
    name: str, reason: str, address: str, fetch: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(ResourceError, match=reason) as caught:
        fetch(f"{address}/{name}", SUM, tmp_path)
    assert_says_how_by_hand(caught.value, f"{address}/{name}", SUM, tmp_path)
    assert_nothing_stays(tmp_path)


def test_an_untrusted_certificate_is_refused(address: str, tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match=r"(?i)certificate"):
        download(f"{address}/text.txt", SUM, tmp_path)
    assert_nothing_stays(tmp_path)


def test_no_server_at_the_address(tmp_path: Path) -> None:
    url = "https://localhost:1/text.txt"
    with pytest.raises(ResourceError, match="cannot download") as caught:
        download(url, SUM, tmp_path)
    assert caught.value.exit_code == 7
    assert_says_how_by_hand(caught.value, url, SUM, tmp_path)
    assert_nothing_stays(tmp_path)


def test_only_https(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="only https"):
        download("http://localhost/text.txt", SUM, tmp_path)


def test_a_full_disk(
    address: str, fetch: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(ResourceError, match=r"cannot write .*No space left on device"):
        fetch(f"{address}/text.txt", SUM, tmp_path)
    assert_nothing_stays(tmp_path)


def test_a_folder_that_is_a_file(address: str, fetch: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ResourceError, match="cannot write"):
        fetch(f"{address}/text.txt", SUM, tmp_path / "file")


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://x.org/a/b.txt?raw=1", "b.txt"),
        ("https://x.org", "text"),
        ("https://x.org/%2e%2e%2fetc%2fpasswd", "_etc_passwd"),
        ("https://x.org/..", "text"),
    ],
)
def test_the_local_name_stays_inside_the_folder(url: str, name: str, tmp_path: Path) -> None:
    assert download_path(url, SUM, tmp_path) == tmp_path / f"{SUM[:12]}-{name}"


def test_what_a_killed_download_left_is_cleared_away_and_one_that_lives_is_not(tmp_path):
    import os
    import time

    from lstmcli.kinds.files.download import STALE_SECONDS, _remove_stale

    target = tmp_path / "0123-text[1].txt"
    dead, living, other = (tmp_path / f".{n}-12-ab.part" for n in (target.name, target.name + "-9", "other"))
    for path in (dead, living, other):
        path.write_text("half")
    before = time.time() - STALE_SECONDS - 1
    os.utime(dead, (before, before))
    os.utime(other, (before, before))
    _remove_stale(target)
    assert not dead.exists() and living.exists() and other.exists()
