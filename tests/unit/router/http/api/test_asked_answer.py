"""The answer that a body asks for is the one that engines understand."""

import pytest

from router.http.api.asked_answer import is_streamed, most_tokens
from router.http.api.envelope import read_json


@pytest.mark.parametrize(
    ("sent", "means"),
    [
        (b"true", True),
        (b"false", False),
        (b"null", False),
        (b'"true"', True),
        (b'"True"', True),
        (b'"yes"', True),
        (b'"on"', True),
        (b'"1"', True),
        (b"1", True),
        (b"1.0", True),
        (b'"false"', False),
        (b'"no"', False),
        (b"0", False),
        (b'"maybe"', False),
        (b"[]", False),
        (b'{"a":1}', False),
    ],
)
def test_stream_means_what_it_means_to_engines(sent: bytes, means: bool) -> None:  # noqa: FBT001 - a table
    """What pydantic takes for true is true; what it refuses is left to the engine, which says why."""
    assert is_streamed(read_json(b'{"stream":%s}' % sent)) is means


@pytest.mark.parametrize(
    ("sent", "means"),
    [
        (b"16", 16),
        (b'"16"', 16),
        (b"16.0", 16),
        (b'" +16.0 "', 16),
        (b"16.5", None),
        (b'"many"', None),
        (b"-1", None),
        (b"[16]", None),
    ],
)
def test_the_answers_limit_is_the_number_that_engines_read(sent: bytes, means: int | None) -> None:
    """They take one in quotes and one with a point, so the gateway does."""
    assert most_tokens(read_json(b'{"max_tokens":%s}' % sent)) == means
