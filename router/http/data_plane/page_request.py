"""Requests that the gateway itself makes of a replica: a page, over the same connections as clients' requests.

So a page is asked for at the same address, with the same credential and by the same way as what clients ask for.
"""

import asyncio
from itertools import count

from router.http.data_plane.replica_route import ReplicaRoute
from router.http.wire.chunked import ChunkedError, payload
from router.http.wire.response_head import CHUNKED, ResponseHead
from router.http.wire.upstream.receiver import Sink
from router.http.wire.upstream.upstream import UpstreamConnection

_numbers = count(1)


async def get_page(route: ReplicaRoute, path: str, most_bytes: int) -> tuple[int, bytes]:
    """Ask a replica for a page; return status and body.

    A reused connection that closes before its answer was idle for too long: the page is then asked for on a new one.

    Args:
        route: the replica's connections.
        path: the page's path.
        most_bytes: size of the body, with its framing, above which it is not read.

    Raises:
        OSError: the replica refused the connection or broke off.
        TimeoutError: it did not accept the connection in time. For its answer the caller sets the limit.
        ValueError: the body is too large, or its framing is broken.
    """
    upstream = route.pool.take()
    if upstream is not None:
        try:
            return await _get(upstream, route, path, most_bytes)
        except ConnectionResetError:
            if upstream.received:
                raise
    return await _get(await route.pool.connect(), route, path, most_bytes)


async def _get(upstream: UpstreamConnection, route: ReplicaRoute, path: str, most_bytes: int) -> tuple[int, bytes]:
    page = PageRequest(most_bytes)
    head = b"GET %s%s%spoll-%d\r\n\r\n" % (route.path_prefix, path.encode("ascii"), route.own_head_end, next(_numbers))
    upstream.send(page, head, b"")
    try:
        return await page.answer
    finally:
        if not page.is_over:
            upstream.abandon()


class PageRequest:
    """Receives the answer to one such request.

    Args:
        most_bytes: size of the body, with its framing, above which it is not read.

    Attributes:
        head_request: False: a body follows the head.
        upgrades: False: HTTP is spoken on.
        answer: status and body, once they are here.
        head: the answer's head; None: it has not come.
        is_over: the connection is free, or lost.
    """

    head_request = False
    upgrades = False

    def __init__(self, most_bytes: int) -> None:
        self.answer: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        self.is_over = False
        self._most_bytes = most_bytes
        self.head: ResponseHead | None = None
        self._parts: list[bytes] = []
        self._size = 0

    def upstream_head(self, head: ResponseHead, body: bytes) -> Sink:
        """Keep the head and what came of the body; return the function that takes the rest."""
        self.head = head
        if body:
            self._take(body)
        return self._take

    def _take(self, data: bytes) -> None:
        self._size += len(data)
        if self._size <= self._most_bytes:
            self._parts.append(data)
        elif not self.answer.done():
            self._parts.clear()
            self.answer.set_exception(ValueError(f"the answer has over {self._most_bytes} bytes"))

    def upstream_is_slow(self) -> None:
        """Do nothing: no more is written."""

    def upstream_caught_up(self) -> None:
        """Do nothing: no more is written."""

    def upstream_done(self) -> None:
        """Give the answer, as it is complete."""
        self.is_over = True
        head = self.head
        if self.answer.done() or head is None:
            return
        body = b"".join(self._parts)
        try:
            self.answer.set_result((head.status, payload(body) if head.length == CHUNKED else body))
        except ChunkedError as error:
            self.answer.set_exception(ValueError(str(error)))

    def upstream_failed(self, reason: str, *, between_chunks: bool) -> None:
        """Fail, as the rest of the answer will not come."""
        del between_chunks
        self.is_over = True
        if not self.answer.done():
            self.answer.set_exception(ConnectionResetError(f"the replica {reason}"))
