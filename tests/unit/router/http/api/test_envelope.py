"""The few fields of a body that routing needs are read, and unreadable bodies refused."""

import pytest

from router.http.api.envelope import Envelope, EnvelopeError, read_json


def test_only_what_routing_needs_is_read() -> None:
    """Fields that routing does not need are skipped, even deep ones."""
    body = b'{"messages":[{"role":"user","content":"\\u00e9"}],"stream":true,"model":"m","x":{"y":[1,{}]}}'
    assert read_json(body) == Envelope(model="m", stream=True)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "valid JSON"),
        (b"{", "valid JSON"),
        (b"\xff\xfe", "valid JSON"),
        (b'{"model":"\xff"}', "valid JSON"),
        (b"[]", "object"),
        (b'{"model":5}', r"\$\.model"),
        (b'{"stream":"yes"}', r"\$\.stream"),
        (b'{"model":"m"} trailing', "valid JSON"),
        (b'{"x":' + b"[" * 100_000, "too deeply"),
    ],
)
def test_bad_json_says_what_is_wrong(body: bytes, says: str) -> None:
    """The error names the field, or what is wrong with the JSON."""
    with pytest.raises(EnvelopeError, match=says):
        read_json(body)
