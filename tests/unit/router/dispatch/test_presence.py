"""Replicas that go silent, go away, come back, or start anew, as one dispatcher sees them."""

from dataclasses import replace
from random import Random

from router.dispatch.dispatcher import Dispatcher
from router.dispatch.ticket import Fault
from router.estimator.expectation import Usage
from router.flow_control.limits import AdmissionLimits
from router.outcome import Outcome
from router.prompt.canonical import Prompt
from router.prompt.chunk_chain import ChunkHasher
from router.replicas.endpoint import Endpoint, Presence
from router.request import RoutingRequest

HASHER = ChunkHasher(1)
A, B = Endpoint("a", "m", "h", 1), Endpoint("b", "m", "h", 2)
NONE_STARTS = AdmissionLimits(cold_start_timeout_s=0.0)


def dispatcher_before(*endpoints: Endpoint, policy: str = "expected_ttft") -> Dispatcher:
    """Return a dispatcher with these replicas."""
    dispatcher = Dispatcher("m", policy, rng=Random(0), limits=NONE_STARTS)
    dispatcher.set_replicas(endpoints, 0.0)
    return dispatcher


def asked(text: str = "hello ") -> RoutingRequest:
    """Return a request for a long prompt."""
    chain = HASHER.of_prompt(Prompt([text.encode() * 500]), model="m")
    return RoutingRequest("r", "m", "/v1/completions", stream=True, body=b"{}", chain=chain)


def picked(dispatcher: Dispatcher, now_s: float, count: int = 6) -> set[str]:
    """Return the replicas that get some requests, each of which ends at once."""
    replicas = set()
    for number in range(count):
        ticket = dispatcher.offer(asked(f"{number} "), "t", now_s)
        assert ticket.attempt is not None
        replicas.add(ticket.attempt.replica.replica_id)
        dispatcher.finish(ticket, Outcome.OK, Usage(10, 0, 1), now_s, is_whole=True)
        dispatcher.check_integrity(now_s)
    return replicas


def test_a_silent_replica_is_picked_only_where_no_other_is_left() -> None:
    """It may be dead, or busy."""
    dispatcher = dispatcher_before(A, B, policy="round_robin")
    assert picked(dispatcher, 0.0) == {"a", "b"}
    dispatcher.set_replicas([replace(A, presence=Presence.SILENT), B], 1.0)
    assert picked(dispatcher, 1.0) == {"b"}
    dispatcher.set_replicas([replace(A, presence=Presence.SILENT), replace(B, presence=Presence.AWAY)], 2.0)
    assert picked(dispatcher, 2.0) == {"a"}
    dispatcher.set_replicas([A, B], 3.0)
    assert picked(dispatcher, 3.0) == {"a", "b"}


def test_a_replica_that_is_away_is_never_picked_and_requests_are_refused_without_another() -> None:
    """What it holds is kept: back again, it is known to have the prompt."""
    dispatcher = dispatcher_before(A)
    request = asked()
    ticket = dispatcher.offer(request, "t", 0.0)
    dispatcher.finish(ticket, Outcome.OK, Usage(500, 0, 1), 0.5, is_whole=True)
    running = dispatcher.offer(asked("other "), "t", 0.6)
    new, gone = dispatcher.set_replicas([replace(A, presence=Presence.AWAY)], 1.0)
    assert (new, gone) == ([], [])
    refused = dispatcher.offer(asked(), "t", 1.0)
    assert refused.refusal is not None
    assert refused.refusal.outcome is Outcome.NO_REPLICA
    dispatcher.finish(refused, Outcome.NO_REPLICA, Usage(0, 0, 0), 1.0)
    dispatcher.check_integrity(1.0)
    dispatcher.set_replicas([A], 2.0)
    replica = dispatcher.fleet.replicas["a"]
    assert replica.in_flight == 1
    again = asked()
    ticket = dispatcher.offer(again, "t", 2.0)
    assert again.match.count("a") == len(again.chain)
    for each in (ticket, running):
        dispatcher.finish(each, Outcome.OK, Usage(500, 0, 1), 3.0, is_whole=True)
    assert replica.in_flight == 0
    dispatcher.check_integrity(3.0)


def test_a_replica_that_comes_back_starts_without_its_failures() -> None:
    """It failed as it went; neither that nor its word that it was leaving counts any more."""
    dispatcher = dispatcher_before(A, B)
    ticket = dispatcher.offer(asked(), "t", 0.0)
    assert ticket.attempt is not None
    first = ticket.attempt.replica.replica_id
    dispatcher.fail(ticket, Fault.LEAVING, 0.1)
    dispatcher.finish(ticket, Outcome.OK, Usage(500, 0, 1), 0.2, is_whole=True)
    away = [replace(each, presence=Presence.AWAY) if each.replica_id == first else each for each in (A, B)]
    dispatcher.set_replicas(away, 0.3)
    dispatcher.set_replicas([A, B], 0.4)
    assert {replica.replica_id for replica in dispatcher.fleet.candidates} == {"a", "b"}
    dispatcher.check_integrity(0.4)


def test_another_process_under_the_same_id_is_a_new_replica() -> None:
    """Its cache is empty; requests on the former one still end."""
    dispatcher = dispatcher_before(replace(A, started_s=1.0))
    request = asked()
    ticket = dispatcher.offer(request, "t", 0.0)
    new, gone = dispatcher.set_replicas([replace(A, started_s=2.0)], 1.0)
    assert [row.started_s for row in new] == [2.0]
    assert [row.started_s for row in gone] == [1.0]
    again = asked()
    second = dispatcher.offer(again, "t", 1.0)
    assert again.match.count("a") == 0
    for each in (ticket, second):
        dispatcher.finish(each, Outcome.OK, Usage(500, 0, 1), 2.0, is_whole=True)
    dispatcher.check_integrity(2.0)


def test_a_start_that_is_told_only_once_it_is_known_is_no_restart() -> None:
    """Metrics may be read a little later than the models."""
    dispatcher = dispatcher_before(A)
    assert dispatcher.set_replicas([replace(A, started_s=2.0)], 1.0) == ([], [])
    assert dispatcher.set_replicas([A], 2.0) == ([], [])
