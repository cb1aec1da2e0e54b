"""Converts `ResidencyDelta` to telemetry's protobuf messages and back."""

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from deployments.telemetry import telemetry_pb2 as pb
from router.prefix_cache.exact import ResidencyDelta

PART_CHUNKS = 32_768
"""Most chunks in one part of a snapshot: 400 kB, far below gRPC's limit of 4 MB per message and quickly sent."""
_HASH: np.dtype[np.uint64] = np.dtype("<u8")
_TOKENS: np.dtype[np.uint32] = np.dtype("<u4")
_Kind = TypeVar("_Kind", bound=np.generic)


class MalformedResidencyError(Exception):
    """A residency message whose parts contradict each other."""


def delta_message(delta: ResidencyDelta) -> pb.ResidencyDelta:
    """Return a delta as a message."""
    return pb.ResidencyDelta(
        sequence=delta.sequence,
        resident=_chunks(delta, slice(None)),
        evicted=_packed(delta.evicted, _HASH),
        lower=_lower(delta, slice(None)),
    )


def snapshot_messages(snapshot: ResidencyDelta) -> Iterator[pb.ResidencySnapshot]:
    """Yield a snapshot in parts; one empty part if nothing is held."""
    total = max(len(snapshot.resident), len(snapshot.lower_tokens))
    for start in range(0, max(1, total), PART_CHUNKS):
        stop = start + PART_CHUNKS
        resident = _chunks(snapshot, slice(start, stop))
        lower = _lower(snapshot, slice(start, stop))
        yield pb.ResidencySnapshot(sequence=snapshot.sequence, resident=resident, lower=lower, more=stop < total)


def read_delta(message: pb.ResidencyDelta) -> ResidencyDelta:
    """Return the delta that a message carries.

    Raises:
        MalformedResidencyError: the message's parts contradict each other.
    """
    hashes, tokens = _read_chunks([message.resident])
    lower, lower_tokens = _read_chunks([message.lower])
    return ResidencyDelta(
        message.sequence,
        hashes,
        _read_hashes([message.evicted]),
        tokens=tokens,
        lower=lower if message.HasField("lower") else None,
        lower_tokens=lower_tokens,
    )


class SnapshotReader:
    """Puts the parts of snapshots together."""

    def __init__(self) -> None:
        self._parts: list[pb.ResidencySnapshot] = []

    def take(self, part: pb.ResidencySnapshot) -> ResidencyDelta | None:
        """Add a part; return the snapshot once it is whole, else None.

        Raises:
            MalformedResidencyError: the part's fields contradict each other, or it belongs to another snapshot.
        """
        if self._parts and self._parts[0].sequence != part.sequence:
            raise MalformedResidencyError("a snapshot began before another was whole")
        self._parts.append(part)
        if part.more:
            return None
        hashes, tokens = _read_chunks([whole.resident for whole in self._parts])
        lower, lower_tokens = _read_chunks([whole.lower for whole in self._parts])
        self._parts = []
        return ResidencyDelta(
            part.sequence,
            hashes,
            np.empty(0, np.uint64),
            snapshot=True,
            tokens=tokens,
            lower=lower if part.HasField("lower") else None,
            lower_tokens=lower_tokens,
        )


def _chunks(delta: ResidencyDelta, part: slice) -> pb.Chunks:
    return pb.Chunks(hashes=_packed(delta.resident[part], _HASH), tokens=_packed(delta.tokens[part], _TOKENS))


def _lower(delta: ResidencyDelta, part: slice) -> pb.Chunks | None:
    if delta.lower is None:
        return None
    return pb.Chunks(hashes=_packed(delta.lower[part], _HASH), tokens=_packed(delta.lower_tokens[part], _TOKENS))


def _read_chunks(messages: list[pb.Chunks]) -> tuple[NDArray[np.uint64], NDArray[np.uint32]]:
    hashes = _read_hashes([message.hashes for message in messages])
    tokens = _unpacked([message.tokens for message in messages], _TOKENS)
    if len(tokens) not in (0, len(hashes)):
        raise MalformedResidencyError(f"{len(hashes)} chunks with {len(tokens)} ends")
    return hashes, tokens


def _read_hashes(parts: list[bytes]) -> NDArray[np.uint64]:
    hashes = _unpacked(parts, _HASH)
    if not hashes.all():
        raise MalformedResidencyError("a chunk has the hash 0, which stands for none")
    return hashes


def _packed(array: NDArray[_Kind], kind: np.dtype[_Kind]) -> bytes:
    return array.astype(kind, copy=False).tobytes()


def _unpacked(parts: list[bytes], kind: np.dtype[_Kind]) -> NDArray[_Kind]:
    data = parts[0] if len(parts) == 1 else b"".join(parts)
    if len(data) % kind.itemsize:
        raise MalformedResidencyError(f"{len(data)} bytes are no array of {kind.itemsize} bytes each")
    return np.frombuffer(data, kind).astype(kind.newbyteorder("="), copy=False)
