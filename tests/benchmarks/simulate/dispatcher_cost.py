"""What the live dispatcher alone takes of a request's CPU time in the twin, for the same load and number of replicas.

It weighs each replica for each request, so this part grows with their number, as it does in a gateway. What is beyond
it is the twin's own: engines, reports, records.
"""

from heapq import heappop, heappush
from time import thread_time

from deployments.simulator.disaggregation.kv_memory import KvLease, KvMemory
from deployments.simulator.disaggregation.prompts import block_chain
from deployments.twin.arrivals import Arrival
from deployments.twin.closed_loop import streams
from deployments.twin.cluster import Cluster
from deployments.twin.fleet import TwinFleet
from deployments.twin.gateways import Gateways
from deployments.twin.member import TwinReplica
from router.dispatch.ticket import Ticket
from router.estimator.expectation import Usage
from router.outcome import Outcome
from router.replicas.load_report import LoadReport
from router.request import RoutingRequest

ANSWER_S = 3.0
"""Seconds that each request stays on its replica."""
PREFILL_S = 0.05


class DispatcherCost:
    """Sends a load through the dispatcher of one gateway, with replicas that hold each request equally long.

    Args:
        cluster: a cluster of one model and one gateway.

    Attributes:
        cpu_s: seconds of CPU in the dispatcher.
        requests: requests that it dispatched.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cpu_s = 0.0
        self.requests = 0
        self._cluster = cluster
        self._dispatcher = Gateways(cluster.spec.gateway, cluster.models, 1, 0).rows[0][0].dispatcher
        self._members: list[TwinReplica] = []
        self._kv: dict[str, KvMemory] = {}
        self._running: dict[str, int] = {}
        self._events: list[tuple[float, int, Ticket, Arrival, KvLease | None]] = []

    def run(self) -> None:
        """Send the scenario's load."""
        cluster, dispatcher = self._cluster, self._dispatcher
        fleet = TwinFleet(
            cluster.kinds, cluster.topology, spares_per_domain=0, gateways=1,
            starts=lambda member, _: self._members.append(member), stops=lambda *_: None,
        )  # fmt: skip
        fleet.reconcile(0.0)
        for member in self._members:
            fleet.ready(member, 0.0, tells_cache=True)
            self._kv[member.name] = KvMemory(member.kind.kv_tokens)
            self._running[member.name] = 0
        dispatcher.set_replicas([member.endpoint for member in self._members], 0.0)
        for name, kv in self._kv.items():
            dispatcher.apply_residency(name, kv.snapshot())
        every_s = cluster.scenario.report_every_s / len(self._members)
        turn, report_s = 0, 0.0
        for number, arrival in enumerate(streams(cluster.scenario.load, 0)):
            while report_s <= arrival.at_s:
                self._report(self._members[turn], report_s)
                turn, report_s = (turn + 1) % len(self._members), report_s + every_s
            while self._events and self._events[0][0] <= arrival.at_s:
                self._end(*heappop(self._events))
            self._offer(number, arrival)

    def _offer(self, number: int, arrival: Arrival) -> None:
        chain = block_chain(arrival.blocks, arrival.prompt_tokens)
        request = RoutingRequest(str(number), "m", "/v1/completions", stream=True, body=b"", chain=chain)
        began_s = thread_time()
        ticket = self._dispatcher.offer(request, arrival.tenant, arrival.at_s)
        self.cpu_s += thread_time() - began_s
        if ticket.attempt is None:
            self._dispatcher.finish(ticket, Outcome.CLIENT_LEFT, Usage(), arrival.at_s)
            return
        self.requests += 1
        name = ticket.attempt.replica.replica_id
        kv = self._kv[name]
        lease = kv.take(arrival.blocks, arrival.prompt_tokens + arrival.output_tokens)
        if lease is not None:
            kv.filled(lease, arrival.blocks)
        self._running[name] += 1
        heappush(self._events, (arrival.at_s + ANSWER_S, number, ticket, arrival, lease))

    def _end(self, at_s: float, number: int, ticket: Ticket, arrival: Arrival, lease: KvLease | None) -> None:
        del number
        if ticket.attempt is None:
            return
        name = ticket.attempt.replica.replica_id
        usage = Usage(arrival.prompt_tokens, 0, arrival.output_tokens)
        began_s = thread_time()
        self._dispatcher.first_token(ticket, at_s - ANSWER_S + PREFILL_S)
        self._dispatcher.finish(ticket, Outcome.OK, usage, at_s, is_whole=True)
        self.cpu_s += thread_time() - began_s
        self._running[name] -= 1
        if lease is not None:
            self._kv[name].give_back(lease)

    def _report(self, member: TwinReplica, now_s: float) -> None:
        name, kv = member.name, self._kv[member.name]
        sent = self._dispatcher.fleet.replicas[name].sent
        kind, running = member.kind, self._running[name]
        report = LoadReport(1, running, 0, 0, kv.usage, kind.kv_tokens, 50_000.0, 3_000.0, sent, kind.step_tokens)
        delta = kv.delta()
        began_s = thread_time()
        self._dispatcher.report(name, report, now_s)
        if delta is not None:
            self._dispatcher.apply_residency(name, delta)
        self._dispatcher.tick(now_s)
        self.cpu_s += thread_time() - began_s
