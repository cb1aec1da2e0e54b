"""Request bodies, from the HTTP request to where the engine has tokenized its prompt: an ASGI app around the engine's.

The two ends are one task, or a child of it, so a context variable connects them: no ids to look up, nothing to forget.
"""

from contextvars import ContextVar
from dataclasses import dataclass, field

from deployments.engines.interface import AsgiApp, Receive, Scope, Send

PROMPT_PATHS = frozenset({"/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses"})
"""Where prompts come in whose blocks are cached."""


@dataclass(slots=True)
class RequestBody:
    """A request's body, in the pieces it came in.

    Attributes:
        path: of the request, without the query.
        pieces: its bytes; complete once the engine has a prompt of it.
    """

    path: str
    pieces: list[bytes] = field(default_factory=list)

    def take(self) -> bytes:
        """Return the body, once: b"" from then on, so that its memory is free while the answer is generated."""
        body = b"".join(self.pieces)
        self.pieces.clear()
        return body


CURRENT_BODY: ContextVar[RequestBody | None] = ContextVar("CURRENT_BODY", default=None)
"""The body of the request that is being handled."""


class RequestBodies:
    """An ASGI app that lets `CURRENT_BODY` be known inside the app it calls.

    Args:
        app: the engine's app.
    """

    def __init__(self, app: AsgiApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, keeping what passes."""
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
