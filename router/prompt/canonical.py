"""A request body's prompt as canonical bytes, which do not depend on the JSON's key order or spacing.

A prompt becomes a list of pieces in the order in which an engine's template renders them: tools, instructions, then
messages. Prompts with the same first messages have the same first pieces; prompts that share only the start of a
message share the start of that piece. The bytes `FIELD`, `PART` and `PIECE_END` occur in no UTF-8 text, so no content
can imitate another structure.

Media are replaced by a digest of their URL or data, repeated to about the length of a text of as many tokens.
A body that cannot be understood raises `UnknownPromptError`; its request is still routed, but without affinity.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Final, final

import msgspec
from xxhash import xxh3_128_digest

from router.prompt.bodies import (
    MEDIA_FIELDS,
    AnthropicBody,
    AnthropicHead,
    ChatBody,
    ChatHead,
    Content,
    EmbeddingBody,
    Item,
    Media,
    PairsBody,
    PromptMessage,
    PromptPart,
    ResponsesBody,
    ResponsesHead,
    TextBody,
    TextHead,
)
from router.prompt.outline import Outline, outline_of

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
_SPACE: Final = b" \t\r\n"
_MAX_CACHED_TOOLS: Final = 64 * 1024
"""Bytes of JSON, such as tool definitions, up to which their sorted form is cached."""


class UnknownPromptError(Exception):
    """The path takes no prompt, or the body holds none that can be read."""


@final
class Prompt:  # noqa: PLW1641 - its pieces are a list: it has no hash
    """A prompt in canonical form.

    Attributes:
        pieces: the prompt's bytes, piece by piece; the next turn of a chat continues at the end of the last piece.
        tokens: tokens of all the body's prompts where they are given as token ids; 0: not known.
        cache_salt: the body's own `cache_salt`; engines share no prefix between different salts.
        more_bytes: size of the body's further prompts, which are counted but not looked up: bytes for token ids,
            characters for text.
    """

    __slots__ = ("cache_salt", "more_bytes", "pieces", "tokens")

    def __init__(
        self,
        pieces: list[bytes],
        tokens: int = 0,
        cache_salt: str = "",
        more_bytes: int = 0,
    ) -> None:
        self.pieces = pieces
        self.tokens = tokens
        self.cache_salt = cache_salt
        self.more_bytes = more_bytes

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Prompt) and self._fields() == other._fields()

    def _fields(self) -> tuple[list[bytes], int, str, int]:
        return self.pieces, self.tokens, self.cache_salt, self.more_bytes


def read_prompt(path: str, body: bytes, outline: Outline | None = None) -> Prompt:
    """Read the prompt of a request to `path`.

    Args:
        path: the request's path, without the query.
        body: the request's body, as it came.
        outline: the same body in outline; None: it has not been tried.

    Raises:
        UnknownPromptError: the path takes no prompt, or the body is not what that path takes.
    """
    read = _READERS.get(path)
    if read is None:
        raise UnknownPromptError(f"{path} takes no prompt that is known here")
    try:
        if outline is None:
            outline = outline_of(path, body)
        return _OUTLINED[path](outline, body) if outline is not None else read(body)
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
        raise UnknownPromptError(f"the body's prompt cannot be read: {error}") from error


def assistant_piece(text: str) -> bytes:
    """Return the piece that an answer of `text` will be in the next turn's prompt."""
    return b"assistant" + FIELD + text.encode() + PIECE_END


def _chat(body: bytes) -> Prompt:
    chat = _chat_decoder.decode(body)
    return Prompt([*_chat_head(chat), *map(_message, chat.messages)], cache_salt=chat.cache_salt or "")


def _outlined_chat(outline: Outline, body: bytes) -> Prompt:
    head = _chat_head_decoder.decode(outline.rest)
    return Prompt(_chat_head(head) + _outlined_messages(outline, body), cache_salt=head.cache_salt or "")


def _chat_head(chat: ChatHead) -> list[bytes]:
    return _head(chat.tools or chat.functions, chat.chat_template, chat.chat_template_kwargs, chat.documents)


def _anthropic(body: bytes) -> Prompt:
    messages = _anthropic_decoder.decode(body)
    pieces = [*_anthropic_head(messages), *map(_message, messages.messages)]
    return Prompt(pieces, cache_salt=messages.cache_salt or "")


def _outlined_anthropic(outline: Outline, body: bytes) -> Prompt:
    head = _anthropic_head_decoder.decode(outline.rest)
    return Prompt(_anthropic_head(head) + _outlined_messages(outline, body), cache_salt=head.cache_salt or "")


def _anthropic_head(messages: AnthropicHead) -> list[bytes]:
    pieces = _head(messages.tools)
    if messages.system:
        pieces.append(b"system" + FIELD + _content(messages.system) + PIECE_END)
    return pieces


def _outlined_messages(outline: Outline, body: bytes) -> list[bytes]:
    """Return the pieces of an outline's messages; those that are not read yet are decoded."""
    pieces = outline.pieces
    if isinstance(pieces, bytes):
        raise UnknownPromptError("the messages are no list")
    return [
        piece if isinstance(piece, bytes) else _message(_message_decoder.decode(body[piece[0] : piece[1]]))
        for piece in pieces
    ]


def _responses(body: bytes) -> Prompt:
    responses = _responses_decoder.decode(body)
    pieces = _responses_head(responses)
    if isinstance(responses.input, str):
        pieces.append(_user_piece(responses.input.encode()))
    else:
        pieces += map(_item, responses.input)
    return Prompt(pieces, cache_salt=responses.cache_salt or "")


def _outlined_responses(outline: Outline, body: bytes) -> Prompt:
    head, given = _responses_head_decoder.decode(outline.rest), outline.pieces
    pieces = _responses_head(head)
    if isinstance(given, bytes):
        pieces.append(_user_piece(given))
    else:
        pieces += [
            piece if isinstance(piece, bytes) else _item(_item_decoder.decode(body[piece[0] : piece[1]]))
            for piece in given
        ]
    return Prompt(pieces, cache_salt=head.cache_salt or "")


def _responses_head(responses: ResponsesHead) -> list[bytes]:
    pieces = _head(responses.tools)
    if responses.previous_response_id:
        pieces.append(b"previous" + FIELD + responses.previous_response_id.encode() + PIECE_END)
    if responses.instructions:
        pieces.append(b"system" + FIELD + responses.instructions.encode() + PIECE_END)
    return pieces


def _user_piece(text: bytes) -> bytes:
    return b"user" + FIELD + text + PIECE_END


def _text(body: bytes) -> Prompt:
    text = _text_decoder.decode(body)
    return _flat(text.prompt, text.cache_salt)


def _outlined_text(outline: Outline, body: bytes) -> Prompt:
    del body
    if not isinstance(outline.pieces, bytes):
        raise UnknownPromptError("the prompt is neither text nor token ids")
    return Prompt([outline.pieces], cache_salt=_text_head_decoder.decode(outline.rest).cache_salt or "")


def _embedding(body: bytes) -> Prompt:
    embedding = _embedding_decoder.decode(body)
    if embedding.messages is not None:
        return Prompt(list(map(_message, embedding.messages)), cache_salt=embedding.cache_salt or "")
    return _flat(embedding.input, embedding.cache_salt)


def _pairs(body: bytes) -> Prompt:
    """Read the size of a query with each of its documents. Nothing of it is looked up: such models keep no cache."""
    pairs = _pairs_decoder.decode(body)
    first = _texts(pairs.query or pairs.queries or pairs.text_1 or pairs.data_1)
    second = _texts(pairs.documents or pairs.items or pairs.text_2 or pairs.data_2)
    if not first or not second:
        raise UnknownPromptError("there are no two lists of texts")
    times = len(second) if len(first) == 1 else 1  # one with all, or each with its own
    return Prompt([], more_bytes=times * sum(map(len, first)) + sum(map(len, second)))


def _texts(raw: msgspec.Raw) -> list[bytes]:
    """Return the JSON of each text of a list, or of the one that there is."""
    text = bytes(raw)
    if text.lstrip(_SPACE)[:1] == b"[":
        return [bytes(each) for each in _lists_decoder.decode(text)]
    return [text] if text else []


def _flat(raw: msgspec.Raw, cache_salt: str | None) -> Prompt:
    """Read a prompt that is text, token ids, or a list of either."""
    salt = cache_salt or ""
    text = bytes(raw)
    start = text[:64].translate(None, _SPACE)[:2]
    if start[:1] == b'"':
        return Prompt([_string_decoder.decode(text).encode()], cache_salt=salt)
    if start == b'["':
        first, *rest = _strings_decoder.decode(text)
        return Prompt([first.encode()], cache_salt=salt, more_bytes=sum(len(other) for other in rest))
    if start == b"[[":
        first_ids, *more_ids = [_digits(bytes(ids)) for ids in _lists_decoder.decode(text)]
        tokens = sum(ids.count(b",") for ids in (first_ids, *more_ids))
        return Prompt([first_ids], tokens=tokens, cache_salt=salt, more_bytes=sum(map(len, more_ids)))
    if start[:1] == b"[" and start[1:].isdigit():
        ids = _digits(text)
        return Prompt([ids], tokens=ids.count(b","), cache_salt=salt)
    raise UnknownPromptError("the prompt is neither text nor token ids")


def _digits(ids: bytes) -> bytes:
    """Return a JSON list of token ids without spaces and brackets, and with a comma at its end.

    The digits are not parsed, so ten thousand ids cost microseconds.
    """
    return ids.translate(None, _SPACE + b"[]") + b","


def _head(*raws: msgspec.Raw) -> list[bytes]:
    """Return one piece for tools and the like, which stand before the first message; [] where there are none."""
    parts = [_sorted_json(bytes(raw)) for raw in raws if raw]
    return [b"tools" + FIELD + PART.join(parts) + PIECE_END] if any(parts) else []


def _sorted_json(raw: bytes) -> bytes:
    if raw in {b"null", b"[]", b"{}"}:
        return b""
    return _cached_sorted_json(raw) if len(raw) <= _MAX_CACHED_TOOLS else _fresh_sorted_json(raw)


def _fresh_sorted_json(raw: bytes) -> bytes:
    return msgspec.json.encode(msgspec.json.decode(raw), order="sorted")


_cached_sorted_json: Final = lru_cache(maxsize=64)(_fresh_sorted_json)


def _message(message: PromptMessage) -> bytes:
    content = message.content
    text = content.encode() if content.__class__ is str else _content(content)
    if message.tool_calls or message.name or message.tool_call_id or message.reasoning_content:
        text += _rarer_fields(message)
    return b"".join((message.role.encode(), FIELD, text, PIECE_END))  # one copy of a text that may be long


def _rarer_fields(message: PromptMessage) -> bytes:
    fields = (b"name", message.name), (b"call", message.tool_call_id), (b"why", message.reasoning_content)
    parts = [name + value.encode() for name, value in fields if value]
    if message.tool_calls:
        parts.append(_fresh_sorted_json(bytes(message.tool_calls)))
    return b"".join(FIELD + part for part in parts)


def _item(item: Item) -> bytes:
    if item.role:
        return item.role.encode() + FIELD + _content(item.content) + PIECE_END
    parts = [value.encode() for value in (item.type, item.call_id, item.id, item.name, item.arguments) if value]
    if item.output:
        parts.append(_fresh_sorted_json(bytes(item.output)))
    if item.content or item.summary:
        parts += [_content(item.content), _content(item.summary)]
    return FIELD.join(parts) + PIECE_END


def _content(content: Content) -> bytes:
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
        pieces.append(_content(part.content))
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
    values = msgspec.structs.astuple(_media_decoder.decode(raw))
    digests = [xxh3_128_digest(memoryview(value)) if value else b"" for value in values]
    return _weighed(xxh3_128_digest(FIELD.join(digests)), sum(len(memoryview(value)) for value in values))


_chat_decoder: Final = msgspec.json.Decoder(ChatBody)
_chat_head_decoder: Final = msgspec.json.Decoder(ChatHead)
_anthropic_decoder: Final = msgspec.json.Decoder(AnthropicBody)
_anthropic_head_decoder: Final = msgspec.json.Decoder(AnthropicHead)
_message_decoder: Final = msgspec.json.Decoder(PromptMessage)
_responses_decoder: Final = msgspec.json.Decoder(ResponsesBody)
_responses_head_decoder: Final = msgspec.json.Decoder(ResponsesHead)
_item_decoder: Final = msgspec.json.Decoder(Item)
_text_decoder: Final = msgspec.json.Decoder(TextBody)
_text_head_decoder: Final = msgspec.json.Decoder(TextHead)
_embedding_decoder: Final = msgspec.json.Decoder(EmbeddingBody)
_pairs_decoder: Final = msgspec.json.Decoder(PairsBody)
_media_decoder: Final = msgspec.json.Decoder(Media)
_string_decoder: Final = msgspec.json.Decoder(str)
_strings_decoder: Final = msgspec.json.Decoder(list[str])
_lists_decoder: Final = msgspec.json.Decoder(list[msgspec.Raw])

_READERS: Final[dict[str, Callable[[bytes], Prompt]]] = {
    "/v1/chat/completions": _chat,
    "/v1/completions": _text,
    "/v1/embeddings": _embedding,
    "/v1/responses": _responses,
    "/v1/messages": _anthropic,
    "/pooling": _embedding,
    "/classify": _embedding,
    **dict.fromkeys(("/score", "/v1/score", "/rerank", "/v1/rerank", "/v2/rerank"), _pairs),
}
_OUTLINED: Final[dict[str, Callable[[Outline, bytes], Prompt]]] = {
    "/v1/chat/completions": _outlined_chat,
    "/v1/completions": _outlined_text,
    "/v1/responses": _outlined_responses,
    "/v1/messages": _outlined_anthropic,
}
"""Readers of bodies in outline. They read what `_READERS` reads of the body."""
