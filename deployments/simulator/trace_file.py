"""Reads traces: recorded ones in the Mooncake format, and those that gateways captured; a JSON object on each line."""

from pathlib import Path

import msgspec

from cluster.errors import TraceError
from deployments.simulator.captured_trace import CapturedLine, as_trace
from deployments.simulator.trace import BLOCK_TOKENS, TraceRequest

_MAX_TOKENS = 1 << 40


def read_trace(path: Path, limit: int | None = None) -> list[TraceRequest]:
    """Read a trace; return its requests in the order of their timestamps.

    Args:
        path: the file.
        limit: number of requests to read from the start of the file; None: all.

    Raises:
        TraceError: the file cannot be read or is empty, or a line is wrong; the message names the line.
    """
    recorded = msgspec.json.Decoder(TraceRequest)
    captured = msgspec.json.Decoder(CapturedLine)
    requests: list[TraceRequest] = []
    lines: list[CapturedLine] = []
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if limit is not None and len(requests) + len(lines) >= limit:
                    break
                if not line.strip():
                    continue
                try:
                    if b'"model"' in line and b'"hash_ids"' not in line:
                        lines.append(captured.decode(line))
                        continue
                    request = recorded.decode(line)
                except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                    raise TraceError(f"{path}, line {number}: {error}; {_EXPECTED}") from error
                _check(request, path, number)
                requests.append(request)
    except OSError as error:
        raise TraceError(f"the trace {path} cannot be read: {error.strerror or error}") from error
    if not requests and not lines:
        raise TraceError(f"{path} has no requests; {_EXPECTED}")
    return sorted([*requests, *as_trace(lines)], key=lambda request: request.timestamp)


_EXPECTED = (
    'a line should be like {"timestamp": 0, "input_length": 6758, "output_length": 500, "hash_ids": [0, 1, 2]}'
    f" with one id for each {BLOCK_TOKENS} input tokens"
)


def _check(request: TraceRequest, path: Path, number: int) -> None:
    where = f"{path}, line {number}"
    if not 0 < request.input_length < _MAX_TOKENS or request.output_length < 0:
        raise TraceError(f"{where}: input_length must be 1 or more and output_length 0 or more")
    blocks = -(-request.input_length // BLOCK_TOKENS)
    if len(request.hash_ids) != blocks:
        raise TraceError(
            f"{where}: {request.input_length} input tokens are {blocks} blocks of {BLOCK_TOKENS},"
            f" but there are {len(request.hash_ids)} hash_ids"
        )
