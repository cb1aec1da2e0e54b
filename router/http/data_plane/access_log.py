"""The access log: a line of JSON for each request to the API, with its outcome and figures, without its content."""

import asyncio
import contextlib
import os
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
import structlog

STDOUT: Final = "-"
"""The name of the file that stands for the standard output."""
WRITE_EVERY_S: Final = 0.5
"""Seconds between two writes of what has gathered."""
MAX_WAITING_BYTES: Final = 8 * 1024 * 1024
"""Bytes of lines that may wait for a slow disk; further ones are dropped and counted."""

_log = structlog.get_logger("rackserve.gateway")


class AccessEntry(msgspec.Struct, gc=False, omit_defaults=True):
    """One request that has ended.

    Attributes:
        request_id: the id that the client sees in `x-request-id`.
        client: the client's address.
        method: the method.
        path: the path, without the query.
        outcome: how it ended, see `Outcome`.
        status: the status of the answer; 0: the client left before there was one.
        tenant: the tenant's name; "": not known.
        model: the model asked for; "": none that is served.
        replica: the last replica that it was sent to; "": none.
        prompt_tokens: tokens of the prompt, as the answer says.
        cached_tokens: those of them that were cached.
        completion_tokens: tokens of the answer.
        waited_ms: milliseconds until it was sent to a replica.
        ttft_ms: milliseconds until the answer's first bytes.
        duration_ms: milliseconds until its end.
        request_bytes: size of the request's body.
        response_bytes: bytes that the replica sent for it.
        time: when it ended, RFC 3339.
    """

    request_id: str
    client: str
    method: str
    path: str
    outcome: str
    status: int
    tenant: str = ""
    model: str = ""
    replica: str = ""
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    waited_ms: float | None = None
    ttft_ms: float | None = None
    duration_ms: float | None = None
    request_bytes: int = 0
    response_bytes: int = 0
    time: str = ""


def peer_of(transport: asyncio.Transport) -> str:
    """Return a client's address; "" where it is not known any more."""
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if peer else ""


class AccessLog:
    """Writes entries to a file from a thread of its own, so that a slow disk delays no request.

    The file is opened anew when another program has moved it away, as log rotation does.

    Args:
        path: the file; `STDOUT`: the standard output.

    Attributes:
        dropped: entries lost because the disk was too slow, or the file could not be written.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self.dropped = 0
        self._path = path
        self._encoder = msgspec.json.Encoder()
        self._lines: list[bytes] = []
        self._waiting_bytes = 0
        self._ends = threading.Event()
        self._file = self._opened()
        self._thread = threading.Thread(target=self._keep_writing, name="access log", daemon=True)
        self._thread.start()

    def write(self, entry: AccessEntry) -> None:
        """Add an entry; it is written within `WRITE_EVERY_S`. Never blocks."""
        now = datetime.now(UTC)
        entry.time = f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03d}Z"
        line = self._encoder.encode(entry)
        if self._waiting_bytes > MAX_WAITING_BYTES:
            self.dropped += 1
            return
        self._waiting_bytes += len(line)
        self._lines.append(line)

    def close(self) -> None:
        """Write what has gathered, and end the thread."""
        self._ends.set()
        self._thread.join(timeout=2.0)

    def _opened(self) -> int:
        if self._path == STDOUT:
            return sys.stdout.fileno()
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)

    def _keep_writing(self) -> None:
        while not self._ends.wait(WRITE_EVERY_S):
            self._write_out()
        self._write_out()
        if self._path != STDOUT:
            os.close(self._file)

    def _write_out(self) -> None:
        lines, self._lines = self._lines, []
        self._waiting_bytes = 0
        if not lines:
            return
        try:
            self._follow_rotation()
            rest = memoryview(b"\n".join(lines) + b"\n")
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError as error:
            self.dropped += len(lines)
            _log.warning("access log not written", file=self._path, lines=len(lines), error=str(error))

    def _follow_rotation(self) -> None:
        if self._path == STDOUT:
            return
        there = None
        with contextlib.suppress(FileNotFoundError):
            there = Path(self._path).stat()
        mine = os.fstat(self._file)
        if there is None or (there.st_dev, there.st_ino) != (mine.st_dev, mine.st_ino):
            opened = self._opened()
            os.close(self._file)
            self._file = opened
