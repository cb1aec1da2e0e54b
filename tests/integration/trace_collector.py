"""An OTLP collector, over HTTP and over gRPC, that keeps what it is sent."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class TraceCollector:
    """A context manager around one server for each protocol.

    Attributes:
        spans: every span so far, with the name of its service.
        grpc_url: what `OTEL_EXPORTER_OTLP_ENDPOINT` is to be for gRPC.
    """

    def __init__(self) -> None:
        self.spans: list[tuple[str, Span]] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.take(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._grpc = grpc.server(ThreadPoolExecutor(2))
        add_TraceServiceServicer_to_server(_Servicer(self), self._grpc)  # type: ignore[no-untyped-call] # generated
        self.grpc_url = f"http://127.0.0.1:{self._grpc.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self) -> Self:
        self._thread.start()
        self._grpc.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._grpc.stop(None).wait()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        """What `OTEL_EXPORTER_OTLP_ENDPOINT` is to be for HTTP."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def take(self, request: ExportTraceServiceRequest) -> None:
        """Keep what one export brought."""
        for resource in request.resource_spans:
            names = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
            for scope in resource.scope_spans:
                self.spans += [(names["service.name"], span) for span in scope.spans]

    def of(self, trace_id: str, wanted: int, timeout_s: float = 60.0) -> dict[str, Span]:
        """Return a trace's spans by service, once there are as many as wanted.

        Raises:
            AssertionError: they did not come.
        """
        deadline_s = time.monotonic() + timeout_s
        while len(found := {name: span for name, span in self.spans if span.trace_id.hex() == trace_id}) < wanted:
            assert time.monotonic() < deadline_s, f"{wanted} spans wanted, there are {sorted(found)}"
            time.sleep(0.05)
        return found


class _Servicer(TraceServiceServicer):
    def __init__(self, collector: TraceCollector) -> None:
        self._collector = collector

    def Export(self, request: ExportTraceServiceRequest, context: object) -> ExportTraceServiceResponse:  # noqa: N802 - the name in the .proto
        del context
        self._collector.take(request)
        return ExportTraceServiceResponse()


def attributes(span: Span) -> dict[str, str | int | bool]:
    """Return a span's attributes."""
    return {pair.key: getattr(pair.value, str(pair.value.WhichOneof("value"))) for pair in span.attributes}
