"""A request body's prompt as canonical bytes, which do not depend on the JSON's key order or spacing.

A prompt becomes a list of pieces in the order in which an engine's template renders them: tools, instructions, then
messages. Prompts with the same first messages have the same first pieces; prompts that share only the start of a
message share the start of that piece. The bytes `FIELD`, `PART` and `PIECE_END` occur in no UTF-8 text, so no content
can imitate another structure.

Media are replaced by a digest of their URL or data, repeated to about the length of a text of as many tokens.
Of a body that is much work only the beginning is read, and the rest of the prompt is counted (see `weight.py`).
A body that cannot be understood raises `UnknownPromptError`; its request is still routed, but without affinity.
"""

from collections.abc import Callable
from typing import Final, final

import msgspec

from router.prompt.bodies import (
    AnthropicBody,
    AnthropicHead,
    ChatBody,
    ChatHead,
    Content,
    EmbeddingBody,
    Item,
    PairsBody,
    PromptMessage,
    ResponsesBody,
    ResponsesHead,
    TextBody,
    TextHead,
)
from router.prompt.message_piece import (
    FIELD,
    MEDIA_BYTES,
    PART,
    PIECE_END,
    content_bytes,
    item_piece,
    message_piece,
    sorted_json,
)
from router.prompt.outline import Outline, outline_of
from router.prompt.weight import MAX_HASHED_BYTES, MAX_READ_BYTES, MAX_READ_WEIGHT, MAX_WEIGHT, weight_of

_BYTES_OF_WEIGHT: Final = 8
"""Bytes that stand for one weight of a message that is not read: a text, which weighs 8, for 64."""
_COMPLETIONS: Final = "/v1/completions"
_SPACE: Final = b" \t\r\n"


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


def read_prompt(path: str, body: bytes, known: Outline | ChatBody | None = None) -> Prompt:
    """Read the prompt of a request to `path`.

    Args:
        path: the request's path, without the query.
        body: the request's body, as it came.
        known: the same body in outline, or decoded; None: neither has been tried.

    Raises:
        UnknownPromptError: the path takes no prompt, or the body is not what that path takes.
    """
    read = _READERS.get(path)
    if read is None:
        raise UnknownPromptError(f"{path} takes no prompt that is known here")
    try:
        outline = outline_of(path, body) if known is None else known
        if isinstance(outline, ChatBody):
            prompt = _whole_chat(outline)
        elif outline is not None:
            prompt = _OUTLINED[path](outline, body)
        else:
            most = MAX_WEIGHT if path == _COMPLETIONS else MAX_READ_WEIGHT  # token ids are not read one by one
            if weight_of(body, most) > most:
                raise UnknownPromptError("the body has too many values to be looked at")
            prompt = read(body)
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
        raise UnknownPromptError(f"the body's prompt cannot be read: {error}") from error
    return prompt if len(body) <= MAX_HASHED_BYTES else _beginning(prompt)


def _beginning(prompt: Prompt) -> Prompt:
    """Return a prompt of which at most `MAX_HASHED_BYTES` are looked up; the rest is counted."""
    left = MAX_HASHED_BYTES
    for number, piece in enumerate(prompt.pieces):
        if len(piece) > left:
            rest_bytes = sum(map(len, prompt.pieces[number:])) - left
            pieces = [*prompt.pieces[:number], piece[:left]]
            return Prompt(pieces, prompt.tokens, prompt.cache_salt, prompt.more_bytes + rest_bytes)
        left -= len(piece)
    return prompt


def assistant_piece(text: str) -> bytes:
    """Return the piece that an answer of `text` will be in the next turn's prompt."""
    return b"assistant" + FIELD + text.encode() + PIECE_END


def _chat(body: bytes) -> Prompt:
    return _whole_chat(_chat_decoder.decode(body))


def _whole_chat(chat: ChatBody) -> Prompt:
    return Prompt([*_chat_head(chat), *map(message_piece, chat.messages)], cache_salt=chat.cache_salt or "")


def _outlined_chat(outline: Outline, body: bytes) -> Prompt:
    head = _chat_head_decoder.decode(outline.rest)
    messages, more_bytes = _outlined_messages(outline, body, _read_message)
    return Prompt(_chat_head(head) + messages, cache_salt=head.cache_salt or "", more_bytes=more_bytes)


def _chat_head(chat: ChatHead) -> list[bytes]:
    return _head(chat.tools or chat.functions, chat.chat_template, chat.chat_template_kwargs, chat.documents)


def _anthropic(body: bytes) -> Prompt:
    messages = _anthropic_decoder.decode(body)
    pieces = [*_anthropic_head(messages), *map(message_piece, messages.messages)]
    return Prompt(pieces, cache_salt=messages.cache_salt or "")


def _outlined_anthropic(outline: Outline, body: bytes) -> Prompt:
    head = _anthropic_head_decoder.decode(outline.rest)
    messages, more_bytes = _outlined_messages(outline, body, _read_message)
    return Prompt(_anthropic_head(head) + messages, cache_salt=head.cache_salt or "", more_bytes=more_bytes)


def _anthropic_head(messages: AnthropicHead) -> list[bytes]:
    pieces = _head(messages.tools)
    raw = bytes(messages.system)
    if weight_of(raw, MAX_READ_WEIGHT) > MAX_READ_WEIGHT:
        pieces.append(b"system" + FIELD + raw + PIECE_END)
    elif raw and (system := _content_decoder.decode(raw)):
        pieces.append(b"system" + FIELD + content_bytes(system) + PIECE_END)
    return pieces


def _outlined_messages(outline: Outline, body: bytes, read: Callable[[memoryview], bytes]) -> tuple[list[bytes], int]:
    """Return the pieces of an outline's messages, and about the size of those after it that are too much to read.

    Args:
        outline: the body in outline.
        body: the body.
        read: makes the piece of a message that has none yet.
    """
    given = outline.pieces
    if isinstance(given, bytes):
        raise UnknownPromptError("the messages are no list")
    pieces: list[bytes] = []
    left_bytes, left_weight = MAX_READ_BYTES, MAX_READ_WEIGHT
    for number, piece in enumerate(given):
        if isinstance(piece, bytes):
            pieces.append(piece)
            continue
        left_bytes -= piece[1] - piece[0]
        left_weight -= piece[2]
        if left_bytes < 0 or left_weight < 0:
            return pieces, sum(map(_about_bytes, given[number:]))
        pieces.append(read(memoryview(body)[piece[0] : piece[1]]))
    return pieces, 0


def _about_bytes(piece: bytes | tuple[int, int, int]) -> int:
    """Return the size of a message in an outline; one that is long for its weight has media, which count as such."""
    if isinstance(piece, bytes):
        return len(piece)
    start, end, weight = piece
    return min(end - start, MEDIA_BYTES + _BYTES_OF_WEIGHT * weight)


def _read_message(message: memoryview) -> bytes:
    return message_piece(_message_decoder.decode(message))


def _read_item(item: memoryview) -> bytes:
    return item_piece(_item_decoder.decode(item))


def _responses(body: bytes) -> Prompt:
    responses = _responses_decoder.decode(body)
    pieces = _responses_head(responses)
    if isinstance(responses.input, str):
        pieces.append(_user_piece(responses.input.encode()))
    else:
        pieces += map(item_piece, responses.input)
    return Prompt(pieces, cache_salt=responses.cache_salt or "")


def _outlined_responses(outline: Outline, body: bytes) -> Prompt:
    head, given = _responses_head_decoder.decode(outline.rest), outline.pieces
    pieces, more_bytes = _responses_head(head), 0
    if isinstance(given, bytes):
        pieces.append(_user_piece(given))
    else:
        items, more_bytes = _outlined_messages(outline, body, _read_item)
        pieces += items
    return Prompt(pieces, cache_salt=head.cache_salt or "", more_bytes=more_bytes)


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
        return Prompt(list(map(message_piece, embedding.messages)), cache_salt=embedding.cache_salt or "")
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
    parts = [sorted_json(bytes(raw)) for raw in raws if raw]
    return [b"tools" + FIELD + PART.join(parts) + PIECE_END] if any(parts) else []


_chat_decoder: Final = msgspec.json.Decoder(ChatBody)
_chat_head_decoder: Final = msgspec.json.Decoder(ChatHead)
_anthropic_decoder: Final = msgspec.json.Decoder(AnthropicBody)
_anthropic_head_decoder: Final = msgspec.json.Decoder(AnthropicHead)
_content_decoder: Final = msgspec.json.Decoder(Content)
_message_decoder: Final = msgspec.json.Decoder(PromptMessage)
_responses_decoder: Final = msgspec.json.Decoder(ResponsesBody)
_responses_head_decoder: Final = msgspec.json.Decoder(ResponsesHead)
_item_decoder: Final = msgspec.json.Decoder(Item)
_text_decoder: Final = msgspec.json.Decoder(TextBody)
_text_head_decoder: Final = msgspec.json.Decoder(TextHead)
_embedding_decoder: Final = msgspec.json.Decoder(EmbeddingBody)
_pairs_decoder: Final = msgspec.json.Decoder(PairsBody)
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
