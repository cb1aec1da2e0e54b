"""Carries a request's body to where the engine has tokenized its prompt: an ASGI app around the engine's.

Both run in one asyncio task or its child, so a context variable connects them, with no ids to look up or clean up.
"""

from contextvars import ContextVar
from dataclasses import dataclass, field

from deployments.engines.interface import AsgiApp, Receive, Scope, Send
from router.prompt.invocations import INVOCATIONS

PROMPT_PATHS = frozenset({"/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses", INVOCATIONS})
"""Paths of requests with a prompt whose KV blocks are cached."""


@dataclass(slots=True)
class RequestBody:
    """A request's body, in the pieces in which it arrived.

    Attributes:
        path: the request's path, without the query.
        pieces: the body's bytes; complete by the time the engine has tokenized the prompt.
    """

    path: str
    pieces: list[bytes] = field(default_factory=list)

    def take(self) -> bytes:
        """Return the body and drop it, so that its memory is free while the answer is generated; b"" from then on."""
        body = b"".join(self.pieces)
        self.pieces.clear()
        return body


CURRENT_BODY: ContextVar[RequestBody | None] = ContextVar("CURRENT_BODY", default=None)
"""The body of the request that the current task handles."""


class RequestBodies:
    """An ASGI app that sets `CURRENT_BODY` for the app it calls.

    Args:
        app: the engine's app.
    """

    def __init__(self, app: AsgiApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and keep its body."""
        if scope["type"] != "http" or scope["path"] not in PROMPT_PATHS:
            await self._app(scope, receive, send)
            return
        body = RequestBody(scope["path"])

        async def receive_and_keep() -> Scope:
            message = await receive()
            if message["type"] == "http.request" and message.get("body"):
                body.pieces.append(message["body"])
            return message

        token = CURRENT_BODY.set(body)
        try:
            await self._app(scope, receive_and_keep, send)
        finally:
            CURRENT_BODY.reset(token)
