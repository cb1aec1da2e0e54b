"""Captured requests as a trace: equal beginnings have equal ids, and lengths that nobody said are filled in."""

from pathlib import Path

import pytest

from cluster.errors import TraceError
from deployments.simulator.captured_trace import CapturedLine, as_trace
from deployments.simulator.trace import BLOCK_TOKENS
from deployments.simulator.trace_file import read_trace


def _line(at: float, chunks: list[int], tokens: int | None, output: int | None = 10) -> CapturedLine:
    ends = [1024 * (place + 1) for place in range(len(chunks))]
    return CapturedLine(at, "m", chunks, ends, ends[-1] if ends else 0, tokens, output, 2)


def test_equal_beginnings_have_equal_ids_whatever_follows() -> None:
    """Two prompts share 8 of 12 hashes; a block has 2 048 bytes, so they share 4 of 6 ids."""
    shared = list(range(100, 108))
    one = _line(5000.0, [*shared, 1, 2, 3, 4], 12 * 256)
    two = _line(4000.0, [*shared, 5, 6, 7, 8], 12 * 256)
    trace = as_trace([one, two])
    assert [request.timestamp for request in trace] == [0.0, 1000.0]
    first, second = (request.hash_ids for request in trace)
    assert len(first) == len(second) == 12 * 256 // BLOCK_TOKENS
    assert first[:4] == second[:4]
    assert not set(first[4:]) & set(second[4:])
    assert {request.tenant for request in trace} == {2}


def test_lengths_that_no_answer_said_are_filled_in() -> None:
    """A refused request has its prompt's bytes at the others' bytes per token, and the others' mean answer."""
    known = _line(0.0, [1, 2, 3, 4], 1024, 30)
    refused = _line(1.0, [5, 6], None, None)
    trace = as_trace([known, refused])
    assert trace[1].input_length == 512
    assert trace[1].output_length == 30


def test_a_line_that_is_neither_kind_is_named(tmp_path: Path) -> None:
    """A recorded line without its ids is a mistake, and not a captured one."""
    file = tmp_path / "trace.jsonl"
    file.write_text('{"timestamp": 0, "input_length": 5, "output_length": 1}\n')
    with pytest.raises(TraceError, match=r"line 1: .*hash_ids"):
        read_trace(file)
