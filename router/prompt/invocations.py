"""What a body sent to `/invocations` is: SageMaker's one path for all that a model does, as vLLM and SGLang have it."""

from typing import Final

import msgspec

from router.prompt.weight import MAX_WEIGHT, weight_of

INVOCATIONS: Final = "/invocations"
_MISSING: Final = msgspec.Raw(b"")


class _Members(msgspec.Struct, gc=False):
    """The members by which an engine knows what a body is."""

    messages: msgspec.Raw = _MISSING
    prompt: msgspec.Raw = _MISSING
    input: msgspec.Raw = _MISSING


_decoder: Final = msgspec.json.Decoder(_Members)


def invoked_path(body: bytes) -> str:
    """Return the path of the API that a body is for; `INVOCATIONS` where that is not known, or too much to look at."""
    if weight_of(body) > MAX_WEIGHT:
        return INVOCATIONS
    try:
        found = _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return INVOCATIONS
    if found.messages:
        return "/v1/chat/completions"
    if found.prompt:
        return "/v1/completions"
    return "/v1/embeddings" if found.input else INVOCATIONS
