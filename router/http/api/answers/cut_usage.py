"""Finds the usage of an answer that is too long to be kept: in what is dropped of it, and in the end that is kept.

A `usage` counts by the place where it stands, and that is known only by all that came before it. So each part that is
dropped is read for one thing more than the usage: the brackets that are open at its end.
"""

import json
import re
from typing import Any, Final

from router.http.api.answers.server_sent_events import data_of, split_events
from router.http.api.answers.usage import KEY, billed, usage_in
from router.http.wire.chunked import inside

_BILLED: Final = b'"billed_units"'
_OBJECT: Final = re.compile(rb'"(?:usage|billed_units)"\s*:\s*(?=\{)')
_NO_MARKS: Final = bytes(set(range(256)) - set(b'{}[]"'))
_ANSWER: Final = b"{"
_WITHIN: Final = b"{{"
"""The open brackets of an answer's or event's own members, and of those of an object in it."""
_LOST: Final = b"?"
"""In place of open brackets that are too many."""
_MOST_OPEN: Final = 64
"""Open brackets above which the place is lost; real answers have about ten."""
_LONGEST: Final = 4096
"""Bytes of a `usage` object at most, and bytes before a cut in which a better place for it is looked for."""
_decoder: Final = json.JSONDecoder()  # msgspec reads no object that something follows


class CutUsage:
    """Reads the usage of one answer that is cut, again and again, to its end.

    Args:
        chunked: the answer has chunk framing.
        streamed: it is a stream of events.
    """

    __slots__ = ("_chunked", "_found", "_open", "_places", "_streamed")

    def __init__(self, *, chunked: bool, streamed: bool) -> None:
        self._chunked = chunked
        self._streamed = streamed
        self._places = (_ANSWER, _WITHIN) if streamed else (_ANSWER,)
        self._found: dict[str, Any] | None = None
        self._open = b""  # where the kept end begins

    def cut(self, kept: bytes, most_bytes: int) -> bytes:
        """Return the end of what is kept, of about `most_bytes`, after the rest has been read for its usage.

        Args:
            kept: the bytes that follow those dropped before, framed.
            most_bytes: length of the end; it may be up to `_LONGEST` more, so that nothing is cut that is to be read.
        """
        at = _place_to_cut(kept, len(kept) - most_bytes)
        dropped = kept[:at]
        if self._streamed and KEY not in dropped:  # as nearly always: only how its last event goes on matters
            end = dropped.rfind(b"\n\n")
            if end >= 0:
                self._open = b""
                dropped = dropped[end + 2 :]
        self._open = self._read(self._text(dropped))
        return kept[at:]

    def found_in_dropped(self) -> dict[str, Any] | None:
        """Return the last usage in what was dropped, and forget it; None: there is none."""
        found, self._found = self._found, None
        return found

    def last(self, end: bytes) -> dict[str, Any] | None:
        """Return the last usage in what was dropped and the answer's end, framed; None: there is none.

        In a stream, whole events at its end have been looked at; only of the first one a part may have been dropped.
        """
        text = self._text(end)
        if self._streamed:
            events, rest = split_events(text)
            text = events[0] if events else rest
        self._walk(text, self._open)
        return self._found

    def _text(self, framed: bytes) -> bytes:
        return inside(framed) if self._chunked else framed

    def _read(self, text: bytes) -> bytes:
        """Look for a usage in the next part of the answer; return the brackets that are open at its end."""
        events, rest = split_events(text) if self._streamed else ([], text)
        if not events:
            return self._walk(rest, self._open)
        self._walk(events[0], self._open)
        for event in reversed(events[1:]):
            if KEY in event and (found := usage_in(data_of(event))) is not None:
                self._found = found
                break
        return self._walk(rest, b"")

    def _walk(self, text: bytes, opened: bytes) -> bytes:
        """Look for a usage in a part of one JSON text, at the start of which the brackets `opened` are open."""
        position = 0
        for key in _OBJECT.finditer(text) if KEY in text or _BILLED in text else ():
            opened = open_after(opened, text[position : key.start()])
            position = key.start()
            is_usage = text.startswith(KEY, position)
            counts = opened in self._places if is_usage else opened == _WITHIN
            found = _object_at(text, key.end()) if counts else None
            if found is not None:
                self._found = found if is_usage else billed(found)
        return open_after(opened, text[position:])


def _place_to_cut(kept: bytes, at: int) -> int:
    """Return an offset near `at`, not above it, that cuts no usage, and no escape, number or line of a chunk's size."""
    comma = kept.rfind(b",", max(0, at - _LONGEST), at)
    before = kept[max(0, at - _LONGEST) : at]
    at = comma if comma >= 0 else at - (len(before) - len(before.rstrip(b"\\"))) % 2
    key = kept.rfind(KEY, max(0, at - _LONGEST), at)
    return key if key >= 0 and _object_at(kept[:at], kept.find(b"{", key)) is None else at


def open_after(opened: bytes, text: bytes) -> bytes:
    """Return the brackets that are open after a part of a JSON text, and a quote at their end if a string is.

    Args:
        opened: the same at the part's start.
        text: the part; it does not begin within an escape.
    """
    if opened == _LOST:
        return _LOST
    if b"\\" in text:
        text = text.replace(rb"\\", b"").replace(rb"\"", b"")
    quote = opened[-1:] == b'"'
    # Two quotes with no bracket between change nothing, and most quotes are such.
    strings = text.translate(None, _NO_MARKS).replace(b'""', b"").split(b'"')
    brackets = opened.rstrip(b'"') + b"".join(strings[quote::2])
    for _ in range(_MOST_OPEN):
        shorter = brackets.replace(b"{}", b"").replace(b"[]", b"")
        if len(shorter) == len(brackets):
            break
        brackets = shorter
    if len(brackets) > _MOST_OPEN:
        return _LOST
    return brackets + b'"' if quote == len(strings) % 2 else brackets


def _object_at(text: bytes, start: int) -> dict[str, Any] | None:
    """Return the JSON object that begins at an offset; None: none does, or it is cut off."""
    if start < 0:
        return None
    try:
        found, _ = _decoder.raw_decode(text[start : start + _LONGEST].decode(errors="replace"))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
