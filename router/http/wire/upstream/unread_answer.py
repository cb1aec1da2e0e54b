"""The rest of an answer that nobody reads: it is dropped, so that its connection can be used again."""

import asyncio

from router.http.wire.response_head import ResponseHead
from router.http.wire.upstream.receiver import Sink
from router.http.wire.upstream.upstream import UpstreamConnection

MOST_BYTES = 64 * 1024
"""Bytes of such an answer above which the connection is closed: opening another costs less than reading on."""
MOST_S = 1.0
"""Seconds after which the connection is closed if the answer has not ended."""


class UnreadAnswer:
    """Takes the place of the request that an answer is for, and drops the answer.

    Args:
        upstream: the connection that the answer comes on.
    """

    head_request = False
    upgrades = False

    def __init__(self, upstream: UpstreamConnection) -> None:
        self._upstream = upstream
        self._left = MOST_BYTES
        self._limit = asyncio.get_running_loop().call_later(MOST_S, upstream.abandon)

    def drop(self, data: bytes) -> None:
        """Drop the next bytes of the body."""
        self._left -= len(data)
        if self._left < 0:
            self._limit.cancel()
            self._upstream.abandon()

    def upstream_head(self, head: ResponseHead, body: bytes) -> Sink:
        """Drop the body of an answer whose head was read before."""
        del head, body
        return self.drop

    def upstream_is_slow(self) -> None:
        """Do nothing: no more is written."""

    def upstream_caught_up(self) -> None:
        """Do nothing: no more is written."""

    def upstream_done(self) -> None:
        """Note that the connection is free."""
        self._limit.cancel()

    def upstream_failed(self, reason: str, *, between_chunks: bool) -> None:
        """Note that the connection is closed."""
        del reason, between_chunks
        self._limit.cancel()
