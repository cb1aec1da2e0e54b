"""A trace of the requests that this gateway saw, for what-if runs on yesterday's traffic: numbers only, never text."""

import contextlib
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final, final

import msgspec
import structlog

from cluster.spec.gateway_spec import CaptureSpec
from router.estimator.expectation import Usage
from router.prompt.chunk_chain import ChunkChain
from router.request import RoutingRequest

WRITE_EVERY_S: Final = 0.5
"""Seconds between two writes of what has gathered."""
MAX_WAITING: Final = 20_000
"""Requests that may wait for a slow disk; further ones are dropped and counted."""
THIN_BYTES: Final = 1024
"""Bytes of prompt between two hashes that are kept; a chunk has about 240, and a block of a trace 512 tokens."""
LIVE_S: Final = 60.0
"""Seconds since its last write for which a file may be another process' open one, so is not deleted."""
_MEGABYTE: Final = 1_000_000

_log: Final = structlog.get_logger("rackserve.gateway")

_Seen = tuple[float, ChunkChain, str, str, Usage]
"""When a request came, its prompt, the model or adapter it asked for, its tenant, its usage; not its body."""


class CapturedRequest(msgspec.Struct, gc=False, omit_defaults=True):
    """One request that has ended.

    Attributes:
        timestamp: when it came, milliseconds of Unix time.
        bytes: size of its canonical prompt, bytes; 0: the prompt was not read.
        chunks: hashes of the prompt's beginnings that end at `ends`; equal ones stand for equal beginnings.
        ends: where these end, bytes from the prompt's start.
        input_length: prompt tokens, as the answer says; None: it does not.
        output_length: tokens of the answer; None: it does not say, or the request was refused.
        model: the model, or the adapter, that it asked for.
        tenant: number of its tenant: its place among the cluster file's, from 1; 0: it has none.
    """

    timestamp: int
    bytes: int = 0
    chunks: list[int] = []
    ends: list[int] = []
    input_length: int | None = None
    output_length: int | None = None
    model: str = ""
    tenant: int = 0


@final
class Capture:
    """Writes a trace from a thread of its own: a request costs its event loop one entry in a list.

    Args:
        spec: the folder, and how much stays there.
        gateway_id: name of this process, in its files' names.
        tenants: the tenants' names, in the cluster file's order.

    Attributes:
        dropped: requests lost because the disk was too slow, or the file could not be written.

    Raises:
        OSError: the folder or the file cannot be made.
    """

    def __init__(self, spec: CaptureSpec, gateway_id: str, tenants: Iterable[str]) -> None:
        self.dropped = 0
        self._folder = Path(spec.path).expanduser()
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o750)
        self._most_bytes = int(spec.max_mb * _MEGABYTE)
        self._files = spec.files
        self._stem = "".join(letter if letter.isalnum() else "-" for letter in gateway_id)[:80] or "gateway"
        self._number = 0
        self._tenants = {name: number for number, name in enumerate(tenants, start=1)}
        self._since_s = time.time() - time.monotonic()
        self._encoder = msgspec.json.Encoder()
        self._seen: list[_Seen] = []
        self._ends = threading.Event()
        self._open()
        self._thread = threading.Thread(target=self._keep_writing, name="capture", daemon=True)
        self._thread.start()

    def note(self, began_s: float, request: RoutingRequest, tenant: str, usage: Usage) -> None:
        """Take a request that has ended; it is written within `WRITE_EVERY_S`. Never blocks."""
        if len(self._seen) >= MAX_WAITING:
            self.dropped += 1
        else:
            self._seen.append((began_s, request.chain, request.adapter or request.model, tenant, usage))

    def close(self) -> None:
        """Write what has gathered, and end the thread."""
        self._ends.set()
        self._thread.join(timeout=2.0)

    def _open(self) -> None:
        self._number += 1
        self._path = self._folder / f"{self._stem}-{self._number:06d}.jsonl"
        while self._path.exists():  # a process of the same name was here before
            self._number += 1
            self._path = self._folder / f"{self._stem}-{self._number:06d}.jsonl"
        self._path.touch(mode=0o640)
        self._size = 0
        self._delete_old()

    def _delete_old(self) -> None:
        found: list[tuple[float, str, Path]] = []
        for path in self._folder.glob("*.jsonl"):
            with contextlib.suppress(FileNotFoundError):  # another process has deleted it
                found.append((path.stat().st_mtime, path.name, path))
        found.sort()
        surplus = len(found) - self._files
        for written_s, _, path in found[: max(0, surplus)]:
            is_mine = path.name.startswith(f"{self._stem}-")
            if path != self._path and (is_mine or time.time() - written_s > LIVE_S):
                path.unlink(missing_ok=True)

    def _keep_writing(self) -> None:
        while not self._ends.wait(WRITE_EVERY_S):
            self._write_out()
        self._write_out()

    def _write_out(self) -> None:
        seen, self._seen = self._seen, []
        if not seen:
            return
        lines = b"".join(self._encoder.encode(self._row(*each)) + b"\n" for each in seen)
        try:
            if self._size + len(lines) > self._most_bytes and self._size:
                self._open()
            with self._path.open("ab") as file:
                file.write(lines)
            self._size += len(lines)
        except OSError as error:
            self.dropped += len(seen)
            _log.warning("trace not written", file=str(self._path), requests=len(seen), error=str(error))

    def _row(self, began_s: float, chain: ChunkChain, model: str, tenant: str, usage: Usage) -> CapturedRequest:
        chunks: list[int] = []
        ends: list[int] = []
        due = THIN_BYTES
        for chunk, end in zip(chain.hashes, chain.ends, strict=True):
            if end >= due:
                chunks.append(chunk)
                ends.append(end)
                due = (end // THIN_BYTES + 1) * THIN_BYTES
        return CapturedRequest(
            timestamp=round((began_s + self._since_s) * 1000),
            bytes=chain.size_bytes,
            chunks=chunks,
            ends=ends,
            input_length=usage.prompt_tokens,
            output_length=usage.completion_tokens,
            model=model,
            tenant=self._tenants.get(tenant, 0),
        )
