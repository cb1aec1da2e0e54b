"""Answers /v1/models: the models that a key may use, in OpenAI's shape or, for Anthropic's SDK, in Anthropic's."""

from typing import Any
from urllib.parse import unquote

import msgspec

from router.http.access_control.auth import Tenant
from router.http.api.errors import MODELS
from router.http.api.model_rows import anthropic_row, openai_row
from router.http.data_plane.answers import Answers, Writable
from router.http.data_plane.data_plane import DataPlane
from router.http.wire.request.incoming import IncomingRequest
from router.outcome import Outcome


class ModelList:
    """Answers /v1/models and /v1/models/NAME.

    Args:
        plane: the gateway's shared state.
    """

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane
        self._answers = Answers(plane)

    def handle(self, client: Writable, incoming: IncomingRequest, tenant: Tenant) -> None:
        """Answer a GET or HEAD with the models that `tenant` may use, or with the one that the path names."""
        names = [name for name in self._plane.models.names() if tenant.may_use(name)]
        models = self._plane.models
        row = anthropic_row if b"anthropic-version" in incoming.headers else openai_row
        # SDKs send `org%2Fchat` for org/chat (RFC 3986, 2.1)
        wanted = unquote(incoming.path[len(MODELS) + 1 :].decode("ascii"))
        if not wanted:
            rows = [row(name, models.card(name)) for name in names]
            if row is anthropic_row:
                first, last = (names[0], names[-1]) if names else (None, None)
                self._answer(client, incoming, {"data": rows, "has_more": False, "first_id": first, "last_id": last})
            else:
                self._answer(client, incoming, {"object": "list", "data": rows})
        elif wanted in names:
            self._answer(client, incoming, row(wanted, models.card(wanted)))
        else:
            message = f"the model {wanted[:200]!r} does not exist"
            self._answers.refuse(client, incoming, Outcome.MODEL_NOT_FOUND, message, tenant=tenant.name, param="model")

    def _answer(self, client: Writable, incoming: IncomingRequest, body: dict[str, Any]) -> None:
        self._answers.answer(client, incoming, 200, msgspec.json.encode(body))
