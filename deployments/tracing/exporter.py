"""Reads from OpenTelemetry's own environment variables whether and where traces go; loads OpenTelemetry only then.

`OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` or `OTEL_EXPORTER_OTLP_ENDPOINT` turns traces on.
`OTEL_EXPORTER_OTLP_TRACES_PROTOCOL` or `OTEL_EXPORTER_OTLP_PROTOCOL` is `grpc` or `http/protobuf`.
OpenTelemetry's other variables set headers, resource and sampler. By default a request follows its parent's sampling
decision, and one without a parent is sampled.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

# ruff: noqa: PLC0415
# Imports inside: OpenTelemetry is loaded only where traces are wanted.
from cluster.errors import ClusterError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

GRPC: Final = "grpc"
HTTP: Final = "http/protobuf"
PROTOCOL: Final = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
"""Environment variable with the protocol of traces: the one that vLLM reads."""
EITHER_PROTOCOL: Final = "OTEL_EXPORTER_OTLP_PROTOCOL"
"""Environment variable with the protocol of all signals, used where `PROTOCOL` is not set."""
SERVICE: Final = "OTEL_SERVICE_NAME"


@dataclass(frozen=True, slots=True)
class TracesTarget:
    """Where spans go.

    Attributes:
        endpoint: the collector, with the path where the protocol is HTTP.
        protocol: `grpc` or `http/protobuf`.
    """

    endpoint: str
    protocol: str


def configured_target(environ: Mapping[str, str] = os.environ) -> TracesTarget | None:
    """Return where traces go; None: no exporter is configured.

    Args:
        environ: the environment variables.

    Raises:
        ClusterError: the configured protocol is not supported.
    """
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    exact, base = environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"), environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    if not exact and not base:
        return None
    asked = PROTOCOL if environ.get(PROTOCOL) else EITHER_PROTOCOL
    protocol = environ.get(asked) or GRPC
    if protocol not in (GRPC, HTTP):
        raise ClusterError(f"{asked} is {protocol!r}; give {GRPC} or {HTTP}")
    if exact:
        return TracesTarget(exact, protocol)
    path = "/v1/traces" if protocol == HTTP else ""
    return TracesTarget(str(base).rstrip("/") + path, protocol)


@contextmanager
def service_named(service: str) -> Iterator[None]:
    """Set `service.name` within the block for tracers that other code makes, in child processes too, if none is set."""
    if os.environ.get(SERVICE):
        yield
        return
    os.environ[SERVICE] = service
    try:
        yield
    finally:
        del os.environ[SERVICE]


def provider(target: TracesTarget, service: str) -> "TracerProvider":
    """Return a source of spans that sends them in batches from a thread of its own.

    Args:
        target: where the spans go.
        service: `service.name`, unless `OTEL_SERVICE_NAME` or the resource attributes name another.
    """
    from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

    exporter: SpanExporter
    if target.protocol == HTTP:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as OverHttp

        exporter = OverHttp(endpoint=target.endpoint)
    else:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as OverGrpc

        exporter = OverGrpc(endpoint=target.endpoint, insecure=not target.endpoint.startswith("https://"))
    resource = Resource({SERVICE_NAME: service}).merge(OTELResourceDetector().detect())
    made = TracerProvider(resource=resource)
    made.add_span_processor(BatchSpanProcessor(exporter))
    return made
