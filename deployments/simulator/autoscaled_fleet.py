"""A fleet under load in virtual time: the live admission, routing and autoscaling code on simulated replicas."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Generic

from cluster.autoscaling.decision import DecisionHistory
from cluster.autoscaling.interface import AutoscalingPolicy, StateT
from cluster.autoscaling.metrics import FleetMetrics
from cluster.spec.cluster_spec import SimSpec
from deployments.simulator.batching_replica import BatchingReplica
from deployments.simulator.loads import SimRequest
from router.flow_control.admission import Admission
from router.flow_control.limits import AdmissionLimits, WaitingRoom
from router.flow_control.queued_request import QueuedRequest
from router.flow_control.verdict import Admit, Reject
from router.flow_control.work import OutputEstimate, work_of
from router.replicas.endpoint import Endpoint
from router.replicas.snapshot import ReplicaSnapshot
from router.request import RoutingRequest
from router.scheduling.registry import policy_named

MODEL = "sim"


@dataclass(frozen=True, slots=True)
class FleetSettings:
    """What a load is run on.

    Attributes:
        engine: the replicas' timing.
        first_replicas: ready when the run begins.
        cold_start_s: from a replica's order until it is ready.
        gpus_per_replica: counted from its order until it is gone.
        limits: admission's bounds.
        room: how many requests may wait.
        decide_every_s: so often the autoscaler is asked.
        report_every_s: so often busy replicas report their load.
        sample_every_s: resolution of the timeline.
        seed: for ties in routing.
    """

    engine: SimSpec = field(default_factory=SimSpec)
    first_replicas: int = 1
    cold_start_s: float = 60.0
    gpus_per_replica: int = 1
    limits: AdmissionLimits = field(default_factory=AdmissionLimits)
    room: int = 100_000
    decide_every_s: float = 1.0
    report_every_s: float = 0.5
    sample_every_s: float = 10.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Moment:
    """One point of the timeline.

    Attributes:
        at_s: when.
        offered_per_s: requests offered a second since the last point.
        waiting: requests waiting in the gateway.
        in_flight: requests on replicas.
        ready: replicas that take requests.
        starting: replicas ordered and not ready.
        target: replicas asked for.
    """

    at_s: float
    offered_per_s: float
    waiting: int
    in_flight: int
    ready: int
    starting: int
    target: int


@dataclass(slots=True)
class FleetResult:
    """What came of a run.

    Attributes:
        ttfts_s: of each request answered, in the order of their first tokens.
        waits_s: in the gateway, of each request dispatched, with what was sent.
        refused: by outcome.
        gpu_hours: from order to end of all replicas.
        targets: `(at_s, replicas)`: each time the target changed.
        timeline: the run, point by point.
        history: the autoscaler's decisions.
    """

    ttfts_s: list[float] = field(default_factory=list)
    waits_s: list[tuple[SimRequest, float, float]] = field(default_factory=list)
    refused: dict[str, int] = field(default_factory=dict)
    gpu_hours: float = 0.0
    targets: list[tuple[float, int]] = field(default_factory=list)
    timeline: list[Moment] = field(default_factory=list)
    history: DecisionHistory = field(default_factory=DecisionHistory)

    @property
    def requests(self) -> int:
        """Requests answered or refused."""
        return len(self.ttfts_s) + sum(self.refused.values())

    def slo_share(self, ttft_s: float) -> float:
        """Return the share of all requests, those refused included, whose first token came within `ttft_s`."""
        return sum(1 for value in self.ttfts_s if value <= ttft_s) / max(1, self.requests)

    def ttft_quantile_s(self, share: float) -> float:
        """Return the time to first token that `share` of the answered requests did not exceed."""
        ordered = sorted(self.ttfts_s)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


class _Replica:
    """One replica's machine and what the gateway knows of it."""

    def __init__(self, name: str, engine: SimSpec, ordered_s: float) -> None:
        self.machine: BatchingReplica[_Job] = BatchingReplica(engine)
        self.snapshot = ReplicaSnapshot(Endpoint(name, MODEL, "sim", 0))
        self.ordered_s = ordered_s
        self.is_ready = False
        self.is_leaving = False
        self.reported_idle = False
        self.scheduled_s: float | None = None


@dataclass(slots=True)
class _Job:
    request: SimRequest
    replica: _Replica | None = None
    claim: "QueuedRequest[_Job] | None" = None


_ARRIVAL, _MACHINE, _READY, _REPORT, _DECIDE, _OPENING = range(6)


def run_fleet(load: Sequence[SimRequest], policy: AutoscalingPolicy[StateT], settings: FleetSettings) -> FleetResult:
    """Send a load (in the order of its times) to a fleet that a policy scales; return when all are answered."""
    return _Run(load, policy, settings).run()


class _Run(Generic[StateT]):
    def __init__(self, load: Sequence[SimRequest], policy: AutoscalingPolicy[StateT], settings: FleetSettings) -> None:
        self._load = load
        self._policy = policy
        self._settings = settings
        self._state = policy.initial(settings.first_replicas)
        self._target = settings.first_replicas
        self._admission: Admission[_Job] = Admission(settings.limits, WaitingRoom(settings.room))
        self._estimates: defaultdict[str, OutputEstimate] = defaultdict(OutputEstimate)
        self._routing = policy_named("least_load")
        self._routed = RoutingRequest("", MODEL, "/v1/chat/completions", stream=True, body=b"")
        self._rng = Random(settings.seed)  # noqa: S311 - replayable, not cryptographic
        self._events: list[tuple[float, int, int, _Replica | None]] = []
        self._numbers = count()
        self._names = count()
        self._replicas: dict[str, _Replica] = {}
        self._candidates: list[ReplicaSnapshot] = []
        self._starts_s: list[float] = []
        self._prefill_s = 0.0
        self._opening_s: float | None = None
        self._unfinished = len(load)
        self._offered = 0
        self._sampled = (0.0, 0)
        self._result = FleetResult()

    def run(self) -> FleetResult:
        for _ in range(self._settings.first_replicas):
            replica = self._order(0.0)
            self._ready(replica, 0.0)
        self._push(0.0, _DECIDE)
        self._push(0.0, _REPORT)
        arrivals = iter(self._load)
        arrival = next(arrivals, None)
        now_s = 0.0
        while self._unfinished:
            if arrival is not None and arrival.at_s <= self._events[0][0]:
                now_s = arrival.at_s
                self._arrive(arrival, now_s)
                arrival = next(arrivals, None)
                continue
            now_s, _, kind, subject = heappop(self._events)
            self._happen(kind, subject, now_s)
        for replica in list(self._replicas.values()):
            self._gone(replica, now_s)
        return self._result

    def _push(self, at_s: float, kind: int, replica: _Replica | None = None) -> None:
        heappush(self._events, (at_s, next(self._numbers), kind, replica))

    def _happen(self, kind: int, replica: _Replica | None, now_s: float) -> None:
        if kind == _DECIDE:
            self._decide(now_s)
            self._push(now_s + self._settings.decide_every_s, _DECIDE)
        elif kind == _REPORT:
            self._report(now_s)
            self._push(now_s + self._settings.report_every_s, _REPORT)
        elif kind == _OPENING:
            if now_s == self._opening_s:  # else an earlier opening has been put in its place
                self._opening_s = None
                self._dispatch(now_s)
        elif replica is not None and kind == _READY:
            if not replica.is_leaving:
                self._starts_s.append(now_s - replica.ordered_s)
                self._ready(replica, now_s)
                self._dispatch(now_s)
        elif replica is not None and replica.scheduled_s == now_s == replica.machine.next_s:
            self._advance(replica, now_s)

    # --- requests

    def _arrive(self, request: SimRequest, now_s: float) -> None:
        self._offered += 1
        job = _Job(request)
        work = work_of(request.prompt_tokens, self._estimates[request.tenant].tokens(None))
        claim = job.claim = QueuedRequest(job, request.tenant, work, request.priority)
        verdict = self._admission.offer(claim, now_s)
        if isinstance(verdict, Admit):
            self._send(job, now_s)
        elif isinstance(verdict, Reject):
            self._refused(verdict)
        for _, displaced in self._admission.displaced:
            self._refused(displaced)
        self._admission.displaced.clear()

    def _refused(self, verdict: Reject) -> None:
        self._result.refused[verdict.outcome] = self._result.refused.get(verdict.outcome, 0) + 1
        self._unfinished -= 1

    def _dispatch(self, now_s: float) -> None:
        while (claim := self._admission.next(now_s)) is not None:
            self._send(claim.owner, now_s)
        if len(self._admission):
            opening_s = self._admission.slots.next_opening_s()
            if opening_s is not None and (self._opening_s is None or opening_s < self._opening_s):
                self._opening_s = opening_s
                self._push(opening_s, _OPENING)

    def _send(self, job: _Job, now_s: float) -> None:
        slots = self._admission.slots
        decision = self._routing.decide(self._routed, slots.with_room(self._candidates, now_s), self._rng)
        if decision is None:
            raise AssertionError("a request was dispatched though no replica has room")
        snapshot = decision.replica
        replica = job.replica = self._replicas[snapshot.replica_id]
        snapshot.in_flight += 1
        request = job.request
        report = snapshot.report
        rate = report.prefill_tokens_per_s if report is not None else 0.0
        slots.take(snapshot.replica_id, request.prompt_tokens / rate if rate > 0 else 0.0, now_s)
        self._result.waits_s.append((request, now_s - request.at_s, now_s))
        replica.machine.add(job, request.prompt_tokens, request.output_tokens, now_s)
        replica.reported_idle = False
        self._schedule(replica)

    def _schedule(self, replica: _Replica) -> None:
        next_s = replica.machine.next_s
        if next_s is not None and next_s != replica.scheduled_s:
            replica.scheduled_s = next_s
            self._push(next_s, _MACHINE, replica)

    def _advance(self, replica: _Replica, now_s: float) -> None:
        first, ended = replica.machine.advance()
        for job in first:
            self._result.ttfts_s.append(now_s - job.request.at_s)
        for job in ended:
            request, claim = job.request, job.claim
            if claim is not None:
                self._admission.ended(claim, work_of(request.prompt_tokens, request.output_tokens))
            self._estimates[request.tenant].observe(request.output_tokens)
            replica.snapshot.in_flight -= 1
            self._admission.slots.give(replica.snapshot.replica_id, now_s)
            self._unfinished -= 1
        self._schedule(replica)
        if ended:
            if replica.is_leaving and not replica.snapshot.in_flight:
                self._gone(replica, now_s)
            self._dispatch(now_s)

    # --- replicas

    def _order(self, now_s: float) -> _Replica:
        replica = _Replica(f"replica-{next(self._names):05d}", self._settings.engine, now_s)
        self._replicas[replica.snapshot.replica_id] = replica
        return replica

    def _ready(self, replica: _Replica, now_s: float) -> None:
        replica.is_ready = True
        self._admission.join(replica.snapshot.replica_id, now_s)
        self._candidates.append(replica.snapshot)

    def _stop(self, replica: _Replica, now_s: float) -> None:
        replica.is_leaving = True
        if replica.is_ready:
            self._admission.drain(replica.snapshot.replica_id, now_s)
            self._candidates.remove(replica.snapshot)
        if not replica.snapshot.in_flight:
            self._gone(replica, now_s)

    def _gone(self, replica: _Replica, now_s: float) -> None:
        self._admission.leave(replica.snapshot.replica_id, now_s)
        del self._replicas[replica.snapshot.replica_id]
        self._result.gpu_hours += (now_s - replica.ordered_s) * self._settings.gpus_per_replica / 3600.0

    def _report(self, now_s: float) -> None:
        slots = self._admission.slots
        wanted = bool(len(self._admission))
        for name, replica in self._replicas.items():
            if not replica.is_ready or replica.reported_idle:
                continue
            report = replica.machine.report(now_s)
            s_per_token = 1.0 / report.prefill_tokens_per_s if report.prefill_tokens_per_s > 0 else 0.0
            replica.snapshot.report = report
            slots.report(
                name,
                report,
                now_s,
                backlog_s=report.waiting_tokens * s_per_token,
                step_s=report.step_tokens * s_per_token,
                wanted=wanted,
            )
            replica.reported_idle = replica.machine.next_s is None
        if wanted:
            self._dispatch(now_s)

    # --- scaling

    def _decide(self, now_s: float) -> None:
        for _, refusal in self._admission.expire(now_s):
            self._refused(refusal)
        self._report(now_s)
        metrics = self._metrics(now_s)
        self._state, decision = self._policy.decide(self._state, metrics, now_s)
        self._result.history.add(decision)
        if decision.target != self._target:
            self._result.targets.append((now_s, decision.target))
            self._target = decision.target
        present = [replica for replica in self._replicas.values() if not replica.is_leaving]
        for _ in range(self._target - len(present)):
            self._push(now_s + self._settings.cold_start_s, _READY, self._order(now_s))
        surplus = len(present) - self._target
        if surplus > 0:
            # Those that are still starting first, the youngest first, then those with the least to finish.
            present.sort(key=lambda replica: (replica.is_ready, replica.snapshot.in_flight, -replica.ordered_s))
            for replica in present[:surplus]:
                self._stop(replica, now_s)
        sampled_s, offered = self._sampled
        if now_s - sampled_s >= self._settings.sample_every_s:
            per_s = (self._offered - offered) / (now_s - sampled_s)
            self._result.timeline.append(
                Moment(
                    now_s,
                    per_s,
                    metrics.waiting_requests,
                    metrics.in_flight,
                    metrics.ready,
                    metrics.starting,
                    self._target,
                )
            )
            self._sampled = (now_s, self._offered)

    def _metrics(self, now_s: float) -> FleetMetrics:
        load = self._admission.load(now_s)
        staying = [replica for replica in self._replicas.values() if not replica.is_leaving]
        ready = sum(replica.is_ready for replica in staying)
        reports = [replica.snapshot.report for replica in staying if replica.snapshot.report is not None]
        waits_s = [
            report.waiting_tokens / report.prefill_tokens_per_s if report.prefill_tokens_per_s > 0 else 0.0
            for report in reports
        ]
        prefill_share = (load.prefill_s - self._prefill_s) / (max(1, ready) * self._settings.decide_every_s)
        self._prefill_s = load.prefill_s
        starts_s, self._starts_s = tuple(self._starts_s), []
        return FleetMetrics(
            ready=ready,
            starting=len(staying) - ready,
            waiting_requests=load.waiting_requests,
            waiting_work=load.waiting_work,
            engine_waiting_work=float(sum(report.waiting_tokens for report in reports)),
            engine_wait_s=min(waits_s) if waits_s and len(waits_s) == ready else 0.0,
            in_flight=sum(replica.snapshot.in_flight for replica in staying),
            utilisation=max(load.occupancy if ready else 0.0, min(1.0, prefill_share)),
            offered_requests=load.offered_requests,
            offered_work=load.offered_work,
            offered_work_squared=load.offered_work_squared,
            dispatched_work=load.dispatched_work,
            start_durations_s=starts_s,
        )
