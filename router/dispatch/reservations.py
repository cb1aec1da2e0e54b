"""Requests given to replicas: reserved on the replica that the policy picks, and given back exactly once."""

from collections.abc import Sequence
from random import Random

from router.dispatch.attempt import Attempt
from router.dispatch.fleet import Fleet
from router.dispatch.journal import Journal
from router.dispatch.replica import Replica
from router.dispatch.ticket import Ticket
from router.estimator.expectation import Usage
from router.estimator.model_estimator import ModelEstimator
from router.flow_control.slots import Slots
from router.outcome import Outcome
from router.prompt.chunk_chain import ChunkChain


class Reservations:
    """One model's attempts: made, then completed or given up. A ticket without an attempt is passed over.

    Args:
        fleet: the replicas, and the policy that picks.
        estimator: what is expected of each request.
        slots: the room that requests take.
        journal: where decisions and ends are written down.
        rng: breaks ties.
    """

    def __init__(
        self, fleet: Fleet, estimator: ModelEstimator, slots: Slots[Replica], journal: Journal, rng: Random
    ) -> None:
        self._fleet = fleet
        self._estimator = estimator
        self._slots = slots
        self._journal = journal
        self._rng = rng

    def make(self, ticket: Ticket) -> bool:
        """Give a request, whose prompt has just been looked up, to a replica; tell whether there is one to take it.

        What it is given is reserved at once, so that bursts do not herd.
        """
        request, slots = ticket.request, self._slots
        now_s = request.now_s
        candidates = self._fleet.may_take(ticket.tried)
        if not candidates:
            return False
        # Where none has room, room does not matter: the request has waited, or has been sent already.
        candidates = self._with_room(candidates, now_s) or candidates
        decision = self._fleet.policy.decide(request, candidates, self._rng)
        if decision is None:
            return False
        replica = decision.replica
        slots.take(replica)
        replica.sent += 1
        expectation = self._estimator.expect(request, replica)
        s_per_token = self._estimator.s_per_token(replica) if replica.report is not None else 0.0
        slots.sent(replica, expectation.uncached_tokens * s_per_token, now_s)
        record = self._journal.decided(
            request.request_id,
            decision,
            now_s,
            matched_bytes=expectation.matched_bytes,
            prompt_bytes=request.chain.size_bytes,
        )
        ticket.attempt = Attempt(decision, expectation, record)
        return True

    def _with_room(self, candidates: Sequence[Replica], now_s: float) -> Sequence[Replica]:
        """Return the replicas a request may go to now.

        A policy that reads prompts may pick a replica that has a place but more prefill ahead of it than its depth: it
        does so where the prompt is cached there, and waiting costs less than computing it again.
        """
        if self._estimator.reads_prompts:
            return self._slots.with_places(candidates, now_s)
        return self._slots.with_room(candidates, now_s)

    def complete(
        self, ticket: Ticket, usage: Usage, now_s: float, *, streamed: bool, answer: ChunkChain | None
    ) -> None:
        """The replica's answer came to its end; for the arguments see `Dispatcher.finish`."""
        attempt = ticket.attempt
        if attempt is None:
            return
        ticket.attempt = None
        self._slots.give(attempt.replica, now_s)
        self._journal.ended(
            ticket.request.request_id,
            Outcome.OK,
            now_s,
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=usage.cached_tokens,
            completion_tokens=usage.completion_tokens,
        )
        self._estimator.finished(attempt.expectation, usage, now_s, streamed=streamed, answer=answer)

    def give_up(self, ticket: Ticket, outcome: Outcome, now_s: float) -> None:
        """The attempt ended otherwise: the replica failed, or nobody waits for the answer any more."""
        attempt = ticket.attempt
        if attempt is None:
            return
        ticket.attempt = None
        self._slots.give(attempt.replica, now_s)
        self._journal.ended(ticket.request.request_id, outcome, now_s)
        self._estimator.lost(attempt.expectation, now_s)
