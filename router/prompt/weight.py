"""How much work reading a JSON body is, and how much of it is done on the event loop.

A body of 32 MB takes no time if it is one long text, and seconds if it is millions of small values. So a body is
weighed first, which takes about a nanosecond for each byte outside of its texts and stops at the bound.
"""

from typing import Final

try:
    from router.prompt.prompt_scan import weigh as compiled_weigh
except ImportError:
    compiled_weigh = None  # type: ignore[assignment]  # not compiled here: `make setup` says why

MAX_WEIGHT: Final = 1 << 19
"""Weight above which a body is refused. A text, array or object weighs 8, any other value 1: some 300 000 token ids,
or 65 536 texts and objects. Reading ids takes about 20 ns each, skipping the others less."""
MAX_MESSAGES: Final = 16_384
"""Messages of a chat above which it is refused. Each costs about a quarter of a microsecond."""
MAX_READ_WEIGHT: Final = 1 << 17
"""Weight of messages, tools and the like above which a prompt is not looked at any further. Reading so much in Python
takes about 5 ms; it is that of some hundred turns with tool calls."""
MAX_READ_BYTES: Final = 8 << 20
"""Bytes of messages with more than text, such as photos, above which a prompt is not looked at any further."""
MAX_HASHED_BYTES: Final = 8 << 20
"""Bytes of a prompt that are hashed, about two million tokens; what follows is counted, but not looked up."""
SMALL_BODY: Final = 16 * 1024
"""Bytes up to which a body cannot weigh enough to matter, so it is not weighed."""
_HEAVY: Final = 8
_SPACE: Final = 16
"""Bytes outside of texts that weigh 1."""
_FEW_TEXTS: Final = 64
"""Texts that are passed one by one in Python; of more, the rest of the body is split at all quotes at once. A search
for one quote is far quicker through a long text, and slower through short ones."""
_LOOK_BYTES: Final = 4 << 20
"""Bytes at a body's beginning that are weighed first in Python: what is made to be heavy most likely is so there."""


class TooHeavyError(ValueError):
    """A body has more messages or values than are read; the message is for the client."""


def weight_of(body: bytes, most: int = MAX_WEIGHT) -> int:
    """Return about the weight of a JSON body; above `most`, any number above it.

    0 stands for a body that is too small to matter. What is no JSON has a weight as well.
    """
    if len(body) <= SMALL_BODY:
        return 0
    return compiled_weigh(body, most) if compiled_weigh is not None else weigh_interpreted(body, most)


def weigh_interpreted(body: bytes, most: int) -> int:
    """Do what `weigh` of prompt_scan.c does, in Python: for any number above `most`, at least about as quickly."""
    if len(body) > 2 * _LOOK_BYTES and (weight := weigh_interpreted(body[:_LOOK_BYTES], most)) > most:
        return weight
    if b"\\" in body and b'\\"' in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")  # so that each quote begins or ends a text
    between: list[bytes] = []
    texts = end = 0
    while texts < _FEW_TEXTS and (start := body.find(b'"', end)) >= 0:
        texts += 1
        between.append(body[end:start])
        end = body.find(b'"', start + 1) + 1 or len(body)
    rest = body[end:]
    if b'"' in rest:
        texts += (rest.count(b'"') + 1) // 2
        if _HEAVY * texts > most:
            return _HEAVY * texts
        between += rest.split(b'"')[::2]
    else:
        between.append(rest)
    outside = b"".join(between)
    return (
        _HEAVY * (texts + outside.count(b"{") + outside.count(b"["))
        + outside.count(b",")
        + ((len(outside) + texts) // _SPACE)
    )


def check_weight(body: bytes) -> int:
    """Check that a body can be read in a moment; return its weight.

    Raises:
        TooHeavyError: it cannot.
    """
    weight = weight_of(body)
    if weight > MAX_WEIGHT:
        raise too_heavy("weight")
    return weight


def too_heavy(what: str) -> TooHeavyError:
    """Return the error of a body with too much of something, "messages" or "weight"."""
    if what == "messages":
        return TooHeavyError(f"the request has over {MAX_MESSAGES} messages")
    return TooHeavyError(
        f"the request body has too many values: over {MAX_WEIGHT // _HEAVY} texts, arrays and objects, or as "
        "much in numbers and space"
    )
