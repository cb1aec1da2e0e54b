"""Asks replicas which of them holds a response that this gateway does not remember: another gateway passed it on.

So gateways need to share nothing. Each unknown id costs one small GET a replica, and few are looked up at a time.
"""

import asyncio
from collections.abc import Sequence
from http import HTTPStatus

from router.dispatch.replica import Replica
from router.http.api.response_id import BY_ID, is_response
from router.http.data_plane.data_plane import DataPlane
from router.http.data_plane.page_request import get_page

LOOKUPS_AT_ONCE = 8
"""Unknown ids looked up at a time by one gateway process; further ones wait. A key holder can ask for made-up ids."""
LOOKUP_S = 5.0
"""Seconds after which replicas that have not answered count as not having the response."""
MAX_STORED = 16 * 1024 * 1024
"""Bytes of a stored response above which it is not found by asking."""


class ResponseLookup:
    """Looks up which replica holds a response.

    Args:
        plane: the gateway's shared state.
    """

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane
        self._turn = asyncio.Semaphore(LOOKUPS_AT_ONCE)

    async def find(self, response_id: str, replicas: Sequence[Replica]) -> Replica | None:
        """Return the replica that holds a response; None: no replica that answers in time does.

        Args:
            response_id: the response's id, safe in a path.
            replicas: those to ask.
        """
        async with self._turn:
            questions = [asyncio.ensure_future(self._holder(replica, response_id)) for replica in replicas]
            try:
                async with asyncio.timeout(LOOKUP_S):
                    for answer in asyncio.as_completed(questions):
                        holder = await answer
                        if holder is not None:
                            return holder
            except TimeoutError:
                pass
            finally:
                for question in questions:
                    question.cancel()
        return None

    async def _holder(self, replica: Replica, response_id: str) -> Replica | None:
        """Return the replica if it holds the response."""
        try:
            status, body = await get_page(self._plane.route_to(replica), BY_ID.decode() + response_id, MAX_STORED)
        except (OSError, TimeoutError, ValueError):
            return None
        return replica if status == HTTPStatus.OK and is_response(body, response_id) else None
