"""Asks replicas which of them holds a response that this gateway does not remember: another gateway passed it on.

So gateways need to share nothing. Each unknown id costs one small GET a replica, and few are looked up at a time.
"""

import asyncio
import re
from collections.abc import Sequence
from http import HTTPStatus

from router.dispatch.replica import Replica
from router.http.api.response_id import BY_ID, MAX_LOOKED_AT, names_response
from router.http.data_plane import DataPlane
from router.http.wire.response_head import ResponseHead
from router.http.wire.upstream import Sink

LOOKUPS_AT_ONCE = 8
"""Unknown ids looked up at a time by one gateway process; further ones wait. A key holder can ask for made-up ids."""
LOOKUP_S = 5.0
"""Seconds after which replicas that have not answered count as not having the response."""

# Replicas tell each gateway how many of its requests they have accepted. Flow control knows of no look-ups.
_GATEWAY_HEADER = re.compile(rb"\r\nx-rackserve-gateway: [^\r\n]*")


class ResponseLookup:
    """Looks up which replica holds a response.

    Args:
        plane: the gateway's shared state.
    """

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane
        self._turn = asyncio.Semaphore(LOOKUPS_AT_ONCE)

    async def find(self, response_id: str, replicas: Sequence[Replica], request_id: bytes) -> Replica | None:
        """Return the replica that holds a response; None: no replica that answers in time does.

        Args:
            response_id: the response's id, safe in a path.
            replicas: those to ask.
            request_id: the id of the client's request, for the replicas' logs.
        """
        async with self._turn:
            questions = {
                asyncio.ensure_future(self._has(replica, response_id, request_id)): replica for replica in replicas
            }
            try:
                async with asyncio.timeout(LOOKUP_S):
                    for answer in asyncio.as_completed(questions):
                        if await answer:
                            break
            except TimeoutError:
                pass
            finally:
                for question in questions:
                    question.cancel()
            yes = (replica for question, replica in questions.items() if _said_yes(question))
            return next(yes, None)

    async def _has(self, replica: Replica, response_id: str, request_id: bytes) -> bool:
        route = self._plane.route_to(replica)
        try:
            upstream = route.pool.take() or await route.pool.connect()
        except (OSError, TimeoutError):
            return False
        answer = _Answer(response_id)
        target = BY_ID + response_id.encode("ascii")
        head = b"GET " + target + _GATEWAY_HEADER.sub(b"", route.head_end) + request_id + b"\r\n\r\n"
        upstream.send(answer, head, b"")
        try:
            return await answer.is_held
        finally:
            if not answer.is_read:
                upstream.abandon()


def _said_yes(question: asyncio.Future[bool]) -> bool:
    return question.done() and not question.cancelled() and question.exception() is None and question.result()


class _Answer:
    """One replica's answer to the question for a response.

    Attributes:
        is_held: whether the replica holds the response.
        is_read: the answer came to its end, so its connection can be used again.
    """

    head_request = False

    def __init__(self, response_id: str) -> None:
        self.is_held: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.is_read = False
        self._response_id = response_id
        self._beginning = b""
        self._status = 0

    def upstream_head(self, head: ResponseHead, body: bytes) -> Sink:
        self._status = head.status
        self._look(body)
        return self._look

    def _look(self, data: bytes) -> None:
        if self._status != HTTPStatus.OK or self.is_held.done():
            return
        self._beginning += data
        if names_response(self._beginning, self._response_id):
            self.is_held.set_result(True)
        elif len(self._beginning) > MAX_LOOKED_AT:
            self.is_held.set_result(False)

    def upstream_done(self) -> None:
        self.is_read = True
        if not self.is_held.done():
            self.is_held.set_result(False)

    def upstream_failed(self, reason: str, *, between_chunks: bool) -> None:
        del reason, between_chunks
        self.is_read = True
        if not self.is_held.done():
            self.is_held.set_result(False)
