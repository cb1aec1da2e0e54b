"""Requests whose replicas broke off, one after another: they wait until it is known whether these live."""

from random import Random

import pytest

from router.dispatch.dispatcher import Dispatcher
from router.dispatch.resends import MAX_ATTEMPTS
from router.dispatch.suspects import PATIENCE_S
from router.dispatch.ticket import Fault, Ticket
from router.estimator.expectation import Usage
from router.flow_control.queued_request import RequestState
from router.flow_control.verdict import reject
from router.outcome import Outcome
from router.replicas.endpoint import Endpoint
from router.replicas.load_report import LoadReport
from router.request import RoutingRequest

REPORT = LoadReport(1, 1, 0, 0, 0.1, 10_000, 8_000.0, 100.0, 1, 2_048, 2)


def _endpoints(count: int, started_s: float = 1.0) -> list[Endpoint]:
    return [Endpoint(f"r{number}", "m", "h", 1, started_s=started_s) for number in range(count)]


def _dispatcher(replicas: int) -> Dispatcher:
    dispatcher = Dispatcher("m", "round_robin", rng=Random(0))
    dispatcher.set_replicas(_endpoints(replicas), 0.0)
    return dispatcher


def _offer(dispatcher: Dispatcher) -> Ticket:
    request = RoutingRequest("id", "m", "/v1/completions", stream=True, body=b"{}")
    return dispatcher.offer(request, "ann", 0.0)


def _suspect(dispatcher: Dispatcher, attempts: int = MAX_ATTEMPTS) -> tuple[Ticket, list[str]]:
    """Return a request that was on so many replicas when they broke off, and their ids in order."""
    ticket, had = _offer(dispatcher), []
    for _ in range(attempts):
        assert ticket.attempt is not None
        had.append(ticket.attempt.replica.replica_id)
        dispatcher.fail(ticket, Fault.FAILED, 0.0)
    assert (ticket.attempt, ticket.refusal) == (None, None)
    dispatcher.check_integrity(0.0)
    return ticket, had


@pytest.mark.parametrize("replicas", [2, 3, 4])
def test_it_goes_on_once_a_replica_is_heard_of(replicas: int) -> None:
    """Links were reset three times in a row, or at each replica: the first that reports shows that it lives."""
    dispatcher = _dispatcher(replicas)
    ticket, had = _suspect(dispatcher, min(replicas, MAX_ATTEMPTS))
    dispatcher.tick(1.0)
    assert dispatcher.next(1.0) is None
    dispatcher.report(had[0], REPORT, 2.0)
    dispatcher.tick(2.1)
    assert dispatcher.someone_waits
    assert dispatcher.next(2.1) is ticket
    assert ticket.attempt is not None
    assert ticket.attempt.replica.replica_id not in had[1:]
    dispatcher.check_integrity(2.1)


@pytest.mark.parametrize("is_whole", [False, True])
def test_an_answer_to_another_request_shows_that_a_replica_lives(is_whole: bool) -> None:  # noqa: FBT001 - drawn
    """A plain server reports nothing; but it goes on with what it was asked on connections that did not break."""
    dispatcher = _dispatcher(3)
    others = [_offer(dispatcher) for _ in range(3)]
    ticket, had = _suspect(dispatcher)
    other = next(each for each in others if each.attempt is not None and each.attempt.replica.replica_id == had[0])
    if is_whole:
        dispatcher.finish(other, Outcome.OK, Usage(1, 0, 1), 0.5, is_whole=True)
    else:
        dispatcher.first_token(other, 0.5)
    dispatcher.tick(0.6)
    assert ticket.state is RequestState.WAITING


def test_it_is_refused_once_its_time_is_over() -> None:
    """Nobody hears of its replicas: it may have killed them. The driver is told to answer it."""
    dispatcher = _dispatcher(4)
    ticket, _ = _suspect(dispatcher)
    dispatcher.tick(PATIENCE_S - 0.1)
    assert not dispatcher.refused
    dispatcher.tick(PATIENCE_S)
    assert dispatcher.refused == [ticket]
    assert ticket.refusal is not None
    assert ticket.refusal.outcome is Outcome.REPLICA_FAILED
    dispatcher.finish(ticket, ticket.refusal.outcome, Usage(), PATIENCE_S)
    dispatcher.check_integrity(PATIENCE_S)
    assert dispatcher.queue(PATIENCE_S).in_flight == 0


def test_it_is_refused_at_once_where_its_replicas_have_died() -> None:
    """Other processes stand in their places: the three that it was on will never be heard of again."""
    dispatcher = _dispatcher(3)
    ticket, _ = _suspect(dispatcher)
    dispatcher.set_replicas(_endpoints(3, started_s=2.0), 0.3)
    dispatcher.tick(0.4)
    assert dispatcher.refused == [ticket]


def test_the_only_replica_is_not_waited_for() -> None:
    """With one replica its client decides whether it asks again."""
    dispatcher = _dispatcher(1)
    ticket = _offer(dispatcher)
    dispatcher.fail(ticket, Fault.FAILED, 0.0)
    assert ticket.refusal is not None


def test_one_whose_client_left_is_forgotten() -> None:
    """It is neither refused nor sent on."""
    dispatcher = _dispatcher(3)
    ticket, had = _suspect(dispatcher)
    dispatcher.finish(ticket, Outcome.CLIENT_LEFT, Usage(), 0.5)
    dispatcher.report(had[0], REPORT, 1.0)
    dispatcher.tick(PATIENCE_S + 1.0)
    assert not dispatcher.refused
    assert not dispatcher.someone_waits
    dispatcher.check_integrity(PATIENCE_S + 1.0)


def test_all_are_refused_with_the_queue() -> None:
    """A model that is no longer served keeps nobody waiting."""
    dispatcher = _dispatcher(3)
    ticket, _ = _suspect(dispatcher)
    dispatcher.close(reject(Outcome.SHUTTING_DOWN, 1.0, "it stops"), 0.5)
    assert dispatcher.refused == [ticket]
    assert ticket.refusal is not None
    assert ticket.refusal.outcome is Outcome.SHUTTING_DOWN


def test_operators_are_told_what_failed_it() -> None:
    """For the log: each replica, what it did, how long ago, and whether it is known to live."""
    dispatcher = _dispatcher(3)
    ticket, had = _suspect(dispatcher)
    dispatcher.report(had[1], REPORT, 2.0)
    assert ticket.failures_told(4.0) == [
        f"{had[0]} failed 4.0 s ago",
        f"{had[1]} failed 4.0 s ago, and was heard of since",
        f"{had[2]} failed 4.0 s ago",
    ]
