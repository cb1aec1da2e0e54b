"""Wraps an ASGI app so that its requests become spans: a replica's app, and in it a simulated engine's."""

import secrets
from collections.abc import MutableMapping
from http import HTTPStatus
from typing import Any

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

from deployments.engines.interface import AsgiApp, Receive, Scope, Send
from deployments.tracing.gateway_spans import W3C

CONTEXT_HEADERS = (b"traceparent", b"tracestate")


class AppSpans:
    """The spans of one process's app.

    Args:
        provider: where spans go.
        name: the name of every span.
        attributes: the attributes of every span.
    """

    def __init__(self, provider: TracerProvider, name: str, attributes: dict[str, str]) -> None:
        self._provider = provider
        self._name = name
        self._attributes = attributes

    def around(self, app: AsgiApp) -> AsgiApp:
        """Return `app` with a span for each request that has a context."""
        return TracedApp(app, self._provider, self._name, self._attributes)

    def close(self) -> None:
        """Send the spans not sent yet; may take seconds if the collector does not answer."""
        self._provider.shutdown()


class TracedApp:
    """Makes a span of each request and passes the request on with the span's context in place of its own.

    Args:
        app: the app inside.
        provider: where spans go.
        name: the name of every span.
        attributes: the attributes of every span.
    """

    def __init__(self, app: AsgiApp, provider: TracerProvider, name: str, attributes: dict[str, str]) -> None:
        self._app = app
        self._tracer = provider.get_tracer("rackserve.replica")
        self._name = name
        self._attributes = attributes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request as one span."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        carrier, others = {}, []
        for name, value in scope["headers"]:
            if name in CONTEXT_HEADERS:
                carrier[name.decode()] = value.decode("latin-1")
            else:
                others.append((name, value))
        # A request without a context is a self-test, a health check, or one that the gateway did not sample: no trace.
        # vLLM would begin a trace of its own, so the header says that this request is not sampled.
        if not carrier:
            await self._app({**scope, "headers": [*others, (b"traceparent", _not_sampled())]}, receive, send)
            return
        span = self._tracer.start_span(
            self._name, context=W3C.extract(carrier), kind=SpanKind.SERVER, attributes=self._attributes
        )
        carrier.clear()
        W3C.inject(carrier, set_span_in_context(span))
        others += [(name.encode(), value.encode()) for name, value in carrier.items()]
        begun = False

        async def send_and_note(message: MutableMapping[str, Any]) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                span.set_attribute("http.response.status_code", message["status"])
                if message["status"] >= HTTPStatus.INTERNAL_SERVER_ERROR:
                    span.set_status(Status(StatusCode.ERROR))
            elif not begun:
                begun = True
                span.add_event("first byte")
            await send(message)

        try:
            await self._app({**scope, "headers": others}, receive, send_and_note)
        finally:
            span.end()


def _not_sampled() -> bytes:
    """Return a new W3C `traceparent` whose last field says: not sampled."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00".encode()
