"""Server-sent events: where one ends, and what its data is (WHATWG HTML standard, section 9.2.6)."""

import re

DONE = b"[DONE]"
"""Data of the event that ends a stream of OpenAI's API."""
EVENT_END = b"\n\n"
"""Ends an event, as we write it."""

_ANY_END = re.compile(rb"\r\n\r\n|\n\n|\n\r\n|\r\r")
"""The ends of a line and of the empty line after it. A line ends in CRLF, LF or CR."""
_CUT_END = re.compile(rb"(\n|\r)\r\n[0-9a-fA-F]+\r\n\r?\n\r\n\Z")
"""The end of a chunked stream whose last chunk is the empty line alone."""


def split_events(text: bytes) -> tuple[list[bytes], bytes]:
    """Split the text of a stream, without chunk framing.

    Returns:
        Its whole events, without the empty lines that end them, and the start of one that is not complete; b"": none.
    """
    *events, rest = text.split(EVENT_END) if b"\r" not in text else _ANY_END.split(text)
    return events, rest


def data_of(event: bytes) -> bytes:
    """Return the data of a whole event; b"" for one without, such as a comment."""
    if event[:5] == b"data:" and b"\n" not in event and b"\r" not in event:
        return event[5:].strip()
    lines = event.strip(b"\r\n").splitlines()
    return b"\n".join([line[5:].strip() for line in lines if line[:5] == b"data:"])


def ends_event(framed: bytes) -> bool:
    """Tell whether a stream that is sent in chunks can be added to: its last bytes are the end of an event.

    Args:
        framed: the end of the stream, with chunk framing; b"": nothing was sent yet.
    """
    text = framed.removesuffix(b"\r\n")
    return not framed or text.endswith((b"\n\n", b"\n\r\n", b"\r\r")) or _CUT_END.search(framed[-64:]) is not None
