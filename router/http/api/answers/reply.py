"""The text of a chat's answer, as the next turn of the chat will contain it."""

import re
from typing import Final

import msgspec

from router.estimator.expectation import Usage
from router.http.api.answers.answer_fields import AnswerChoice, Chat, PlainChat
from router.http.api.answers.kept_answer import KeptAnswer
from router.http.api.answers.sent_text import SentText
from router.http.api.answers.usage import plainly_counted
from router.prompt.canonical import assistant_piece

_CONTENT: Final = re.compile(rb'"content"\s*:\s*"([^"\\]*+(?:\\.[^"\\]*+)*+)"')
_USUAL: Final = b'"content":"'
"""How nearly every server writes what stands before the text of an event."""


_chat: Final = msgspec.json.Decoder(Chat)


_plain_chat: Final = msgspec.json.Decoder(PlainChat)


def usage_and_reply(kept: KeptAnswer) -> tuple[Usage, bytes]:
    """Return the counts of a chat's answer, and its piece in the next turn's prompt: by one look where possible."""
    body = kept.whole()
    if body is not None:
        try:
            answer = _plain_chat.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            pass  # events, or an answer of another form
        else:
            return plainly_counted(answer.usage), _piece_of(answer.choices)
    return kept.usage(), reply_piece(kept)


def reply_piece(kept: KeptAnswer) -> bytes:
    """Return the piece that a whole chat's answer will be in the next turn's prompt; b"": it is not known."""
    body = kept.whole()
    if body is None:
        return b""
    if body[:1] != b"{":
        return _piece(reply_text(body))
    try:
        answer = _chat.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return b""
    return _piece_of(answer.choices)


def _piece_of(choices: list[AnswerChoice]) -> bytes:
    pieces = [choice.message.content for choice in choices if choice.message is not None]
    return _piece("".join([piece for piece in pieces if isinstance(piece, str)]))


def stream_piece(sent: SentText) -> bytes:
    """Return the piece that a streamed chat's answer will be in the next turn's prompt; b"": it is not known."""
    return _piece(sent.text + reply_text(sent.rest()))


def reply_text(events: bytes) -> str:
    """Return the text in the events of a stream; "" where there is none.

    One search covers all events, so a stream costs microseconds in all, not microseconds an event.
    """
    try:
        text: str = msgspec.json.decode(b'"' + b"".join(_contents(events)) + b'"')
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    return text


def _contents(events: bytes) -> list[bytes]:
    """Return the texts of events, as JSON has them between quotes."""
    if _USUAL not in events or (b"\\" in events and b'\\"' in events):
        return _CONTENT.findall(events)
    # No quote is escaped, so each text ends with the first one; an expression takes half as long again.
    texts = events.split(_USUAL)[1:]
    if b'"' not in texts[-1]:
        del texts[-1]
    return [text.partition(b'"')[0] for text in texts]


def _piece(text: str) -> bytes:
    return assistant_piece(text) if text else b""
