"""The few fields of a request body that the gateway needs; the body itself is forwarded as it came."""

from collections.abc import Mapping
from itertools import product
from typing import Annotated, Any, Final

import msgspec

from router.replicas.model_card import MAX_NAME

MAX_SALT: Final = 1024
"""Characters above which a request's `cache_salt` is refused."""
_END_BYTES: Final = 64
"""Bytes before a body's last brace in which its last member's end is looked for first."""


class EnvelopeError(Exception):
    """The request body cannot be read; the message is for the client."""


_TRUE = frozenset({"1", "on", "t", "true", "y", "yes"})
"""Words that engines take for true, in any case: pydantic's conversion table, in its lax mode."""


class Envelope(msgspec.Struct, gc=False):
    """The fields that the gateway reads of a body. All others are skipped; the engine checks them."""

    model: Annotated[str, msgspec.Meta(max_length=MAX_NAME)] | None = None
    stream: Any = None
    cache_salt: Annotated[str, msgspec.Meta(max_length=MAX_SALT)] | None = None
    max_tokens: Any = None
    max_completion_tokens: Any = None
    max_output_tokens: Any = None
    stream_options: Any = None
    previous_response_id: Any = None
    kv_transfer_params: Any = None


_json = msgspec.json.Decoder(Envelope)
_encode = msgspec.json.Encoder().encode


def read_json(body: bytes) -> Envelope:
    """Read the envelope of a JSON body.

    Raises:
        EnvelopeError: the body is no JSON object, or a field has the wrong type.
    """
    try:
        return _json.decode(body)
    except msgspec.ValidationError as error:
        raise EnvelopeError(f"the request body does not fit: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EnvelopeError(f"the request body is not valid JSON: {error}") from error
    except RecursionError as error:
        raise EnvelopeError("the request body's JSON is nested too deeply") from error


def check_model_is_named_once(body: bytes) -> None:
    """Check that a JSON object, whose envelope has been read, has one `model` member at most, and in that spelling.

    JSON leaves open which of two equal names counts (RFC 8259, section 4): most engines take the last, as `read_json`
    does. Engines written in Go know names in any case, so `Model` is `model` to them. The check is for requests whose
    key may not use every model.

    Raises:
        EnvelopeError: an engine could read another model than `read_json` does.
    """
    # A second decoding costs less than a search for `"model"`, and knows escapes and nesting.
    _NamedModel.seen = 0
    try:
        _counting.decode(body)
    except msgspec.ValidationError as error:
        raise EnvelopeError(f"the request body does not fit: {error}") from error
    except UnicodeDecodeError as error:  # in a member that the envelope does not have
        raise EnvelopeError(f"the request body is not valid JSON: {error}") from error


class _NamedModel(str):
    """The value of a `model` member; msgspec asks `_count` to make one each time it meets the member.

    Attributes:
        seen: how many there have been in the body that is being read.
    """

    __slots__ = ()
    seen = 0


class _OtherCase(str):
    """The value of a member whose name is `model` but for the case of its letters."""

    __slots__ = ()


_OTHER_CASES = [name for name in map("".join, product(*zip("model", "MODEL", strict=True))) if name != "model"]
_ModelOnly = msgspec.defstruct(
    "_ModelOnly",
    [("model", _NamedModel, _NamedModel()), *((name, _OtherCase, _OtherCase()) for name in _OTHER_CASES)],
    gc=False,
)


def _count(kind: type, value: object) -> _NamedModel:
    if kind is _OtherCase:
        raise ValueError("some engines take it for `model`")
    _NamedModel.seen += 1
    if _NamedModel.seen > 1:
        raise ValueError("there are two `model` members; there must be one")
    return _NamedModel(value)


_counting = msgspec.json.Decoder(_ModelOnly, dec_hook=_count)


def salted(salt: str, given: str | None) -> str:
    """Return the cache salt of a tenant's request: the tenant's own, a colon, and the client's, if it gave one.

    What stands before the first colon is the tenant's: a colon within it is written as in URLs. So no two pairs have
    the same salt, and nothing that a client gives looks like the salt of another tenant.

    Args:
        salt: the tenant's; "": it has none.
        given: the client's.
    """
    own = salt.replace("%", "%25").replace(":", "%3A")
    return f"{own}:{given}" if given else own


def with_members(body: bytes, members: Mapping[str, object]) -> bytes:
    """Return a JSON object with members added at its end.

    Where the body has a member of that name already, the last of equal names counts, in engines as here.

    Args:
        body: a JSON object.
        members: at least one.
    """
    end = body.rfind(b"}")
    before = body[max(0, end - _END_BYTES) : end].rstrip() or body[:end].rstrip()
    comma = b"" if before.endswith(b"{") else b","
    return b"".join((memoryview(body)[:end], comma, memoryview(_encode(members))[1:]))  # the body is copied once
