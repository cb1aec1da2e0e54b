"""A chat's body, decoded once: for the gateway's few fields of it, and for its prompt.

For bodies that have no outline (`router/prompt/outline.py`), as where its code is not compiled. What is long in a body
is its messages, and decoding them costs about as much as skipping them.
"""

from operator import attrgetter
from typing import Any, Final

import msgspec

from router.http.api.envelope import Envelope
from router.prompt.bodies import ChatBody

_FIELDS: Final = msgspec.structs.fields(Envelope)
_values: Final = attrgetter(*Envelope.__struct_fields__)
_whole: Final = msgspec.json.Decoder[Any](
    msgspec.defstruct(
        "WholeChat",
        [(field.name, field.type, field.default) for field in _FIELDS],
        bases=(ChatBody,),
        kw_only=True,
        gc=False,
    )
)


def read_chat(body: bytes) -> tuple[Envelope, ChatBody] | None:
    """Return what `read_json` returns of a chat's body, and the chat; None: it cannot be read so, but may be by others.

    Args:
        body: the body, light enough to be decoded (see `weight.py`).
    """
    try:
        chat = _whole.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return Envelope(*_values(chat)), chat
