"""JSON bodies: the model, length, stream and salt that the gateway reads are those that an engine reads."""

import json
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from router.http.access_control.auth import Tenant
from router.http.api.asked_answer import is_streamed, most_tokens
from router.http.api.envelope import EnvelopeError, with_members
from router.http.api.paths import Body
from router.http.asked_model import AskedModelError, read_body
from router.http.wire.request.incoming import IncomingRequest
from tests.fuzz.target import Target


class _Engine(BaseModel):
    """What vLLM's request model reads of a chat, in pydantic's lax mode, as its server does."""

    model_config = ConfigDict(extra="allow")
    model: str | None = None
    stream: bool | None = False
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    cache_salt: str | None = None


_LIMITED: Final = Tenant("t", frozenset({"m"}))


def _as_engine(body: bytes) -> _Engine | None:
    """Return what an engine reads; None: it refuses the body."""
    try:
        found: Any = json.loads(body)
        return _Engine.model_validate(found) if isinstance(found, dict) else None
    except (ValueError, ValidationError, RecursionError):
        return None


def _incoming(body: bytes) -> IncomingRequest:
    path = b"/v1/chat/completions"
    headers = {b"content-type": b"application/json"}
    return IncomingRequest(b"POST", path, path, b"", headers, body, keep_alive=True, http_1_0=False)


def check(data: bytes) -> None:
    """Read as a tenant of some models does; what is accepted means the same to the engine, also with members added."""
    try:
        envelope, outline = read_body(_incoming(data), Body.JSON, _LIMITED)
    except (EnvelopeError, AskedModelError):
        return
    if not data:
        return
    engine = _as_engine(data)
    if engine is not None:
        assert envelope.model == engine.model, (envelope.model, engine.model)
        assert (envelope.cache_salt or None) == (engine.cache_salt or None)
        assert is_streamed(envelope) == bool(engine.stream), (envelope.stream, engine.stream)
        asked = engine.max_completion_tokens if engine.max_completion_tokens is not None else engine.max_tokens
        ours = most_tokens(envelope)
        if isinstance(envelope.max_tokens, int | None) and isinstance(envelope.max_completion_tokens, int | None):
            assert ours is None or asked is None or ours == max(0, asked) or ours == asked, (ours, asked)
    salted = with_members(data, {"model": "other", "cache_salt": "s"})
    engine = _as_engine(salted)
    if _as_engine(data) is not None:
        assert engine is not None
        assert (engine.model, engine.cache_salt) == ("other", "s")
    del outline


TARGET: Final = Target(
    check,
    seeds=(
        b'{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true,"max_tokens":5}',
        b'{"messages":[{"role":"system","content":[{"type":"text","text":"a"}]}],"model":"m","cache_salt":"x"}',
        b'{"model":"m","tools":[{"type":"function","function":{"name":"f","parameters":{}}}],"messages":[]}',
        b'{"a":{"model":"n"},"model":"m","max_completion_tokens":7,"stream":"true"}',
        b' {"model" : "\\u006d" , "stream":0}\n',
        b'{"messages":[{"role":"user","content":"\\ud83d\\ude00 \\"model\\":\\"n\\""}],"model":"m"}',
    ),
    words=(
        b'"model"',
        b'"Model"',
        b'"m\\u006fdel"',
        b'"m"',
        b'"n"',
        b'"stream"',
        b"true",
        b"false",
        b"null",
        b"1",
        b"0",
        b"1.0",
        b"1e3",
        b"-5",
        b"NaN",
        b"Infinity",
        b'"max_tokens"',
        b'"max_completion_tokens"',
        b'"cache_salt"',
        b":",
        b",",
        b"{",
        b"}",
        b"[",
        b"]",
        b'"',
        b"\\",
        b"\\u0000",
        b"\\ud800",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\x00",
        b" ",
        b"\n",
        b'"yes"',
        b'{"model":"n"}',
        b',"model":"n"',
        b'"messages"',
        b'"content"',
        b"/*",
        b"//",
    ),
)
