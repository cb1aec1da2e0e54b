"""The way of requests through a simulated cluster: offered, waiting, on engines, sent elsewhere, ended."""

from collections.abc import Callable, Sequence
from random import Random
from typing import Final

from deployments.simulator.disaggregation.engine_sequence import EngineSequence, Leg
from deployments.simulator.disaggregation.prompts import block_chain
from deployments.twin.agenda import Agenda, Due
from deployments.twin.arrivals import Arrival
from deployments.twin.cluster import Cluster
from deployments.twin.fleet import TwinFleet
from deployments.twin.gateways import Gateways, ModelGateway
from deployments.twin.member import Job, Stage, TwinReplica
from deployments.twin.records import Records
from router.dispatch.ticket import Fault
from router.estimator.expectation import Usage
from router.outcome import Outcome
from router.request import RoutingRequest

PATH: Final = "/v1/completions"
SAY_EVERY: Final = 2000
"""Requests between two calls of the caller's `say`."""


class RequestFlow:
    """Takes requests through the cluster, and does what their tickets say.

    Args:
        cluster: the cluster.
        gateways: its gateways.
        fleet: its replicas.
        agenda: what is due.
        records: takes what came of the requests.
        rng: says which gateway a client's request comes to.
        left: called when the last request of a leaving replica has ended, so that it is gone.
        say: called now and then with the number of requests that have ended; None: nobody asks.

    Attributes:
        arrived: requests that came.
        unfinished: those that have not ended.
        waiting: those that wait in gateways.
        in_flight: those that are on replicas.
        coming: requests that follow an answer and have not come yet.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the parts of a run
        self,
        cluster: Cluster,
        gateways: Gateways,
        fleet: TwinFleet,
        agenda: Agenda,
        records: Records,
        rng: Random,
        left: Callable[[float], None],
        say: Callable[[int], None] | None = None,
    ) -> None:
        self.arrived = self.unfinished = self.waiting = self.in_flight = self.coming = 0
        self._cluster = cluster
        self._gateways = gateways
        self._fleet = fleet
        self._agenda = agenda
        self._records = records
        self._rng = rng
        self._left = left
        self._say = say
        self._request_s = cluster.scenario.request_s
        self._block_tokens = size = cluster.scenario.block_tokens
        self._most_tokens = [min(kind.kv_tokens // size for kind in kinds) * size for kinds in cluster.kinds]

    # --- requests come and wait

    def arrive(self, arrival: Arrival, now_s: float) -> None:
        """Take a request that comes."""
        gateways = self._gateways
        chosen = self._rng.randrange(len(gateways)) if len(gateways) > 1 else 0
        model, adapter = self._cluster.meant(arrival.model)
        job = Job(arrival, self.arrived, chosen, model, adapter)
        self.arrived += 1
        if arrival.prompt_tokens + arrival.output_tokens > self._most_tokens[model]:
            self._records.refuse(model, arrival.tenant, str(Outcome.BAD_REQUEST))  # no engine has room for it
            self._follow_up(arrival, now_s, is_answered=False)
            return
        self.unfinished += 1
        row = gateways.rows[chosen][model]
        dispatcher = row.dispatcher
        limits = dispatcher.limits
        routing = RoutingRequest(
            str(job.number),
            dispatcher.model,
            PATH,
            stream=True,
            body=b"",
            chain=block_chain(arrival.blocks, arrival.prompt_tokens, self._block_tokens),
            targets=limits.targets_of(arrival.tenant),
            adapter=adapter,
        )
        priority = limits.priority_of(arrival.tenant, arrival.priority)
        job.held_cold = not dispatcher.is_taking
        job.ticket = dispatcher.offer(routing, arrival.tenant, now_s, priority=priority)
        self._go_on(row, job, now_s)
        self.tell_refused(row, now_s)

    def _go_on(self, row: ModelGateway, job: Job, now_s: float) -> None:
        """Do what a ticket says that was just offered, or taken off its replica."""
        ticket = job.ticket
        if ticket.attempt is None and ticket.refusal is None:
            row.waiting[ticket.number] = job
            self.waiting += 1
            self._records.waiting_peak = max(self._records.waiting_peak, self.waiting)
            if row.dispatcher.is_taking:
                self._await_opening(row)
        elif ticket.refusal is not None:
            self._refused(job, now_s)
        else:
            self._send(job, now_s)

    def tell_refused(self, row: ModelGateway, now_s: float) -> None:
        """Take the requests that waited in a gateway and will not be served."""
        if row.dispatcher.refused:
            refused, row.dispatcher.refused = row.dispatcher.refused, []
            for ticket in refused:
                self.waiting -= 1
                self._refused(row.waiting.pop(ticket.number), now_s)

    def _refused(self, job: Job, now_s: float) -> None:
        refusal = job.ticket.refusal
        outcome = refusal.outcome if refusal is not None else Outcome.REPLICA_FAILED
        self._gateways.rows[job.gateway][job.model].dispatcher.finish(job.ticket, outcome, Usage(0, 0, 0), now_s)
        self._release(job, now_s)
        self._records.refuse(job.model, job.arrival.tenant, str(outcome))
        self.unfinished -= 1
        self._follow_up(job.arrival, now_s, is_answered=False)

    def dispatch(self, row: ModelGateway, now_s: float) -> None:
        """Send the waiting requests of a gateway whose turn it is."""
        while (ticket := row.dispatcher.next(now_s)) is not None:
            self.waiting -= 1
            job = row.waiting.pop(ticket.number)
            if ticket.refusal is not None:
                self._refused(job, now_s)
            else:
                self._send(job, now_s)
        self._await_opening(row)

    def _await_opening(self, row: ModelGateway) -> None:
        if row.waiting:
            opening_s = row.dispatcher.next_opening_s()
            if opening_s is not None and (row.opening_s < 0.0 or opening_s < row.opening_s):
                row.opening_s = opening_s
                self._agenda.push(opening_s, Due.OPENING, row)

    # --- requests on replicas

    def _send(self, job: Job, now_s: float) -> None:
        """Send a request where its ticket says that it goes first."""
        if job.dispatched_s < 0.0:
            job.dispatched_s = now_s
        self.in_flight += 1
        ticket, members = job.ticket, self._fleet.members
        dispatcher = self._gateways.rows[job.gateway][job.model].dispatcher
        while ticket.prefill is not None and ticket.prefill.done_s is None:
            holder = members.get(ticket.prefill.replica.replica_id)
            if holder is not None:
                self._add(holder, job, Leg.COMPUTES, now_s)
                return
            dispatcher.prefill_failed(ticket, Fault.FAILED, now_s)
        if ticket.prefill is not None:  # its prompt was computed before its replica was lost
            self._send_on(job, Leg.CONTINUES, now_s)
        else:
            self._release(job, now_s)
            self._send_on(job, Leg.WHOLE, now_s)

    def _send_on(self, job: Job, leg: Leg, now_s: float) -> None:
        """Send a request to the replica that generates its answer; if that one is gone, elsewhere."""
        attempt = job.ticket.attempt
        member = self._fleet.members.get(attempt.replica.replica_id) if attempt is not None else None
        if member is not None:
            self._add(member, job, leg, now_s)
            return
        self._count_lost(job)
        row = self._gateways.rows[job.gateway][job.model]
        row.dispatcher.fail(job.ticket, Fault.FAILED, now_s)
        self._go_on(row, job, now_s)
        self.tell_refused(row, now_s)

    def _count_lost(self, job: Job) -> None:
        """Count a request whose replica was lost."""
        job.sequence = None
        job.resent += 1
        self._records.resent += 1
        self.in_flight -= 1

    def _add(self, member: TwinReplica, job: Job, leg: Leg, now_s: float) -> None:
        arrival = job.arrival
        member.is_quiet = False
        member.accepted[job.gateway] += 1
        member.in_flight += 1
        sent = job.sent_tokens
        blocks: Sequence[int] = arrival.blocks if member.kind.caches else ()
        job.sequence = member.engine.add(
            job, leg, blocks, arrival.prompt_tokens + sent, max(1, arrival.output_tokens - sent), now_s, job.adapter,
            arrival.answer_blocks if member.kind.caches else (),
        )  # fmt: skip
        self._follow(member, now_s)

    def _follow(self, member: TwinReplica, now_s: float) -> None:
        """Begin the transfers that a replica wants now, and await its next event."""
        engine = member.engine
        while engine.wants:
            wants, engine.wants = engine.wants, []
            for sequence in wants:
                self._fetch(member, sequence, now_s)
        next_s = engine.next_s
        if next_s is not None and next_s != member.scheduled_s:
            member.scheduled_s = next_s
            self._agenda.push(next_s, Due.ENGINE, member)

    def _fetch(self, member: TwinReplica, sequence: EngineSequence[Job], now_s: float) -> None:
        job = sequence.owner
        holder, links = job.holder, member.kind.links
        if holder is None or job.held is None or links is None or sequence.lease is None:
            member.engine.computes_itself(sequence, now_s)  # its blocks are lost
            return
        tokens = max(0, sequence.prompt_tokens - 1 - sequence.lease.matched_tokens)
        inside = holder.endpoint.domain == member.endpoint.domain
        arrives_s = links.send(holder.name, member.name, tokens, now_s, inside=inside)
        job.fetched_s += arrives_s - now_s
        self._agenda.push(arrives_s, Due.BLOCKS, sequence)

    def blocks_arrived(self, sequence: EngineSequence[Job], now_s: float) -> None:
        """Go on with a request whose prompt's blocks have come from another replica."""
        job = sequence.owner
        if job.sequence is not sequence or job.ticket.attempt is None:
            return  # its replica was lost meanwhile
        member = self._fleet.members[job.ticket.attempt.replica.replica_id]
        if self._release(job, now_s):
            member.engine.arrived(sequence, now_s)
        else:
            member.engine.computes_itself(sequence, now_s)
        self._follow(member, now_s)

    def _release(self, job: Job, now_s: float) -> bool:
        """Free the blocks that a replica holds of a request's prompt; False: none does."""
        holder, held = job.holder, job.held
        if holder is None or held is None:
            return False
        job.held = None
        del holder.holds[job.number]
        holder.engine.fetched(held, now_s)
        holder.is_quiet = False
        self._follow(holder, now_s)
        self._end_leg(holder, now_s)
        return True

    def _end_leg(self, member: TwinReplica, now_s: float) -> None:
        """Count a request that has left a replica."""
        member.in_flight -= 1
        if member.stage is Stage.LEAVING and not member.in_flight:
            self._fleet.gone(member, now_s)
            self._left(now_s)

    def advance(self, member: TwinReplica, now_s: float) -> None:
        """Move an engine on to the end of its steps under way."""
        happened = member.engine.advance()
        rows = self._gateways.rows
        freed: set[int] = set()
        for sequence in happened.computed:
            freed.add(sequence.owner.gateway)
            self._computed(member, sequence, now_s)
        for sequence in happened.began:
            job = sequence.owner
            if job.begun_s < 0.0:
                job.begun_s = sequence.begun_s
            if sequence.leg is Leg.WHOLE:
                job.cached_tokens = min(sequence.cached_tokens, job.arrival.prompt_tokens - 1)
            dispatcher = rows[job.gateway][job.model].dispatcher
            dispatcher.answers(job.ticket, now_s)
            if job.first_s < 0.0:
                job.first_s = now_s
            dispatcher.first_token(job.ticket, now_s)
        for sequence in happened.ended:
            freed.add(self._end(member, sequence, now_s))
        self._follow(member, now_s)
        for gateway in sorted(freed):
            row = rows[gateway][member.model]
            if row.waiting:
                self.dispatch(row, now_s)

    def _end(self, member: TwinReplica, sequence: EngineSequence[Job], now_s: float) -> int:
        """End a request whose last token came; return its gateway's number."""
        job = sequence.owner
        arrival = job.arrival
        usage = Usage(arrival.prompt_tokens, job.cached_tokens, arrival.output_tokens)
        dispatcher = self._gateways.rows[job.gateway][job.model].dispatcher
        dispatcher.finish(job.ticket, Outcome.OK, usage, now_s, is_whole=True)
        self.unfinished -= 1
        self.in_flight -= 1
        records = self._records
        records.finish(
            job.model, arrival.tenant, arrival.at_s, job.dispatched_s, job.begun_s, job.fetched_s, job.first_s, now_s,
            arrival.prompt_tokens, job.cached_tokens, arrival.output_tokens, member.name, held_cold=job.held_cold,
        )  # fmt: skip
        if self._say is not None and not len(records) % SAY_EVERY:
            self._say(len(records))
        job.sequence = None
        self._end_leg(member, now_s)
        self._follow_up(arrival, now_s, is_answered=True)
        return job.gateway

    def _follow_up(self, arrival: Arrival, now_s: float, *, is_answered: bool) -> None:
        """Await the request that a client sends after one that has ended."""
        if arrival.follows is None:
            return
        following = arrival.follows(now_s, is_answered)
        if following is not None:
            self.coming += 1
            self._agenda.push(following.at_s + self._request_s, Due.ARRIVES, following)

    def _computed(self, holder: TwinReplica, sequence: EngineSequence[Job], now_s: float) -> None:
        """Send the second leg of a request whose prompt is computed."""
        job = sequence.owner
        job.held = sequence
        job.holder = holder
        holder.holds[job.number] = job
        job.begun_s = sequence.begun_s
        job.cached_tokens = sequence.cached_tokens
        row = self._gateways.rows[job.gateway][job.model]
        row.dispatcher.prefill_done(job.ticket, Usage(sequence.prompt_tokens, sequence.cached_tokens, 1), now_s)
        self._send_on(job, Leg.CONTINUES, now_s)

    def lost(self, sequence: EngineSequence[Job], sent: int, now_s: float) -> None:
        """Send a request elsewhere whose replica was lost."""
        job = sequence.owner
        row = self._gateways.rows[job.gateway][job.model]
        dispatcher, ticket = row.dispatcher, job.ticket
        self._count_lost(job)
        if sequence.leg is Leg.COMPUTES:
            dispatcher.prefill_failed(ticket, Fault.FAILED, now_s)
            self._send(job, now_s)
            return
        job.sent_tokens += sent
        ticket.is_resumed = job.sent_tokens > 0
        dispatcher.fail(ticket, Fault.FAILED, now_s)
        self._go_on(row, job, now_s)
        self.tell_refused(row, now_s)
