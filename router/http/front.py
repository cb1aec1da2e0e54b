"""Decides what happens to a request on the apps' port: a page or list, a refusal, or an exchange with a replica."""

import msgspec

from router.http.answers import Answers, Writable
from router.http.api.envelope import Envelope, EnvelopeError, read_json, read_multipart, with_cache_salt
from router.http.api.model_rows import openai_row
from router.http.api.urgency import asked_priority, asked_wait_s
from router.http.auth import Tenant
from router.http.client import Client
from router.http.data_plane import DataPlane
from router.http.exchange import Exchange
from router.http.pages import READ_ONLY, Pages
from router.http.wire.incoming import IncomingRequest
from router.outcome import Outcome
from router.request import RoutingRequest

BESIDE_V1 = frozenset(
    {b"/classify", b"/detokenize", b"/pooling", b"/rerank", b"/score", b"/tokenize", b"/v2/embed", b"/v2/rerank"}
)
"""Paths outside /v1/ on which vLLM, too, serves requests that name a model."""


class Front:
    """Handles every request of the apps' port.

    Args:
        plane: the gateway's shared state.
        pages: answers requests that are not about a model.
    """

    def __init__(self, plane: DataPlane, pages: Pages) -> None:
        self._plane = plane
        self._pages = pages
        self._answers = Answers(plane)

    def handle(self, client: Client, incoming: IncomingRequest) -> Exchange | None:
        """Answer a request and return None, or return the exchange that will answer it once started."""
        path = incoming.path
        if path[:4] != b"/v1/" and path not in BESIDE_V1:
            self._pages.handle(client, incoming)
            return None
        headers = incoming.headers
        tenant = self._plane.authenticator.tenant(headers.get(b"authorization", b""), headers.get(b"x-api-key", b""))
        if tenant is None:
            message = "the API key is missing or unknown: send it as `authorization: Bearer KEY`"
            self._answers.refuse(client, incoming, Outcome.UNAUTHORIZED, message)
            return None
        if path[:10] == b"/v1/models" and incoming.method in READ_ONLY and path[10:11] in (b"", b"/"):
            self._models(client, incoming, tenant)
            return None
        if b"/../" in path or path[-3:] == b"/..":
            message = "the path must not contain `..`"
            self._answers.refuse(client, incoming, Outcome.BAD_REQUEST, message, tenant=tenant.name)
            return None
        return self._route(client, incoming, tenant)

    def _route(self, client: Client, incoming: IncomingRequest, tenant: Tenant) -> Exchange | None:
        refuse = self._answers.refuse
        try:
            envelope = _read(incoming)
        except EnvelopeError as error:
            refuse(client, incoming, Outcome.INVALID_JSON, str(error), tenant=tenant.name)
            return None
        models = self._plane.models.flows
        model = envelope.model
        if model is None and len(models) == 1:
            model = next(iter(models))
        if model is None:
            message = f"the request names no model; there are: {', '.join(sorted(models))}"
            refuse(client, incoming, Outcome.MODEL_MISSING, message, tenant=tenant.name, param="model")
            return None
        if model not in models:
            outcome, message = self._why_unknown(model)
            refuse(client, incoming, outcome, message, tenant=tenant.name, param="model")
            return None
        if not tenant.may_use(model):
            message = f"this API key may not use the model {model!r}"
            outcome = Outcome.FORBIDDEN_MODEL
            refuse(client, incoming, outcome, message, tenant=tenant.name, model=model, param="model")
            return None
        if tenant.cache_salt and envelope.model is not None and incoming.body.rstrip().endswith(b"}"):
            incoming.body = with_cache_salt(incoming.body, tenant.cache_salt, envelope.cache_salt)
        request_id = incoming.given_id() or self._plane.new_request_id()
        request = RoutingRequest(
            request_id=request_id.decode("ascii"),
            model=model,
            path=incoming.path.decode("ascii"),
            stream=bool(envelope.stream),
            body=incoming.body,
            session=incoming.headers.get(b"x-session-id", b"").decode("latin-1"),
            max_tokens=envelope.answer_tokens,
            include_usage=envelope.includes_usage,
            continuous_usage=envelope.tells_usage,
        )
        flow = models[model]
        if flow.dispatcher.estimator.reads_prompts:
            request.chain = self._plane.hasher.of_body(request.path, incoming.body, model=model)
        try:
            asked, wait_s = asked_priority(incoming), asked_wait_s(incoming)
        except ValueError as error:
            refuse(client, incoming, Outcome.BAD_REQUEST, str(error), tenant=tenant.name, model=model)
            return None
        priority = flow.dispatcher.limits.priority_of(tenant.name, asked)
        return Exchange(self._plane, flow, client, incoming, request, tenant, priority, wait_s)

    def _why_unknown(self, model: str) -> tuple[Outcome, str]:
        """Return why a model is not served: it does not exist, or a server that may have it has not answered yet."""
        models = self._plane.models
        if models.unheard:
            return Outcome.NO_REPLICA, f"the model {model[:200]!r} is not known yet; a server has not answered so far"
        known = ", ".join(sorted(models.flows))
        return Outcome.MODEL_NOT_FOUND, f"the model {model[:200]!r} does not exist; there are: {known}"

    def _models(self, client: Writable, incoming: IncomingRequest, tenant: Tenant) -> None:
        """Answer /v1/models and /v1/models/NAME with the models that this tenant may use."""
        rows = {
            name: openai_row(name, self._plane.models.card(name))
            for name in sorted(self._plane.models.flows)
            if tenant.may_use(name)
        }
        wanted = incoming.path[11:].decode("ascii")
        if not wanted:
            body = msgspec.json.encode({"object": "list", "data": list(rows.values())})
            self._answers.answer(client, incoming, 200, body)
        elif wanted in rows:
            self._answers.answer(client, incoming, 200, msgspec.json.encode(rows[wanted]))
        else:
            message = f"the model {wanted[:200]!r} does not exist"
            self._answers.refuse(client, incoming, Outcome.MODEL_NOT_FOUND, message, tenant=tenant.name, param="model")


def _read(incoming: IncomingRequest) -> Envelope:
    """Return the fields of the body that routing needs.

    Raises:
        EnvelopeError: the body cannot be read.
    """
    if not incoming.body:
        return Envelope()
    content_type = incoming.headers.get(b"content-type", b"")
    if content_type[:19].lower() == b"multipart/form-data":
        return read_multipart(incoming.body, content_type)
    return read_json(incoming.body)
