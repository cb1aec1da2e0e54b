"""Heads of a server's answers, which mostly differ in their length alone."""

from typing import Final, final

from router.http.wire.repeated_head import RepeatedHead, repeated_head
from router.http.wire.response_head import CHUNKED, OK, ResponseHead, parse_head

_TRIES: Final = 4
"""Heads in a row that were like none before, of which each is kept to know the next one by it."""
_SELDOM: Final = 16
"""Of more, one in this number is kept: a server whose heads always differ costs little by that."""
_EMPTY_LINE: Final = b"\r\n\r\n"


@final
class KnownHead:
    """The last head that one server answered with."""

    __slots__ = ("_before_and_after", "_differing", "_head", "_lines", "_raw")

    def __init__(self) -> None:
        self._raw = b""
        self._head: ResponseHead | None = None
        self._before_and_after: RepeatedHead | None = None
        self._lines: RepeatedHead | None = None
        self._differing = 0

    def read(self, raw: bytes, *, to_head_request: bool) -> ResponseHead:
        """Return what `parse_head` does of a head; one that is known is not parsed.

        Args:
            raw: the head, with the empty line at its end.
            to_head_request: the request's method was HEAD, so no body follows.

        Raises:
            HeadError: as by `parse_head`.
        """
        known = self._head
        if known is not None and not to_head_request:
            if raw == self._raw:
                self._differing = 0
                return known
            parts, lines = self._before_and_after, self._lines
            if parts is not None and lines is not None and (digits := parts.digits_in(raw)) is not None:
                self._differing = 0
                return _with_length(known, digits, lines)
        head = parse_head(raw[: -len(_EMPTY_LINE)], to_head_request=to_head_request)
        self._differing += 1
        if self._differing <= _TRIES or not self._differing % _SELDOM:
            self._keep(raw, head, to_head_request=to_head_request)
        return head

    def _keep(self, raw: bytes, head: ResponseHead, *, to_head_request: bool) -> None:
        """Keep a head of an ordinary answer. Others are seldom, and what they mean may not be in the head alone."""
        self._head = None
        if head.status != OK or to_head_request or not (head.length >= 0 or head.length == CHUNKED):
            return
        self._raw, self._head = raw, head
        self._before_and_after = self._lines = None
        if head.length != CHUNKED:
            self._before_and_after, self._lines = repeated_head(raw), repeated_head(head.lines)


def _with_length(known: ResponseHead, digits: bytes, lines: RepeatedHead) -> ResponseHead:
    head = ResponseHead(
        known.status,
        lines.before + digits + lines.after,
        int(digits),
        known.keep_alive,
        known.retry_elsewhere,
        known.is_events,
    )
    head.coding = known.coding
    return head
