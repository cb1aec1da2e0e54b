"""The text of a chat's answer is known as the next turn will hold it."""

import json

import pytest

from router.http.api.answers.kept_answer import KeptAnswer
from router.http.api.answers.reply import reply_piece, reply_text, stream_piece
from router.http.api.answers.sent_text import SentText
from router.http.wire.chunked import LAST_CHUNK, chunk

PIECES = ['He said "', "no\\yes", '"\n', "žluť🐎"]


def _events() -> list[bytes]:
    return [
        chunk(
            b"data: " + json.dumps({"choices": [{"delta": {"content": each}}]}, ensure_ascii=False).encode() + b"\n\n"
        )
        for each in PIECES
    ]


def test_the_reply_of_a_stream_is_its_text() -> None:
    """Quotes, escapes and characters beyond ASCII come out as the model wrote them."""
    assert reply_text(b"".join(_events())) == "".join(PIECES)


@pytest.mark.parametrize("pieces", [PIECES, ["He", " said", "\n", " yes\\n", "žluť🐎", ""], ["\\", "x"]])
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_the_reply_does_not_depend_on_how_the_events_are_written(
    pieces: list[str], separators: tuple[str, str]
) -> None:
    """With and without spaces, quotes and escapes; an event that is cut within its text adds nothing."""
    events = [
        chunk(b"data: %s\n\n" % json.dumps({"choices": [{"delta": {"content": each}}]}, separators=separators).encode())
        for each in pieces
    ]
    text = "".join(pieces)
    assert reply_text(b"".join(events)) == text
    cut = events[0][: events[0].index(b"content") + len(b'content"') + len(separators[1]) + 1]
    assert reply_text(b"".join([*events, cut])) == text


def test_a_folded_stream_has_the_same_reply() -> None:
    """Text that was read already and text that was not make up the reply."""
    sent = SentText()
    for number, event in enumerate(_events()):
        sent.keep(event)
        if number == 1:
            sent.fold()
    assert stream_piece(sent) == b"assistant\xfe" + "".join(PIECES).encode() + b"\xff"


def test_the_reply_of_a_plain_answer() -> None:
    """It is read with a length and in chunks; an answer without text has none."""
    body = json.dumps({"choices": [{"message": {"role": "assistant", "content": "hi"}}], "usage": {}}).encode()
    for chunked in (False, True):
        kept = KeptAnswer(chunked=chunked, streamed=False)
        kept.keep_bounded(chunk(body) + LAST_CHUNK if chunked else body)
        assert reply_piece(kept) == b"assistant\xfehi\xff"
    for other in (b'{"choices":[{"message":{"content":null}}]}', b'{"choices":[]}', b"{", b"null"):
        kept = KeptAnswer(chunked=False, streamed=False)
        kept.keep_bounded(other)
        assert reply_piece(kept) == b""
