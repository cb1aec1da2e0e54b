"""What the dispatcher decides at each step of a request's life."""

from random import Random

from router.dispatch.dispatcher import Dispatcher
from router.dispatch.journal import explanation
from router.dispatch.resends import MAX_ATTEMPTS, MAX_BREAKS
from router.dispatch.suspects import PATIENCE_S
from router.dispatch.ticket import LIFE_SIGN_S, Fault, Ticket
from router.estimator.expectation import Usage
from router.flow_control.limits import AdmissionLimits
from router.flow_control.queued_request import RequestState
from router.flow_control.verdict import reject
from router.outcome import Outcome
from router.prompt.canonical import Prompt
from router.prompt.chunk_chain import ChunkHasher
from router.replicas.endpoint import Endpoint
from router.replicas.load_report import LoadReport
from router.request import RoutingRequest

HASHER = ChunkHasher(1)
USAGE = Usage(100, 0, 10)
REPORT = LoadReport(1, 1, 0, 0, 0.1, 10_000, 8_000.0, 100.0, 1, 2_048, 2)


def _endpoints(count: int) -> list[Endpoint]:
    return [Endpoint(f"r{number}", "m", "h", 1) for number in range(count)]


def _dispatcher(replicas: int, policy: str = "round_robin", **limits: float) -> Dispatcher:
    dispatcher = Dispatcher("m", policy, rng=Random(0), limits=AdmissionLimits(**limits))  # type: ignore[arg-type]
    dispatcher.set_replicas(_endpoints(replicas), 0.0)
    return dispatcher


def _offer(dispatcher: Dispatcher, now_s: float = 0.0, name: str = "id", text: bytes = b"") -> Ticket:
    chain = HASHER.of_prompt(Prompt([text]), model="m")
    request = RoutingRequest(name, "m", "/v1/completions", stream=True, body=b"{}", chain=chain)
    return dispatcher.offer(request, "ann", now_s)


def _offer_for(dispatcher: Dispatcher, replica_id: str, now_s: float = 0.0) -> Ticket:
    request = RoutingRequest("id", "m", "/v1/responses", stream=False, body=b"{}", replica_id=replica_id)
    return dispatcher.offer(request, "ann", now_s)


def _replica_of(ticket: Ticket) -> str:
    assert ticket.attempt is not None
    return ticket.attempt.replica.replica_id


def test_a_failed_request_goes_elsewhere_and_its_replica_is_left_out() -> None:
    """The request goes to another replica, and new requests avoid the failed one until its pause is over."""
    dispatcher = _dispatcher(3)
    ticket = _offer(dispatcher)
    first = _replica_of(ticket)
    dispatcher.fail(ticket, Fault.FAILED, 0.0)
    assert _replica_of(ticket) != first
    assert first not in {_replica_of(_offer(dispatcher, 0.1)) for _ in range(6)}
    dispatcher.tick(0.6)
    assert first in {_replica_of(_offer(dispatcher, 0.6)) for _ in range(6)}


def test_a_request_for_one_replica_goes_there_and_nowhere_else() -> None:
    """Whatever the policy would pick, and while the replica is left out for a failure; if it fails, it is refused."""
    for policy in ("round_robin", "least_load", "expected_ttft", "consistent_hash"):
        dispatcher = _dispatcher(3, policy, cold_start_timeout_s=60.0)
        tickets = [_offer_for(dispatcher, "r1") for _ in range(6)]
        assert {_replica_of(ticket) for ticket in tickets} == {"r1"}
        dispatcher.fail(tickets[0], Fault.STALE_CONNECTION, 0.0)
        assert _replica_of(tickets[0]) == "r1"
        for fault, ticket in zip((Fault.FAILED, Fault.LEAVING, Fault.GAVE_UP), tickets, strict=False):
            dispatcher.fail(ticket, fault, 0.0)
            assert ticket.refusal is not None
            assert ticket.state is not RequestState.WAITING
            dispatcher.check_integrity(0.0)
    dispatcher = _dispatcher(2)
    dispatcher.fail(_offer_for(dispatcher, "r1"), Fault.FAILED, 0.0)
    assert _replica_of(_offer_for(dispatcher, "r1", 0.1)) == "r1"
    assert _offer_for(dispatcher, "gone", 0.1).refusal is not None


def test_a_stale_connection_is_nobodys_failure() -> None:
    """The request is sent again to the same replica, and no failure is counted, even after six stale connections."""
    dispatcher = _dispatcher(1)
    ticket = _offer(dispatcher)
    for _ in range(2 * MAX_ATTEMPTS):
        dispatcher.fail(ticket, Fault.STALE_CONNECTION, 0.0)
        assert _replica_of(ticket) == "r0"
    assert not ticket.failures
    assert dispatcher.fleet.replicas["r0"].accepting


def test_replicas_that_refuse_connections_do_not_use_up_a_requests_attempts() -> None:
    """They never had it: it tries all of them, however many have gone at once; then nobody is left to ask."""
    dispatcher = _dispatcher(2 * MAX_ATTEMPTS)
    ticket = _offer(dispatcher)
    tried = []
    while ticket.refusal is None:
        tried.append(_replica_of(ticket))
        dispatcher.fail(ticket, Fault.UNREACHED, 0.0)
        dispatcher.check_integrity(0.0)
    assert sorted(tried) == [f"r{number}" for number in range(2 * MAX_ATTEMPTS)]
    assert not any(replica.accepting for replica in dispatcher.fleet.replicas.values())


def test_a_request_does_not_take_every_replica_down_with_it() -> None:
    """After three failures of replicas that are not heard of again it is refused, though a fourth replica is there."""
    dispatcher = _dispatcher(4)
    ticket = _offer(dispatcher)
    for _ in range(MAX_ATTEMPTS):
        dispatcher.fail(ticket, Fault.FAILED, 0.0)
    assert ticket.attempt is None
    dispatcher.tick(PATIENCE_S)
    assert dispatcher.refused == [ticket]
    assert ticket.refusal is not None
    assert ticket.refusal.outcome is Outcome.REPLICA_FAILED


def test_breaks_that_replicas_survive_do_not_use_up_a_requests_attempts() -> None:
    """Links are cut again and again, and each replica reports afterwards: no request killed it, so it may be asked."""
    dispatcher = _dispatcher(2)
    ticket, now_s = _offer(dispatcher), 0.0
    for _ in range(2 * MAX_ATTEMPTS):
        left = _replica_of(ticket)
        dispatcher.fail(ticket, Fault.FAILED, now_s)
        now_s += 10.0
        dispatcher.report(left, REPORT, now_s)
        dispatcher.tick(now_s)
        if ticket.state is RequestState.WAITING:
            assert dispatcher.next(now_s) is ticket
        assert ticket.refusal is None
        dispatcher.check_integrity(now_s)
    assert ticket.attempt is not None


def test_a_replica_that_survived_counts_as_another_one_to_go_to() -> None:
    """So a stream that stands still on a silent replica may go back to one whose link was cut before."""
    dispatcher = _dispatcher(2)
    ticket = _offer(dispatcher)
    left = _replica_of(ticket)
    dispatcher.fail(ticket, Fault.FAILED, 0.0)
    assert not dispatcher.judge.has_other(ticket)
    dispatcher.report(left, REPORT, 1.0)
    assert dispatcher.judge.has_other(ticket)


def test_a_request_that_breaks_every_link_is_refused_in_the_end() -> None:
    """Something between here and there may break off for what it says, and the replicas live on."""
    dispatcher = _dispatcher(MAX_ATTEMPTS)
    ticket, now_s, breaks = _offer(dispatcher), 0.0, 0
    while ticket.refusal is None:
        left, breaks = _replica_of(ticket), breaks + 1
        dispatcher.fail(ticket, Fault.FAILED, now_s)
        now_s += 10.0
        dispatcher.report(left, REPORT, now_s)
        dispatcher.tick(now_s)
    assert breaks == MAX_BREAKS


def test_a_word_from_before_the_end_does_not_show_that_a_replica_lives() -> None:
    """Reports that come right after the break were sent before it: after three such deaths the request is refused."""
    dispatcher = _dispatcher(2 * MAX_ATTEMPTS)
    ticket = _offer(dispatcher)
    for number in range(MAX_ATTEMPTS):
        left = _replica_of(ticket)
        dispatcher.fail(ticket, Fault.FAILED, float(number))
        dispatcher.report(left, REPORT, number + LIFE_SIGN_S)
    dispatcher.tick(MAX_ATTEMPTS + PATIENCE_S)
    assert ticket.refusal is not None


def test_a_process_that_starts_in_place_of_a_dead_one_may_be_asked() -> None:
    """It is another process at the same place, which has failed nobody."""
    dispatcher = Dispatcher("m", "round_robin", rng=Random(0))
    dispatcher.set_replicas([Endpoint("r0", "m", "h", 1, started_s=1.0)], 0.0)
    ticket = _offer(dispatcher)
    dispatcher.set_replicas([Endpoint("r0", "m", "h", 1, started_s=2.0)], 0.3)
    dispatcher.fail(ticket, Fault.UNREACHED, 0.3)
    assert _replica_of(ticket) == "r0"
    assert ticket.attempt is not None
    assert ticket.attempt.replica is dispatcher.fleet.replicas["r0"]


def test_an_engine_that_gave_up_on_one_request_keeps_the_others() -> None:
    """The request goes to another replica; the one it left still accepts requests."""
    dispatcher = _dispatcher(2)
    ticket = _offer(dispatcher)
    left = _replica_of(ticket)
    dispatcher.fail(ticket, Fault.GAVE_UP, 0.0)
    assert _replica_of(ticket) != left
    assert dispatcher.fleet.replicas[left].accepting


def test_where_nobody_else_has_room_a_failed_request_waits_but_a_cut_stream_does_not() -> None:
    """A cut stream goes to a full replica at once, because its client already reads the answer."""
    dispatcher = _dispatcher(2)
    for replica in dispatcher.fleet.replicas.values():
        replica.slots.depth.limit = 1.0
    one, other = _offer(dispatcher), _offer(dispatcher)
    dispatcher.fail(one, Fault.GAVE_UP, 0.0)
    assert one.state is RequestState.WAITING
    dispatcher.finish(one, Outcome.CLIENT_LEFT, Usage(), 0.0)
    other.is_resumed = True
    third = _offer(dispatcher)
    assert third.attempt is not None
    dispatcher.fail(other, Fault.GAVE_UP, 0.0)
    assert _replica_of(other) == _replica_of(third)
    dispatcher.check_integrity(0.0)


def test_a_failure_of_a_former_life_does_not_touch_the_new_one() -> None:
    """A request whose replica left counts no failure against the new replica that has the same id."""
    dispatcher = _dispatcher(1)
    ticket = _offer(dispatcher)
    dispatcher.set_replicas([], 1.0)
    dispatcher.set_replicas(_endpoints(1), 1.0)
    dispatcher.fail(ticket, Fault.LEAVING, 1.0)
    assert _replica_of(ticket) == "r0"
    dispatcher.check_integrity(1.0)
    dispatcher.blame(ticket, 1.0)
    assert not dispatcher.fleet.replicas["r0"].accepting
    dispatcher.check_integrity(1.0)


def test_requests_are_held_without_a_replica_and_go_when_one_comes() -> None:
    """They may wait for `cold_start_timeout_s`, not only for `max_wait_s`."""
    dispatcher = _dispatcher(0, max_wait_s=1.0, cold_start_timeout_s=100.0)
    tickets = [_offer(dispatcher) for _ in range(2)]
    assert all(ticket.state is RequestState.WAITING for ticket in tickets)
    assert not dispatcher.is_taking
    dispatcher.tick(50.0)
    assert not dispatcher.refused
    dispatcher.set_replicas(_endpoints(1), 60.0)
    assert dispatcher.next(60.0) is tickets[0]
    assert _replica_of(tickets[0]) == "r0"


def test_a_model_that_is_taken_out_refuses_what_waits_and_what_fails() -> None:
    """A running request continues, but is refused once it loses its replica."""
    dispatcher = _dispatcher(2)
    running = _offer(dispatcher)
    dispatcher.close(reject(Outcome.MODEL_NOT_FOUND, 1.0, "gone"), 0.0)
    dispatcher.first_token(running, 1.0)
    dispatcher.fail(running, Fault.FAILED, 1.0)
    assert running.refusal is not None


def test_learning_is_told_apart_from_an_end() -> None:
    """The replica's rates are learned from a whole answer, but not from a request whose client left."""
    dispatcher = _dispatcher(1, "expected_ttft")
    replica = dispatcher.fleet.replicas["r0"]
    ticket = _offer(dispatcher, 0.0, text=b"x" * 4000)
    dispatcher.first_token(ticket, 1.0)
    dispatcher.finish(ticket, Outcome.CLIENT_LEFT, Usage(), 2.0)
    assert replica.rates.outcomes == 0
    ticket = _offer(dispatcher, 3.0, text=b"y" * 4000)
    dispatcher.first_token(ticket, 4.0)
    dispatcher.finish(ticket, Outcome.OK, Usage(1000, 0, 5), 5.0, is_whole=True)
    assert replica.rates.outcomes == 1
    assert dispatcher.estimator.efficiency.prompt_tokens == 1000
    entry = dispatcher.journal.find("id")
    assert entry is not None
    assert explanation(entry, "m")["prompt_tokens"] == 1000


def test_the_load_is_what_was_offered_sent_and_waits() -> None:
    """Refused requests count as offered, because they are demand; a request that ended frees its place."""
    dispatcher = _dispatcher(0, cold_start_timeout_s=0.0)
    refused = _offer(dispatcher)
    assert refused.refusal is not None
    assert refused.refusal.outcome is Outcome.NO_REPLICA
    dispatcher.set_replicas(_endpoints(1), 0.0)
    dispatcher.report("r0", LoadReport(1, 0, 0, 0, 0.0, 0, 1000.0, 0.0), 0.0)
    ticket = _offer(dispatcher)
    load = dispatcher.load(0.0)
    assert (load.offered_requests, load.waiting_requests) == (2, 0)
    assert load.dispatched_work == ticket.work
    assert load.occupancy == 1 / 8
    dispatcher.finish(ticket, Outcome.OK, USAGE, 1.0, is_whole=True)
    assert dispatcher.load(1.0).occupancy == 0.0


def test_a_policy_that_begins_to_read_prompts_learns_from_then_on() -> None:
    """A request sent before the change ends without error, and the next prompts go where their prefix is cached."""
    dispatcher = _dispatcher(2, "least_load")
    before = _offer(dispatcher, text=b"z" * 4000)
    dispatcher.set_policy("expected_ttft", 1.0)
    dispatcher.finish(before, Outcome.OK, USAGE, 1.0, is_whole=True)
    home = _replica_of(_offer(dispatcher, 2.0, text=b"z" * 4000))
    again = _offer(dispatcher, 3.0, text=b"z" * 4000)
    assert _replica_of(again) == home
    dispatcher.check_integrity(3.0)


def test_answers_of_replicas_that_have_left_leave_nothing_behind() -> None:
    """An answer that ends after its replica left counts in the totals, but not in the balance of the replicas."""
    dispatcher = Dispatcher("m", "expected_ttft", rng=Random(0))
    for life in range(5):
        dispatcher.set_replicas([Endpoint(f"life-{life}", "m", "h", 1)], float(life))
        ticket = _offer(dispatcher, float(life), text=b"x" * 400 * (life + 1))
        dispatcher.set_replicas([], life + 0.5)
        dispatcher.finish(ticket, Outcome.OK, USAGE, life + 0.6, is_whole=True)
    efficiency = dispatcher.estimator.efficiency
    assert efficiency.prompt_tokens == 500
    assert not efficiency._recent_work


def _report(dispatcher: Dispatcher, replica: str, now_s: float, *, waiting_tokens: int, per_s: float) -> None:
    load = LoadReport(1, 1, 0, waiting_tokens, 0.1, 100_000, per_s, 100.0, 0, 0, 1)
    dispatcher.report(replica, load, now_s)


def _backlog(dispatcher: Dispatcher) -> list[Ticket]:
    """Have two long prompts wait, as neither of two replicas has room; then r0, which is slower, has."""
    _report(dispatcher, "r0", 0.0, waiting_tokens=50_000, per_s=8_000.0)
    _report(dispatcher, "r1", 0.0, waiting_tokens=50_000, per_s=20_000.0)
    tickets = [_offer(dispatcher, 0.0, str(number), b"%d" % number * 40_000) for number in range(2)]
    assert {ticket.state for ticket in tickets} == {RequestState.WAITING}
    _report(dispatcher, "r0", 0.1, waiting_tokens=400, per_s=8_000.0)
    _report(dispatcher, "r1", 0.1, waiting_tokens=10_000, per_s=20_000.0)
    return tickets


def test_while_others_wait_a_new_prompt_goes_where_there_is_room() -> None:
    """Though the other replica, which has none, would answer it first: that one's time is for those that follow."""
    dispatcher = _dispatcher(2, "expected_ttft")
    tickets = _backlog(dispatcher)
    assert dispatcher.next(0.1) is tickets[0]
    assert _replica_of(tickets[0]) == "r0"
    dispatcher.check_integrity(0.1)


def test_while_others_wait_a_cached_prompt_still_goes_where_it_is_cached() -> None:
    """The replica with its prefix has no room, but a free place: waiting there costs less than computing it again."""
    dispatcher = _dispatcher(2, "expected_ttft")
    text = b"0" * 40_000
    chain = HASHER.of_prompt(Prompt([text]), model="m")
    request = RoutingRequest("first", "m", "/v1/completions", stream=True, body=b"{}", chain=chain)
    first = dispatcher.offer(request, "ann", 0.0)
    held = _replica_of(first)
    other = "r0" if held == "r1" else "r1"
    dispatcher.first_token(first, 0.01)
    dispatcher.finish(first, Outcome.OK, Usage(10_000, 0, 1), 0.02, is_whole=True)
    for replica in (held, other):
        _report(dispatcher, replica, 0.1, waiting_tokens=50_000, per_s=8_000.0)
    again = [_offer(dispatcher, 0.1, str(number), text) for number in range(2)]
    assert {ticket.state for ticket in again} == {RequestState.WAITING}
    _report(dispatcher, other, 0.2, waiting_tokens=400, per_s=8_000.0)
    _report(dispatcher, held, 0.2, waiting_tokens=4_000, per_s=8_000.0)
    assert dispatcher.next(0.2) is again[0]
    assert _replica_of(again[0]) == held
