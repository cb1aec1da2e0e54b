"""Simulates a fleet under load in virtual time: the live dispatcher and autoscaler on simulated replicas."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Generic

from cluster.autoscaling.decision import DecisionHistory
from cluster.autoscaling.interface import AutoscalingPolicy, StateT
from cluster.autoscaling.metrics.figures import ReplicaFigures
from cluster.autoscaling.metrics.metrics import FleetMetrics
from cluster.autoscaling.model_autoscaler import ModelAutoscaler
from cluster.spec.model_parts.sim_spec import SimSpec
from deployments.simulator.batching_replica import BatchingReplica
from deployments.simulator.loads import SimRequest
from router.dispatch.dispatcher import Dispatcher
from router.dispatch.ticket import Ticket
from router.estimator.expectation import Usage
from router.flow_control.limits import AdmissionLimits, WaitingRoom
from router.flow_control.queued_request import RequestState
from router.flow_control.verdict import Reject
from router.outcome import Outcome
from router.prompt.chunk_chain import ChunkChain
from router.replicas.endpoint import Endpoint
from router.request import RoutingRequest

MODEL = "sim"
PATH = "/v1/chat/completions"


@dataclass(frozen=True, slots=True)
class FleetSettings:
    """The fleet that a load runs on, and how it is watched.

    Attributes:
        engine: the replicas' timing.
        first_replicas: replicas that are ready when the run begins.
        cold_start_s: seconds from a replica's order until it is ready.
        gpus_per_replica: GPUs of a replica, paid from its order until it is gone.
        limits: flow control's bounds.
        room: most requests that may wait.
        decide_every_s: seconds between two decisions of the autoscaler.
        report_every_s: seconds between two load reports of a busy replica.
        sample_every_s: seconds between two points of the timeline.
        seed: seed of the generator that breaks ties in routing.
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
        at_s: its time, seconds from the start of the run.
        offered_per_s: requests offered a second since the last point.
        waiting: requests that wait in the gateway.
        in_flight: requests on replicas.
        ready: replicas that take requests.
        starting: replicas that are ordered and not ready yet.
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
    """The results of a run. Times are seconds from its start.

    Attributes:
        ttfts_s: seconds to the first token of each answered request, in the order of their first tokens.
        latencies_s: for each answered request, the seconds to its first token and the mean seconds between two of the
            others, in the order of their ends.
        waits_s: for each dispatched request: the request, the seconds it waited in the gateway, and the time of its
            dispatch.
        refused: number of refused requests, by outcome.
        gpu_hours: GPU-hours of all replicas, from their order until they are gone.
        targets: pairs of a time at which the target changed and the new target.
        timeline: the state of the fleet over time.
        history: the autoscaler's decisions.
    """

    ttfts_s: list[float] = field(default_factory=list)
    latencies_s: list[tuple[float, float]] = field(default_factory=list)
    waits_s: list[tuple[SimRequest, float, float]] = field(default_factory=list)
    refused: dict[str, int] = field(default_factory=dict)
    gpu_hours: float = 0.0
    targets: list[tuple[float, int]] = field(default_factory=list)
    timeline: list[Moment] = field(default_factory=list)
    history: DecisionHistory = field(default_factory=DecisionHistory)

    @property
    def requests(self) -> int:
        """Number of requests answered or refused."""
        return len(self.ttfts_s) + sum(self.refused.values())

    def slo_share(self, ttft_s: float) -> float:
        """Return the share of requests whose first token came within `ttft_s` seconds; refused requests count too."""
        return sum(1 for value in self.ttfts_s if value <= ttft_s) / max(1, self.requests)

    def slo_share_of_both(self, ttft_s: float, tpot_s: float) -> float:
        """Return the share of requests that had both latencies; refused requests count too."""
        met = sum(1 for first_s, token_s in self.latencies_s if first_s <= ttft_s and token_s <= tpot_s)
        return met / max(1, len(self.latencies_s) + sum(self.refused.values()))

    def ttft_quantile_s(self, share: float) -> float:
        """Return the seconds to first token that `share` of the answered requests did not exceed."""
        ordered = sorted(self.ttfts_s)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


class _Replica:
    """One replica, from its order until it is gone.

    Attributes:
        name: its id.
        machine: its simulated engine.
        ordered_s: when it was ordered.
        in_flight: requests on it.
        is_ready: it has started.
        is_leaving: it takes no more requests and is gone once those on it have ended.
        reported_idle: its last report said that it is idle; it reports again once it has got a request.
        scheduled_s: time of the machine's next event in the queue of events; None: none was put there.
    """

    def __init__(self, name: str, engine: SimSpec, ordered_s: float) -> None:
        self.name = name
        self.machine: BatchingReplica[_Job] = BatchingReplica(engine)
        self.ordered_s = ordered_s
        self.in_flight = 0
        self.is_ready = False
        self.is_leaving = False
        self.reported_idle = False
        self.scheduled_s: float | None = None


@dataclass(slots=True)
class _Job:
    """One request on a replica's machine, with its ticket and the time of its first token."""

    request: SimRequest
    ticket: Ticket
    first_s: float = 0.0


_ARRIVAL, _MACHINE, _READY, _REPORT, _DECIDE, _OPENING = range(6)


def run_fleet(load: Sequence[SimRequest], policy: AutoscalingPolicy[StateT], settings: FleetSettings) -> FleetResult:
    """Send a load to a fleet that a policy scales, until every request is answered or refused.

    Args:
        load: the requests, in the order of their times.
        policy: the autoscaling policy.
        settings: the fleet.
    """
    return _Run(load, policy, settings).run()


class _Run(Generic[StateT]):
    def __init__(self, load: Sequence[SimRequest], policy: AutoscalingPolicy[StateT], settings: FleetSettings) -> None:
        self._load = load
        self._settings = settings
        self._autoscaler = ModelAutoscaler(policy, settings.first_replicas)
        rng = Random(settings.seed)  # noqa: S311 - replayable, not cryptographic
        room = WaitingRoom(settings.room)
        self._dispatcher = Dispatcher(MODEL, "least_load", rng=rng, limits=settings.limits, room=room)
        self._waiting: dict[int, SimRequest] = {}
        self._events: list[tuple[float, int, int, _Replica | None]] = []
        self._numbers = count()
        self._names = count()
        self._replicas: dict[str, _Replica] = {}
        self._target = settings.first_replicas
        self._opening_s: float | None = None
        self._unfinished = len(load)
        self._offered = 0
        self._sampled = (0.0, 0)
        self._result = FleetResult(history=self._autoscaler.history)

    def run(self) -> FleetResult:
        for _ in range(self._settings.first_replicas):
            self._order(0.0).is_ready = True
        self._tell_replicas(0.0)
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
            if now_s == self._opening_s:  # else an earlier time has replaced it
                self._opening_s = None
                self._dispatch(now_s)
        elif replica is not None and kind == _READY:
            if not replica.is_leaving:
                replica.is_ready = True
                self._tell_replicas(now_s)
                self._dispatch(now_s)
        elif replica is not None and replica.scheduled_s == now_s == replica.machine.next_s:
            self._advance(replica, now_s)

    # --- requests

    def _arrive(self, request: SimRequest, now_s: float) -> None:
        self._offered += 1
        prompt = ChunkChain([], [], 0, tokens=request.prompt_tokens)
        routing = RoutingRequest(
            f"{self._offered}", MODEL, PATH, stream=True, body=b"", chain=prompt, targets=self._settings.limits.targets
        )
        ticket = self._dispatcher.offer(routing, request.tenant, now_s, priority=request.priority)
        if ticket.state is RequestState.WAITING:
            self._waiting[ticket.number] = request
        elif ticket.refusal is not None:
            self._refused(ticket.refusal)
        else:
            self._send(ticket, request, now_s)
        self._tell_refused()

    def _tell_refused(self) -> None:
        refused, self._dispatcher.refused = self._dispatcher.refused, []
        for ticket in refused:
            del self._waiting[ticket.number]
            if ticket.refusal is not None:
                self._refused(ticket.refusal)

    def _refused(self, refusal: Reject) -> None:
        self._result.refused[refusal.outcome] = self._result.refused.get(refusal.outcome, 0) + 1
        self._unfinished -= 1

    def _dispatch(self, now_s: float) -> None:
        while (ticket := self._dispatcher.next(now_s)) is not None:
            self._send(ticket, self._waiting.pop(ticket.number), now_s)
        if self._dispatcher.someone_waits:
            opening_s = self._dispatcher.next_opening_s()
            if opening_s is not None and (self._opening_s is None or opening_s < self._opening_s):
                self._opening_s = opening_s
                self._push(opening_s, _OPENING)

    def _send(self, ticket: Ticket, request: SimRequest, now_s: float) -> None:
        if ticket.attempt is None:
            raise AssertionError("a request was dispatched though no replica has room")
        replica = self._replicas[ticket.attempt.replica.replica_id]
        replica.in_flight += 1
        self._result.waits_s.append((request, now_s - request.at_s, now_s))
        replica.machine.add(_Job(request, ticket), request.prompt_tokens, request.output_tokens, now_s)
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
            self._dispatcher.first_token(job.ticket, now_s)
            job.first_s = now_s
            self._result.ttfts_s.append(now_s - job.request.at_s)
        for job in ended:
            usage = Usage(job.request.prompt_tokens, 0, job.request.output_tokens)
            self._dispatcher.finish(job.ticket, Outcome.OK, usage, now_s, is_whole=True)
            token_s = (now_s - job.first_s) / max(1, job.request.output_tokens - 1)
            self._result.latencies_s.append((job.first_s - job.request.at_s, token_s))
            replica.in_flight -= 1
            self._unfinished -= 1
        self._schedule(replica)
        if ended:
            if replica.is_leaving and not replica.in_flight:
                self._gone(replica, now_s)
            self._dispatch(now_s)

    # --- replicas

    def _order(self, now_s: float) -> _Replica:
        replica = _Replica(f"replica-{next(self._names):05d}", self._settings.engine, now_s)
        self._replicas[replica.name] = replica
        return replica

    def _taking(self) -> list[_Replica]:
        return [replica for replica in self._replicas.values() if replica.is_ready and not replica.is_leaving]

    def _tell_replicas(self, now_s: float) -> None:
        self._dispatcher.set_replicas([Endpoint(replica.name, MODEL, "sim", 0) for replica in self._taking()], now_s)

    def _stop(self, replica: _Replica, now_s: float) -> None:
        replica.is_leaving = True
        if replica.is_ready:
            self._autoscaler.figures.replica_left(replica.name)
            self._tell_replicas(now_s)
        if not replica.in_flight:
            self._gone(replica, now_s)

    def _gone(self, replica: _Replica, now_s: float) -> None:
        del self._replicas[replica.name]
        self._result.gpu_hours += (now_s - replica.ordered_s) * self._settings.gpus_per_replica / 3600.0

    def _report(self, now_s: float) -> None:
        for replica in self._taking():
            if not replica.reported_idle:
                self._dispatcher.report(replica.name, replica.machine.report(now_s), now_s)
                replica.reported_idle = replica.machine.next_s is None
        if self._dispatcher.someone_waits:
            self._dispatch(now_s)

    # --- scaling

    def _decide(self, now_s: float) -> None:
        self._dispatcher.tick(now_s)
        self._tell_refused()
        self._report(now_s)
        autoscaler = self._autoscaler
        autoscaler.figures.hear_gateway(MODEL, self._dispatcher.load(now_s), now_s, now_s)
        for replica in self._taking():
            autoscaler.figures.hear_replica(replica.name, self._figures_of(replica), now_s)
        decision = autoscaler.decide(now_s)
        if decision is None:
            raise AssertionError("the autoscaler was told news and does not decide")
        if decision.target != self._target:
            self._result.targets.append((now_s, decision.target))
            self._target = decision.target
        self._scale(now_s)
        self._sample(decision.metrics, now_s)

    def _figures_of(self, replica: _Replica) -> ReplicaFigures:
        report = self._dispatcher.fleet.replicas[replica.name].report
        if report is None:
            return ReplicaFigures(in_flight=replica.in_flight)
        return ReplicaFigures(replica.in_flight, report.waiting_tokens, report.prefill_tokens_per_s, report.kv_usage)

    def _scale(self, now_s: float) -> None:
        present = [replica for replica in self._replicas.values() if not replica.is_leaving]
        for _ in range(self._target - len(present)):
            self._push(now_s + self._settings.cold_start_s, _READY, self._order(now_s))
        surplus = len(present) - self._target
        if surplus > 0:
            # Starting replicas go first, then those with the fewest requests to finish; the youngest of equals.
            present.sort(key=lambda replica: (replica.is_ready, replica.in_flight, -replica.ordered_s))
            for replica in present[:surplus]:
                self._stop(replica, now_s)

    def _sample(self, metrics: FleetMetrics, now_s: float) -> None:
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
