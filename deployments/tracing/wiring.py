"""Tracing put into gateways, replicas and engines, where it is configured; elsewhere nothing is imported or wrapped."""

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
"""A collector that is away keeps nobody from stopping for longer than this."""


def gateway_tracer() -> "GatewayTracer | None":
    """Return the gateway's tracer, or None."""
    target = configured_target()
    if target is None:
        return None
    from deployments.tracing.gateway_spans import GatewayTracer

    return GatewayTracer(provider(target, "rackserve-gateway"))


def app_spans(service: str, name: str, **attributes: str) -> "AppSpans | None":
    """Return the spans of a replica's or an engine's app, or None where no traces are wanted."""
    target = configured_target()
    if target is None:
        return None
    from deployments.tracing.traced_app import AppSpans

    return AppSpans(provider(target, service), name, attributes)


async def flush_engine_spans() -> None:
    """Send what an engine's own tracer has kept (vLLM's sends every 5 s), if that takes no longer than `CLOSE_S`.

    Serve ends a replica's process without letting it exit: nothing else would.
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
    """Send what is left, if that takes no longer than `CLOSE_S`."""
    if spans is not None:
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await asyncio.to_thread(spans.close)
