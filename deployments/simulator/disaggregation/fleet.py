"""Simulates a fleet of pools under load in virtual time: the live dispatcher on engines that hand KV blocks on.

The fleet does what the tickets say: a request with a prefill leg goes to that replica first, and to the one that
generates its answer once the prompt is computed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count

from deployments.simulator.disaggregation.engine_sequence import EngineSequence, Leg
from deployments.simulator.disaggregation.fates import FleetRun, RequestFate
from deployments.simulator.disaggregation.kv_links import KvLinks
from deployments.simulator.disaggregation.leg_dispatcher import LegDispatcher
from deployments.simulator.disaggregation.pools import MODEL, Member, PooledFleet, members
from deployments.simulator.disaggregation.prompts import PromptRequest
from router.dispatch.ticket import Ticket
from router.estimator.expectation import Usage
from router.flow_control.queued_request import RequestState
from router.outcome import Outcome
from router.request import LatencyTargets, RoutingRequest

PATH = "/v1/completions"
TENANT = "one"
_LATER = 1 + 1e-9
"""Limits are looked at just after they have passed, so that one which is met to the digit is met."""


@dataclass(slots=True)
class _Job:
    """One request in the fleet.

    Attributes:
        fate: what comes of it.
        ticket: its ticket.
        held: its sequence at the prefill replica, whose blocks are held for it; None: there is none.
        holder: that replica.
    """

    fate: RequestFate
    ticket: Ticket
    held: "EngineSequence[_Job] | None" = None
    holder: "Member[_Job] | None" = None


_MACHINE, _ARRIVED, _REPORT, _OPENING, _DUE = range(5)


def run_pools(  # noqa: PLR0913 - a load, a fleet, and how long to watch
    load: Sequence[PromptRequest],
    per_s: float,
    fleet: PooledFleet,
    dispatcher: LegDispatcher,
    *,
    measured: range,
    most_missed: int | None = None,
) -> FleetRun:
    """Send a load to a fleet until the measured requests are answered.

    Args:
        load: the requests, in their order.
        per_s: requests a second.
        fleet: the replicas.
        dispatcher: decides where requests go; it has no replicas yet.
        measured: which requests are measured, by their place in `load`; those before fill the fleet, and those after
            keep it full.
        most_missed: how many of these may miss their limits: the run ends with the next one, and does not wait for the
            answers of those that have. None: it goes on until all have been answered or refused.
    """
    return _FleetClock(load, per_s, fleet, dispatcher, measured, most_missed).run()


class _FleetClock:
    def __init__(  # noqa: PLR0913, PLR0917 - see `run_pools`
        self,
        load: Sequence[PromptRequest],
        per_s: float,
        fleet: PooledFleet,
        dispatcher: LegDispatcher,
        measured: range,
        most_missed: int | None,
    ) -> None:
        self._load, self._per_s, self._dispatcher = load, per_s, dispatcher
        self._measured, self._most_missed = measured, most_missed
        self._report_every_s = fleet.report_every_s
        self._members = {member.endpoint.replica_id: member for member in members(fleet, _Job)}
        cost = fleet.cost
        self._links = KvLinks(cost.hardware, cost.layout.gpus, cost.shape.kv_bytes_per_token(cost.kv_precision))
        self._events: list[tuple[float, int, int, object]] = []
        self._numbers = count()
        self._waiting: dict[int, RequestFate] = {}
        self._opening_s: float | None = None
        self._unsettled = len(measured)
        self._result = FleetRun()

    def run(self) -> FleetRun:
        dispatcher, result = self._dispatcher, self._result
        dispatcher.set_replicas([member.endpoint for member in self._members.values()], 0.0)
        for name, member in self._members.items():
            dispatcher.apply_residency(name, member.machine.kv.snapshot())
        self._push(0.0, _REPORT, None)
        arrivals = iter(self._load)
        arrival = next(arrivals, None)
        now_s = 0.0
        while self._unsettled and not result.is_cut:
            if arrival is not None and arrival.at / self._per_s <= self._events[0][0]:
                now_s = arrival.at / self._per_s
                self._arrive(arrival, now_s)
                arrival = next(arrivals, None)
                continue
            now_s, _, kind, subject = heappop(self._events)
            self._happen(kind, subject, now_s)
        result.seconds = now_s
        for member in self._members.values():
            result.held_blocks += member.machine.kv.used
            for tenths, tokens in member.machine.gaps.items():
                result.gaps[tenths] = result.gaps.get(tenths, 0) + tokens
        return result

    def _push(self, at_s: float, kind: int, subject: object) -> None:
        heappush(self._events, (at_s, next(self._numbers), kind, subject))

    def _happen(self, kind: int, subject: object, now_s: float) -> None:
        if kind == _MACHINE and isinstance(subject, Member):
            if subject.scheduled_s == now_s == subject.machine.next_s:
                self._advance(subject, now_s)
        elif kind == _DUE and isinstance(subject, RequestFate):
            self._look_at_limit(subject, now_s)
        elif kind == _ARRIVED and isinstance(subject, EngineSequence):
            self._blocks_arrived(subject, now_s)
        elif kind == _REPORT:
            self._report(now_s)
            self._push(now_s + self._report_every_s, _REPORT, None)
        elif kind == _OPENING and now_s == self._opening_s:  # else an earlier time has replaced it
            self._opening_s = None
            self._dispatch(now_s)

    # --- requests come and wait

    def _arrive(self, request: PromptRequest, now_s: float) -> None:
        number = len(self._result.fates)
        fate = RequestFate(request, now_s, number in self._measured)
        self._result.fates.append(fate)
        if fate.counts:
            self._push(fate.due_s * _LATER, _DUE, fate)
        targets = LatencyTargets(request.limits.ttft_s, request.limits.tpot_s)
        routing = RoutingRequest(f"{number}", MODEL, PATH, stream=True, body=b"", chain=request.chain, targets=targets)
        ticket = self._dispatcher.offer(routing, TENANT, now_s)
        if ticket.state is RequestState.WAITING:
            self._waiting[ticket.number] = fate
            self._result.waited += 1
            self._await_opening()
        elif ticket.refusal is not None:
            self._refused(fate)
        else:
            self._send(_Job(fate, ticket), now_s)
        self._tell_refused()

    def _tell_refused(self) -> None:
        refused, self._dispatcher.refused = self._dispatcher.refused, []
        for ticket in refused:
            self._refused(self._waiting.pop(ticket.number))

    def _refused(self, fate: RequestFate) -> None:
        self._result.refused += 1
        self._missed(fate)
        self._settled(fate)

    def _dispatch(self, now_s: float) -> None:
        while (ticket := self._dispatcher.next(now_s)) is not None:
            self._send(_Job(self._waiting.pop(ticket.number), ticket), now_s)
        self._await_opening()

    def _await_opening(self) -> None:
        if self._dispatcher.someone_waits:
            opening_s = self._dispatcher.next_opening_s()
            if opening_s is not None and (self._opening_s is None or opening_s < self._opening_s):
                self._opening_s = opening_s
                self._push(opening_s, _OPENING, None)

    # --- their limits

    def _look_at_limit(self, fate: RequestFate, now_s: float) -> None:
        if fate.missed or fate.last_s is not None:
            return
        if now_s > fate.due_s:
            self._missed(fate)
        else:
            self._push(fate.due_s * _LATER, _DUE, fate)

    def _missed(self, fate: RequestFate) -> None:
        if fate.counts and not fate.missed:
            fate.missed = True
            self._result.missed += 1
            if self._most_missed is not None:
                self._settled(fate)
                self._result.is_cut = self._result.missed > self._most_missed

    def _settled(self, fate: RequestFate) -> None:
        if fate.counts and not fate.is_settled:
            fate.is_settled = True
            self._unsettled -= 1

    # --- requests on replicas

    def _send(self, job: _Job, now_s: float) -> None:
        """Send a request where its ticket says that it goes first."""
        prefill = job.ticket.prefill
        if prefill is not None:
            job.fate.apart = True
            job.holder = self._members[prefill.replica.replica_id]
            self._add(job.holder, job, Leg.COMPUTES, now_s)
        else:
            self._add(self._answering(job), job, Leg.WHOLE, now_s)

    def _answering(self, job: _Job) -> Member[_Job]:
        if job.ticket.attempt is None:
            raise AssertionError("a request was dispatched and is on no replica")
        return self._members[job.ticket.attempt.replica.replica_id]

    def _add(self, member: Member[_Job], job: _Job, leg: Leg, now_s: float) -> None:
        request = job.fate.request
        member.is_quiet = False
        member.machine.add(job, leg, request.chain.hashes, request.prompt_tokens, request.output_tokens, now_s)
        self._follow(member, now_s)

    def _follow(self, member: Member[_Job], now_s: float) -> None:
        """Begin the transfers that a replica wants now, and await its next event."""
        machine = member.machine
        if machine.wants:
            wants, machine.wants = machine.wants, []
            for sequence in wants:
                self._fetch(member, sequence, now_s)
        next_s = machine.next_s
        if next_s is not None and next_s != member.scheduled_s:
            member.scheduled_s = next_s
            self._push(next_s, _MACHINE, member)

    def _fetch(self, member: Member[_Job], sequence: EngineSequence[_Job], now_s: float) -> None:
        holder = sequence.owner.holder
        if holder is None or sequence.lease is None:
            raise AssertionError("a sequence wants blocks that no replica holds")
        tokens = max(0, sequence.prompt_tokens - 1 - sequence.lease.matched_tokens)
        sender, receiver = holder.endpoint, member.endpoint
        inside = sender.domain == receiver.domain
        arrives_s = self._links.send(sender.replica_id, receiver.replica_id, tokens, now_s, inside=inside)
        self._push(arrives_s, _ARRIVED, sequence)

    def _blocks_arrived(self, sequence: EngineSequence[_Job], now_s: float) -> None:
        job = sequence.owner
        member = self._answering(job)
        if job.holder is not None and job.held is not None:
            job.holder.machine.fetched(job.held, now_s)
            job.holder.is_quiet = False
            self._follow(job.holder, now_s)
            job.held = None
        member.machine.arrived(sequence, now_s)
        self._follow(member, now_s)

    def _advance(self, member: Member[_Job], now_s: float) -> None:
        happened = member.machine.advance()
        dispatcher = self._dispatcher
        for sequence in happened.computed:
            self._computed(sequence, now_s)
        for sequence in happened.began:
            fate = sequence.owner.fate
            fate.first_s = now_s
            if sequence.leg is Leg.WHOLE:
                fate.computed_tokens = sequence.prompt_tokens - sequence.cached_tokens
            if fate.counts and fate.ttft_s is not None and fate.ttft_s > fate.request.limits.ttft_s:
                self._missed(fate)
            dispatcher.first_token(sequence.owner.ticket, now_s)
        for sequence in happened.ended:
            job, fate = sequence.owner, sequence.owner.fate
            fate.last_s = now_s
            fetched = sequence.leg is Leg.CONTINUES  # vLLM counts what it has fetched as cached
            cached = sequence.prompt_tokens - (1 if fetched else fate.computed_tokens)
            usage = Usage(sequence.prompt_tokens, cached, sequence.output_tokens)
            dispatcher.finish(job.ticket, Outcome.OK, usage, now_s, is_whole=True)
            if fate.tpot_s is not None and fate.tpot_s > fate.request.limits.tpot_s:
                self._missed(fate)
            self._settled(fate)
        self._follow(member, now_s)
        if happened.ended or happened.computed:
            self._dispatch(now_s)

    def _computed(self, sequence: EngineSequence[_Job], now_s: float) -> None:
        """Send the second leg of a request whose prompt is computed."""
        job = sequence.owner
        job.held = sequence
        job.fate.computed_tokens = sequence.prompt_tokens - sequence.cached_tokens
        usage = Usage(sequence.prompt_tokens, sequence.cached_tokens, 1)
        self._dispatcher.prefill_done(job.ticket, usage, now_s)
        self._add(self._answering(job), job, Leg.CONTINUES, now_s)

    # --- telemetry

    def _report(self, now_s: float) -> None:
        dispatcher = self._dispatcher
        for name, member in self._members.items():
            if member.is_quiet:
                continue
            dispatcher.report(name, member.machine.report(now_s), now_s)
            delta = member.machine.kv.delta()
            if delta is not None and not dispatcher.apply_residency(name, delta):
                raise AssertionError("a delta was lost, though none ever is")
            member.is_quiet = member.machine.is_idle
        dispatcher.tick(now_s)
        self._tell_refused()
        if dispatcher.someone_waits:
            self._dispatch(now_s)
