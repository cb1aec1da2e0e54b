"""The few fields of a body that routing needs are read, and unreadable bodies refused."""

import json

import pytest

from router.http.api.envelope import (
    Envelope,
    EnvelopeError,
    check_model_is_named_once,
    read_json,
    salted,
    with_members,
)


def test_only_what_routing_needs_is_read() -> None:
    """Fields that routing does not need are skipped, even deep ones."""
    body = b'{"messages":[{"role":"user","content":"\\u00e9"}],"stream":true,"model":"m","x":{"y":[1,{}]}}'
    assert read_json(body) == Envelope(model="m", stream=True)
    assert read_json(body).stream


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "valid JSON"),
        (b"{", "valid JSON"),
        (b"\xff\xfe", "valid JSON"),
        (b'{"model":"\xff"}', "valid JSON"),
        (b"[]", "object"),
        (b'{"model":5}', r"\$\.model"),
        (b'{"model":"m"} trailing', "valid JSON"),
        (b'{"x":' + b"[" * 100_000, "too deeply"),
    ],
)
def test_bad_json_says_what_is_wrong(body: bytes, says: str) -> None:
    """The error names the field, or what is wrong with the JSON."""
    with pytest.raises(EnvelopeError, match=says):
        read_json(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m","model":"other"}',
        b'{"model":"m","x":[{"model":1}],"model":"m"}',
        b'{"model":"m","mod\\u0065l":"other"}',
        b'{"\\u006D\\u006fdel":"m","\\u006dodel":"other"}',
        b'{"model":null,"model":"other"}',
        b'{"model":"m","model":null}',
    ],
)
def test_two_models_are_seen(body: bytes) -> None:
    """A body that names its model twice, however the name is spelled, is refused where that matters."""
    with pytest.raises(EnvelopeError, match="two `model`"):
        check_model_is_named_once(body)


def test_a_name_that_is_no_utf_8_is_seen() -> None:
    """Bytes that the envelope skips are still no JSON where members' names are counted."""
    body = b'{"mOdel":"m\xff\xff"}'
    assert read_json(body).model is None
    with pytest.raises(EnvelopeError, match="not valid JSON"):
        check_model_is_named_once(body)


@pytest.mark.parametrize("name", ["Model", "MODEL", "modeL", "\\u004dodel"])
@pytest.mark.parametrize("body", ['{"model":"m","%s":"other"}', '{"%s":"other","model":"m"}', '{"%s":"other"}'])
def test_a_model_in_other_letters_is_seen(body: str, name: str) -> None:
    """Engines written in Go know members' names in any case, so it is refused where that matters."""
    with pytest.raises(EnvelopeError, match="some engines take it for `model`"):
        check_model_is_named_once((body % name).encode())


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"model":"m"}',
        b'{"mod\\u0065l":"m"}',
        b'{"model":"m","messages":[{"model":"x","content":"\\"model\\": \\u0065"}],"tools":{"model":1}}',
        b'{"model":"m","models":["x"],"x":{"Model":"other"}}',
    ],
)
def test_one_model_is_enough(body: bytes) -> None:
    """Inner members and texts that look like the model's are not taken for it; each body is counted anew."""
    check_model_is_named_once(body)
    check_model_is_named_once(body)


@pytest.mark.parametrize("body", [b"{}", b" { } \r\n", b'{"cache_salt":"x"}', b'{"a":{}}\n', b'{"a":"}"}', b'{"a":[]}'])
def test_members_are_added_to_any_object(body: bytes) -> None:
    """The added members count, and the others stay."""
    added = json.loads(with_members(body, {"cache_salt": "a:b", "model": 'm"é'}))
    assert added == {**json.loads(body), "cache_salt": "a:b", "model": 'm"é'}


def test_salts_of_different_pairs_differ() -> None:
    """What a tenant and its clients give is never taken for what another tenant and its clients give."""
    parts = ["", "a", "b", "c", ":", "a:", ":a", "a:b", "b:c", "a%3Ab", "a%", "%3A"]
    pairs = [(salt, given) for salt in parts for given in (None, *parts[1:]) if salt or given]
    assert len({salted(*pair) for pair in pairs}) == len(pairs)
    assert [salted("acme", None), salted("acme", ""), salted("acme", "x:y")] == ["acme", "acme", "acme:x:y"]
