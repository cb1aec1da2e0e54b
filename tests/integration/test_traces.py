"""A request's trace through a gateway, a replica and its engine; and nothing of it where no exporter is configured."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from cluster.errors import ClusterError
from cluster.spec.gateway_spec import GatewaySpec
from cluster.spec.model_spec import ModelSpec
from deployments.engines.interface import Scope, Send
from deployments.replica.engine_registry import engine_for
from deployments.replica.server import ReplicaServer
from deployments.standalone.gateway import StandaloneGateway
from deployments.standalone.server_address import ServerAddress
from deployments.tracing.exporter import TracesTarget, configured_target, service_named
from deployments.tracing.wiring import app_spans, close
from tests.integration.gateway.running_gateway import ask, request
from tests.integration.trace_collector import TraceCollector, attributes

CREDENTIAL = "secret"
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}).encode()


@asynccontextmanager
async def _cluster() -> AsyncIterator[int]:
    """Run a replica of a simulated engine and a gateway before it; gives the gateway's port."""
    model = ModelSpec(name="m", engine="sim")
    replica = ReplicaServer(model, engine_for(model), replica_id="r0", host="127.0.0.1", credential=CREDENTIAL)
    endpoint = await replica.start()
    spec = GatewaySpec.model_validate({"host": "127.0.0.1", "port": 0, "admin_port": 0})
    server = ServerAddress("127.0.0.1", endpoint.http_port)
    gateway = StandaloneGateway(spec, [server], policy="least_load", credential=CREDENTIAL)
    await gateway.start()
    try:
        yield gateway.gateway.port
    finally:
        await gateway.stop(0.0)
        await replica.stop()


def _context(flags: str) -> bytes:
    return f"traceparent: 00-{TRACE}-{PARENT}-{flags}\r\ntracestate: vendor=1\r\n".encode()


@pytest.mark.parametrize("protocol", ["http/protobuf", ""])
async def test_gateway_replica_and_engine_are_one_trace(monkeypatch: pytest.MonkeyPatch, protocol: str) -> None:
    """Each span is the child of the one before, the first of the client's; outcome and tokens are noted."""
    with TraceCollector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url if protocol else collector.grpc_url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", protocol)  # "": gRPC is the default
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        async with _cluster() as port:
            status, _, body = await ask(port, request(BODY, headers=_context("01")))
            assert status == 200
            await ask(port, request(BODY, headers=_context("00").replace(TRACE.encode(), b"1" * 32)))
            spans = await asyncio.to_thread(collector.of, TRACE, 3)
        gateway, replica, engine = (
            spans[name] for name in ("rackserve-gateway", "rackserve-replica", "rackserve-sim-engine")
        )
        assert gateway.parent_span_id.hex() == PARENT
        assert replica.parent_span_id == gateway.span_id
        assert engine.parent_span_id == replica.span_id
        assert gateway.trace_state == engine.trace_state == "vendor=1"
        assert gateway.start_time_unix_nano <= replica.start_time_unix_nano <= engine.start_time_unix_nano
        noted, usage = attributes(gateway), json.loads(body)["usage"]
        assert noted["rackserve.outcome"] == "ok"
        assert noted["gen_ai.request.model"] == "m"
        assert noted["gen_ai.usage.output_tokens"] == usage["completion_tokens"]
        assert noted["gen_ai.usage.input_tokens"] == usage["prompt_tokens"]
        assert [event.name for event in gateway.events] == ["dispatched", "first byte"]
        assert attributes(replica)["http.response.status_code"] == 200
        assert not any(span.trace_id.hex() == "1" * 32 for _, span in collector.spans), "the client asked for no trace"


async def test_a_refusal_is_an_error_span(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that the engine answers with an error is an error in its span."""
    with TraceCollector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{collector.url}/v1/traces")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf")
        async with _cluster() as port:
            assert (await ask(port, request(BODY.replace(b"4", b"-4"), headers=_context("01"))))[0] == 400
        spans = await asyncio.to_thread(collector.of, TRACE, 3)
        assert attributes(spans["rackserve-gateway"])["rackserve.outcome"] == "upstream_status"
        assert spans["rackserve-gateway"].status.code == spans["rackserve-gateway"].status.STATUS_CODE_ERROR


async def test_an_engine_is_told_not_to_trace_what_is_in_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no context came in, an engine that traces by itself (vLLM does) is given one that is not sampled."""
    given: list[bytes] = []

    async def engine(scope: Scope, _receive: object, send: Send) -> None:
        given.extend(value for name, value in scope["headers"] if name == b"traceparent")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    with TraceCollector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
        spans = app_spans("rackserve-replica", "replica")
        assert spans is not None
        async with httpx.AsyncClient(transport=httpx.ASGITransport(spans.around(engine))) as client:
            for _ in range(2):
                await client.get("http://replica/health", headers={"x-request-id": "self-test"})
        await close(spans)
        assert collector.spans == []
    assert len(set(given)) == 2
    assert all(re.fullmatch(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-00", context) for context in given)


def test_what_an_engine_has_kept_is_sent_before_its_process_is_killed() -> None:
    """An engine's tracer is the process's own; its spans of the last seconds are not lost with a replica that stops."""
    program = (
        "import asyncio, os; from opentelemetry import trace; "
        "from deployments.tracing.exporter import configured_target, provider; "
        "from deployments.tracing.wiring import flush_engine_spans; "
        "trace.set_tracer_provider(provider(configured_target(), 'rackserve-vllm')); "
        "trace.get_tracer('vllm').start_span('llm_request').end(); "
        "asyncio.run(flush_engine_spans()); os._exit(0)"
    )
    with TraceCollector() as collector:
        env = {"PATH": "/usr/bin", "PYTHONPATH": os.pathsep.join(sys.path), "OTEL_BSP_SCHEDULE_DELAY": "600000"}
        env |= {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
        assert subprocess.run([sys.executable, "-c", program], env=env, check=False).returncode == 0
        assert [(service, span.name) for service, span in collector.spans] == [("rackserve-vllm", "llm_request")]


def test_tracers_made_by_others_have_a_service_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is theirs alone, and gives way to one that was set."""
    monkeypatch.delenv("OTEL_SERVICE_NAME", raising=False)
    with service_named("rackserve-vllm"):
        assert os.environ["OTEL_SERVICE_NAME"] == "rackserve-vllm"
    assert "OTEL_SERVICE_NAME" not in os.environ
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    with service_named("rackserve-vllm"):
        assert os.environ["OTEL_SERVICE_NAME"] == "mine"
    assert os.environ["OTEL_SERVICE_NAME"] == "mine"


def test_without_an_exporter_nothing_is_imported() -> None:
    """A gateway and a replica start without loading any of OpenTelemetry's SDK."""
    program = (
        "import sys; from deployments.standalone.gateway import StandaloneGateway; "
        "from deployments.replica.server import ReplicaServer; from deployments.tracing.wiring import gateway_tracer; "
        "assert gateway_tracer() is None; "
        "sys.exit(any(name.startswith(('opentelemetry.sdk', 'opentelemetry.exporter')) for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], env={"PATH": "/usr/bin"}, check=False).returncode == 0


def test_where_traces_go() -> None:
    """OpenTelemetry's variables mean what they mean elsewhere; a protocol nobody speaks is told."""
    base = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318/"}
    http = {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"}
    assert configured_target({}) is None
    assert configured_target(base | {"OTEL_SDK_DISABLED": "true"}) is None
    assert configured_target(base) == TracesTarget("http://collector:4318", "grpc")
    assert configured_target(base | http) == TracesTarget("http://collector:4318/v1/traces", "http/protobuf")
    assert configured_target(base | {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}) == configured_target(base | http)
    assert configured_target(base | http | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}) == configured_target(base | http)
    exact = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://other/spans"}
    assert configured_target(base | http | exact) == TracesTarget("http://other/spans", "http/protobuf")
    with pytest.raises(ClusterError, match="kafka"):
        configured_target(base | {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "kafka"})
