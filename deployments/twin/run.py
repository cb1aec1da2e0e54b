"""One run of a simulated cluster: its clock, and what becomes due: steps, reports, starts, losses, updates.

Everything that decides is the live code: a dispatcher for each model in each gateway, the pools' autoscalers, the
placer. Time is a number and all chance comes from seeded generators, so a run is repeated to the digit.
"""

from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Final

from deployments.simulator.disaggregation.engine_sequence import EngineSequence
from deployments.twin.agenda import Agenda, Due
from deployments.twin.arrivals import Arrival
from deployments.twin.cluster import Cluster
from deployments.twin.fleet import TwinFleet
from deployments.twin.gateways import RENEW_S, Gateways, ModelGateway
from deployments.twin.member import Stage, TwinReplica
from deployments.twin.records import ClusterMoment, Records, Timeline
from deployments.twin.request_flow import RequestFlow
from deployments.twin.scaling import Scaling
from deployments.twin.scenario_file import EventSpec
from deployments.twin.telemetry import TwinTelemetry

KEEP_S: Final = 1.0
"""Seconds between two looks at what pools lack, while they lack something."""


class TwinRun:
    """One run.

    Args:
        cluster: what serves.
        arrivals: the requests in the order of their times.
        seed: seed of all generators.
        say: called now and then with the number of requests that have ended; None: nobody asks.

    Attributes:
        records: what came of the requests.
        timeline: the cluster over time.
        fleet: the replicas.
        gateways: the gateways.
        ended_s: when the last request ended, seconds from the start.
    """

    def __init__(
        self, cluster: Cluster, arrivals: Iterator[Arrival], seed: int = 0, say: Callable[[int], None] | None = None
    ) -> None:
        self.records = Records()
        self.timeline = Timeline()
        self.ended_s = 0.0
        self._cluster = cluster
        self._arrivals = arrivals
        self._agenda = agenda = Agenda()
        self.gateways = Gateways(cluster.spec.gateway, cluster.models, cluster.gateways, seed)
        self.fleet = TwinFleet(
            cluster.kinds,
            cluster.topology,
            spares_per_domain=cluster.spares_per_domain,
            gateways=cluster.gateways,
            starts=self._starts,
            stops=self._stops,
        )
        rng = Random(f"clients {seed}")  # noqa: S311 - replayable
        parts = cluster, self.gateways, self.fleet, agenda, self.records
        self._flow = RequestFlow(*parts, rng, self._keep, say)
        self._telemetry = TwinTelemetry(self.gateways, self._flow, cluster.scenario.report_every_s)
        self._scaling = Scaling(cluster.models, self.fleet, self.gateways)
        self._keeps = False

    @property
    def arrived(self) -> int:
        """Requests that came."""
        return self._flow.arrived

    def run(self) -> None:
        """Serve all requests; it ends with the last of them."""
        self._begin()
        arrivals, agenda, flow = self._arrivals, self._agenda, self._flow
        arrival = next(arrivals, None)
        now_s, request_s = 0.0, self._cluster.scenario.request_s
        while arrival is not None or flow.unfinished or flow.coming:
            if arrival is not None and arrival.at_s + request_s <= agenda.next_s:
                now_s = max(now_s, arrival.at_s + request_s)
                flow.arrive(arrival, now_s)
                arrival = next(arrivals, None)
                continue
            now_s, kind, subject = agenda.pop()
            if kind is Due.ENGINE:
                if isinstance(subject, TwinReplica) and subject.scheduled_s == now_s == subject.engine.next_s:
                    flow.advance(subject, now_s)
            else:
                self._happen(kind, subject, now_s)
        self.ended_s = now_s
        self._sample(now_s)

    def _begin(self) -> None:
        """Begin with each pool's first replicas ready: the cluster has served before."""
        self.fleet.reconcile(0.0)
        for member in list(self.fleet.members.values()):
            if member.stage is Stage.STARTING:
                self._ready(member, 0.0)
        agenda = self._agenda
        agenda.push(0.0, Due.REPORT)
        agenda.push(0.0, Due.SAMPLE)
        if self._scaling.is_needed:
            agenda.push(0.0, Due.SCALE)
        if self.gateways.shares_limits:
            agenda.push(0.0, Due.LIMITS)
        for event in self._cluster.scenario.events:
            agenda.push(event.at_s, Due.HAPPENS, event)
        self._keep(0.0)

    def _happen(self, kind: Due, subject: object, now_s: float) -> None:
        if isinstance(subject, Arrival):
            self._flow.coming -= 1
            self._flow.arrive(subject, now_s)
        elif kind is Due.REPORT:
            self._telemetry.report(now_s)
            self._agenda.push(now_s + self._telemetry.every_s, Due.REPORT)
        elif isinstance(subject, ModelGateway):
            if subject.opening_s == now_s:  # else an earlier time has replaced it
                subject.opening_s = -1.0
                self._flow.dispatch(subject, now_s)
        elif isinstance(subject, EngineSequence):
            self._flow.blocks_arrived(subject, now_s)
        elif isinstance(subject, TwinReplica):
            self._replica_due(kind, subject, now_s)
        elif isinstance(subject, EventSpec):
            self._event(subject, now_s)
        elif isinstance(subject, str):
            self.fleet.restore(subject, now_s)
            self.timeline.marks.append((now_s, f"{subject} is back"))
            self._reconcile(now_s)
        else:
            self._look(kind, now_s)

    def _look(self, kind: Due, now_s: float) -> None:
        """Do what is done regularly."""
        if kind is Due.SCALE:
            for pool, before in self._scaling.decide(now_s):
                self.timeline.marks.append((now_s, f"{pool.kind.spec.label}: {before} → {pool.target} replicas"))
            self._reconcile(now_s)
            self._agenda.push(now_s + self._scaling.every_s, Due.SCALE)
        elif kind is Due.LIMITS:
            self.gateways.share_limits(now_s)
            self._agenda.push(now_s + RENEW_S, Due.LIMITS)
        elif kind is Due.KEEP:
            self._keeps = False
            self._reconcile(now_s)
        else:
            self._sample(now_s)
            self._agenda.push(self.timeline.due_s, Due.SAMPLE)

    # --- replicas come and go

    def _starts(self, member: TwinReplica, now_s: float) -> None:
        self._agenda.push(now_s + member.kind.start_s, Due.READY, member)

    def _replica_due(self, kind: Due, member: TwinReplica, now_s: float) -> None:
        if kind is Due.READY and member.stage is Stage.STARTING:
            self._ready(member, now_s)
            self._reconcile(now_s)
        elif kind is Due.DRAINED and member.stage is Stage.LEAVING:
            self._lose([member], now_s)

    def _ready(self, member: TwinReplica, now_s: float) -> None:
        tells_cache = self.gateways.reads_prompts[member.model] and member.kind.caches
        self.fleet.ready(member, now_s, tells_cache=tells_cache)
        self._tell_directory(member.model, now_s)
        self._telemetry.joined(member, tells_cache=tells_cache)
        for row in self.gateways.rows:
            if row[member.model].waiting:
                self._flow.dispatch(row[member.model], now_s)

    def _stops(self, member: TwinReplica, now_s: float) -> None:
        """Take a replica out of the directory; what it has may end within its model's `drain_timeout_s`."""
        if member.ready_s >= 0.0:
            self._tell_directory(member.model, now_s)
            self._scaling.left(member, now_s)
            self._agenda.push(now_s + member.kind.spec.drain_timeout_s, Due.DRAINED, member)

    def _tell_directory(self, model: int, now_s: float) -> None:
        takers = self.fleet.takers(model)
        for row in self.gateways.rows:
            row[model].dispatcher.set_replicas(takers, now_s)

    def _lose(self, members: Sequence[TwinReplica], now_s: float) -> None:
        """End replicas with all that they have: connections to them break, and their requests go elsewhere."""
        ended = [each for member in members for each in member.engine.stop(now_s)]
        for member in members:
            was_ready = member.stage is Stage.READY
            self.fleet.gone(member, now_s)
            if was_ready:
                self._tell_directory(member.model, now_s)
                self._scaling.left(member, now_s)
            for job in member.holds.values():
                job.held = None  # who fetches its blocks computes the prompt itself
        for sequence, sent in ended:
            if sequence.owner.sequence is sequence:
                self._flow.lost(sequence, sent, now_s)
        self._keep(now_s)

    def _keep(self, now_s: float) -> None:
        """Look at what pools lack in a while, if they lack anything."""
        if not self._keeps and not self.fleet.is_settled:
            self._keeps = True
            self._agenda.push(now_s + KEEP_S, Due.KEEP, None)

    def _reconcile(self, now_s: float) -> None:
        self.fleet.reconcile(now_s)
        self._keep(now_s)

    def _event(self, event: EventSpec, now_s: float) -> None:
        marks = self.timeline.marks
        if event.update:
            self.fleet.update(event.update)
            marks.append((now_s, f"update of {event.update}"))
        else:
            marks.append((now_s, f"{event.lose} is lost"))
            self._lose(self.fleet.lose(event.lose, now_s), now_s)
            if event.for_s:
                self._agenda.push(now_s + event.for_s, Due.BACK, event.lose)
        self._reconcile(now_s)

    def _sample(self, now_s: float) -> None:
        fleet = self.fleet
        self.timeline.add(
            ClusterMoment(
                now_s,
                self.arrived,
                self._flow.waiting,
                self._flow.in_flight,
                fleet.count((Stage.READY,)),
                fleet.count((Stage.UNPLACED, Stage.STARTING)),
                sum(each.kind.gpus for each in fleet.members.values() if each.placed_s >= 0.0),
            )
        )

    def check_integrity(self) -> None:
        """Check what must always hold.

        Raises:
            AssertionError: it does not; the message says what.
        """
        refused = sum(self.records.refused.values())
        if len(self.records) + refused + self._flow.unfinished != self.arrived:
            raise AssertionError(f"{len(self.records)} answered, {refused} refused of {self.arrived}")
        for row in self.gateways.rows:
            for each in row:
                each.dispatcher.check_integrity(self.ended_s)
        for member in self.fleet.members.values():
            member.engine.kv.check_integrity()
