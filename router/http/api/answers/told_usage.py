"""Asks an engine to tell its usage with every event of a stream, and hides that from clients that did not ask for it.

An event may hold several tokens. So that another replica is asked for the tokens that are left, neither more nor fewer,
and so that a stream that breaks is counted right, the engine counts and tells. vLLM does so for `stream_options` with
`continuous_usage_stats`.

Hiding puts `null` in place of the usage, as OpenAI's API has it in all events but the last, and spaces after it. The
event keeps its length, so the chunk around it stays right.
"""

import re

from router.http.api.answers.server_sent_events import EVENT_END, split_events
from router.http.api.answers.stream_event import ABORT, ERROR

MAX_BODY = 1 << 20
"""Bytes of a request's body above which the engine is not asked, as this copies the body."""
_OPTIONS = b',"stream_options":{"include_usage":true,"continuous_usage_stats":true}}'
_USAGE = b'"usage"'
_NULL = b'"usage":null'
_TOLD = re.compile(rb'"usage"\s*:\s*\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}')
_NO_CHOICES = re.compile(rb'"choices"\s*:\s*\[\s*\]')

_KEY = b'}],"usage":{'
"""What stands before a told usage, as vLLM writes it: it follows the choices, and ends the event."""
_LAST = b'[],"usage":{'
"""What stands before the last event's usage."""
_EVENT_TAIL = b"}\n\n"
_CHUNK_TAIL = b"}}\n\n\r\n"
_READ_TAILS = (b"\n\n\r\n", b"\n\r\n0\r\n\r\n")
"""Ends of a read that ends with a whole event or with the body."""
_NEAR_END = 128
"""Bytes at the end of an event's choices in which vLLM writes why the answer ends."""
_LONGEST = 256
"""Bytes of a told usage at most, without its key."""
_HIDDEN = [b'}],"usage":null' + b" " * (length - 3) for length in range(_LONGEST)]
"""What takes the place of `_KEY` and the usage after it, by the usage's length."""
_HIDDEN_IN_ONE = [hidden + _CHUNK_TAIL[1:] for hidden in _HIDDEN]
"""The same with the end of the event and its chunk."""
_SIZE_LINES = [b"-"] * 2048
"""Start of a read that is one chunk, by the read's length. Other reads, and longer ones, have no such line."""
for _size in range(1, 2040):
    _line = b"%x\r\n" % _size
    _SIZE_LINES[len(_line) + _size + 2] = _line


def asking(body: bytes) -> bytes:
    """Return a JSON body that asks for the usage with every event; of equal names the last one counts, as in engines.

    Args:
        body: a JSON object with at least one field.
    """
    return body.rstrip()[:-1] + _OPTIONS


def hidden_in_read(data: bytes, *, with_last: bool) -> bytes | None:
    """Return a read with its usage hidden, if it is whole events as vLLM writes them; else None.

    A read in which the engine may give up is None, too. On the hot path: for one event, this costs less than the two
    searches by which other streams are checked.
    """
    length = len(data)
    if length < len(_SIZE_LINES) and data.startswith(_SIZE_LINES[length]):
        before, key, told = data.partition(_KEY)
        length = len(told) - len(_CHUNK_TAIL) + 1
        if (
            key
            and 2 < length < _LONGEST  # noqa: PLR2004 - `null` fits
            and told.find(_EVENT_TAIL) == length  # no other event follows in the chunk
            and told.endswith(_CHUNK_TAIL)
            and before.find(ABORT, -_NEAR_END) < 0
            and b"}," not in told
        ):
            return before + _HIDDEN_IN_ONE[length]
    if ERROR in data or ABORT in data or not data.endswith(_READ_TAILS) or (not with_last and _LAST in data):
        return None
    return _hidden_in_each(data)


def _hidden_in_each(data: bytes) -> bytes | None:
    first, *others = data.split(_KEY)
    parts = [first]
    for part in others:
        length = part.find(_EVENT_TAIL)
        if not 2 < length < _LONGEST or part.find(b"},", 0, length) >= 0:  # noqa: PLR2004 - `null` fits
            return None
        parts += (_HIDDEN[length], part[length:])
    if not others and _USAGE in data:
        return None
    return b"".join(parts)


def hidden(text: bytes, *, with_last: bool) -> bytes:
    """Return whole events with their usage hidden.

    Args:
        text: the events, without chunk framing.
        with_last: the client asked for the last event's usage, which has no choices; else that event is left out.
    """
    if _USAGE not in text:
        return text
    if _NO_CHOICES.search(text) is None:
        return _TOLD.sub(_NULL, text)
    events = []
    for event in split_events(text)[0]:
        is_last = _USAGE in event and _NO_CHOICES.search(event) is not None
        if not is_last:
            events.append(_TOLD.sub(_NULL, event))
        elif with_last:
            events.append(event)
    return b"".join([event + EVENT_END for event in events])
