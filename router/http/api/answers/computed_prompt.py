"""The answer to the first leg of a divided request: where the computed prompt's blocks are kept, and what it took."""

from typing import Any, Final

import msgspec

from router.estimator.expectation import Usage
from router.http.api.answers.usage import usage_of

MOST_PARAMS_BYTES: Final = 1 << 20
"""Size above which what a replica says of the blocks is not handed on: it has a number for each."""


class _Computed(msgspec.Struct):
    kv_transfer_params: msgspec.Raw = msgspec.Raw(b"")


_computed: Final = msgspec.json.Decoder(_Computed)
_params: Final = msgspec.json.Decoder(dict[str, Any])


def computed_in(answer: bytes) -> tuple[msgspec.Raw, Usage] | None:
    """Return where the computed prompt's blocks are and what it took, from a first leg's answer; None: it kept none."""
    try:
        params = _computed.decode(answer).kv_transfer_params
        said = _params.decode(params) if 0 < len(bytes(params)) <= MOST_PARAMS_BYTES else {}
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return (params, usage_of(answer)) if said.get("do_remote_prefill") else None
