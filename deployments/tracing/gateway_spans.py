"""The gateway's spans: one per request, from its last byte to its answer's end, with its dispatches as events."""

from typing import Final

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from router.dispatch.attempt import Attempt
from router.estimator.expectation import Usage
from router.http.wire.request.incoming import IncomingRequest
from router.outcome import Outcome
from router.request import RoutingRequest

W3C: Final = TraceContextTextMapPropagator()
FINE: Final = frozenset({Outcome.OK, Outcome.CLIENT_LEFT})


class GatewaySpan:
    """The span of one request; implements `router.http.data_plane.tracing.RequestSpan`."""

    __slots__ = ("_span",)

    def __init__(self, span: Span) -> None:
        self._span = span

    def dispatched(self, attempt: Attempt) -> None:
        """Record the chosen replica, and the policy that chose it."""
        attributes = {"rackserve.replica": attempt.replica.replica_id, "rackserve.policy": attempt.decision.policy}
        self._span.set_attributes(attributes)
        self._span.add_event("dispatched", attributes)

    def first_bytes(self) -> None:
        """Record that the answer begins now."""
        self._span.add_event("first byte")

    def ended(self, outcome: Outcome, usage: Usage) -> None:
        """Record the outcome and the tokens used, and end the span."""
        span = self._span
        span.set_attribute("rackserve.outcome", str(outcome))
        for name, count in (
            ("gen_ai.usage.input_tokens", usage.prompt_tokens),
            ("rackserve.cached_tokens", usage.cached_tokens),
            ("gen_ai.usage.output_tokens", usage.completion_tokens),
        ):
            if count is not None:
                span.set_attribute(name, count)
        if outcome not in FINE:
            span.set_status(Status(StatusCode.ERROR, str(outcome)))
        span.end()


class GatewayTracer:
    """Makes the gateway's spans; implements `router.http.data_plane.tracing.Tracer`.

    Args:
        provider: where spans go.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("rackserve.gateway")

    def begin(self, incoming: IncomingRequest, request: RoutingRequest, tenant: str) -> GatewaySpan | None:
        """Begin a request's span and put its context into the headers for the replica.

        Returns:
            The span; None: the request is not sampled.
        """
        headers = incoming.headers
        carrier = {
            name: headers[name.encode()].decode("latin-1")
            for name in ("traceparent", "tracestate")
            if name.encode() in headers
        }
        span = self._tracer.start_span(
            f"{incoming.method.decode()} {request.path}",
            context=W3C.extract(carrier),
            kind=SpanKind.SERVER,
            attributes={
                "gen_ai.request.model": request.model,
                "rackserve.request_id": request.request_id,
                "rackserve.tenant": tenant,
                "rackserve.stream": request.stream,
            },
        )
        if not span.is_recording():
            return None
        carrier.clear()
        W3C.inject(carrier, set_span_in_context(span))
        headers.update({name.encode(): value.encode() for name, value in carrier.items()})
        return GatewaySpan(span)

    def close(self) -> None:
        """Send the spans not sent yet."""
        self._provider.shutdown()
