"""A captured trace is bounded, in files of some megabytes; a slow or missing disk costs the trace some requests."""

import time
from pathlib import Path

import msgspec

from cluster.spec.gateway_spec import CaptureSpec
from router.estimator.expectation import Usage
from router.http.data_plane.capture import MAX_WAITING, THIN_BYTES, Capture, CapturedRequest
from router.prompt.chunk_chain import ChunkChain
from router.request import RoutingRequest


def _request(chunks: int) -> RoutingRequest:
    chain = ChunkChain(list(range(1, chunks + 1)), [240 * (place + 1) for place in range(chunks)], 240 * chunks)
    return RoutingRequest("r", "m", "/v1/completions", stream=True, body=b"not to be kept", chain=chain)


def _read(folder: Path) -> list[CapturedRequest]:
    lines = [line for path in sorted(folder.iterdir()) for line in path.read_bytes().splitlines()]
    return [msgspec.json.decode(line, type=CapturedRequest) for line in lines]


def test_hashes_are_thinned_and_tenants_are_numbers(tmp_path: Path) -> None:
    """One hash for each 1 024 bytes of prompt, at the first chunk's end from there on; the second tenant is 2."""
    capture = Capture(CaptureSpec(path=str(tmp_path)), "gateway/1", ["ann", "bob"])
    capture.note(time.monotonic(), _request(50), "bob", Usage(3000, 0, 40))
    capture.note(time.monotonic(), _request(0), "nobody", Usage())
    capture.close()
    full, empty = _read(tmp_path)
    assert [end // THIN_BYTES for end in full.ends] == list(range(1, 12))
    assert full.ends == [240 * chunk for chunk in full.chunks]
    assert (full.tenant, full.input_length, full.output_length, full.bytes) == (2, 3000, 40, 12_000)
    assert (empty.tenant, empty.input_length, empty.chunks) == (0, None, [])
    assert abs(full.timestamp / 1000 - time.time()) < 60
    assert b"not to be kept" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


def test_files_are_rotated_and_old_ones_deleted(tmp_path: Path) -> None:
    """Files of two kilobytes, two of which stay: the newest requests are there, and the folder does not grow."""
    capture = Capture(CaptureSpec(path=str(tmp_path), max_mb=0.002, files=2), "g", [])
    for number in range(12):
        for _ in range(8):
            capture.note(float(number), _request(20), "", Usage(number, 0, 1))
        capture._write_out()
    capture.close()
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert len(sizes) == 2
    assert max(sizes) <= 2000
    assert _read(tmp_path)[-1].input_length == 11


def test_what_a_slow_disk_cannot_take_is_dropped_and_counted(tmp_path: Path) -> None:
    """No request waits for the trace, and what waits for the disk is bounded; a folder that goes away is no error."""
    capture = Capture(CaptureSpec(path=str(tmp_path / "seen")), "g", [])
    capture._seen = [(0.0, _request(0).chain, "m", "", Usage())] * MAX_WAITING
    capture.note(0.0, _request(1), "", Usage())
    assert capture.dropped == 1
    capture._seen = []
    capture.note(0.0, _request(1), "", Usage())
    for path in (tmp_path / "seen").iterdir():
        path.unlink()
    (tmp_path / "seen").rmdir()
    capture._write_out()
    assert capture.dropped == 2
    capture.close()
