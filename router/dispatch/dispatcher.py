"""The dispatcher: decides a request's life, from its offer over its wait and its replica to what is learned at its end.

Pure: no clock, no I/O. Its driver (the gateway's event loop, the trace replay, the autoscaling simulator) calls it when
something happens, with the time, and does what the tickets say:

    offer         a request came               → its ticket is DISPATCHED to a replica, WAITING, or refused
    next          a replica may have room      → the waiting request that goes to a replica now
    answers       its replica has begun to answer well; else `judge` says what follows
    prefill_done  another replica has computed its prompt, which its own fetches now; else `prefill_failed`
    first_token   its answer's body has begun
    finish        its answer ended, or its client left
    fail          its replica cannot keep it   → DISPATCHED to another, WAITING, among the `Suspects`, or refused
    tick          time passed                  → `refused` has the requests whose time is over; suspects may wait again

`set_replicas` and `report` take in the state of the replicas. `load`, `view` and `journal` show the dispatcher's own.
"""

from collections.abc import Callable, Iterable
from math import inf
from random import Random
from typing import TYPE_CHECKING, Any

from cluster.autoscaling.metrics.figures import GatewayFigures
from router.dispatch.engine import Engines
from router.dispatch.fleet import Fleet
from router.dispatch.health import PROBATION, UP
from router.dispatch.journal import Journal
from router.dispatch.judge import Judge
from router.dispatch.prefill_legs import PrefillLegs
from router.dispatch.resends import ALL_FAILED, Resends, Way
from router.dispatch.reservations import Reservations
from router.dispatch.suspects import Suspects
from router.dispatch.takers import Takers
from router.dispatch.ticket import Fault, Ticket
from router.dispatch.view import model_view
from router.estimator.expectation import Usage
from router.estimator.model_estimator import ModelEstimator
from router.flow_control.admission import Admission
from router.flow_control.limits import AdmissionLimits, WaitingRoom
from router.flow_control.priority import Priority
from router.flow_control.queue_view import QueueView
from router.flow_control.queued_request import DISPATCHED
from router.flow_control.tenant_limits.rate_limits import RateLimits
from router.flow_control.verdict import ADMIT, Reject
from router.flow_control.work import WorkEstimates
from router.outcome import Outcome
from router.prefix_cache.exact import ResidencyDelta
from router.prompt.chunk_chain import ChunkChain
from router.replicas.endpoint import Endpoint
from router.replicas.load_report import LoadReport
from router.request import RoutingRequest
from router.scheduling.registry import policy_named, reads_prompts

if TYPE_CHECKING:
    from router.dispatch.replica import Replica


class Dispatcher:
    """One model's requests and replicas in one gateway process.

    Args:
        model: the model's name.
        policy: the policy's name.
        rng: breaks ties.
        limits: the model's bounds on waiting.
        room: the waiting room that all models of the process share; None: one of its own.
        rates: the tenants' rate limits over all models of the process; None: no limits.
        engines: the engines of all models of the process; None: this model's replicas share none with others.

    Raises:
        PolicyError: there is no policy of that name.

    Attributes:
        fleet: the model's replicas.
        estimator: what is expected of each replica.
        judge: takes in how replicas answer; what is learned from good answers goes to the estimator.
        journal: the decisions for the last requests.
        attainment: how many requests had the latencies that they were to have.
        reservations: which replicas a request may go to now.
        refused: requests that waited and will not be served; the driver answers them and empties this list.
    """

    def __init__(  # noqa: PLR0913 - the composition of one model
        self,
        model: str,
        policy: str,
        *,
        rng: Random,
        limits: AdmissionLimits | None = None,
        room: WaitingRoom | None = None,
        rates: RateLimits | None = None,
        engines: Engines | None = None,
    ) -> None:
        self.model = model
        self.estimator = ModelEstimator(reads_prompts=reads_prompts(policy))
        self.fleet = Fleet(policy_named(policy, self.estimator), engines)
        self.journal = Journal()
        self.refused: list[Ticket] = []
        self._work = WorkEstimates()
        limits = limits or AdmissionLimits()
        self._admission: Admission[Ticket, Replica] = Admission(limits, room, rates, self._work.cost)
        self.attainment, self._slots = self._admission.attainment, self._admission.slots
        self._takers = Takers(self.fleet, self._admission, self.estimator)
        self._resends = Resends(self.fleet)
        self._suspects = Suspects(self._resends, self._admission)
        self.judge = Judge(self._takers, self._resends)
        self._legs = PrefillLegs(self.fleet, self.estimator, self._slots, self.judge, rng)
        self.reservations = Reservations(self.fleet, self.estimator, self._admission, self.journal, self._legs, rng)

    # --- a request's life

    def offer(  # noqa: PLR0913 - what a request brings with it
        self,
        request: RoutingRequest,
        tenant: str,
        now_s: float,
        *,
        priority: Priority = Priority.NORMAL,
        size_bytes: int = 0,
        deadline_s: float = inf,
    ) -> Ticket:
        """Take a new request: dispatch it, let it wait, or refuse it.

        Args:
            request: the request, as routing sees it.
            tenant: name of the tenant that sent it.
            now_s: when it came, monotonic seconds.
            priority: its priority class.
            size_bytes: memory it holds while it waits, in bytes.
            deadline_s: time by which it must be dispatched; infinite: the model's own bounds apply.

        Returns:
            Its ticket: on a replica, waiting, or with a `refusal`. `refused` gains those that lost their place to it.
        """
        self._look_up(request, now_s)
        ticket = Ticket(request, tenant, priority, size_bytes, deadline_s)
        self._work.estimate(request, ticket, self.estimator.uncached_tokens(request))
        verdict = self._admission.offer(ticket, now_s)
        if verdict is ADMIT:
            self._reserve(ticket)
        elif isinstance(verdict, Reject):
            ticket.refusal = verdict
        elif self._admission.displaced:
            self._refuse_waiting(self._admission.displaced)
            self._admission.displaced = []
        return ticket

    def next(self, now_s: float) -> Ticket | None:
        """Give the waiting request whose turn it is to a replica, and return it; None: no room, or nothing waits."""
        ticket = self._admission.next(now_s)
        if ticket is not None:
            ticket.forgive()
            self._look_up(ticket.request, now_s)
            self._reserve(ticket)
        return ticket

    def answers(self, ticket: Ticket, now_s: float) -> bool:
        """Note that a request's replica begins to answer it well; True: it had been left out, and is taken in again."""
        attempt = ticket.attempt
        if attempt is None or not (ticket.erring or attempt.replica.health.standing is not UP):
            return False
        return self.judge.answers(ticket, attempt, now_s)

    def first_token(self, ticket: Ticket, now_s: float) -> None:
        """Note that an answer's body has begun, so its prompt is prefilled."""
        attempt = ticket.attempt
        if attempt is not None:
            attempt.replica.heard_s = now_s
            attempt.record.ttft_s = now_s - ticket.request.now_s
            ticket.first_token_s = ticket.first_token_s or now_s
            if ticket.prefill is not None:
                self._legs.first_token(ticket, now_s)
            self.estimator.prefilled(attempt.expectation, now_s)

    def prefill_done(self, ticket: Ticket, usage: Usage, now_s: float) -> None:
        """Note that the replica of `ticket.prefill` has computed the prompt; the replica of the answer is asked now."""
        self._legs.done(ticket, usage, now_s)

    def prefill_failed(
        self, ticket: Ticket, fault: Fault | None, now_s: float, retry_after_s: float | None = None
    ) -> None:
        """Take the prompt off the replica of `ticket.prefill`, with no `fault` where the request cannot be divided.

        Then `ticket.prefill` is another replica's leg, or None: the replica of the answer computes it.
        """
        self._legs.failed(ticket, fault, now_s, retry_after_s)

    def finish(  # noqa: PLR0913 - what there is to say of an end
        self,
        ticket: Ticket,
        outcome: Outcome,
        usage: Usage,
        now_s: float,
        *,
        is_whole: bool = False,
        streamed: bool = True,
        answer: ChunkChain | None = None,
        sent_tokens: int | None = None,
    ) -> None:
        """End a request, waiting or on a replica.

        Args:
            ticket: the request's ticket.
            outcome: how it ended.
            usage: the tokens that its answer says it used.
            now_s: when it ended, monotonic seconds.
            is_whole: the replica's answer came to its end, so the estimator learns from it.
            streamed: the answer's first byte came with its first token.
            answer: the chunks that the answer adds to the prompt's chain; None: it was not read, or adds none.
            sent_tokens: about how many tokens of the answer the client got; used where `usage` does not say.
        """
        attempt = ticket.attempt
        if is_whole:
            if attempt is not None and (attempt.replica.health.errors or attempt.replica.health.pauses):
                self.judge.completes(attempt)
            self.reservations.complete(ticket, usage, now_s, streamed=streamed, answer=answer)
        else:
            self.reservations.give_up(ticket, outcome, now_s)
        if attempt is not None and attempt.replica.health.probe is attempt:
            self.judge.ended(attempt, now_s)
        if ticket.state is DISPATCHED:
            if not is_whole:
                self.attainment.refused(ticket.tenant, ticket.targets, outcome, now_s)
            first_s = ticket.first_token_s if streamed else None
            work, cost = self._work.settle(ticket.request, ticket, usage, sent_tokens, first_s, now_s)
            self._admission.ended(ticket, now_s, work, cost)
        else:
            self._admission.remove(ticket, now_s)

    def fail(self, ticket: Ticket, fault: Fault, now_s: float) -> None:
        """Take a request off its replica. It goes to another one, waits (without `attempt`), or gets a `refusal`.

        Raises:
            ValueError: it is on no replica.
        """
        attempt = ticket.attempt
        if attempt is None:
            raise ValueError(f"request {ticket.request.request_id} is on no replica that could fail it")
        self.reservations.give_up(ticket, Outcome.REPLICA_FAILED, now_s)
        self.judge.taken_off(ticket, attempt, fault, now_s)
        self.judge.ended(attempt, now_s)
        ticket.failed(attempt.replica, fault, now_s)
        self._go_on(ticket, now_s)

    def blame(self, ticket: Ticket, now_s: float) -> None:
        """Count a broken connection against a request's replica, where no other replica can continue the request."""
        if ticket.attempt is not None:
            self.judge.breaks_off(ticket.attempt, now_s)

    def _look_up(self, request: RoutingRequest, now_s: float) -> None:
        request.now_s = now_s
        request.match = self.estimator.match(request.chain)

    def _reserve(self, ticket: Ticket) -> None:
        if not self.reservations.make(ticket):
            ticket.refusal = ALL_FAILED
            return
        attempt = ticket.attempt
        if attempt is not None and attempt.replica.health.standing is PROBATION:
            self.judge.sent(attempt, ticket.request.now_s)

    def _go_on(self, ticket: Ticket, now_s: float) -> None:
        way, others = self._suspects.way(ticket), self._resends.untried(ticket)
        if way is Way.REFUSED:
            ticket.refusal = ALL_FAILED
        elif way is Way.WAITS:
            self._suspects.add(ticket, now_s)
        elif others and (ticket.is_resumed or self._slots.has_room_in(others, now_s)):
            # A stream that was cut waited before its first dispatch, so it goes before those that wait now.
            self._look_up(ticket.request, now_s)
            self._reserve(ticket)
        else:
            self._admission.put_back(ticket, now_s)

    # --- who waits

    @property
    def someone_waits(self) -> bool:
        """Whether at least one request waits."""
        return self._admission.someone_waits

    @property
    def is_taking(self) -> bool:
        """Whether at least one replica takes requests, full or not."""
        return self._slots.taking > 0

    def when_room(self, tell: Callable[[], None]) -> None:
        """Call `tell` when another model on a replica's engine gives a place back, so `next` may have a request."""
        self._slots.on_room = tell

    def next_opening_s(self) -> float | None:
        """Return when a replica will have room, so when to call `next`, in monotonic seconds; None: it is not known."""
        return self._slots.next_opening_s()

    def tick(self, now_s: float) -> None:
        """Do what is due: end replicas' pauses, refuse requests past their deadline. Call a few times a second."""
        self.judge.tick(now_s)
        self._refuse_waiting(self._admission.expire(now_s))
        self._refuse_waiting((ticket, ALL_FAILED) for ticket in self._suspects.settle(now_s))
        self.estimator.tick(now_s)

    def refuse_all(self, refusal: Reject, now_s: float) -> None:
        """Refuse every waiting request; they are added to `refused`."""
        waiting = self._admission.waiting()
        for ticket in waiting:
            self._admission.remove(ticket, now_s)
        self._refuse_waiting((ticket, refusal) for ticket in waiting + self._suspects.clear())

    def close(self, refusal: Reject, now_s: float) -> None:
        """Stop serving the model: refuse all waiting requests, and each one that loses its replica from now on."""
        self._resends.is_closed = True
        self.refuse_all(refusal, now_s)

    def _refuse_waiting(self, refusals: Iterable[tuple[Ticket, Reject]]) -> None:
        for ticket, refusal in refusals:
            ticket.refusal = refusal
            self.refused.append(ticket)

    # --- replicas

    def set_replicas(self, endpoints: Iterable[Endpoint], now_s: float) -> tuple[list[Endpoint], list[Endpoint]]:
        """Set which replicas exist, as the directory lists them; one whose endpoint changed stays the same replica.

        Returns:
            The new endpoints, and those that are gone, also by a change. Requests on a replica that is gone continue.
        """
        return self._takers.set_replicas(list(endpoints), now_s)

    def report(self, replica_id: str, report: LoadReport | None, now_s: float) -> None:
        """Take a replica's load report; None: its telemetry went silent. Does nothing for an unknown replica."""
        if (replica := self.fleet.replicas.get(replica_id)) is None:
            return
        if self.fleet.report(replica, report):
            self._takers.update(now_s)
        self.estimator.reported(replica, report, now_s)
        if report is None:
            self._slots.silent(replica, now_s)
            return
        replica.heard_s = now_s
        s_per_token = self.estimator.s_per_token(replica)
        self._work.cost.reported(report, s_per_token)
        self._slots.report(
            replica,
            report,
            now_s,
            backlog_s=replica.pending.wait_s(now_s, s_per_token),
            step_s=report.step_tokens * s_per_token,
            unreported=len(replica.pending.unreported),
            wanted=self.someone_waits,
        )

    def apply_residency(self, replica_id: str, delta: ResidencyDelta) -> bool:
        """Apply a replica's delta of its cache contents; False: some were missed, so ask it for a snapshot."""
        return self.estimator.apply_delta(replica_id, delta) if replica_id in self.fleet.replicas else True

    @property
    def limits(self) -> AdmissionLimits:
        """The model's bounds on waiting."""
        return self._admission.limits

    def set_limits(self, limits: AdmissionLimits) -> None:
        """Apply other bounds from now on. Requests that wait keep their deadlines."""
        self._admission.set_limits(limits)

    def set_policy(self, policy: str, now_s: float) -> None:
        """Pick by another policy from now on. Does nothing if it is the present one.

        Raises:
            PolicyError: there is no policy of that name.
        """
        if policy != self.fleet.policy.name:
            profile = policy_named(policy, self.estimator)
            self.estimator.set_reads_prompts(reads_prompts=reads_prompts(policy))
            self.fleet.set_policy(profile)
            self._takers.update(now_s)

    # --- figures for others

    def load(self, now_s: float) -> GatewayFigures:
        """Return this gateway's figures for the autoscaler."""
        return self._admission.figures(now_s)

    def queue(self, now_s: float) -> QueueView:
        """Return the queue as people see it: how many wait, of which tenants, and for about how long."""
        return self._admission.view(now_s)

    def view(self, now_s: float) -> dict[str, Any]:
        """Return policy, queue, objective and replicas as plain JSON values, for `/state`."""
        return model_view(self.fleet, self.queue(now_s), self.limits, self.attainment, now_s)

    def check_integrity(self, now_s: float) -> None:
        """Check what must always hold.

        Raises:
            AssertionError: it does not; the message says what.
        """
        self.fleet.check_integrity()
        self.estimator.check_integrity()
        self._admission.check_integrity(now_s)
        self._takers.check_integrity()
