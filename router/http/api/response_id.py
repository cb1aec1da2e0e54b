"""The ids of stored responses (`/v1/responses`): in paths, in the first bytes of an answer, and made for tenants."""

import re
import secrets
from hashlib import blake2s
from typing import Final, NamedTuple

import msgspec

CREATE_RESPONSE: Final = "/v1/responses"
"""Path that creates a response, which its replica may store."""
BY_ID: Final = b"/v1/responses/"
"""How the paths of requests about one response begin."""
MAX_LOOKED_AT: Final = 8 * 1024
"""Bytes at an answer's beginning in which its id is looked for."""

_ID = rb"[A-Za-z0-9._:-]{1,200}"
_PATH = re.compile(rb"/v1/responses/(%s)(/cancel|/input_items)?" % _ID)
_METHODS: Final = {b"": (b"GET", b"DELETE"), b"/cancel": (b"POST",), b"/input_items": (b"GET",)}
_MEMBER = re.compile(rb'"id"\s*:\s*"(%s)"' % _ID)
_CHUNK_FRAME = re.compile(rb"(?:^|\r\n)[0-9A-Fa-f]+(?:;[^\r\n]*)?\r\n")
_RANDOM_DIGITS: Final = 32
_TAG_BYTES: Final = 8


class ResponsePath(NamedTuple):
    """A path about one response.

    Attributes:
        response_id: the response's id.
        methods: the methods that the path knows.
    """

    response_id: str
    methods: tuple[bytes, ...]


def response_path(path: bytes) -> ResponsePath | None:
    """Return what a path below /v1/responses/ asks about; None: there is no such path."""
    found = _PATH.fullmatch(path)
    return ResponsePath(found[1].decode("ascii"), _METHODS[found[2] or b""]) if found else None


def is_response_id(text: str) -> bool:
    """Tell whether a text can be a response's id."""
    return re.fullmatch(_ID, text.encode("utf-8", "replace")) is not None


def id_in(beginning: bytes) -> str | None:
    """Return the response's id from the beginning of an answer, streamed or not, chunked or not; None: not there yet.

    Servers write the id first, or nearly. Where other things with an id come before it, the first that looks like a
    response's is taken.
    """
    found = [match.decode("ascii") for match in _MEMBER.findall(_CHUNK_FRAME.sub(b"", beginning))]
    return next((name for name in found if name.startswith("resp")), None)


class _Stored(msgspec.Struct, gc=False):
    id: str


_stored = msgspec.json.Decoder(_Stored)


def is_response(body: bytes, response_id: str) -> bool:
    """Tell whether a body is the response of that id."""
    try:
        return _stored.decode(body).id == response_id
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False


def new_response_id(tenant: str) -> str:
    """Return an id for a response of a tenant, which nobody can guess and every gateway can tell to be the tenant's.

    It is given to the engine as `request_id`; vLLM and SGLang call the response by it.
    """
    random = secrets.token_hex(_RANDOM_DIGITS // 2)
    return f"resp_{random}{_tag(random, tenant)}"


def is_of_tenant(response_id: str, tenant: str) -> bool:
    """Tell whether an id was made by `new_response_id` for a tenant.

    No secret is needed: an id cannot be changed by those who would like it to be theirs.
    """
    random, tag = response_id[5 : 5 + _RANDOM_DIGITS], response_id[5 + _RANDOM_DIGITS :]
    return response_id.startswith("resp_") and len(random) == _RANDOM_DIGITS and tag == _tag(random, tenant)


def _tag(random: str, tenant: str) -> str:
    return blake2s(f"{random} {tenant}".encode(), digest_size=_TAG_BYTES).hexdigest()
