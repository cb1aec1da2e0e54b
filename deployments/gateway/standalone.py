"""Runs the gateway without Ray, in front of any OpenAI-compatible servers, which are polled for their models."""

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final
from urllib.parse import urlsplit

import httpx
import structlog

from cluster.errors import ClusterError, PolicyError
from cluster.spec.cluster_spec import MODEL_NAME, ModelSpec
from cluster.spec.gateway_spec import GatewaySpec
from deployments.gateway.server_kind import continues_messages
from deployments.gateway.server_metrics import kv_tokens_of
from deployments.process.machine_clock import MachineClock
from deployments.tracing.wiring import close, gateway_tracer
from router.http.gateway import Gateway
from router.replicas.endpoint import Endpoint
from router.scheduling.needed_telemetry import why_unmet
from router.scheduling.registry import policy_named

POLL_S: Final = 1.0
"""Seconds from one poll of all servers to the next."""
POLL_TIMEOUT_S: Final = 2.0
"""Seconds after which a poll of a server has failed."""
MISSES: Final = 2
"""Failed polls in a row after which a server gets no more requests, until it answers again."""

_log = structlog.get_logger("rackserve.gateway")


@dataclass(slots=True)
class _Server:
    """One OpenAI-compatible server.

    Attributes:
        host: name or address of its host.
        port: its port.
        models: names of its models, as of the last answered poll.
        misses: failed polls in a row.
        kv_tokens: tokens that its KV caches hold, as read when it came up; 0: not known.
        continuing: names of the models with which it is known to continue a message.
        told: all model names seen so far; one that cannot be routed is logged when it is first seen.
    """

    host: str
    port: int
    models: tuple[str, ...] = ()
    misses: int = MISSES
    kv_tokens: int = 0
    continuing: frozenset[str] = frozenset()
    told: set[str] = field(default_factory=set)

    @property
    def name(self) -> str:
        """Return `host:port`."""
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """Return its base URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def is_up(self) -> bool:
        """Return whether it answered one of the last `MISSES` polls."""
        return self.misses < MISSES


def server_at(url: str) -> tuple[str, int]:
    """Return host and port of a server's URL.

    Raises:
        ClusterError: the URL is not one that this gateway can use; the message says what would be right.
    """
    parts = urlsplit(url if "://" in url else f"http://{url}")
    try:
        port = parts.port if parts.port is not None or parts.netloc.endswith(":") else 80
    except ValueError:
        port = None
    if parts.scheme != "http" or not parts.hostname or parts.path.rstrip("/") not in {"", "/v1"} or parts.query:
        raise ClusterError(f"--replica {url}: give http://HOST:PORT (plain HTTP, no path but /v1)")
    if not port:
        raise ClusterError(f"--replica {url}: the port is missing or wrong")
    return parts.hostname, port


class StandaloneGateway:
    """Runs a gateway in front of a fixed list of servers; used from one event loop: `start`, then `stop`.

    Args:
        spec: addresses to listen on, limits and tenants.
        servers: host and port of each server.
        policy: name of the routing policy, for all models.
        credential: the bearer token that the servers ask for; "": none is sent.
        request_timeout_s: seconds of silence after which a server has failed a request.

    Raises:
        PolicyError: there is no such policy, or it needs telemetry, which plain servers do not send.

    Attributes:
        gateway: the data plane.
    """

    def __init__(
        self,
        spec: GatewaySpec,
        servers: Sequence[tuple[str, int]],
        *,
        policy: str,
        credential: str = "",
        request_timeout_s: float = 600.0,
    ) -> None:
        self._servers = [_Server(host, port) for host, port in dict.fromkeys(servers)]
        unmet = why_unmet(
            policy_named(policy), [Endpoint(each.name, "", each.host, each.port) for each in self._servers]
        )
        if unmet:
            raise PolicyError(unmet)
        self._policy = policy
        self._request_timeout_s = request_timeout_s
        self._models: dict[str, ModelSpec] = {}
        headers = {"authorization": f"Bearer {credential}"} if credential else {}
        self._client = httpx.AsyncClient(headers=headers, timeout=POLL_TIMEOUT_S)
        self._poller: asyncio.Task[None] | None = None
        self._tracer = gateway_tracer()
        self.gateway = Gateway(
            spec,
            (),
            gateway_id=f"standalone-{secrets.token_hex(4)}",
            credential=credential,
            clock=MachineClock(),
            rng=Random(),  # noqa: S311 - breaks ties
            tracer=self._tracer,
        )

    async def start(self) -> None:
        """Poll every server once, then listen and go on polling.

        Raises:
            OSError: a port is taken, or the certificate cannot be used.
        """
        await self._poll_all()
        await self.gateway.start()
        self._poller = asyncio.get_running_loop().create_task(self._keep_polling(), name="replica poll")

    async def wait_for_failure(self) -> None:
        """Wait for as long as the servers are polled; if polling ends by a defect in this code, raise its error."""
        if self._poller is not None:
            await asyncio.shield(self._poller)

    async def stop(self, drain_s: float) -> None:
        """Stop polling and accepting, let running answers finish for `drain_s` seconds, then end everything."""
        if self._poller is not None:
            self._poller.cancel()
            await asyncio.gather(self._poller, return_exceptions=True)
        await self._client.aclose()
        await self.gateway.stop(drain_s)
        await close(self._tracer)

    async def _keep_polling(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            await self._poll_all()

    async def _poll_all(self) -> None:
        before = self._world()
        await asyncio.gather(*(self._poll(server) for server in self._servers))
        world = self._world()
        if world != before or not self._models:
            self._apply(world)

    async def _poll(self, server: _Server) -> None:
        try:
            response = await self._client.get(f"{server.url}/v1/models")
            response.raise_for_status()
            cards = {str(model["id"]): model for model in response.json()["data"]}
            names = list(cards)
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            server.misses += 1
            if server.misses == MISSES:
                _log.warning(
                    "a replica does not answer", replica=server.name, reason=f"{type(error).__name__}: {error}"
                )
            return
        if not server.is_up:
            server.kv_tokens = await self._kv_tokens(server)
            _log.info("a replica answers", replica=server.name, models=names, kv_tokens=server.kv_tokens or None)
        server.misses = 0
        for name in set(names) - server.told:
            server.told.add(name)
            if not MODEL_NAME.fullmatch(name):
                _log.warning(
                    "a model's name cannot be routed; rename it on its server", replica=server.name, model=name
                )
        server.models = tuple(name for name in names if MODEL_NAME.fullmatch(name))
        server.continuing = frozenset(name for name, card in cards.items() if continues_messages(card))

    async def _kv_tokens(self, server: _Server) -> int:
        try:
            response = await self._client.get(f"{server.url}/metrics", follow_redirects=True)
            return kv_tokens_of(response.text) if response.is_success else 0
        except httpx.HTTPError:
            return 0

    def _world(self) -> list[tuple[str, tuple[str, ...]]]:
        return [(server.name, server.models) for server in self._servers if server.is_up]

    def _apply(self, world: list[tuple[str, tuple[str, ...]]]) -> None:
        # A model stays known while its servers are down, so that the refusal is "no replica" and not "no such model".
        for name in dict.fromkeys(name for _, models in world for name in models):
            self._models.setdefault(
                name,
                ModelSpec(
                    name=name,
                    source=name,
                    policy=self._policy,
                    request_timeout_s=self._request_timeout_s,
                    cold_start_timeout_s=0.0,  # no server will be started, so requests are refused at once
                ),
            )
        self.gateway.set_models(tuple(self._models.values()))
        self.gateway.apply_view(
            [
                Endpoint(
                    replica_id=server.name if len(server.models) == 1 else f"{server.name}/{name}",
                    model=name,
                    host=server.host,
                    http_port=server.port,
                    kv_tokens=server.kv_tokens // max(1, len(server.models)),
                    continues_messages=name in server.continuing,
                )
                for server in self._servers
                if server.is_up
                for name in server.models
            ]
        )
