"""Runs the gateway without Ray, in front of any OpenAI-compatible servers, which are polled for their models."""

import asyncio
import secrets
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from random import Random
from typing import Final

from cluster.errors import PolicyError
from cluster.spec.gateway_spec import GatewaySpec
from cluster.spec.model_spec import ModelSpec
from deployments.process.machine_clock import MachineClock
from deployments.standalone.quiet import Quiet
from deployments.standalone.rate_probe.prober import FoundRates, ProbedServer, RateProber
from deployments.standalone.server import Server
from deployments.standalone.server_address import ServerAddress
from deployments.standalone.server_kind import model_to_probe
from deployments.standalone.server_poll import PATIENCE_S, ServerPoll
from deployments.tracing.wiring import close, gateway_tracer
from router.http.gateway import Gateway
from router.replicas.endpoint import Endpoint, Presence
from router.scheduling.needed_telemetry import why_unmet
from router.scheduling.registry import policy_named

SETTLE_S: Final = 0.02
"""Seconds for which news of servers is collected before the data plane gets it: they often come together."""
PROBES_S: Final = 2.0
"""Most seconds for which a gateway that starts does not listen yet, as its servers' rates are being found."""
PROBE_KV_SHARE: Final = 8
"""Part of a server's KV cache that a probe's prompt takes at most: one in this number. If its size is not known, the
server is not probed: it may be no engine at all, but a service that charges."""
PROBE_LENGTH_SHARE: Final = 2
"""Part of the longest prompt that a server takes, likewise: words may have more tokens than expected."""


class StandaloneGateway:
    """Runs a gateway in front of plain servers; used from one event loop: `start`, then `stop`.

    Args:
        spec: addresses to listen on, limits and tenants.
        servers: where the servers are.
        policy: name of the routing policy, for all models.
        credential: the bearer token that the servers ask for; "": none is sent.
        request_timeout_s: seconds of silence after which a server has failed a request.
        poll_timeout_s: seconds after which a poll of a server has failed.

    Raises:
        PolicyError: there is no such policy, or it needs telemetry, which plain servers do not send.

    Attributes:
        gateway: the data plane.
    """

    def __init__(  # noqa: PLR0913 - the composition of one process
        self,
        spec: GatewaySpec,
        servers: Sequence[ServerAddress],
        *,
        policy: str,
        credential: str = "",
        request_timeout_s: float = 600.0,
        poll_timeout_s: float = PATIENCE_S,
    ) -> None:
        known = [each.endpoint() for each in servers] or [Endpoint("a plain server", "", "", 0)]
        unmet = why_unmet(policy_named(policy), known)
        if unmet:
            raise PolicyError(unmet)
        # Names in cluster files must be plain; those that servers announce are taken as they are, by copying this spec.
        self._any_model = ModelSpec(
            name="any",
            source="any",
            policy=policy,
            request_timeout_s=request_timeout_s,
            cold_start_timeout_s=0.0,  # no server will be started, so requests are refused at once
        )
        self._models: dict[str, ModelSpec] = {}
        self._poll_timeout_s = poll_timeout_s
        self._polls: dict[str, ServerPoll] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._telling: asyncio.TimerHandle | None = None
        self._failure: asyncio.Future[None] | None = None
        self._rng = Random()  # noqa: S311 - breaks ties, and spreads polls over time
        self._clock = MachineClock()
        self._tracer = gateway_tracer()
        self.gateway = Gateway(
            spec,
            (),
            gateway_id=f"standalone-{secrets.token_hex(4)}",
            credential=credential,
            clock=self._clock,
            rng=self._rng,
            tracer=self._tracer,
        )
        self._quiet = Quiet(lambda: self.gateway.asked, self._clock.now_s)
        self._watching: asyncio.Task[None] | None = None
        self._prober = RateProber(self.gateway, self._rng, self._clock.now_s)
        for address in servers:
            self._add(address)

    @property
    def servers(self) -> list[Server]:
        """What is known of each server, in their order."""
        return [poll.server for poll in self._polls.values()]

    def found_rates(self, name: str) -> FoundRates | None:
        """Return what probes found of a server; None: nothing, or not yet."""
        return self._prober.found(name)

    async def start(self) -> None:
        """Poll every server once and probe those that may be, then listen and go on polling.

        Raises:
            OSError: a port is taken, or the certificate cannot be used.
        """
        self._failure = asyncio.get_running_loop().create_future()
        await asyncio.gather(*(poll.poll() for poll in self._polls.values()))
        self._tell()
        await self._prober.settle(PROBES_S)
        await self.gateway.start()
        self._watching = asyncio.get_running_loop().create_task(self._quiet.watch(), name="quiet")
        for name in self._polls:
            self._keep_polling(name)

    def set_servers(self, addresses: Iterable[ServerAddress]) -> None:
        """Serve with exactly these servers from now on; requests on a server that is taken out go on."""
        is_running = bool(self._tasks) or self.gateway.port > 0
        wanted = {address.name: address for address in addresses}
        for name in self._polls.keys() - wanted.keys():
            del self._polls[name]
            task = self._tasks.pop(name, None)
            if task is not None:
                task.cancel()
            self._prober.forget(name)
            self.gateway.forget_way(name)
        for name, address in wanted.items():
            known = self._polls.get(name)
            if known is None:
                self._add(address)
                if is_running:
                    self._keep_polling(name, at_once=True)
            elif known.server.address != address:
                known.moved_to(address)
                self.gateway.forget_way(name)
        if is_running:
            self._tell_soon()

    async def wait_for_failure(self) -> None:
        """Wait for as long as the servers are polled; if polling ends by a defect in this code, raise its error."""
        if self._failure is not None:
            await asyncio.shield(self._failure)

    async def stop(self, drain_s: float) -> None:
        """Stop polling and accepting, let running answers finish for `drain_s` seconds, then end everything."""
        tasks = [*self._tasks.values(), *filter(None, (self._watching,))]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._prober.stop()
        if self._telling is not None:
            self._telling.cancel()
        await self.gateway.stop(drain_s)
        await close(self._tracer)

    # --- polling

    def _add(self, address: ServerAddress) -> None:
        self._polls[address.name] = ServerPoll(Server(address), self.gateway, self._clock.now_s, self._poll_timeout_s)

    def _keep_polling(self, name: str, *, at_once: bool = False) -> None:
        poll = self._polls[name]
        task = asyncio.get_running_loop().create_task(self._poll(poll, at_once), name=f"poll {name}")
        task.add_done_callback(self._poll_ended)
        self._tasks[name] = task

    async def _poll(self, poll: ServerPoll, at_once: bool) -> None:  # noqa: FBT001 - private
        if not at_once:  # polls of many servers are spread over time
            await asyncio.sleep(self._rng.random() * poll.pause_s(len(self._polls)))
        while True:
            if await poll.poll():
                self._tell_soon()
            else:
                self._probe(poll.server)
            await self._until_next(poll)

    async def _until_next(self, poll: ServerPoll) -> None:
        """Sleep until a server's next poll. Where it may wait for longer while nobody asks, a request ends the wait."""
        pause_s = poll.pause_s(len(self._polls))
        await asyncio.sleep(pause_s)
        more_s = poll.quiet_pause_s(len(self._polls)) - pause_s
        if more_s > 0.0 and self._quiet.is_now and await self._quiet.rest(more_s):
            await asyncio.sleep(
                self._rng.random() * pause_s
            )  # all servers' rests end at once: spread their polls again

    def _poll_ended(self, task: "asyncio.Task[None]") -> None:
        failure = self._failure
        if not task.cancelled() and failure is not None and not failure.done():
            error = task.exception()
            if error is not None:
                failure.set_exception(error)

    # --- telling the data plane

    def _tell_soon(self) -> None:
        if self._telling is None:
            self._telling = asyncio.get_running_loop().call_later(SETTLE_S, self._tell)

    def _tell(self) -> None:
        """Give the data plane the models and servers as they are."""
        self._telling = None
        servers = self.servers
        endpoints = [endpoint for poll in self._polls.values() for endpoint in poll.endpoints]
        # A model stays known while its server is away, so that the refusal is "no replica" and not "no such model".
        names = dict.fromkeys(name for server in servers for name in server.models)
        if names.keys() != self._models.keys():
            self._models = {name: self._models.get(name) or self._spec_of(name) for name in names}
            self.gateway.set_models(tuple(self._models.values()))
        self.gateway.apply_view(endpoints)
        self.gateway.expect_models_of([server.address.name for server in servers if not server.has_answered])
        for server in servers:
            self._probe(server)

    def _probe(self, server: Server) -> None:
        """Have a server's rates found, if it may be probed and that is due."""
        model = model_to_probe(server.models) if server.address.rate_probe else None
        if model is not None and server.presence is Presence.HERE and server.kv_tokens:
            longest = server.models[model].max_model_len or sys.maxsize
            most_tokens = min(server.kv_tokens // PROBE_KV_SHARE, longest // PROBE_LENGTH_SHARE)
            endpoint = replace(server.address.endpoint(model), started_s=server.started_s)
            self._prober.consider(ProbedServer(endpoint, most_tokens))

    def _spec_of(self, name: str) -> ModelSpec:
        return self._any_model.model_copy(update={"name": name, "source": name})
