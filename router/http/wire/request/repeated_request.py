"""Requests of one connection with the same head, which a client's library sends one after the other."""

from collections.abc import Sequence
from typing import Final, final

from router.http.wire.repeated_head import RepeatedHead, repeated_head
from router.http.wire.request.incoming import BYTE_ORDER_MARK, IncomingRequest

_FIRST_LEARNED: Final = 2
_LAST_LEARNED: Final = 5
"""Which of a connection's requests are kept, each in place of the one before, to know the next one by it; counted anew
when one was known. Many connections have one request; and a client that writes another head each time gains nothing."""
_LONGEST_HEAD: Final = 4096
"""Bytes of a head above which it is not kept: there may be many connections."""
_UNUSUAL: Final = frozenset({b"content-encoding", b"expect", b"transfer-encoding", b"upgrade"})
"""Headers by which there is more to do with a request than to take its body."""
_LENGTH: Final = b"content-length"
_HEAD_END: Final = b"\r\n\r\n"


@final
class RepeatedRequests:
    """The last request that one connection's parser has read, if nothing was special about it."""

    __slots__ = ("_last", "_parsed")

    def __init__(self) -> None:
        self._last: _RepeatedRequest | None = None
        self._parsed = 0

    def request_in(self, data: bytes, max_body_bytes: int) -> IncomingRequest | None:
        """Return the one request that a read holds, if it is like the last one; None: it must be parsed.

        Args:
            data: the read, which begins with a request.
            max_body_bytes: longest body that is not left to the parser, to refuse.
        """
        last = self._last
        request = last.request_in(data, max_body_bytes) if last is not None else None
        if request is not None:
            self._parsed = 1
        return request

    def parsed(self, data: bytes, made: Sequence[object], *, is_whole: bool) -> None:
        """Take a read at whose end no request is incomplete.

        Args:
            data: the read.
            made: what the parser made of it.
            is_whole: no request had begun before it.
        """
        self._parsed += 1
        is_kept = is_whole and len(made) == 1 and _FIRST_LEARNED <= self._parsed <= _LAST_LEARNED
        self._last = _repeated(data, made[0]) if is_kept else None


@final
class _RepeatedRequest:
    """A request by whose head the next one is known."""

    __slots__ = ("_head", "_headers", "_method", "_path", "_query", "_url")

    def __init__(self, head: RepeatedHead, request: IncomingRequest) -> None:
        self._head = head
        # The request itself changes on its way.
        self._method = request.method
        self._url = request.url
        self._path = request.path
        self._query = request.query
        self._headers = request.headers.copy()

    def request_in(self, data: bytes, max_body_bytes: int) -> IncomingRequest | None:
        digits = self._head.digits_in(data)
        if digits is None:
            return None
        body = data[self._head.fixed_bytes + len(digits) :]
        if int(digits) != len(body) or len(body) > max_body_bytes or body[:3] == BYTE_ORDER_MARK:
            return None
        headers = self._headers.copy()
        headers[_LENGTH] = digits
        method, url, path, query = self._method, self._url, self._path, self._query
        return IncomingRequest(method, url, path, query, headers, body, keep_alive=True, http_1_0=False)


def _repeated(data: bytes, made: object) -> _RepeatedRequest | None:
    """Return a request that is all of a read, so that the next one is known by it; None: it is not that simple."""
    if not isinstance(made, IncomingRequest) or not made.keep_alive or made.http_1_0 or made.upgrades:
        return None
    headers = made.headers
    end = data.find(_HEAD_END) + len(_HEAD_END)
    if end > _LONGEST_HEAD or data[end:] != made.body or not _UNUSUAL.isdisjoint(headers):
        return None
    head = repeated_head(data[:end])
    if head is None or head.digits_in(data) != headers.get(_LENGTH):
        return None
    return _RepeatedRequest(head, made)
