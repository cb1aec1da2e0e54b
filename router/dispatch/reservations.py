"""Reservations: a request takes a place on the replica that the policy picks, and gives it back exactly once."""

from collections.abc import Container, Sequence
from math import inf
from random import Random
from typing import Final

from router.dispatch.attempt import Attempt
from router.dispatch.fleet import Fleet
from router.dispatch.journal import Journal
from router.dispatch.prefill_legs import PrefillLegs
from router.dispatch.replica import Replica
from router.dispatch.ticket import Ticket
from router.estimator.expectation import Usage
from router.estimator.model_estimator import ModelEstimator
from router.flow_control.admission import Admission
from router.flow_control.attainment import timeliness
from router.flow_control.slots.batch_bound import BatchBound
from router.outcome import Outcome
from router.prompt.chunk_chain import ChunkChain
from router.request import NO_TARGETS, RoutingRequest

_OK: Final = Outcome.OK  # looking up an enum's member takes ten times as long as looking up a global


class Reservations:
    """Makes one model's attempts, then completes them or gives them up.

    Args:
        fleet: the model's replicas, and the policy that picks among them.
        estimator: says what to expect of each request, and learns from its end.
        admission: each replica's room, and how many requests had the latencies that they were to have.
        journal: keeps the decisions and how each request ended.
        legs: prompts that are computed elsewhere.
        rng: breaks ties.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the parts of one model
        self,
        fleet: Fleet,
        estimator: ModelEstimator,
        admission: Admission[Ticket, Replica],
        journal: Journal,
        legs: PrefillLegs,
        rng: Random,
    ) -> None:
        self._fleet = fleet
        self._estimator = estimator
        self._admission = admission
        self._slots = admission.slots
        self._bounds: dict[str, BatchBound] = {}
        self._journal = journal
        self._legs = legs
        self._rng = rng

    def make(self, ticket: Ticket) -> bool:
        """Give a request to the replica that the policy picks. Look its prompt up just before.

        Its place and its work count on the replica at once: otherwise all requests of a burst would pick the same one.

        Returns:
            False where no replica can take it.
        """
        request, slots = ticket.request, self._slots
        now_s = request.now_s
        candidates = self.candidates(request, ticket.tried)
        if not candidates:
            return False
        decision = self._fleet.policy.decide(request, candidates, self._rng)
        if decision is None:
            return False
        replica = decision.replica
        is_divided = self._fleet.prefillers or ticket.prefill is not None
        choice = self._legs.choose(ticket, decision) if is_divided else None
        if choice is not None:
            replica = choice.replica
        is_fetched = choice is not None and choice.prefiller is not None
        if not is_fetched:
            slots.take(replica)
        replica.sent += 1
        if not is_fetched:
            expectation = self._estimator.expect(request, replica)
            s_per_token = self._estimator.s_per_token(replica) if replica.report is not None else 0.0
            slots.sent(replica, expectation.uncached_tokens * s_per_token, now_s)
        else:
            expectation = self._legs.handovers.expect(request, replica)
        record = self._journal.decided(
            request.request_id,
            decision,
            now_s,
            matched_bytes=expectation.matched_bytes,
            prompt_bytes=request.chain.size_bytes,
        )
        ticket.attempt = attempt = Attempt(replica, decision, expectation, record)
        attempt.has_place = not is_fetched
        if is_divided or request.targets.tpot_s < inf:
            attempt.target_class = replica.slack.join(request.targets.tpot_s)
            self._estimator.keeps_tpot = not is_divided
            self._bound(replica, now_s)
        if choice is not None:
            record.chosen(choice)
            self._legs.begin(ticket, choice, decision, record)
        return True

    def candidates(self, request: RoutingRequest, tried: Container[Replica]) -> Sequence[Replica]:
        """Return the replicas among which the policy picks for a request, looked up just before; empty: none can.

        Args:
            request: the request.
            tried: the replicas that failed it.
        """
        candidates = self._fleet.may_take(tried, request.replica_id)
        if request.adapter:  # where none knows it yet, one of them answers so
            candidates = [each for each in candidates if each.adapters.may_serve(request.adapter)] or candidates
        # If none has room, any may take it: the request was admitted, or it was on a replica before.
        return self._with_room(request, candidates) or candidates

    def _with_room(self, request: RoutingRequest, candidates: Sequence[Replica]) -> Sequence[Replica]:
        """Return the candidates that have room for a request now.

        For a policy that reads prompts a free place is enough, however much prefill is ahead: waiting there may cost
        less than computing the prompt again elsewhere, if the replica has it cached. While others wait, and one with
        room holds as much of it as any, that is no reason. Then those with room compute all that they can, and a choice
        among the others would only sort prompts by their lengths: short ones to whoever is slower, where more answers
        than elsewhere then run, for as long as they last. Where a replica may hold something else than the prompt (an
        adapter), or another one compute it, all are weighed.
        """
        slots, now_s = self._slots, request.now_s
        if not self._estimator.reads_prompts:
            return slots.with_room(candidates, now_s)
        if self._admission.someone_waits and not (request.adapter or self._fleet.prefillers):
            counts, longest = request.match.counts, request.match.longest
            roomy = slots.with_room(candidates, now_s)
            if roomy and (not longest or any(counts.get(each.replica_id, 0) >= longest for each in roomy)):
                return roomy
        return slots.with_places(candidates, now_s)

    def complete(
        self, ticket: Ticket, usage: Usage, now_s: float, *, streamed: bool, answer: ChunkChain | None
    ) -> None:
        """End an attempt whose answer is whole, and learn from it. Does nothing without an attempt.

        For the arguments see `Dispatcher.finish`.
        """
        attempt = ticket.attempt
        if attempt is None:
            return
        ticket.attempt = None
        attempt.replica.heard_s = now_s
        if attempt.target_class is not None:
            self._leave(attempt, now_s)
        if ticket.prefill is not None:
            self._legs.drop(ticket, now_s)
        if attempt.has_place:
            self._slots.give(attempt.replica, now_s)
        self._journal.ended(
            ticket.request.request_id,
            _OK,
            now_s,
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=usage.cached_tokens,
            completion_tokens=usage.completion_tokens,
        )
        self._estimator.finished(attempt.expectation, usage, now_s, streamed=streamed, answer=answer)
        if ticket.targets is not NO_TARGETS:
            self._judge(ticket, usage.completion_tokens, now_s, streamed=streamed)
        if streamed and not ticket.is_resumed and (self._fleet.prefillers or ticket.targets.tpot_s < inf):
            self._legs.handovers.streamed(attempt.expectation, usage.completion_tokens, now_s)

    def give_up(self, ticket: Ticket, outcome: Outcome, now_s: float) -> None:
        """End an attempt without a whole answer: the replica failed, or the client left. Does nothing without one."""
        attempt = ticket.attempt
        if attempt is None:
            return
        ticket.attempt = None
        if attempt.target_class is not None:
            self._leave(attempt, now_s)
        if ticket.prefill is not None:
            self._legs.drop(ticket, now_s)
        if attempt.has_place:
            self._slots.give(attempt.replica, now_s, is_served=outcome is Outcome.CLIENT_LEFT)
        self._journal.ended(ticket.request.request_id, outcome, now_s)
        self._estimator.lost(attempt.expectation, now_s)

    # --- latencies that requests are to have

    def _judge(self, ticket: Ticket, tokens: int | None, now_s: float, *, streamed: bool) -> None:
        """Count how the latencies of a whole answer were."""
        admission, targets = self._admission, ticket.targets
        began_s = ticket.first_token_s
        first_s = began_s - ticket.arrived_s if streamed and began_s is not None else None
        how = timeliness(targets, first_s, now_s - ticket.arrived_s, tokens)
        if how is not None:
            admission.attainment.count(ticket.tenant, how, now_s)

    def _bound_of(self, replica: Replica) -> BatchBound:
        pool = replica.endpoint.pool
        bound = self._bounds.get(pool)
        if bound is None:
            bound = self._bounds[pool] = BatchBound(replica.streams)
        return bound

    def _bound(self, replica: Replica, now_s: float) -> None:
        """Bound the requests on a replica by the targets of those that are there.

        Where prompts may be computed elsewhere, what streams lose is priced instead (`PrefillPairs`).
        """
        target_s = inf if self._fleet.prefillers else replica.slack.told_s
        most = self._bound_of(replica).most(target_s)
        if most < inf:
            running, speed = replica.streams_now, replica.streams
            replica.ran.changed(running, speed.mean_tokens * speed.mixed_s(running), now_s)
            most = replica.ran.beyond(most)
        if most != replica.slots.kept:
            self._slots.keep(replica, most, now_s)

    def _leave(self, attempt: Attempt, now_s: float) -> None:
        replica = attempt.replica
        if attempt.target_class is not None:
            replica.slack.leave(attempt.target_class)
            self._bound(replica, now_s)
