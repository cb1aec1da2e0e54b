"""A small request of the gateway's own for an answer, timed as a client's would be, over the same connections."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from router.http.data_plane.page_request import PageRequest
from router.http.data_plane.replica_route import ReplicaRoute

MAX_ANSWER_BYTES = 1 << 18
"""Size above which the answer to a probe is not read: it has a few tokens."""
LOOK_EVERY_S = 0.005
"""Seconds after which it is looked again whether the answer is still wanted."""

_numbers = count(1)


@dataclass(frozen=True, slots=True)
class TimedAnswer:
    """An answer, and when its bytes came.

    Attributes:
        status: its status.
        body: its whole body, without framing.
        first_s: seconds from sending the request to the body's first byte, as clients' first tokens are timed.
        last_s: seconds from sending the request to the body's last byte.
    """

    status: int
    body: bytes
    first_s: float
    last_s: float


async def ask_timed(
    route: ReplicaRoute, path: str, body: bytes, *, now_s: Callable[[], float], is_wanted: Callable[[], bool]
) -> TimedAnswer | None:
    """Send a request and time its answer.

    It is given up as soon as it is no longer wanted, or if the caller is cancelled: its connection is closed, so that
    the engine stops working on it.

    Args:
        route: the replica's connections.
        path: the path asked for.
        body: the request's JSON body.
        now_s: returns the time, monotonic seconds.
        is_wanted: asked every few milliseconds.

    Returns:
        The answer; None: it was given up, as it was no longer wanted.

    Raises:
        OSError: the replica refused the connection or broke off.
        TimeoutError: it did not accept the connection in time. For its answer the caller sets the limit.
        ValueError: its answer is too long, or its framing is broken.
    """
    upstream = route.pool.take() or await route.pool.connect()
    asked = _ProbeRequest(now_s)
    target = b"POST %s%s%sprobe-%d" % (route.path_prefix, path.encode("ascii"), route.own_head_end, next(_numbers))
    head = target + b"\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
    sent_s = now_s()
    upstream.send(asked, head, body)
    try:
        while not asked.answer.done():
            if not is_wanted():
                return None
            await asyncio.wait({asked.answer}, timeout=LOOK_EVERY_S)
        status, answer = asked.answer.result()
        first_s = asked.first_s if asked.first_s is not None else now_s()
        return TimedAnswer(status, answer, first_s - sent_s, asked.last_s - sent_s)
    finally:
        if not asked.is_over:
            upstream.abandon()


class _ProbeRequest(PageRequest):
    """Receives the answer, and notes when the body's first and last bytes came, monotonic seconds."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        super().__init__(MAX_ANSWER_BYTES)
        self._now_s = now_s
        self.first_s: float | None = None
        self.last_s = now_s()

    def _take(self, data: bytes) -> None:
        self.last_s = self._now_s()
        if self.first_s is None:
            self.first_s = self.last_s
        super()._take(data)
