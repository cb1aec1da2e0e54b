"""Decides what happens to a request on the apps' port: a page or list, a refusal, or an exchange with a replica."""

from collections.abc import Sequence
from typing import Final

import msgspec

from router.http.access_control.auth import ANONYMOUS, Tenant
from router.http.api.asked_answer import includes_usage, is_streamed, most_tokens, tells_usage
from router.http.api.azure import PREFIX as AZURE
from router.http.api.azure import azure_target
from router.http.api.envelope import Envelope, EnvelopeError, salted, with_members
from router.http.api.errors import MODELS
from router.http.api.paths import Body, why_not_found, with_more_paths
from router.http.api.response_id import BY_ID, CREATE_RESPONSE, is_response_id, new_response_id, response_path
from router.http.api.urgency import asked_priority, asked_targets, asked_wait_s
from router.http.asked_model import AskedModel, AskedModelError, read_body
from router.http.connection.client import Client
from router.http.data_plane.answers import Answers
from router.http.data_plane.data_plane import DataPlane
from router.http.exchange.dry_run import DRY_RUN, dry_run
from router.http.exchange.exchange import Exchange
from router.http.exchange.pinned_exchange import PinnedExchange
from router.http.exchange.realtime import REALTIME, Realtime, model_in, with_model
from router.http.exchange.response_lookup import ResponseLookup
from router.http.models.model_flow import ModelFlow
from router.http.pages.model_list import ModelList
from router.http.pages.pages import READ_ONLY, Pages
from router.http.wire.request.incoming import IncomingRequest
from router.outcome import Outcome
from router.prompt.bodies import ChatBody
from router.prompt.invocations import INVOCATIONS, invoked_path
from router.prompt.outline import Outline
from router.request import RoutingRequest

_JSON: Final = Body.JSON  # looking up an enum's member takes ten times as long as looking up a global
_NONE: Final = Body.NONE
_INVOCATIONS: Final = INVOCATIONS.encode()


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
        self._paths = with_more_paths(plane.spec.api_paths)
        self._models = ModelList(plane)
        self._asked = AskedModel(plane)
        self._lookup = ResponseLookup(plane)

    def needs_body(self, client: Client, incoming: IncomingRequest) -> bool:
        """Tell whether a request's answer depends on its body: it is for a model, and has a key that is let in."""
        del client
        headers, methods = incoming.headers, self._methods(incoming)
        if incoming.method not in methods:
            return False
        key = headers.get(b"x-api-key") or headers.get(b"api-key", b"")
        return self._plane.authenticator.tenant(headers.get(b"authorization", b""), key) is not None

    def _methods(self, incoming: IncomingRequest) -> Sequence[bytes]:
        """Return the methods by which a path is passed on to replicas; empty: by none."""
        path = incoming.path
        if path.startswith(AZURE):
            target = azure_target(path, b"")
            path = target.path if target is not None else b""
        known = self._paths.get(path)
        if known is not None:
            return known.methods
        if path.startswith(BY_ID):
            asked = response_path(path)
            return asked.methods if asked is not None else ()
        return (b"POST",) if path == _INVOCATIONS else ()

    def handle(self, client: Client, incoming: IncomingRequest) -> Exchange | None:
        """Answer a request and return None, or return the exchange that will answer it once started."""
        known = self._paths.get(incoming.path)
        if known is None:
            return self._beside_the_models_apis(client, incoming)
        if incoming.method not in known.methods:
            self._wrong_method(client, incoming, known.methods)
            return None
        tenant = self._tenant(client, incoming)
        return self._route(client, incoming, tenant, known.body) if tenant is not None else None

    def _beside_the_models_apis(self, client: Client, incoming: IncomingRequest) -> Exchange | None:
        """Handle a request whose path names no model in its body: lists, stored responses, Azure's paths, pages."""
        path = incoming.path
        if path == MODELS or path.startswith(MODELS + b"/"):
            if incoming.method not in READ_ONLY:
                self._wrong_method(client, incoming, READ_ONLY)
            elif (tenant := self._tenant(client, incoming)) is not None:
                self._models.handle(client, incoming, tenant)
        elif path.startswith(BY_ID):
            return self._about_a_response(client, incoming)
        elif path.startswith(AZURE):
            return self._as_azure(client, incoming)
        elif path == _INVOCATIONS:
            return self._invocation(client, incoming)
        elif path == REALTIME:
            return self._realtime(client, incoming)
        else:
            self._pages.handle(client, incoming)
        return None

    def _as_azure(self, client: Client, incoming: IncomingRequest) -> Exchange | None:
        target = azure_target(incoming.path, incoming.query)
        if target is None or (target.model is not None and target.path not in self._paths):
            self._answers.refuse(client, incoming, Outcome.NOT_FOUND, why_not_found(incoming.path))
            return None
        incoming.path, incoming.query, incoming.url = target.path, target.query, target.url
        if target.model is None:
            return self.handle(client, incoming)
        known = self._paths[target.path]
        if incoming.method not in known.methods:
            self._wrong_method(client, incoming, known.methods)
            return None
        tenant = self._tenant(client, incoming)
        return self._route(client, incoming, tenant, known.body, target.model) if tenant is not None else None

    def _invocation(self, client: Client, incoming: IncomingRequest) -> Exchange | None:
        """Handle a request to SageMaker's path: it means what its body is, and is passed on as it came."""
        if incoming.method != b"POST":
            self._wrong_method(client, incoming, (b"POST",))
            return None
        tenant = self._tenant(client, incoming)
        if tenant is None:
            return None  # before the body is read, as for every path
        incoming.path = invoked_path(incoming.body).encode()
        return self._route(client, incoming, tenant, _JSON)

    def _realtime(self, client: Client, incoming: IncomingRequest) -> Exchange | None:
        """Handle a request for a WebSocket, whose query names the model."""
        if incoming.method != b"GET":
            self._wrong_method(client, incoming, (b"GET",))
            return None
        tenant = self._tenant(client, incoming)
        if tenant is None:
            return None
        if not incoming.upgrades:
            message = "this path is a WebSocket: ask for it with `upgrade: websocket`"
            self._answers.refuse(client, incoming, Outcome.BAD_REQUEST, message, tenant=tenant.name)
            return None
        return self._route(client, incoming, tenant, _NONE, model_in(incoming.query))

    def _wrong_method(self, client: Client, incoming: IncomingRequest, allowed: Sequence[bytes]) -> None:
        """Refuse a method that a path does not know, or answer OPTIONS; both say what is allowed (RFC 9110, 9.3.7)."""
        allow = b"allow: " + b", ".join((*allowed, b"OPTIONS")) + b"\r\n"
        if incoming.method == b"OPTIONS":
            self._answers.answer(client, incoming, 200, b"", headers=allow)
            return
        message = f"this path takes {b', '.join(allowed).decode()}, not {incoming.method[:20].decode('latin-1')}"
        self._answers.refuse(client, incoming, Outcome.METHOD_NOT_ALLOWED, message, headers=allow)

    def _tenant(self, client: Client, incoming: IncomingRequest) -> Tenant | None:
        """Return the tenant whose key the request has; None: it has none, and has been refused."""
        headers = incoming.headers
        key = headers.get(b"x-api-key") or headers.get(b"api-key", b"")
        tenant = self._plane.authenticator.tenant(headers.get(b"authorization", b""), key)
        if tenant is None:
            message = "the API key is missing or unknown: send it as `authorization: Bearer KEY`"
            self._answers.refuse(client, incoming, Outcome.UNAUTHORIZED, message)
        else:
            self._plane.asked += 1
        return tenant

    def _about_a_response(self, client: Client, incoming: IncomingRequest) -> Exchange | None:
        """Handle a request about a response that was made before: it names the response, and no model."""
        asked = response_path(incoming.path)
        if asked is None:
            self._answers.refuse(client, incoming, Outcome.NOT_FOUND, why_not_found(incoming.path))
            return None
        if incoming.method not in asked.methods:
            self._wrong_method(client, incoming, asked.methods)
            return None
        tenant = self._tenant(client, incoming)
        if tenant is None:
            return None
        models = self._plane.models
        own = [models.named(name) for name in models.names() if tenant.may_use(name)]
        flows = [flow for flow in models.flows.values() if flow in own]
        if not flows:
            message = f"there is no response {asked.response_id!r}"
            self._answers.refuse(client, incoming, Outcome.NOT_FOUND, message, tenant=tenant.name, param="response_id")
            return None
        return self._exchange(client, incoming, tenant, flows, Envelope(), asked.response_id)

    def _route(
        self, client: Client, incoming: IncomingRequest, tenant: Tenant, kind: Body, deployment: str | None = None
    ) -> Exchange | None:
        """Return the exchange with a replica of the model that a request means; None: it has been refused."""
        try:
            envelope, read = read_body(incoming, kind, tenant)
            model, members = self._asked.resolve(incoming, envelope, tenant, kind, deployment)
        except AskedModelError as error:
            self._answers.refuse(
                client, incoming, error.outcome, str(error), tenant=tenant.name, model=error.model, param=error.param
            )
            return None
        except EnvelopeError as unreadable:
            self._answers.refuse(client, incoming, Outcome.INVALID_JSON, str(unreadable), tenant=tenant.name)
            return None
        if kind is _NONE:
            incoming.query, incoming.url = with_model(incoming.query, model)
        elif kind is _JSON:
            if tenant.cache_salt or (tenant.beside_salts and envelope.cache_salt):
                members["cache_salt"] = salted(tenant.cache_salt, envelope.cache_salt)
            if tenant is not ANONYMOUS and incoming.path == CREATE_RESPONSE.encode():
                members["request_id"] = new_response_id(tenant.name)
            if members:
                incoming.body = with_members(incoming.body or b"{}", members)
                if isinstance(read, Outline):
                    read.rest = with_members(read.rest, members)
                else:
                    read = None
        models = self._plane.models
        adapter = model if model in models.adapters else ""
        flow = models.flows[models.adapters[model] if adapter else model]
        before = envelope.previous_response_id
        is_next = isinstance(before, str) and incoming.path == CREATE_RESPONSE.encode() and is_response_id(before)
        return self._exchange(client, incoming, tenant, [flow], envelope, before if is_next else None, read, adapter)

    def _exchange(  # noqa: PLR0913, PLR0917 - the parts of an exchange
        self,
        client: Client,
        incoming: IncomingRequest,
        tenant: Tenant,
        flows: Sequence[ModelFlow],
        envelope: Envelope,
        response_id: str | None,
        read: Outline | ChatBody | None = None,
        adapter: str = "",
    ) -> Exchange | None:
        """Return the exchange for a request of one of `flows`, about an earlier response where it names one."""
        dispatcher = flows[0].dispatcher
        request_id = incoming.given_id() or self._plane.new_request_id()
        request = RoutingRequest(
            request_id=request_id.decode("ascii"),
            model=dispatcher.model,
            path=incoming.path.decode("ascii"),
            stream=is_streamed(envelope),
            body=incoming.body,
            session=incoming.headers.get(b"x-session-id", b"").decode("latin-1"),
            max_tokens=most_tokens(envelope),
            adapter=adapter,
        )
        if envelope.stream_options is not None:
            request.include_usage, request.continuous_usage = includes_usage(envelope), tells_usage(envelope)
        if dispatcher.estimator.reads_prompts:
            request.chain = self._plane.hasher.of_body(
                request.path, incoming.body, model=dispatcher.model, adapter=adapter, read=read
            )
        try:
            asked, wait_s = asked_priority(incoming), asked_wait_s(incoming)
            request.targets = asked_targets(incoming, dispatcher.limits.targets_of(tenant.name))
        except ValueError as error:
            self._answers.refuse(
                client, incoming, Outcome.BAD_REQUEST, str(error), tenant=tenant.name, model=dispatcher.model
            )
            return None
        if DRY_RUN in incoming.headers:
            found = dry_run(dispatcher, request, tenant.name, self._plane.now_s())
            self._answers.answer(client, incoming, 200, msgspec.json.encode(found))
            return None
        priority = dispatcher.limits.priority_of(tenant.name, asked)
        if response_id is None:
            answering = Realtime if incoming.upgrades else Exchange
            return answering(self._plane, flows[0], client, incoming, request, tenant, priority, wait_s)
        return PinnedExchange(
            self._plane, flows, client, incoming, request, tenant, response_id, self._lookup, priority, wait_s
        )
