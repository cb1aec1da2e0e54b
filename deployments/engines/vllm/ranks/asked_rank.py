"""Carries the data-parallel rank that a request names to where vLLM takes the request: an ASGI app around vLLM's.

vLLM 0.32 reads the header for chats and completions alone; responses, embeddings and WebSockets would go to any rank.
"""

from contextvars import ContextVar
from typing import Final

from deployments.engines.interface import AsgiApp, Receive, Scope, Send
from router.replicas.ranks import RANK_HEADER

ASKED_RANK: ContextVar[int | None] = ContextVar("ASKED_RANK", default=None)
"""The rank that the current task's request names; None: it names none."""

_HEADER: Final = RANK_HEADER.encode()


class AskedRanks:
    """An ASGI app that sets `ASKED_RANK` for the app it calls.

    Args:
        app: vLLM's app.
    """

    def __init__(self, app: AsgiApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; a rank that is no number counts as none, as in vLLM."""
        asked = next((value for name, value in scope.get("headers", ()) if name == _HEADER), b"")
        token = ASKED_RANK.set(int(asked) if asked.isdigit() else None)
        try:
            await self._app(scope, receive, send)
        finally:
            ASKED_RANK.reset(token)
