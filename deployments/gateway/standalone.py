"""The gateway alone, in front of any OpenAI-compatible servers: no Ray; models are found by asking the servers."""

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
from cluster.spec.cluster_spec import MODEL_NAME, GatewaySpec, ModelSpec
from deployments.gateway.server_metrics import kv_tokens_of
from deployments.process.machine_clock import MachineClock
from deployments.tracing.wiring import close, gateway_tracer
from router.http.gateway import Gateway
from router.replicas.endpoint import Endpoint
from router.scheduling.needed_telemetry import why_unmet
from router.scheduling.registry import policy_named

POLL_S: Final = 1.0
POLL_TIMEOUT_S: Final = 2.0
MISSES: Final = 2
"""A server that does not answer as many polls in a row gets no more requests until it answers again."""

_log = structlog.get_logger("rackserve.gateway")


@dataclass(slots=True)
class _Server:
    """One OpenAI-compatible server.

    Attributes:
        models: what it last said it serves.
        misses: polls in a row it did not answer.
        kv_tokens: what its KV cache holds, as it said when it came up; 0: it did not say.
    """

    host: str
    port: int
    models: tuple[str, ...] = ()
    misses: int = MISSES
    kv_tokens: int = 0
    told: set[str] = field(default_factory=set)

    @property
    def name(self) -> str:
        """Return `host:port`."""
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """Return where it answers."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def is_up(self) -> bool:
        """Tell whether it answered lately."""
        return self.misses < MISSES


def server_at(url: str) -> tuple[str, int]:
    """Return host and port of a server's URL.

    Raises:
        ClusterError: it is none this gateway can use; the message says what would be right.
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
    """Runs a gateway over a fixed list of servers; used from one event loop as `start`, then `stop`.

    Raises:
        PolicyError: there is no such policy, or it needs telemetry, which plain servers do not have.

    Args:
        spec: where to listen and the limits.
        servers: host and port of each.
        policy: how a replica is picked, for every model.
        credential: what the servers want as a bearer token; "" sends none.
        request_timeout_s: a server that sends nothing for this long has failed a request.
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
        """Ask every server once, then listen and go on asking.

        Raises:
            OSError: a port is taken.
        """
        await self._poll_all()
        await self.gateway.start()
        self._poller = asyncio.get_running_loop().create_task(self._keep_polling(), name="replica poll")

    async def wait_for_failure(self) -> None:
        """Return never, unless polling the servers fails for a reason that is a defect here: then raise it."""
        if self._poller is not None:
            await asyncio.shield(self._poller)

    async def stop(self, drain_s: float) -> None:
        """Stop accepting, let running answers finish for `drain_s`, then end everything."""
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
            names = [str(model["id"]) for model in response.json()["data"]]
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

    async def _kv_tokens(self, server: _Server) -> int:
        try:
            response = await self._client.get(f"{server.url}/metrics", follow_redirects=True)
            return kv_tokens_of(response.text) if response.is_success else 0
        except httpx.HTTPError:
            return 0

    def _world(self) -> list[tuple[str, tuple[str, ...]]]:
        return [(server.name, server.models) for server in self._servers if server.is_up]

    def _apply(self, world: list[tuple[str, tuple[str, ...]]]) -> None:
        # A model stays known when its servers are down: "no replica now" is another answer than "no such model".
        for name in dict.fromkeys(name for _, models in world for name in models):
            self._models.setdefault(
                name,
                ModelSpec(
                    name=name,
                    source=name,
                    policy=self._policy,
                    request_timeout_s=self._request_timeout_s,
                    cold_start_timeout_s=0.0,  # nobody starts another server: who asks is told at once
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
                )
                for server in self._servers
                if server.is_up
                for name in server.models
            ]
        )
