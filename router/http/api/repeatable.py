"""Which requests may be sent to another replica after one has answered with an error.

RFC 9110, section 9.2.2: a request that is not idempotent is repeated only where it is known that it left nothing
behind. Generating, embedding and scoring keep nothing: a replica that answers with an error has done with such a
request. What does keep something is known by its path, and by a few fields of its body.
"""

from http import HTTPStatus

import msgspec

_RESPONSES = "/v1/responses"
_SAFE = (b"GET", b"HEAD", b"OPTIONS")
_MADE_BY_OTHERS = (HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT)
"""Statuses that a server between gateway and engine makes up: the engine may still be working on the request."""
_MANAGEMENT = frozenset({"/v1/load_lora_adapter", "/v1/unload_lora_adapter"})
"""Paths that change a replica."""


class _Kept(msgspec.Struct):
    """The fields of a `/v1/responses` body that say what the replica keeps, or has kept."""

    store: object = True
    previous_response_id: object = None


_kept = msgspec.json.Decoder(_Kept)


def is_repeatable(method: bytes, path: str, body: bytes, status: int) -> bool:
    """Tell whether another replica may be asked after one has answered with an error.

    Args:
        method: the request's method.
        path: its path, without the query.
        body: its body.
        status: the status of the error.
    """
    if path.startswith(_RESPONSES + "/") or path in _MANAGEMENT:
        return False  # about one replica, and no other
    if path != _RESPONSES or method in _SAFE:
        return True
    try:
        fields = _kept.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return True  # the engine keeps nothing of a body that is no JSON
    if fields.previous_response_id is not None:
        return False  # only the replica that has it can go on from it
    return fields.store is False or status not in _MADE_BY_OTHERS
