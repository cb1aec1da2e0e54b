"""Scorers change nothing: not the estimator, not the replicas, not the request."""

import pickle
from copyreg import dispatch_table
from io import BytesIO
from random import Random

import pytest

from router.dispatch.dispatcher import Dispatcher
from router.dispatch.engine import SharedEngine
from router.estimator.expectation import Usage
from router.outcome import Outcome
from router.prompt.canonical import Prompt
from router.prompt.chunk_chain import ChunkHasher
from router.replicas.endpoint import Endpoint
from router.replicas.load_report import LoadReport
from router.request import RoutingRequest
from router.scheduling.interface import MAX_SHOWN, cheapest
from router.scheduling.registry import POLICIES

HASHER = ChunkHasher(1)


def _request(name: str, tokens: int) -> RoutingRequest:
    text = (name.encode() * 4 * tokens)[: 4 * tokens]
    chain = HASHER.of_prompt(Prompt([text], tokens=tokens), model="m")
    return RoutingRequest(name, "m", "/v1/completions", stream=True, body=text, session=name, chain=chain)


def _frozen(*states: object) -> bytes:
    """Return objects, with all they refer to, as bytes that are equal if nothing has changed."""
    out = BytesIO()
    pickler = pickle.Pickler(out)
    pickler.dispatch_table = {
        **dispatch_table,
        memoryview: lambda view: (bytes, (view.tobytes(),)),
        # The other models of a server hear of it by this record; no scorer reads that.
        SharedEngine: lambda engine: (tuple, ([engine.load, engine.pending],)),
    }
    pickler.dump(states)
    return out.getvalue()


def _busy(policy: str) -> Dispatcher:
    """Return a dispatcher with ended and running requests on three replicas, one with a full KV cache."""
    dispatcher = Dispatcher("m", policy, rng=Random(0))
    dispatcher.set_replicas([Endpoint(f"r{number}", "m", "h", 1, kv_tokens=1_000_000) for number in range(3)], 0.0)
    tickets = [dispatcher.offer(_request(f"{n % 4}", 300 * n + 100), "ann", float(n)) for n in range(20)]
    for ticket in tickets[:-3]:
        dispatcher.first_token(ticket, 20.0)
        usage = Usage(ticket.request.chain.tokens, 0, 20)
        dispatcher.finish(ticket, Outcome.OK, usage, 20.0, is_whole=True)
    dispatcher.report("r1", LoadReport(1, 5, 0, 700, 0.99, 10_000, 9000.0, 0.0), 20.2)
    dispatcher.tick(20.5)
    return dispatcher


@pytest.mark.parametrize("policy", POLICIES)
def test_weighing_changes_nothing(policy: str) -> None:
    """After weighing a request several times, the costs are the same and so is all state."""
    dispatcher = _busy(policy)
    candidates, estimator = dispatcher.fleet.candidates, dispatcher.estimator
    request = _request("1", 8000)
    request.now_s = 21.0
    request.match = estimator.match(request.chain)
    scorer = dispatcher.fleet.policy.scorer
    before = _frozen(estimator, candidates, request)
    costs, terms = scorer.weigh(request, candidates)
    for _ in range(3):
        assert scorer.weigh(request, candidates) == (costs, terms)
    assert _frozen(estimator, candidates, request) == before
    assert len(costs) == len(candidates) == 3
    for row, cost in zip(terms, costs, strict=bool(scorer.terms)):
        assert len(row) == len(scorer.terms)
        assert sum(row) == pytest.approx(cost)
    dispatcher.check_integrity(21.0)


def test_the_rate_of_freed_kv_cache_is_read_without_letting_time_pass() -> None:
    """The dispatcher of these tests has a wait for KV cache, so the term that reads a fading rate is tested too."""
    dispatcher = _busy("expected_ttft")
    request = _request("1", 8000)
    request.now_s = 21.0
    request.match = dispatcher.estimator.match(request.chain)
    scorer = dispatcher.fleet.policy.scorer
    _, terms = scorer.weigh(request, dispatcher.fleet.candidates)
    kv_s = [row[scorer.terms.index("kv_s")] for row in terms]
    assert kv_s[1] > 0.0
    assert kv_s[0] == kv_s[2] == 0.0


@pytest.mark.parametrize("policy", POLICIES)
def test_sending_a_request_does_change_what_is_weighed(policy: str) -> None:
    """Sending a request changes the state that these tests compare, so they would notice a change."""
    dispatcher = _busy(policy)
    before = _frozen(dispatcher.estimator, dispatcher.fleet.candidates)
    dispatcher.offer(_request("1", 8000), "ann", 21.0)
    assert _frozen(dispatcher.estimator, dispatcher.fleet.candidates) != before


def test_the_cheapest_and_the_pick_are_shown() -> None:
    """Of many costs the lowest `MAX_SHOWN` are shown, of equal ones the first, in their order; and the pick."""
    costs = [float(abs(number - 50)) for number in range(100)]
    assert cheapest(costs, 50) == list(range(42, 58))
    assert cheapest(costs, 0) == [0, *range(43, 58)]
    assert cheapest([1.0] * 40, 39) == [*range(15), 39]


def test_many_candidates_have_the_same_costs_and_few_terms() -> None:
    """Between 40 replicas a decision has all costs, and the terms of those that it shows."""
    dispatcher = Dispatcher("m", "expected_ttft", rng=Random(0))
    dispatcher.set_replicas([Endpoint(f"r{number:02}", "m", "h", 1) for number in range(40)], 0.0)
    request, candidates = _request("1", 8000), dispatcher.fleet.candidates
    request.match = dispatcher.estimator.match(request.chain)
    scorer = dispatcher.fleet.policy.scorer
    decision = dispatcher.fleet.policy.decide(request, candidates, Random(0))
    assert decision is not None
    assert decision.shown is not None
    assert len(decision.shown) == len(decision.terms) == MAX_SHOWN
    assert [sum(terms) for terms in decision.terms] == pytest.approx([decision.costs[at] for at in decision.shown])
    assert list(decision.costs) == [scorer.weigh(request, [each])[0][0] for each in candidates]
