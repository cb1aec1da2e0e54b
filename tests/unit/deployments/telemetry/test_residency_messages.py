"""Residency as bytes on the wire, and back."""

from typing import Any

import numpy as np
import pytest

from deployments.telemetry import telemetry_pb2 as pb
from deployments.telemetry.residency_messages import (
    PART_CHUNKS,
    MalformedResidencyError,
    SnapshotReader,
    delta_message,
    read_delta,
    snapshot_messages,
)
from router.prefix_cache.exact import ResidencyDelta

NONE = np.empty(0, np.uint64)


def _hashes(count: int) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    return np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)


def test_a_delta_arrives_as_it_was() -> None:
    """Numbers, hashes of all 64 bits, ends and evictions survive the wire."""
    delta = ResidencyDelta(7, _hashes(3), _hashes(2), tokens=np.array([1, 70_000, 1 << 31], np.uint32))
    read = read_delta(pb.ResidencyDelta.FromString(delta_message(delta).SerializeToString()))
    assert (read.sequence, read.snapshot) == (7, False)
    assert read.resident.tolist() == delta.resident.tolist()
    assert read.evicted.tolist() == delta.evicted.tolist()
    assert read.tokens.tolist() == [1, 70_000, 1 << 31]


def test_tiers_arrive_as_they_were() -> None:
    """Chunks below the device with their ends; and that there are no such tiers, which is not the same as no chunks."""
    ends = np.array([5, 6], np.uint32)
    for lower, tokens in ((None, NONE.astype(np.uint32)), (NONE, NONE.astype(np.uint32)), (_hashes(2), ends)):
        delta = ResidencyDelta(7, _hashes(1), _hashes(2), lower=lower, lower_tokens=tokens)
        read = read_delta(pb.ResidencyDelta.FromString(delta_message(delta).SerializeToString()))
        assert (read.lower is None) == (lower is None)
        assert lower is None or read.lower is None or read.lower.tolist() == lower.tolist()
        assert read.lower_tokens.tolist() == tokens.tolist()


def test_a_snapshot_of_tiers_is_as_long_as_the_longer_of_both() -> None:
    """Its parts hold what is on the device and what is below, each whole at the end."""
    below = PART_CHUNKS + 5
    ends = np.arange(below, dtype=np.uint32)
    sent = ResidencyDelta(9, _hashes(3), NONE, snapshot=True, lower=_hashes(below), lower_tokens=ends)
    reader = SnapshotReader()
    parts = [reader.take(message) for message in snapshot_messages(sent)]
    assert parts[0] is None
    whole = parts[1]
    assert whole is not None
    assert whole.lower is not None
    assert whole.resident.tolist() == sent.resident.tolist()
    assert whole.lower.tolist() == _hashes(below).tolist()
    assert whole.lower_tokens.tolist() == ends.tolist()


@pytest.mark.parametrize(("chunks", "parts"), [(0, 1), (1, 1), (PART_CHUNKS, 1), (PART_CHUNKS + 1, 2), (100_000, 4)])
def test_a_snapshot_arrives_in_parts_that_are_small(chunks: int, parts: int) -> None:
    """However much is resident, no message comes near gRPC's limit, and the whole is what was sent."""
    sent = ResidencyDelta(9, _hashes(chunks), NONE, snapshot=True, tokens=np.arange(chunks, dtype=np.uint32))
    messages = [message.SerializeToString() for message in snapshot_messages(sent)]
    assert len(messages) == parts
    assert max(map(len, messages)) < 512 * 1024
    reader = SnapshotReader()
    read = [reader.take(pb.ResidencySnapshot.FromString(message)) for message in messages]
    assert read[:-1] == [None] * (parts - 1)
    whole = read[-1]
    assert whole is not None
    assert (whole.sequence, whole.snapshot) == (9, True)
    assert whole.resident.tolist() == sent.resident.tolist()
    assert whole.tokens.tolist() == list(range(chunks))


@pytest.mark.parametrize(
    "message",
    [
        pb.ResidencyDelta(resident=pb.Chunks(hashes=b"1234567")),
        pb.ResidencyDelta(resident=pb.Chunks(hashes=b"12345678" * 2, tokens=b"1234")),
        pb.ResidencyDelta(evicted=b"123456789"),
    ],
)
def test_bytes_that_cannot_be_right_are_refused(message: pb.ResidencyDelta) -> None:
    """Half a hash, or ends for other chunks than those named, are no delta."""
    with pytest.raises(MalformedResidencyError):
        read_delta(message)


def test_parts_of_different_snapshots_do_not_mix() -> None:
    """A snapshot that begins before another is whole is refused."""
    reader = SnapshotReader()
    reader.take(pb.ResidencySnapshot(sequence=1, more=True))
    with pytest.raises(MalformedResidencyError):
        reader.take(pb.ResidencySnapshot(sequence=2))


@pytest.mark.parametrize("field", ["resident", "evicted", "lower"])
def test_no_chunk_has_the_hash_that_stands_for_none(field: str) -> None:
    """The index keeps 0 for empty slots: claiming or evicting it would write into one."""
    hashes = np.array([7, 0, 9], np.uint64).tobytes()
    parts: dict[str, Any] = {field: hashes if field == "evicted" else pb.Chunks(hashes=hashes)}
    with pytest.raises(MalformedResidencyError):
        read_delta(pb.ResidencyDelta(sequence=1, **parts))
