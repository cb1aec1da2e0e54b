"""Reads traces: recorded ones in the Mooncake format, and files or folders that gateways captured; JSON lines."""

from pathlib import Path

import msgspec

from cluster.errors import TraceError
from deployments.simulator.captured_trace import CapturedLine, as_trace
from deployments.simulator.trace import BLOCK_TOKENS, TraceRequest

_MAX_TOKENS = 1 << 40


def read_trace(path: Path, limit: int | None = None) -> list[TraceRequest]:
    """Read a trace; return its requests in the order of their timestamps.

    Args:
        path: the file, or a folder of captured ones (`*.jsonl`), which are one trace: several gateways write into one.
        limit: number of requests to read, from the start; None: all.

    Raises:
        TraceError: a file cannot be read, there is no request, or a line is wrong; the message names the line.
    """
    requests: list[TraceRequest] = []
    lines: list[CapturedLine] = []
    is_folder = path.is_dir()
    for file in sorted(path.glob("*.jsonl")) if is_folder else [path]:
        # Files of a folder overlap in time, so the first requests may be in any of them.
        _read(file, None if is_folder else limit, requests, lines)
    if not requests and not lines:
        raise TraceError(f"{path} has no requests; {_EXPECTED}")
    found = sorted([*requests, *as_trace(lines)], key=lambda request: request.timestamp)
    return found[:limit]


def _read(path: Path, limit: int | None, requests: list[TraceRequest], lines: list[CapturedLine]) -> None:
    """Read a file's recorded and captured requests into the two lists."""
    recorded = msgspec.json.Decoder(TraceRequest)
    captured = msgspec.json.Decoder(CapturedLine)
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
