"""The state that all connections of one gateway process share: models, connection pools, meters and limits."""

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from random import Random
from typing import TYPE_CHECKING, Final

from cluster.spec.gateway_spec import GatewaySpec
from router.dispatch.replica import Replica
from router.http.access_control.auth import Authenticator
from router.http.data_plane.incoming_bodies import IncomingBodies
from router.http.data_plane.life_signs import LifeSigns
from router.http.data_plane.loop_watch import LoopWatch
from router.http.data_plane.replica_route import ReplicaRoute
from router.http.data_plane.response_owners import ResponseOwners
from router.http.metrics.meters import Meters
from router.http.models.served_models import ServedModels
from router.http.wire.request.request_headers import READ
from router.http.wire.upstream.upstream import UpstreamPool
from router.prompt.chunk_chain import ChunkHasher
from router.prompt.hash_seed import hash_seed
from router.replicas.endpoint import Endpoint

if TYPE_CHECKING:
    import asyncio

    from cluster.autoscaling.scaling_view import ScalingView
    from router.http.data_plane.access_log import AccessLog
    from router.http.data_plane.capture import Capture
    from router.http.data_plane.tracing import Tracer
    from router.http.usage.ledger import UsageLedger

TICK_S: Final = 0.25
"""Seconds between two checks of all time limits. One sweep over all connections is cheaper than a timer for each."""


class DataPlane:
    """Shared state of one gateway process.

    Args:
        spec: limits and timeouts.
        authenticator: maps credentials to tenants.
        gateway_id: name of this gateway, sent to replicas.
        credential: the cluster's internal credential, sent to replicas; "": none is sent.
        rng: breaks ties.
        now_s: returns the time, monotonic seconds.

    Attributes:
        spec: limits and timeouts.
        authenticator: maps credentials to tenants.
        models: the models that are served.
        meters: the process' counts.
        now_s: returns the time, monotonic seconds.
        asked: requests so far whose client may ask.
        draining: the gateway is stopping, so answers close their connections.
        request_timeouts_s: seconds of silence after which a replica has failed a request, by model.
        hasher: cuts prompts in chunks and hashes them, in the same way as all gateways and replicas of the cluster.
        scaling_views: returns the state of autoscaling of the pools, by model, for the metrics.
        tracer: makes spans of requests; None: requests are not traced.
        read_headers: names of the request headers that are kept: those that the gateway reads, and those that
            `gateway.forward_headers` passes on.
        incoming_bodies: the request bodies that are not complete yet.
        tasks: attempts to connect to a replica, and look-ups of stored responses, that are under way.
        life_signs: asks replicas whose answers have stopped whether they live.
        loop_watch: measures for how long the event loop stood still.
        response_owners: which replica holds a stored response, and whose it is.
        access_log: takes an entry for each request that has ended; None: there is none.
        usage: records what tenants use; None: it is not recorded.
        capture: takes what a trace says of each request to a model; None: none is written.
    """

    def __init__(  # noqa: PLR0913 - the composition of one process
        self,
        spec: GatewaySpec,
        authenticator: Authenticator,
        *,
        gateway_id: str,
        credential: str,
        rng: Random,
        now_s: Callable[[], float],
    ) -> None:
        self.spec = spec
        self.authenticator = authenticator
        self.meters = Meters()
        self.models = ServedModels(spec, self.meters, rng, now_s)
        self.now_s = now_s
        self.asked = 0
        self.draining = False
        self.request_timeouts_s: dict[str, float] = {}
        self.hasher = ChunkHasher(hash_seed(credential))
        self.scaling_views: Callable[[], Mapping[str, Sequence[ScalingView]]] = dict
        self.tracer: Tracer | None = None
        self.read_headers = READ | {name.encode() for name in spec.forward_headers}
        self.access_log: AccessLog | None = None
        self.usage: UsageLedger | None = None
        self.capture: Capture | None = None
        self.incoming_bodies = IncomingBodies(max(spec.max_incoming_bytes, spec.max_body_bytes))
        self.tasks: set[asyncio.Task[None]] = set()
        self.life_signs = LifeSigns()
        self.loop_watch = LoopWatch(now_s, TICK_S)
        self.response_owners = ResponseOwners()
        self._routes: dict[str, ReplicaRoute] = {}
        self._gateway_id = gateway_id
        self._credential = credential
        self._asked_before = 0
        self._id_prefix = secrets.token_hex(4).encode() + b"-"
        self._ids = count(1)

    def new_request_id(self) -> bytes:
        """Return a new request id, unique over all gateways: a random prefix of the process and a number."""
        return self._id_prefix + b"%x" % next(self._ids)

    def route_to(self, replica: Replica) -> ReplicaRoute:
        """Return a replica's pool and head; they are made at its first request."""
        route = self._routes.get(replica.replica_id)
        return route if route is not None else self.route_at(replica.endpoint)

    def route_at(self, endpoint: Endpoint) -> ReplicaRoute:
        """Return pool and head of the server at an endpoint, whatever its models; they are made at their first use."""
        route = self._routes.get(endpoint.replica_id)
        if route is None:
            route = self._routes[endpoint.replica_id] = self._new_route(endpoint)
        return route

    def _new_route(self, endpoint: Endpoint) -> ReplicaRoute:
        return self.route_over(UpstreamPool(endpoint, self.spec.connect_timeout_s, TICK_S))

    def route_over(self, pool: UpstreamPool) -> ReplicaRoute:
        """Return a route over given connections, which may be to a replica that is no longer listed."""
        return ReplicaRoute.to(
            pool,
            gateway_id=self._gateway_id,
            credential=self._credential,
            forward_headers=self.spec.forward_headers,
        )

    def replicas_gone(self, endpoints: Iterable[Endpoint]) -> None:
        """Close the idle connections to replicas that are gone; requests that run there go on.

        A server keeps its connections as long as one of its models is served.
        """
        gone = {endpoint.replica_id for endpoint in endpoints}
        if not gone:
            return
        ways = {replica.replica_id: replica.endpoint.way for replica in self.models.replicas()}
        for replica_id in gone:
            route = self._routes.get(replica_id)
            if route is not None and ways.get(replica_id) != route.pool.endpoint.way:
                del self._routes[replica_id]
                route.pool.close()

    def forget_way(self, replica_id: str) -> None:
        """Close the idle connections to a replica that is reached in another way from now on."""
        route = self._routes.pop(replica_id, None)
        if route is not None:
            route.pool.close()

    def tick(self) -> None:
        """Enforce the time limits of waiting requests, replicas and their connections; called every `TICK_S`."""
        self.loop_watch.tick(someone_asks=self.asked != self._asked_before)
        self._asked_before = self.asked
        self.models.tick()
        self.life_signs.tick()
        if self.usage is not None:
            self.usage.tick(self.now_s())
        for route in self._routes.values():
            route.pool.tick()

    def close(self) -> None:
        """Close all idle connections to replicas and stop connecting."""
        for route in self._routes.values():
            route.pool.close()
        self.life_signs.close()
        self.loop_watch.stop()
        for task in self.tasks:
            task.cancel()
