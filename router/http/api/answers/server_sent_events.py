"""Server-sent events: where one ends, and what its data is (WHATWG HTML standard, section 9.2.6)."""

import re
from typing import Final

from router.http.wire.chunked import inside
from router.http.wire.request.incoming import BYTE_ORDER_MARK

DONE: Final = b"[DONE]"
"""Data of the event that ends a stream of OpenAI's API."""
EVENT_END: Final = b"\n\n"
"""Ends an event, as we write it."""

_ANY_END: Final = re.compile(rb"\r\n\r\n|\n\n|\n\r\n|\r\r")
"""The ends of a line and of the empty line after it. A line ends in CRLF, LF or CR."""
_LONGEST_END: Final = 64
"""Bytes at the end of a stream in which the end of its last event is seen, framing included."""


def split_events(text: bytes) -> tuple[list[bytes], bytes]:
    """Split the text of a stream, without chunk framing.

    Returns:
        Its whole events, without the empty lines that end them, and the start of one that is not complete; b"": none.
    """
    *events, rest = text.split(EVENT_END) if b"\r" not in text else _ANY_END.split(text)
    return events, rest


def data_of(event: bytes) -> bytes:
    """Return the data of a whole event; b"" for one without, such as a comment.

    A byte order mark may stand before the first event of a stream.
    """
    if event[:5] == b"data:" and b"\n" not in event and b"\r" not in event:
        return event[5:].strip()
    lines = event.removeprefix(BYTE_ORDER_MARK).strip(b"\r\n").splitlines()
    return b"\n".join([line[5:].strip() for line in lines if line[:5] == b"data:"])


def ends_event(sent: bytes, *, chunked: bool) -> bool:
    """Tell whether a stream can be added to: what was sent of it ends with an event.

    Args:
        sent: the end of the stream; b"": nothing was sent yet.
        chunked: it has chunk framing, and ends with a whole chunk.
    """
    end = sent[-_LONGEST_END:]
    if chunked:
        end = inside(end).removesuffix(b"\r\n")
    return not sent or end.endswith((b"\n\n", b"\n\r\n", b"\r\r"))
