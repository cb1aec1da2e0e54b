"""A Hugging Face hub on this machine, with what the hub's own client asks of one: for downloads that are real."""

import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

COMMIT = "c" * 40
PIECE_BYTES = 1 << 16


class LocalHub:
    """One repository, `org/tiny`.

    Args:
        files: its content, by file name.
        bytes_per_s: how fast it sends each file.

    Attributes:
        url: for `HF_ENDPOINT`.
        fetched: names of the files that were sent whole, in order.
    """

    def __init__(self, files: Mapping[str, bytes], bytes_per_s: float) -> None:
        self.files = files
        self.bytes_per_s = bytes_per_s
        self.url = ""
        self.fetched: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def do_HEAD(self) -> None:
        """Tell a file's size and commit, as `do_GET` does, without its content."""
        self.do_GET()

    def do_GET(self) -> None:
        """Send what the client asks for: the repository, the list of its files, or a file."""
        path, files = urlsplit(self.path).path, self.server.hub.files
        if path.startswith("/api/models/org/tiny/tree/"):
            self._json([_entry(name, content) for name, content in files.items()])
        elif path.startswith("/api/models/org/tiny"):
            siblings = [{"rfilename": name} for name in files]
            self._json({"id": "org/tiny", "modelId": "org/tiny", "sha": COMMIT, "siblings": siblings})
        elif not path.startswith("/org/tiny/resolve/"):
            self._json({"error": "Repository not found"}, "RepoNotFound")
        elif (name := path.split("/", 5)[5]) not in files:
            self._json({"error": "Entry not found"}, "EntryNotFound")
        else:
            self._file(name, files[name])

    def _file(self, name: str, content: bytes) -> None:
        digest, size = hashlib.sha256(content).hexdigest(), len(content)
        part = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range", ""))
        if part:
            first, last = int(part[1]), min(int(part[2] or size - 1), size - 1)
            content = content[first : last + 1]
        self.send_response(HTTPStatus.PARTIAL_CONTENT if part else HTTPStatus.OK)
        if part:
            self.send_header("content-range", f"bytes {first}-{last}/{size}")
        self.send_header("content-length", str(len(content)))
        self.send_header("etag", f'"{digest}"')
        self.send_header("x-repo-commit", COMMIT)
        self.end_headers()
        if self.command == "HEAD":
            return
        if len(content) == size:
            self.server.hub.fetched.append(name)
        for start in range(0, len(content), PIECE_BYTES):
            self.wfile.write(content[start : start + PIECE_BYTES])
            time.sleep(PIECE_BYTES / self.server.hub.bytes_per_s)

    def _json(self, data: object, error_code: str = "") -> None:
        body = json.dumps(data).encode()
        self.send_response(HTTPStatus.NOT_FOUND if error_code else HTTPStatus.OK)
        if error_code:
            self.send_header("x-error-code", error_code)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    hub: LocalHub


@contextmanager
def local_hub(files: Mapping[str, bytes], bytes_per_s: float = 1e9) -> Iterator[LocalHub]:
    """Run a hub with these files for the length of a `with` block."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.hub = LocalHub(files, bytes_per_s)
        server.hub.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.hub
        finally:
            server.shutdown()
            thread.join()


def _entry(name: str, content: bytes) -> dict[str, object]:
    digest = hashlib.sha256(content).hexdigest()
    lfs = {"oid": digest, "size": len(content), "pointerSize": 134}
    return {"type": "file", "path": name, "size": len(content), "oid": digest[:40], "lfs": lfs}
