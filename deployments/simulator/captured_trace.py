"""Turns what gateways captured (`gateway.capture`) into a trace like a recorded one.

A captured request has hashes of its prompt's beginnings at places in bytes; a trace has one id for each block of
tokens. A block's id is the hash of the first beginning that reaches its end, at the mean bytes of a token in the whole
capture. That mean is one number for all requests, so equal beginnings get equal ids.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from deployments.simulator.trace import BLOCK_TOKENS, TraceRequest

USUAL_BYTES_PER_TOKEN: Final = 4.0
"""Bytes of a token where no captured answer says its prompt's tokens."""
_POSITIVE: Final = (1 << 63) - 1


class CapturedLine(msgspec.Struct, frozen=True):
    """One captured request; `router.http.data_plane.capture.CapturedRequest` says what its fields mean."""

    timestamp: float
    model: str
    chunks: list[int] = []
    ends: list[int] = []
    bytes: int = 0
    input_length: int | None = None
    output_length: int | None = None
    tenant: int = 0


def as_trace(lines: Sequence[CapturedLine]) -> list[TraceRequest]:
    """Return captured requests as a trace, in the order of their times; the first comes at 0.

    Lengths that no answer said are those of the prompt's bytes, and the mean of the other answers.
    """
    ordered = sorted(lines, key=lambda line: line.timestamp)
    known = [line for line in ordered if line.input_length and line.bytes]
    tokens = sum(line.input_length or 0 for line in known)
    per_token = sum(line.bytes for line in known) / tokens if tokens else USUAL_BYTES_PER_TOKEN
    outputs = [line.output_length for line in ordered if line.output_length]
    usual_output = round(sum(outputs) / len(outputs)) if outputs else 1
    first = ordered[0].timestamp if ordered else 0.0
    return [_request(line, first, per_token, usual_output) for line in ordered]


def _request(line: CapturedLine, first: float, per_token: float, usual_output: int) -> TraceRequest:
    tokens = line.input_length or max(1, round(line.bytes / per_token))
    return TraceRequest(
        timestamp=line.timestamp - first,
        input_length=tokens,
        output_length=line.output_length or usual_output,
        hash_ids=_ids(line, tokens, per_token),
        model=line.model,
        tenant=line.tenant,
    )


def _ids(line: CapturedLine, tokens: int, per_token: float) -> list[int]:
    """Return one id for each block; a block whose end no hash reaches has an id that no other prompt has."""
    ids: list[int] = []
    place = 0
    for block in range(-(-tokens // BLOCK_TOKENS)):
        end = (block + 1) * BLOCK_TOKENS * per_token
        while place < len(line.ends) and line.ends[place] < end:
            place += 1
        if place < len(line.ends):
            ids.append(line.chunks[place] & _POSITIVE)
        else:
            ids.append(hash((line.timestamp, line.bytes, block)) & _POSITIVE)
    return ids
