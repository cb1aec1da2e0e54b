"""The bodies of a divided request: one asks for the prompt alone, the other for the answer to a prompt that is fetched.

The protocol is that of vLLM's `kv_transfer_params`, which its four APIs have in common: the first leg says
`do_remote_decode`, its answer says where the blocks are kept, and the second leg hands that on.
"""

from typing import Any, Final

import msgspec

from router.http.api.envelope import with_members

PARAMS: Final = "kv_transfer_params"
_ASK: Final = msgspec.Raw(
    b'{"do_remote_decode":true,"do_remote_prefill":false,"remote_engine_id":null,"remote_block_ids":null,'
    b'"remote_host":null,"remote_port":null}'
)
_ONE: Final = msgspec.Raw(b"1")
_NO: Final = msgspec.Raw(b"false")
_CHANGES: Final[dict[str, dict[str, msgspec.Raw]]] = {
    "/v1/chat/completions": {"max_tokens": _ONE, "max_completion_tokens": _ONE},
    "/v1/completions": {"max_tokens": _ONE},
    "/v1/responses": {"max_output_tokens": _ONE, "store": _NO},
    "/v1/messages": {"max_tokens": _ONE},
}
"""By path, what the first leg says in place of the client's own: one token is the least that an engine generates."""
_DROPPED: Final = ("stream_options", "min_tokens")
"""Members that do not go with one token, or with an answer that is no stream."""


class _Shape(msgspec.Struct):
    """The members that say whether a request is one prompt with one answer, which nothing else refers to."""

    n: Any = None
    best_of: Any = None
    echo: Any = None
    prompt: Any = None
    prompt_logprobs: Any = None
    use_beam_search: Any = None
    background: Any = None
    previous_response_id: Any = None


_shape: Final = msgspec.json.Decoder(_Shape)
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def first_leg_body(path: str, body: bytes) -> bytes | None:
    """Return the body that asks a replica to compute the prompt of a request; None: it cannot be divided.

    Args:
        path: the request's path, without the query.
        body: its body.
    """
    changes = _CHANGES.get(path)
    if changes is None:
        return None
    try:
        if not _is_one_prompt(_shape.decode(body)):
            return None
        members = _members.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None  # the replica of the answer says what is wrong with it
    for name in _DROPPED:
        members.pop(name, None)
    return msgspec.json.encode({**members, **changes, "stream": _NO, PARAMS: _ASK})


def _is_one_prompt(shape: _Shape) -> bool:
    many = shape.n not in (None, 1) or shape.best_of not in (None, 1)
    prompt = shape.prompt
    if isinstance(prompt, list) and not all(isinstance(part, int) for part in prompt):
        many = many or len(prompt) != 1
    kept = shape.background or shape.previous_response_id
    return not (many or kept or shape.echo or shape.use_beam_search or shape.prompt_logprobs is not None)


def second_leg_body(body: bytes, params: msgspec.Raw) -> bytes:
    """Return the client's own body, byte for byte, with where the blocks are added at its end."""
    return with_members(body, {PARAMS: params})
