"""Adds tracing to gateways, replicas and engines if it is configured; else nothing is imported or wrapped."""

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from deployments.tracing.exporter import configured_target, provider

if TYPE_CHECKING:
    from deployments.tracing.gateway_spans import GatewayTracer
    from deployments.tracing.traced_app import AppSpans

# ruff: noqa: PLC0415
# Imports inside: OpenTelemetry is loaded only where traces are wanted.

CLOSE_S: Final = 3.0
"""Seconds after which a stopping process gives up sending its last spans: the collector may be away."""


def gateway_tracer() -> "GatewayTracer | None":
    """Return the gateway's tracer; None: no exporter is configured."""
    target = configured_target()
    if target is None:
        return None
    from deployments.tracing.gateway_spans import GatewayTracer

    return GatewayTracer(provider(target, "rackserve-gateway"))


def app_spans(service: str, name: str, **attributes: str) -> "AppSpans | None":
    """Return the spans of a replica's or an engine's app; None: no exporter is configured.

    Args:
        service: `service.name`, unless the environment names another.
        name: the name of every span.
        attributes: the attributes of every span.
    """
    target = configured_target()
    if target is None:
        return None
    from deployments.tracing.traced_app import AppSpans

    return AppSpans(provider(target, service), name, attributes)


async def flush_engine_spans() -> None:
    """Send the spans that an engine's own tracer still keeps (vLLM's sends every 5 s), within `CLOSE_S`.

    Serve kills a replica's process before its exit handlers, so nothing else would send them.
    """
    if configured_target() is None:
        return
    from opentelemetry import trace

    flush = getattr(trace.get_tracer_provider(), "force_flush", None)
    if flush is not None:
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await asyncio.to_thread(flush)


async def close(spans: "AppSpans | GatewayTracer | None") -> None:
    """Send the spans not sent yet, within `CLOSE_S`."""
    if spans is not None:
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await asyncio.to_thread(spans.close)
