"""Token counts and text of an answer, read once, when it has ended."""

import re
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from router.estimator.expectation import Usage
from router.http.api.resume import CHAT
from router.http.api.sent_text import SentText
from router.prompt.canonical import assistant_piece

MAX_TAIL = 16 * 1024
"""Bytes at an answer's end in which its usage is looked for."""

_KEY = b'"usage"'
_USAGE = re.compile(rb'"usage"\s*:\s*\{')
_CONTENT = re.compile(rb'"content"\s*:\s*"((?:[^"\\]|\\.)*)"')
_UNKNOWN = Usage()

_Count = Annotated[int, msgspec.Meta(ge=0)]


class _Details(msgspec.Struct, gc=False):
    cached_tokens: _Count | None = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: _Count
    completion_tokens: _Count | None = None
    prompt_tokens_details: _Details | None = None


class _Message(msgspec.Struct, gc=False):
    content: str | None = None


class _AnswerChoice(msgspec.Struct, gc=False):
    message: _Message


class _ChatAnswer(msgspec.Struct, gc=False):
    usage: _Usage
    choices: list[_AnswerChoice]


class _AnyAnswer(msgspec.Struct, gc=False):
    usage: _Usage


_chat_answer = msgspec.json.Decoder(_ChatAnswer)
_any_answer = msgspec.json.Decoder(_AnyAnswer)


def read_answer(path: str, sent: SentText | None, kept: Sequence[bytes]) -> tuple[Usage, bytes]:
    """Read usage and text of a whole answer.

    Args:
        path: the request's path.
        sent: the text of a resumable stream; None for any other answer.
        kept: the bytes of an answer that is no resumable stream, in parts.

    Returns:
        The answer's usage, and the piece that it will be in a chat's next turn; b"" where it is no chat.
    """
    answer = sent.rest() if sent is not None else b"".join(kept)
    if answer[:1] == b"{" and path == CHAT:
        try:
            return _read_chat(_chat_answer.decode(answer))
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass  # an answer of another shape: use what the searches below find
    text = ""
    if path == CHAT:
        text = (sent.text if sent is not None else "") + reply_text(answer)
    return read_usage(answer), assistant_piece(text) if text else b""


def _read_chat(answer: _ChatAnswer) -> tuple[Usage, bytes]:
    text = "".join([choice.message.content or "" for choice in answer.choices])
    return _counted(answer.usage), assistant_piece(text) if text else b""


def _counted(usage: _Usage) -> Usage:
    details = usage.prompt_tokens_details
    cached_tokens = details.cached_tokens if details is not None else None
    return Usage(usage.prompt_tokens, cached_tokens, usage.completion_tokens)


def read_counts(sent: SentText | None, kept: Sequence[bytes]) -> Usage:
    """Read only the usage of an answer; for the arguments see `read_answer`."""
    answer = sent.rest() if sent is not None else b"".join(kept)
    if answer[:1] == b"{":
        try:
            return _counted(_any_answer.decode(answer).usage)
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass  # an answer of another shape: search its end
    return read_usage(answer)


def read_usage(tail: bytes) -> Usage:
    """Read the last `usage` object at the end of an answer, streamed or not; all fields None where there is none."""
    tail = tail[-MAX_TAIL:]
    found = None
    at = len(tail)
    while found is None:
        at = tail.rfind(_KEY, 0, at)
        if at < 0:
            return _UNKNOWN
        found = _USAGE.match(tail, at)
    text = tail[found.end() - 1 :]
    end = _end_of_object(text)
    try:
        fields: dict[str, Any] = msgspec.json.decode(text[:end])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _UNKNOWN
    details = fields.get("prompt_tokens_details") or fields.get("input_tokens_details") or {}
    return Usage(
        prompt_tokens=_count(fields.get("prompt_tokens", fields.get("input_tokens"))),
        cached_tokens=_count(details.get("cached_tokens")) if isinstance(details, dict) else None,
        completion_tokens=_count(fields.get("completion_tokens", fields.get("output_tokens"))),
    )


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None


def _end_of_object(text: bytes) -> int:
    """Return the offset at which the JSON object at the start of `text` ends; it must hold no braces in strings."""
    depth = 0
    for brace in re.finditer(rb"[{}]", text):
        depth += 1 if brace.group() == b"{" else -1
        if depth == 0:
            return brace.end()
    return len(text)


def reply_text(answer: bytes) -> str:
    """Return the text of a chat's answer, streamed or not; "" where there is none.

    One search covers all events, so a stream costs microseconds in all, not microseconds an event.
    """
    try:
        text: str = msgspec.json.decode(b'"' + b"".join(_CONTENT.findall(answer)) + b'"')
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    return text
