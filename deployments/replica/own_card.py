"""Asks a replica's own engine what it says of its model at /v1/models, for the gateways' list."""

import asyncio
from http import HTTPStatus
from typing import Final

import httpx
import structlog

from deployments.engines.interface import AsgiApp
from router.replicas.model_card import ModelCard, announced_in

TIMEOUT_S: Final = 5.0
"""Seconds that the engine may take to answer."""

_log = structlog.get_logger("rackserve.replica")


async def own_card(app: AsgiApp, model: str) -> ModelCard | None:
    """Return the card of `model`; None: the engine does not list it, or does not answer. Raises nothing."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            response = await transport.handle_async_request(httpx.Request("GET", "http://replica/v1/models"))
            body = await response.aread()
        if response.status_code == HTTPStatus.OK:
            return announced_in(body).models.get(model)
        reason = f"/v1/models answered {response.status_code}"
    except (TimeoutError, httpx.HTTPError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
    _log.warning("the engine does not list its model", model=model, reason=reason)
    return None
