"""Downloads from a server on this machine that misbehaves: got whole or refused, never left half."""

import gzip
import hashlib
import http.server
import threading
import time

import pytest

from forget_lib.core.errors import DataError
from forget_lib.datasets.sources import fetch

pytestmark = pytest.mark.fault("Downloads")
CONTENT = b"PK\3\4" + hashlib.shake_256(b"a data set").digest(200_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
HTML = b"<!DOCTYPE html><html><body>Sign in to continue</body></html>"


class Misbehaving(http.server.BaseHTTPRequestHandler):
    """The first word of the path says how; `/MODE/N/…` misbehaves N times only."""

    times: dict[str, int]

    def log_message(self, *_):
        """Quiet."""

    def do_GET(self):
        mode = self.path.split("/")[1]
        number = self.times[mode] = self.times.get(mode, 0) + 1
        limit = self.path.split("/")[2]
        if limit.isdigit() and number > int(limit):
            mode = "good"
        getattr(self, f"answer_{mode}")()

    def send(self, content, status=200, length=None, **headers):
        self.send_response(status)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def answer_good(self):
        self.send(CONTENT)

    def answer_cut(self):
        self.send(CONTENT[:90_000], length=len(CONTENT))
        self.close_connection = True

    def answer_short(self):
        self.send(CONTENT[:90_000])

    def answer_long(self):
        self.send(CONTENT + b"more")

    def answer_wrong(self):
        self.send(CONTENT[:-1] + b"x")

    def answer_empty(self):
        self.send(b"")

    def answer_html(self):
        self.send(HTML, Content_Type="text/html")

    def answer_htmlgz(self):
        self.send(gzip.compress(HTML), Content_Type="text/html", Content_Encoding="gzip")

    def answer_signin(self):
        self.send(b"", 302, Location="/html/x/login")

    def answer_elsewhere(self):
        self.send(b"", 302, Location="/wrong/x/other.zip")

    def answer_loop(self):
        self.send(b"", 302, Location=self.path)

    def answer_local(self):
        self.send(b"", 302, Location="file:///etc/passwd")

    def answer_quota(self):
        self.send(b"Quota exceeded", 403)

    def answer_busy(self):
        self.send(b"later", 503)

    def answer_gone(self):
        self.send(b"", 404)

    def answer_silent(self):
        time.sleep(1.5)

    def answer_garbage(self):
        self.wfile.write(b"\0\1\2 this is not HTTP\r\n\r\n")


@pytest.fixture
def address():
    Misbehaving.times = {}
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Misbehaving) as running:
        running.daemon_threads = True
        thread = threading.Thread(target=running.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


ALWAYS = sorted(name.removeprefix("answer_") for name in vars(Misbehaving) if name.startswith("answer_"))
ALWAYS.remove("good")


@pytest.mark.parametrize("mode", ALWAYS)
def test_a_server_that_misbehaves_leaves_no_file(address, tmp_path, mode):
    with pytest.raises(DataError) as caught:
        fetch(f"{address}/{mode}/x/a.zip", tmp_path / "a.zip", SHA256, timeout=0.7, progress=False)
    assert "data/README.md" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", ALWAYS)
def test_an_older_whole_file_is_not_fetched_again_and_stays(address, tmp_path, mode):
    (tmp_path / "a.zip").write_bytes(CONTENT)
    fetch(f"{address}/{mode}/x/a.zip", tmp_path / "a.zip", SHA256, timeout=0.7, progress=False)
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert not Misbehaving.times


@pytest.mark.parametrize("mode", ["cut", "wrong", "html", "busy", "silent", "quota"])
def test_a_second_try_after_a_fault_succeeds(address, tmp_path, mode):
    url = f"{address}/{mode}/1/a.zip"
    with pytest.raises(DataError):
        fetch(url, tmp_path / "a.zip", SHA256, timeout=0.7, progress=False)
    assert fetch(url, tmp_path / "a.zip", SHA256, timeout=5, progress=False).read_bytes() == CONTENT


@pytest.mark.parametrize("mode", ["html", "htmlgz", "signin", "cut", "quota", "gone", "empty"])
def test_without_a_checksum_what_is_evidently_no_archive_is_refused(address, tmp_path, mode):
    with pytest.raises(DataError):
        fetch(f"{address}/{mode}/x/a.zip", tmp_path / "a.zip", None, timeout=0.7, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_down_is_one_message(tmp_path):
    with pytest.raises(DataError, match="cannot be downloaded"):
        fetch("http://127.0.0.1:9/a.zip", tmp_path / "a.zip", SHA256, timeout=0.7, progress=False)
    assert list(tmp_path.iterdir()) == []
