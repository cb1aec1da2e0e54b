"""The dispatcher under any order of events: each request ends once, nothing stays reserved, no bound is exceeded."""

from math import inf
from random import Random

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cluster.spec.role import Role
from router.dispatch.dispatcher import Dispatcher
from router.dispatch.prefill_legs import MAX_LEGS
from router.dispatch.resends import MAX_ATTEMPTS, MAX_ATTEMPTS_OF_STREAM, MAX_BREAKS
from router.dispatch.suspects import PATIENCE_S
from router.dispatch.ticket import Fault, Ticket
from router.estimator.expectation import Usage
from router.flow_control.limits import AdmissionLimits, TenantLimits, WaitingRoom
from router.flow_control.priority import Priority
from router.flow_control.queued_request import RequestState
from router.outcome import HTTP_STATUS, Outcome
from router.prompt.canonical import Prompt
from router.prompt.chunk_chain import ChunkHasher
from router.replicas.endpoint import Endpoint
from router.replicas.kv_transfer import KvTransfer
from router.replicas.load_report import LoadReport
from router.request import LatencyTargets, RoutingRequest
from router.scheduling.registry import POLICIES

HASHER = ChunkHasher(1)
TENANTS = ("ann", "bob", "eve")
MAX_WAITING = 5
LIMITS = AdmissionLimits(max_wait_s=30.0, cold_start_timeout_s=90.0, tenants={"bob": TenantLimits(weight=3.0)})

TARGETS_S = st.one_of(st.just(inf), st.floats(1e-3, 1e3))
"""Seconds that a first token or a token may take."""


class DispatcherMachine(RuleBasedStateMachine):
    """Drives a dispatcher as a gateway does, and keeps a list of the tickets that have not ended."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.open: list[Ticket] = []
        self.ended = 0
        self.offered = 0

    @initialize(policy=st.sampled_from(sorted(POLICIES)), late_binding=st.booleans())
    def begin(self, policy: str, late_binding: bool) -> None:  # noqa: FBT001 - drawn
        """Start with any policy, with late binding or without."""
        limits = LIMITS if late_binding else AdmissionLimits(late_binding=False, cold_start_timeout_s=90.0)
        self.room = WaitingRoom(MAX_WAITING)
        self.dispatcher = Dispatcher("m", policy, rng=Random(0), limits=limits, room=self.room)

    def _closed(self, ticket: Ticket) -> None:
        """End a refused request, as a gateway does once it has answered it."""
        assert ticket.refusal is not None
        assert ticket.attempt is None
        assert HTTP_STATUS[ticket.refusal.outcome] >= 400
        self.dispatcher.finish(ticket, ticket.refusal.outcome, Usage(0, 0, 0), self.now_s)
        self.ended += 1

    def _settle(self, ticket: Ticket) -> None:
        """Close a ticket that is refused, and keep any other; it has an attempt only if it is dispatched."""
        if ticket.refusal is not None:
            self._closed(ticket)
            return
        is_dispatched = ticket.state is RequestState.DISPATCHED
        assert (ticket.attempt is not None or _is_suspect(ticket)) == is_dispatched
        self.open.append(ticket)

    def _close_refused(self) -> None:
        refused, self.dispatcher.refused = self.dispatcher.refused, []
        for ticket in refused:
            assert ticket.state is not RequestState.WAITING
            self.open.remove(ticket)
            self._closed(ticket)

    @rule(
        tenant=st.sampled_from(TENANTS),
        priority=st.sampled_from(Priority),
        prompt=st.text("ab", min_size=0, max_size=800),
        patience_s=st.one_of(st.just(inf), st.floats(0.0, 100.0)),
        slo=st.builds(LatencyTargets, TARGETS_S, TARGETS_S),
        stream=st.booleans(),
    )
    def offer(  # noqa: PLR0913, PLR0917 - a request
        self,
        tenant: str,
        priority: Priority,
        prompt: str,
        patience_s: float,
        slo: LatencyTargets,
        stream: bool,  # noqa: FBT001 - drawn
    ) -> None:
        """Offer a request."""
        self.offered += 1
        chain = HASHER.of_prompt(Prompt([prompt.encode()]), model="m")
        request = RoutingRequest(
            f"{self.offered}", "m", "/v1/completions", stream=stream, body=b"{}", chain=chain, targets=slo
        )
        ticket = self.dispatcher.offer(
            request, tenant, self.now_s, priority=priority, size_bytes=10, deadline_s=self.now_s + patience_s
        )
        self._settle(ticket)
        self._close_refused()

    @rule()
    def next(self) -> None:
        """Ask for the next request: it was waiting, and now has a replica."""
        ticket = self.dispatcher.next(self.now_s)
        if ticket is not None:
            self.open.remove(ticket)
            self._settle(ticket)

    def _running(self) -> list[Ticket]:
        """Return the requests that are on a replica, which has been asked for the answer."""
        return [ticket for ticket in self.open if ticket.attempt is not None and not _is_computed(ticket)]

    def _computed(self) -> list[Ticket]:
        return [ticket for ticket in self.open if _is_computed(ticket)]

    @precondition(lambda self: self._computed())
    @rule(data=st.data(), tokens=st.one_of(st.none(), st.integers(1, 500)))
    def prefill_done(self, data: st.DataObject, tokens: int | None) -> None:
        """Let a prefill replica compute a prompt: the replica of the answer fetches it."""
        ticket = data.draw(st.sampled_from(self._computed()))
        self.dispatcher.prefill_done(ticket, Usage(tokens, 0, 1), self.now_s)
        assert ticket.attempt is not None
        assert ticket.attempt.expectation.is_fetched

    @precondition(lambda self: self._computed())
    @rule(data=st.data(), fault=st.sampled_from((None, *Fault)))
    def prefill_failed(self, data: st.DataObject, fault: Fault | None) -> None:
        """Let a prefill replica fail: another one is asked, at most one, or the replica of the answer computes."""
        ticket = data.draw(st.sampled_from(self._computed()))
        before, attempt = ticket.prefill, ticket.attempt
        self.dispatcher.prefill_failed(ticket, fault, self.now_s)
        assert before is not None
        assert ticket.attempt is attempt
        assert attempt is not None
        assert attempt.expectation.is_fetched == (ticket.prefill is not None)
        assert ticket.prefill is None or (ticket.prefill.replica is not before.replica and fault is not None)
        assert ticket.legs <= MAX_LEGS

    @precondition(lambda self: self._running())
    @rule(data=st.data())
    def first_token(self, data: st.DataObject) -> None:
        """Let a replica begin to answer; a second time changes nothing."""
        ticket = data.draw(st.sampled_from(self._running()))
        self.dispatcher.answers(ticket, self.now_s)
        self.dispatcher.first_token(ticket, self.now_s)

    @precondition(lambda self: self._running())
    @rule(
        data=st.data(),
        fault=st.sampled_from((Fault.ERROR, Fault.BUSY)),
        retry_after_s=st.one_of(st.none(), st.floats(0.0, 100.0)),
    )
    def answers_error(self, data: st.DataObject, fault: Fault, retry_after_s: float | None) -> None:
        """Let a replica answer with an error: the request goes to another one, once, or ends with this answer."""
        ticket = data.draw(st.sampled_from(self._running()))
        assert ticket.attempt is not None
        left, was_resent, is_repeatable = ticket.attempt.replica, ticket.is_resent, data.draw(st.booleans())
        goes_on = self.dispatcher.judge.answers_error(
            ticket, fault, self.now_s, retry_after_s=retry_after_s, is_repeatable=is_repeatable
        )
        assert not (goes_on and (was_resent or not is_repeatable))
        self.open.remove(ticket)
        if goes_on:
            self.dispatcher.fail(ticket, fault, self.now_s)
            assert ticket.refusal is None
            assert ticket.attempt is None or ticket.attempt.replica is not left
            self._settle(ticket)
        else:
            self.dispatcher.finish(ticket, Outcome.UPSTREAM_STATUS, Usage(0, 0, 0), self.now_s)
            self.ended += 1

    @precondition(lambda self: self._running())
    @rule(data=st.data())
    def refuses(self, data: st.DataObject) -> None:
        """Let a replica say that a request is wrong."""
        ticket = data.draw(st.sampled_from(self._running()))
        self.dispatcher.judge.refuses(ticket, self.now_s)
        self.dispatcher.finish(ticket, Outcome.UPSTREAM_STATUS, Usage(0, 0, 0), self.now_s)
        self.open.remove(ticket)
        self.ended += 1

    @precondition(lambda self: self.open)
    @rule(data=st.data(), is_whole=st.booleans(), tokens=st.one_of(st.none(), st.integers(1, 500)))
    def finish(self, data: st.DataObject, is_whole: bool, tokens: int | None) -> None:  # noqa: FBT001 - drawn
        """End a request, waiting or on a replica: with its whole answer, or because its client left."""
        ticket = data.draw(st.sampled_from(self.open))
        usage = Usage(tokens, 0, tokens)
        outcome = Outcome.OK if is_whole else Outcome.CLIENT_LEFT
        self.dispatcher.finish(ticket, outcome, usage, self.now_s, is_whole=is_whole and ticket.attempt is not None)
        self.open.remove(ticket)
        self.ended += 1

    @precondition(lambda self: self._running())
    @rule(data=st.data(), fault=st.sampled_from(Fault), is_resumed=st.booleans())
    def fail(self, data: st.DataObject, fault: Fault, is_resumed: bool) -> None:  # noqa: FBT001 - drawn
        """Take a request off its replica: it goes back to one that failed it only if that one was heard of since."""
        ticket = data.draw(st.sampled_from(self._running()))
        assert ticket.attempt is not None
        left = ticket.attempt.replica
        ticket.is_resumed |= is_resumed
        self.dispatcher.fail(ticket, fault, self.now_s)
        had = [each for each in ticket.failures if each.fault is not Fault.UNREACHED]
        counted = [each for each in had if not each.is_survived]
        assert len(had) <= MAX_BREAKS
        assert len(counted) <= (MAX_ATTEMPTS_OF_STREAM if ticket.is_resumed else MAX_ATTEMPTS)
        if ticket.attempt is not None:
            assert ticket.attempt.replica not in ticket.tried
            assert ticket.attempt.replica is not left or fault in {Fault.STALE_CONNECTION, Fault.DIFFERED}
            assert ticket.attempt.replica not in {each.replica for each in counted[-1:]}
        self.open.remove(ticket)
        self._settle(ticket)

    @rule(ids=st.sets(st.integers(0, 4)), prefillers=st.integers(0, 2), most=st.integers(0, 3))
    def view(self, ids: set[int], prefillers: int, most: int) -> None:
        """Set which replicas exist, which of them only compute prompts, and how many requests each may have."""
        self.dispatcher.set_replicas([_endpoint(number, prefillers, most) for number in sorted(ids)], self.now_s)

    @rule(
        number=st.integers(0, 4),
        load=st.one_of(st.none(), st.tuples(st.integers(0, 30), st.integers(0, 9), st.integers(0, 9000))),
        accepted=st.integers(0, 20),
    )
    def report(self, number: int, load: tuple[int, int, int] | None, accepted: int) -> None:
        """Report a replica's load, or its silence; the replica may be unknown."""
        told = None
        if load is not None:
            running, waiting, tokens = load
            told = LoadReport(1, running, waiting, tokens, 0.1, 10_000, 8_000.0, 100.0, accepted, 2_048, 2)
        self.dispatcher.report(f"r{number}", told, self.now_s)

    @rule(passed_s=st.floats(0.0, 40.0))
    def time_passes(self, passed_s: float) -> None:
        """Let time pass: requests past their deadline are refused, and the hopeless of those that wait for news."""
        self.now_s += passed_s
        waiting = [ticket for ticket in self.open if ticket.state is RequestState.WAITING]
        late = {ticket.number for ticket in waiting if ticket.deadline_s <= self.now_s}
        suspects = {ticket.number for ticket in self.open if _is_suspect(ticket)}
        self.dispatcher.tick(self.now_s)
        refused = {ticket.number for ticket in self.dispatcher.refused}
        assert late <= refused <= late | suspects
        self._close_refused()
        assert passed_s < PATIENCE_S or not any(_is_suspect(ticket) for ticket in self.open)

    @rule(policy=st.sampled_from(sorted(POLICIES)))
    def policy_changes(self, policy: str) -> None:
        """Change the policy; requests continue."""
        self.dispatcher.set_policy(policy, self.now_s)

    @invariant()
    def holds(self) -> None:
        """Check that the places taken are exactly the open tickets' attempts, and that all counts agree."""
        self.dispatcher.check_integrity(self.now_s)
        assert self.offered == self.ended + len(self.open)
        for replica in self.dispatcher.fleet.replicas.values():
            attempts = [ticket.attempt for ticket in self.open if ticket.attempt is not None]
            assert all(attempt.replica.answers for attempt in attempts)
            attempts = [attempt for attempt in attempts if attempt.has_place]
            attempts += [ticket.prefill for ticket in self._computed() if ticket.prefill is not None]
            assert replica.in_flight == sum(attempt.replica is replica for attempt in attempts)
            assert replica.health.probe is None or replica.health.probe in attempts
            receivers = [ticket.prefill.receiver for ticket in self._computed() if ticket.prefill is not None]
            assert replica.coming == sum(receiver is replica for receiver in receivers)
        queue = self.dispatcher.queue(self.now_s)
        assert queue.waiting == sum(ticket.state is RequestState.WAITING for ticket in self.open)
        suspects = sum(_is_suspect(ticket) for ticket in self.open)
        assert queue.in_flight == len(self._running()) + len(self._computed()) + suspects
        assert self.room.requests == queue.waiting
        judged = self.dispatcher.attainment.total
        assert judged.met <= judged.requests <= self.ended
        assert sum(self.dispatcher.attainment.counts.values()) == judged.requests

    def teardown(self) -> None:
        """End all requests: then nothing is reserved and nothing waits."""
        if not hasattr(self, "dispatcher"):
            return
        for ticket in self.open:
            self.dispatcher.finish(ticket, Outcome.CLIENT_LEFT, Usage(), self.now_s)
        self.dispatcher.check_integrity(self.now_s)
        assert all(replica.in_flight == 0 for replica in self.dispatcher.fleet.replicas.values())
        assert not any(replica.slack._targets for replica in self.dispatcher.fleet.replicas.values())
        assert all(replica.slots.kept == inf for replica in self.dispatcher.fleet.replicas.values())
        queue = self.dispatcher.queue(self.now_s)
        assert (queue.waiting, queue.in_flight, queue.waiting_work) == (0, 0, 0.0)


def _is_computed(ticket: Ticket) -> bool:
    """Tell whether another replica computes a request's prompt now."""
    return ticket.attempt is not None and ticket.prefill is not None and ticket.prefill.done_s is None


def _is_suspect(ticket: Ticket) -> bool:
    """Tell whether a request that broke replicas off waits until these are heard of."""
    is_nowhere = ticket.attempt is None and ticket.refusal is None
    return is_nowhere and ticket.state is RequestState.DISPATCHED and len(ticket.failures) > 0


def _endpoint(number: int, prefillers: int, most: int) -> Endpoint:
    """Return the row of a replica: the first ones only compute prompts."""
    role = Role.PREFILL if number < prefillers else Role.BOTH if number == 4 else Role.DECODE
    card = KvTransfer("nixl", sends=role is not Role.DECODE, receives=role is not Role.PREFILL, block_tokens=32)
    return Endpoint(f"r{number}", "m", "h", 1, max_requests=most, role=role, transfer=card)


DispatcherMachine.TestCase.settings = settings(
    max_examples=120, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestDispatcher = DispatcherMachine.TestCase
