"""A replica asks its own engine what it says of its model."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from deployments.replica.own_card import own_card
from router.replicas.model_card import ModelCard

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Callable[[], Awaitable[Message]], Send], Awaitable[None]]


def engine(status: int, body: bytes) -> App:
    """Return an ASGI app that answers everything with this."""

    async def app(scope: Message, receive: Callable[[], Awaitable[Message]], send: Send) -> None:
        del receive
        assert scope["path"] == "/v1/models"
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": body})

    return app


async def test_the_card_of_the_served_model_is_taken() -> None:
    """Among the models that the engine lists, by name."""
    body = b'{"data":[{"id":"other"},{"id":"m","root":"/m","max_model_len":4096,"owned_by":"vllm"}]}'
    assert await own_card(engine(200, body), "m") == ModelCard("/m", None, 4096, "vllm")


async def test_an_engine_that_does_not_say_costs_no_start() -> None:
    """No list, another list, an error: the replica serves without a card."""
    for status, body in ((200, b'{"data":[{"id":"other"}]}'), (200, b"no JSON"), (404, b""), (500, b"{}")):
        assert await own_card(engine(status, body), "m") is None


async def test_an_engine_whose_app_raises_costs_no_start() -> None:
    """It is told in the log."""

    async def app(*_: object) -> None:
        raise RuntimeError("not ready")

    assert await own_card(app, "m") is None
