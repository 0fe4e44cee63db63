"""The download: whole and right, or a sentence and nothing left behind. The server is this machine."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from attnorm.cache import cache_folder
from attnorm.errors import UserError
from attnorm.metrics import inception_file
from attnorm.metrics.inception_file import fetch

CONTENT = bytes(range(256)) * 12_000  # three megabytes
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked += 1
        if self.path == "/missing":
            self.send_error(404)
            return
        self.send_response(200)
        if self.path != "/unsized":
            self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[: len(CONTENT) // 2] if self.path == "/half" else CONTENT)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked = 0
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        server.address = f"http://127.0.0.1:{server.server_port}"
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ATTNORM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_file_is_downloaded_once_with_progress(server, cache):
    told = []
    path = fetch(f"{server.address}/file", DIGEST, lambda *what: told.append(what))
    assert path == cache / "inception-2015-12-05.pt"
    assert path.read_bytes() == CONTENT
    assert told == [("MB of inception-2015-12-05.pt", done, 3) for done in (1, 2, 3)]
    assert fetch(f"{server.address}/file", DIGEST) == path
    assert server.asked == 1
    assert list(cache.iterdir()) == [path]


def test_progress_reaches_no_end_before_the_download_where_the_size_is_unknown(server):
    told = []
    fetch(f"{server.address}/unsized", DIGEST, lambda *what: told.append(what))
    assert told[-1] == ("MB of inception-2015-12-05.pt", 3, inception_file.MEGABYTES)


@pytest.mark.parametrize(
    ("path", "digest", "why"),
    [
        (
            "missing",
            DIGEST,
            "could not be downloaded from .*404.*give its path, or put it at .*inception-2015-12-05.pt",
        ),
        ("half", DIGEST, f"could not be downloaded.*only {len(CONTENT) // 2} of {len(CONTENT)} bytes came"),
        ("file", "0" * 64, "is not the standard Inception network .SHA-256"),
    ],
)
def test_a_failed_download_is_a_sentence_and_leaves_nothing(path, digest, why, server, cache):
    with pytest.raises(UserError, match=why):
        fetch(f"{server.address}/{path}", digest)
    assert list(cache.iterdir()) == []


def test_no_server_and_no_sensible_address_are_sentences_too(server):
    server.shutdown()
    server.server_close()
    with pytest.raises(UserError, match=r"could not be downloaded.*refused.*fetch it on another machine"):
        fetch(f"{server.address}/file", DIGEST)
    with pytest.raises(UserError, match="could not be downloaded from nonsense"):
        fetch("nonsense", DIGEST)


def test_a_file_put_there_by_hand_is_used_without_the_network(cache):
    cache.mkdir()
    (cache / "inception-2015-12-05.pt").write_bytes(CONTENT)
    assert fetch("http://127.0.0.1:1/never", DIGEST).read_bytes() == CONTENT


def test_a_cache_that_is_no_folder_is_a_sentence(cache):
    cache.write_text("a file")
    with pytest.raises(UserError, match="could not be downloaded"):
        fetch("http://127.0.0.1:1/never", DIGEST)


def test_the_cache_folder_can_be_chosen_and_follows_the_systems_habits(monkeypatch, tmp_path):
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("ATTNORM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert str(cache_folder()) == "/somewhere/attnorm"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert str(cache_folder()) == "/home/me/.cache/attnorm"
