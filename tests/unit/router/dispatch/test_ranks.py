"""Data-parallel ranks in one dispatcher: replicas by their load, one process by its end."""

from random import Random

import pytest

from router.dispatch.dispatcher import Dispatcher
from router.dispatch.engine import Engines
from router.dispatch.ticket import Fault, Ticket
from router.flow_control.limits import AdmissionLimits
from router.replicas.endpoint import Endpoint
from router.replicas.load_report import LoadReport
from router.replicas.ranks import divided
from router.request import RoutingRequest


def _dispatcher() -> Dispatcher:
    """Return a dispatcher with two replicas of two ranks each."""
    found = Dispatcher("m", "least_load", rng=Random(0), limits=AdmissionLimits(), engines=Engines())
    found.set_replicas(divided(Endpoint(name, "m", "h", port, ranks=2) for port, name in enumerate(("a", "b"), 1)), 0.0)
    return found


def _offer(dispatcher: Dispatcher, number: int, now_s: float = 0.0) -> Ticket:
    body = b"%d" % number
    ticket = dispatcher.offer(
        RoutingRequest(f"{number}", "m", "/v1/completions", stream=False, body=body), "ann", now_s
    )
    assert ticket.attempt is not None
    return ticket


def _picked(ticket: Ticket) -> str:
    assert ticket.attempt is not None
    return ticket.attempt.replica.replica_id


def _taking(dispatcher: Dispatcher) -> list[str]:
    dispatcher.check_integrity(0.0)
    return [replica.replica_id for replica in dispatcher.fleet.candidates]


def test_load_is_each_ranks_own() -> None:
    """Requests go to the ranks with the least load, one to each of four, then to the one whose report is empty."""
    dispatcher = _dispatcher()
    tickets = [_offer(dispatcher, number) for number in range(4)]
    assert sorted(map(_picked, tickets)) == ["a.0", "a.1", "b.0", "b.1"]
    for name in ("a.0", "b.0", "b.1"):
        dispatcher.report(name, LoadReport(1, 5, 0, 0, 0.1, 1000, 0.0, 0.0, accepted=1), 0.1)
    dispatcher.report("a.1", LoadReport(1, 1, 0, 0, 0.1, 1000, 0.0, 0.0, accepted=1), 0.1)
    assert _picked(_offer(dispatcher, 5)) == "a.1"


@pytest.mark.parametrize("fault", [Fault.FAILED, Fault.LEAVING])
def test_a_process_takes_its_ranks_with_it(fault: Fault) -> None:
    """When one rank's connection breaks, or it says that it ends, no request is tried on the other one."""
    dispatcher = _dispatcher()
    ticket = _offer(dispatcher, 0)
    gone = _picked(ticket)[0]
    dispatcher.fail(ticket, fault, 0.1)
    assert _picked(ticket)[0] != gone, "it went to the other replica, not to the other rank"
    assert {name[0] for name in _taking(dispatcher)} == {"a", "b"} - {gone}


def test_a_process_that_is_reached_again_brings_its_ranks_back() -> None:
    """A rank that answers after its pause shows that the other can be reached, too."""
    dispatcher = _dispatcher()
    ticket = _offer(dispatcher, 0)
    gone = _picked(ticket)[0]
    dispatcher.fail(ticket, Fault.FAILED, 0.1)
    dispatcher.tick(60.0)
    answered = next(
        ticket for number in range(1, 9) if _picked(ticket := _offer(dispatcher, number, 60.0)).startswith(gone)
    )
    dispatcher.answers(answered, 60.1)
    assert _taking(dispatcher) == ["a.0", "a.1", "b.0", "b.1"]


def test_a_busy_rank_is_left_alone_by_itself() -> None:
    """That one has too much to do says nothing of the other's batch."""
    dispatcher = _dispatcher()
    ticket = _offer(dispatcher, 0)
    busy = _picked(ticket)
    assert dispatcher.judge.answers_error(ticket, Fault.BUSY, 0.1, retry_after_s=5.0, is_repeatable=True)
    resting = [each.replica_id for each in dispatcher.fleet.replicas.values() if each.slots.busy_until_s > 0.1]
    assert resting == [busy]


def test_a_view_tells_replica_and_rank() -> None:
    """Pages and commands put ranks together by the replica's own id."""
    rows = _dispatcher().view(0.0)["replicas"]
    assert [(row["replica_id"], row["replica"], row["rank"]) for row in rows] == [
        ("a.0", "a", 0),
        ("a.1", "a", 1),
        ("b.0", "b", 0),
        ("b.1", "b", 1),
    ]
