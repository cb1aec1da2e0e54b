"""What replicas report: any bytes are a message that is refused, or one that leaves the gateway's index whole."""

from typing import Final

from google.protobuf.message import DecodeError

from deployments.telemetry import telemetry_pb2 as pb
from deployments.telemetry.residency_messages import MalformedResidencyError, SnapshotReader, read_delta
from router.prefix_cache.exact import ExactReplica
from router.prefix_cache.index import PrefixIndex
from tests.fuzz.target import Target


def check(data: bytes) -> None:
    """Apply it to an index that holds something, as a snapshot, as a delta, and as the rest of what it may be."""
    try:
        report = pb.Report.FromString(data)
    except DecodeError:
        return
    index = PrefixIndex()
    replica = ExactReplica(index, "r", 1 << 20)
    reader = SnapshotReader()
    try:
        before = reader.take(_snapshot(1, range(1, 40)).snapshot)
        assert before is not None
        assert replica.apply(before)
        if report.HasField("snapshot"):
            whole = reader.take(report.snapshot)
            if whole is not None:
                replica.apply(whole)
        if report.HasField("delta"):
            replica.apply(read_delta(report.delta))
    except MalformedResidencyError:
        pass
    replica.check_integrity()
    index.check_integrity()


def _packed(numbers: range, size: int) -> bytes:
    return b"".join((number * 0x9E3779B97F4A7C15 % (1 << 8 * size)).to_bytes(size, "little") for number in numbers)


def _chunks(numbers: range) -> pb.Chunks:
    return pb.Chunks(hashes=_packed(numbers, 8), tokens=b"".join((60 * n).to_bytes(4, "little") for n in numbers))


def _snapshot(sequence: int, numbers: range) -> pb.Report:
    return pb.Report(sequence=3, snapshot=pb.ResidencySnapshot(sequence=sequence, resident=_chunks(numbers)))


def _delta(sequence: int, numbers: range, evicted: range) -> pb.Report:
    delta = pb.ResidencyDelta(sequence=sequence, resident=_chunks(numbers), evicted=_packed(evicted, 8))
    return pb.Report(sequence=4, delta=delta)


TARGET: Final = Target(
    check,
    seeds=(
        _snapshot(5, range(1, 12)).SerializeToString(),
        _delta(2, range(40, 50), range(1, 9)).SerializeToString(),
        _delta(2, range(1, 5), range(1, 5)).SerializeToString(),
        pb.Report(sequence=2, load=pb.Load(running=3, kv_usage=0.5, kv_capacity_tokens=64_000)).SerializeToString(),
        pb.Report(
            sequence=4, delta=pb.ResidencyDelta(sequence=2, lower=_chunks(range(3, 9)), evicted=_packed(range(3, 9), 8))
        ).SerializeToString(),
    ),
    words=(
        b"\x00",
        b"\xff",
        b"\x08",
        b"\x12",
        b"\x1a",
        b"\x22",
        b"\x2a",
        b"\x01",
        b"\x02",
        b"\x80\x01",
        b"\x00" * 8,
        b"\xff" * 8,
    ),
)
