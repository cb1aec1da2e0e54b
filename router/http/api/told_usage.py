"""Asks an engine to tell its usage with every event of a stream, and hides that from clients that did not ask for it.

An event may hold several tokens. So that another replica is asked for the tokens that are left, neither more nor fewer,
and so that a stream that breaks is counted right, the engine counts and tells. vLLM does so for `stream_options` with
`continuous_usage_stats`.

Hiding puts `null` in place of the usage, as OpenAI's API has it in all events but the last, and spaces after it. The
event keeps its length, so the chunk around it stays right.
"""

import re

from router.http.api.server_sent_events import EVENT_END, split_events

MAX_BODY = 1 << 20
"""Bytes of a request's body above which the engine is not asked, as this copies the body."""
USAGE = b'"usage"'
_OPTIONS = b',"stream_options":{"include_usage":true,"continuous_usage_stats":true}}'
_NULL = b'"usage":null'
_TOLD = re.compile(rb'"usage"\s*:\s*\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}')
_NO_CHOICES = re.compile(rb'"choices"\s*:\s*\[\s*\]')

_EVENT_TAIL = b"}}\n\n\r\n"
"""End of a chunk with one event that ends with an object."""
_CHUNK_TAIL = b"}\n\n\r\n"
_SHORTEST, _LONGEST = len(_NULL) + len(_CHUNK_TAIL), 192
"""Bytes from the usage to the chunk's end: room for `null`, and too few for a second event."""
_HIDDEN = [_NULL + b" " * (length - len(_NULL) - len(_CHUNK_TAIL)) + _CHUNK_TAIL for length in range(_LONGEST)]
"""What takes the place of usage and chunk's end, by their length."""


def asking(body: bytes) -> bytes:
    """Return a JSON body that asks for the usage with every event; of equal names the last one counts, as in engines.

    Args:
        body: a JSON object with at least one field.
    """
    return body.rstrip()[:-1] + _OPTIONS


def hidden_in_one(data: bytes) -> bytes | None:
    """Return a read with its usage hidden if it is one chunk with one event of the usual kind; else None.

    On the hot path: four searches, no parsing.
    """
    at = data.find(USAGE)
    length = len(data) - at
    if (
        at > 0
        and _SHORTEST <= length < _LONGEST
        and data[at - 3 : at] == b"}],"
        and data.endswith(_EVENT_TAIL)
        and data.find(b"},", at) < 0
    ):
        return data[:at] + _HIDDEN[length]
    return None


def hidden(text: bytes, *, with_last: bool) -> bytes:
    """Return whole events with their usage hidden.

    Args:
        text: the events, without chunk framing.
        with_last: the client asked for the last event's usage, which has no choices; else that event is left out.
    """
    if USAGE not in text:
        return text
    if _NO_CHOICES.search(text) is None:
        return _TOLD.sub(_NULL, text)
    events = []
    for event in split_events(text)[0]:
        is_last = USAGE in event and _NO_CHOICES.search(event) is not None
        if not is_last:
            events.append(_TOLD.sub(_NULL, event))
        elif with_last:
            events.append(event)
    return b"".join([event + EVENT_END for event in events])
