"""The pieces that a prompt's messages become: bytes that do not depend on how their JSON is written.

The bytes `FIELD`, `PART` and `PIECE_END` occur in no UTF-8 text, so no content can imitate another structure. Media are
replaced by a digest of their URL or data, repeated to about the length of a text of as many tokens.
"""

import re
from functools import lru_cache
from typing import Final

import msgspec
from xxhash import xxh3_128_digest

from router.prompt.bodies import MEDIA_FIELDS, Content, Item, Media, PromptMessage, PromptPart
from router.prompt.weight import MAX_READ_WEIGHT, weight_of

FIELD: Final = b"\xfe"
"""Stands between the fields of a piece, such as a message's role and its content."""
PART: Final = b"\xfd"
"""Stands between the parts of a message's content, and between the parts of a prompt's head (tools, documents)."""
PIECE_END: Final = b"\xff"
"""Ends a piece."""
MEDIA_BYTES: Final = 1024
"""Bytes that stand for an image, audio or video: about 256 tokens. LLaVA 1.5 takes 576, a thumbnail in Qwen2-VL 64."""
MEDIA_GROWTH: Final = 4
"""Most bytes that stand for a media object, as a multiple of its values: many tiny ones must not fill memory."""
_BRACE: Final = ord("{")
_LONG: Final = 64 * 1024
"""Bytes of a media object above which it is looked at without being decoded, if that is possible."""
_URL: Final = re.compile(rb'\{\s*"url"\s*:\s*"')
_NO_OTHERS: Final = (b"",) * (len(Media.__struct_fields__) - 1)
"""The digests of the fields that a media object of a URL alone does not have."""
_MAX_CACHED_TOOLS: Final = 64 * 1024
"""Bytes of JSON, such as tool definitions, up to which their sorted form is cached."""


def sorted_json(raw: bytes) -> bytes:
    """Return JSON without spaces, its members in order; b"" for one that holds nothing.

    JSON of too many values is returned as it came.
    """
    if raw in {b"null", b"[]", b"{}"}:
        return b""
    if len(raw) <= _MAX_CACHED_TOOLS:
        return _cached_sorted_json(raw)
    # As they came if they are too many to be sorted: the same client most likely sends them in the same order again.
    return raw if weight_of(raw, MAX_READ_WEIGHT) > MAX_READ_WEIGHT else _fresh_sorted_json(raw)


def _fresh_sorted_json(raw: bytes) -> bytes:
    return msgspec.json.encode(msgspec.json.decode(raw), order="sorted")


_cached_sorted_json: Final = lru_cache(maxsize=64)(_fresh_sorted_json)


def message_piece(message: PromptMessage) -> bytes:
    """Return the piece of a message of a chat."""
    content = message.content
    text = content.encode() if content.__class__ is str else content_bytes(content)
    if message.tool_calls or message.name or message.tool_call_id or message.reasoning_content:
        text += _rarer_fields(message)
    return b"".join((message.role.encode(), FIELD, text, PIECE_END))  # one copy of a text that may be long


def _rarer_fields(message: PromptMessage) -> bytes:
    fields = (b"name", message.name), (b"call", message.tool_call_id), (b"why", message.reasoning_content)
    parts = [name + value.encode() for name, value in fields if value]
    if message.tool_calls:
        parts.append(_fresh_sorted_json(bytes(message.tool_calls)))
    return b"".join(FIELD + part for part in parts)


def item_piece(item: Item) -> bytes:
    """Return the piece of an item of a Responses API input."""
    if item.role:
        return item.role.encode() + FIELD + content_bytes(item.content) + PIECE_END
    parts = [value.encode() for value in (item.type, item.call_id, item.id, item.name, item.arguments) if value]
    if item.output:
        parts.append(_fresh_sorted_json(bytes(item.output)))
    if item.content or item.summary:
        parts += [content_bytes(item.content), content_bytes(item.summary)]
    return FIELD.join(parts) + PIECE_END


def content_bytes(content: Content) -> bytes:
    """Return what a message's content is within its piece."""
    if content is None:
        return b""
    if isinstance(content, str):
        return content.encode()
    return PART.join(map(_part, content))


def _part(part: PromptPart | str) -> bytes:
    if isinstance(part, str):
        return part.encode()
    if part.text is not None:
        return part.text.encode()
    pieces = [part.type.encode()]
    pieces += [value.encode() for value in (part.refusal, part.thinking, part.id, part.name, part.tool_use_id) if value]
    if part.input:
        pieces.append(_fresh_sorted_json(bytes(part.input)))
    if part.content is not None:
        pieces.append(content_bytes(part.content))
    for name in MEDIA_FIELDS:
        raw: msgspec.Raw = getattr(part, name)
        if raw:
            pieces.append(_media(raw))
    return FIELD.join(pieces)


def _weighed(digest: bytes, value_bytes: int) -> bytes:
    """Return a media object's digest as often as gives it the weight of about as much text as it takes tokens.

    So routing sees that a prompt with images is long, and that an image in a cache is worth a way. The tokens of an
    image are its model's secret; `MEDIA_BYTES` is of the usual order. No body becomes more than a few times longer.
    """
    weight = min(MEDIA_BYTES, MEDIA_GROWTH * value_bytes)
    return digest * max(1, weight // len(digest))


def _media(raw: msgspec.Raw) -> bytes:
    """Return what stands for a media object: a digest of its raw values. Megabytes are neither decoded nor copied."""
    view = memoryview(raw)
    if view[0] != _BRACE:
        return _weighed(xxh3_128_digest(view), len(view))
    if len(view) > _LONG and (url := _only_url(bytes(view))) is not None:
        digest = xxh3_128_digest(url)
        return _weighed(xxh3_128_digest(FIELD.join((digest, *_NO_OTHERS))), len(url))
    values = msgspec.structs.astuple(_media_decoder.decode(raw))
    digests = [xxh3_128_digest(memoryview(value)) if value else b"" for value in values]
    return _weighed(xxh3_128_digest(FIELD.join(digests)), sum(len(memoryview(value)) for value in values))


def _only_url(raw: bytes) -> bytes | None:
    """Return the URL, in quotes, of a media object that has nothing else; None: it must be decoded, which is slower."""
    start = _URL.match(raw)
    if start is None or raw[-2:] != b'"}' or raw.find(b'"', start.end()) != len(raw) - 2 or b"\\" in raw:
        return None
    return raw[start.end() - 1 : -1]


_media_decoder: Final = msgspec.json.Decoder(Media)
