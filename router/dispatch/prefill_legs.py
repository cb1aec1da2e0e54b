"""Prefill legs: prompts that one replica computes for another, from the choice to the fetch."""

from random import Random
from typing import Final

from router.dispatch.attempt import Attempt, PrefillLeg
from router.dispatch.fleet import Fleet
from router.dispatch.health import Standing
from router.dispatch.journal import AttemptRecord
from router.dispatch.judge import Judge
from router.dispatch.replica import Replica
from router.dispatch.ticket import Fault, Ticket
from router.estimator.expectation import Expectation, Usage
from router.estimator.handovers import Handovers
from router.estimator.model_estimator import ModelEstimator
from router.flow_control.slots.slots import Slots
from router.scheduling.interface import Decision
from router.scheduling.prefill_pairs import PrefillChoice, PrefillPairs

MAX_LEGS: Final = 2
"""Prefill replicas that a request is given to; after them its prompt is computed where its answer is."""
SLOW: Final = 4.0
"""Multiple of the expected time after which a prompt is computed elsewhere."""
SLOW_AT_LEAST_S: Final = 2.0
"""Seconds beyond that, as short times vary more."""
LEASE_SHARE: Final = 0.8
"""Share of the lease for which blocks are counted on: the fetch itself takes time, and clocks differ."""


class PrefillLegs:
    """One model's prefill legs.

    Args:
        fleet: the model's replicas.
        estimator: what is expected of each replica.
        slots: each replica's room.
        judge: hears how prefill replicas do.
        rng: breaks ties.

    Attributes:
        handovers: what is expected of transfers.
    """

    def __init__(
        self, fleet: Fleet, estimator: ModelEstimator, slots: Slots[Replica], judge: Judge, rng: Random
    ) -> None:
        self.handovers = Handovers(estimator)
        self._pairs: PrefillPairs[Replica] = PrefillPairs(estimator, self.handovers)
        self._fleet = fleet
        self._estimator = estimator
        self._slots = slots
        self._judge = judge
        self._rng = rng

    def choose(self, ticket: Ticket, decision: Decision[Replica]) -> PrefillChoice[Replica] | None:
        """Choose where a request's prompt is computed, given the policy's decision for computing it with the answer.

        Returns:
            The choice; None: the policy's decision stands, as it counts no seconds or the request cannot be divided.
        """
        request, leg = ticket.request, ticket.prefill
        if decision.unit != "seconds" or ticket.is_resumed or not request.is_divisible:
            return None
        now_s = request.now_s
        holder = leg.replica if leg is not None and leg.kept_until_s > now_s else None
        prefillers = [
            each for each in self._fleet.prefillers if each not in ticket.tried and each.slots.busy_until_s <= now_s
        ]
        if holder is None and (not prefillers or ticket.legs >= MAX_LEGS):
            return None
        return self._pairs.choose(request, decision, prefillers, self._rng, holder)

    def begin(
        self, ticket: Ticket, choice: PrefillChoice[Replica], decision: Decision[Replica], record: AttemptRecord
    ) -> None:
        """Give a request's prompt to the chosen prefill replica, unless it has computed it before."""
        prefiller, leg = choice.prefiller, ticket.prefill
        if prefiller is None:
            ticket.prefill = None
            return
        if leg is not None and leg.replica is prefiller and leg.kept_until_s > ticket.request.now_s:
            if ticket.attempt is not None:
                self._ask(ticket, ticket.attempt, ticket.request.now_s)
            return
        now_s = ticket.request.now_s
        self._slots.take(prefiller)
        prefiller.sent += 1
        ticket.legs += 1
        expectation = self._estimator.expect(ticket.request, prefiller)
        self._count_prefill(prefiller, expectation, now_s)
        expected_s = prefiller.rates.expected_s(
            expectation.ahead_tokens + expectation.uncached_tokens, expectation.running
        )
        due_s = now_s + SLOW * expected_s + SLOW_AT_LEAST_S
        receiver = choice.replica
        receiver.coming += 1
        ticket.prefill = leg = PrefillLeg(prefiller, decision, expectation, record, receiver, due_s)
        if prefiller.health.standing is Standing.PROBATION:
            self._judge.sent(leg, now_s)

    def done(self, ticket: Ticket, usage: Usage, now_s: float) -> None:
        """Note that a request's prompt is computed, and that the replica of its answer is asked now.

        Raises:
            ValueError: no replica was computing it.
        """
        leg, attempt = ticket.prefill, ticket.attempt
        if leg is None or attempt is None or leg.done_s is not None:
            raise ValueError(f"no replica computes the prompt of request {ticket.request.request_id}")
        leg.done_s, leg.usage = now_s, usage
        leg.receiver.coming -= 1
        card = leg.replica.endpoint.transfer
        leg.kept_until_s = now_s + LEASE_SHARE * (card.lease_s if card is not None else 0.0)
        self._judge.answers(ticket, leg, now_s)
        self._judge.completes(leg)
        self._judge.ended(leg, now_s)
        self._slots.give(leg.replica, now_s)
        self._estimator.finished(leg.expectation, usage, now_s)
        self._ask(ticket, attempt, now_s)

    def _ask(self, ticket: Ticket, attempt: Attempt, now_s: float) -> None:
        """Take the place of a request whose prompt is computed: only now does it load the replica of its answer."""
        attempt.has_place = True
        self._slots.take(attempt.replica)
        self._slots.sent(attempt.replica, 0.0, now_s)
        self.handovers.asked(attempt.expectation, now_s, stream=ticket.request.stream)

    def drop(self, ticket: Ticket, now_s: float) -> PrefillLeg | None:
        """Take a request's prompt off the replica that computes it, if one does; return its leg."""
        leg = ticket.prefill
        if leg is None or leg.done_s is not None:
            return None
        ticket.prefill = None
        leg.receiver.coming -= 1
        self._slots.give(leg.replica, now_s, is_served=False)
        self._estimator.lost(leg.expectation, now_s)
        self._judge.ended(leg, now_s)
        return leg

    def failed(self, ticket: Ticket, fault: Fault | None, now_s: float, retry_after_s: float | None) -> None:
        """Have another replica compute a request's prompt, or the one that answers it; see `Dispatcher`."""
        leg, attempt, request = self.drop(ticket, now_s), ticket.attempt, ticket.request
        if leg is None or attempt is None:
            return
        if fault in {Fault.ERROR, Fault.BUSY}:
            self._judge.errs(ticket, leg, fault, now_s, retry_after_s)
        elif fault is not None:
            self._judge.taken_off(ticket, leg, fault, now_s)
        ticket.tried |= {leg.replica}
        request.is_divisible = fault is not None
        self._estimator.lost(attempt.expectation, now_s)  # first: what it was to fetch is not there
        request.now_s, request.match = now_s, self._estimator.match(request.chain)
        replica = attempt.replica
        decision = self._fleet.policy.decide(request, [replica], self._rng)
        choice = self.choose(ticket, decision) if decision is not None else None
        if decision is not None and choice is not None and choice.prefiller is not None:
            attempt.expectation = self.handovers.expect(request, replica)
            self.begin(ticket, choice, decision, attempt.record)
        else:
            attempt.has_place = True
            self._slots.take(replica)
            attempt.expectation = self._estimator.expect(request, replica)
            self._count_prefill(replica, attempt.expectation, now_s)
        if choice is not None:
            attempt.record.chosen(choice)

    def _count_prefill(self, replica: Replica, expectation: Expectation, now_s: float) -> None:
        s_per_token = self._estimator.s_per_token(replica) if replica.report is not None else 0.0
        self._slots.sent(replica, expectation.uncached_tokens * s_per_token, now_s)

    def first_token(self, ticket: Ticket, now_s: float) -> None:
        """Note that an answer has begun whose prompt was fetched: its blocks are kept no longer."""
        leg, attempt = ticket.prefill, ticket.attempt
        if leg is None or attempt is None or leg.done_s is None:
            return
        leg.kept_until_s = 0.0
        if attempt.expectation.is_fetched and ticket.request.stream:
            self.handovers.fetched(leg.replica.endpoint, attempt.expectation, now_s)
