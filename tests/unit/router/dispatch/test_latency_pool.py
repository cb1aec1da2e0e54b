"""Requests with a time per token: each goes to the pool that is fast enough for it, and no replica gets too many."""

from math import inf
from random import Random

import pytest

from router.dispatch.dispatcher import Dispatcher
from router.dispatch.ticket import Ticket
from router.estimator.expectation import Usage
from router.flow_control.attainment import Share, Timeliness
from router.flow_control.limits import AdmissionLimits
from router.flow_control.slots.running_mean import CREDIT
from router.outcome import Outcome
from router.prompt.canonical import Prompt
from router.prompt.chunk_chain import ChunkHasher
from router.replicas.endpoint import Endpoint
from router.replicas.load_report import LoadReport
from router.request import NO_TARGETS, LatencyTargets, RoutingRequest

HASHER = ChunkHasher(1)
TIGHT = LatencyTargets(tpot_s=0.010)
LOOSE = LatencyTargets(tpot_s=0.100)
BULK, LATENCY = "bulk-0", "latency-0"


def _dispatcher() -> Dispatcher:
    """Return one of a model with two pools: tokens take 20 ms in one, 5 ms in the other, and both know it."""
    dispatcher = Dispatcher("m", "expected_ttft", rng=Random(0), limits=AdmissionLimits())
    dispatcher.set_replicas([Endpoint(name, "m", "h", 1, pool=name.partition("-")[0]) for name in (BULK, LATENCY)], 0.0)
    rng = Random(1)
    for name, token_s in ((BULK, 0.020), (LATENCY, 0.005)):
        dispatcher.report(name, LoadReport(1, 0, 0, 0, 0.1, 100_000, 8_000.0, 100.0, 0, 2_048, 1), 0.0)
        streams = dispatcher.fleet.replicas[name].streams
        for _ in range(100):
            beside, tokens = rng.randint(0, 20), rng.randint(50, 500)
            streams.learn(tokens * (token_s + 0.0005 * beside), tokens, beside, 0.0, 1e-4)
    return dispatcher


def _offer(dispatcher: Dispatcher, targets: LatencyTargets, number: int) -> Ticket:
    chain = HASHER.of_prompt(Prompt([f"{number} ".encode() * 100]), model="m")
    request = RoutingRequest(f"{number}", "m", "/v1/completions", stream=True, body=b"{}", chain=chain, targets=targets)
    return dispatcher.offer(request, "ann", 0.0)


def _replica(ticket: Ticket) -> str:
    assert ticket.attempt is not None
    return ticket.attempt.replica.replica_id


def test_tight_requests_go_to_the_pool_that_is_fast_enough() -> None:
    """And the others leave it alone while it has nearly as many as it can, though it would answer them sooner."""
    dispatcher = _dispatcher()
    tight = _offer(dispatcher, TIGHT, 0)
    assert [_replica(_offer(dispatcher, TIGHT, number)) for number in range(1, 7)] == [_replica(tight)] * 6
    assert _replica(tight) == LATENCY
    loose = [_replica(_offer(dispatcher, LOOSE, 10 + number)) for number in range(4)]
    assert loose == [BULK] * 4
    assert tight.attempt is not None
    assert "crowd_s" in tight.attempt.decision.term_names


def test_without_targets_nothing_is_weighed_or_bounded() -> None:
    """The term is 0 and no replica has a bound."""
    dispatcher = _dispatcher()
    _offer(dispatcher, NO_TARGETS, 1)
    assert all(replica.slots.kept == inf for replica in dispatcher.fleet.replicas.values())
    assert not dispatcher.estimator.keeps_tpot
    assert dispatcher.attainment.total == Share()


def test_a_replica_is_bounded_by_the_targets_of_those_on_it() -> None:
    """A tight stream bounds it to few, once it has run some for a while; without one the bound is gone."""
    dispatcher = _dispatcher()
    tight = _offer(dispatcher, TIGHT, 1)
    slots = dispatcher.fleet.replicas[LATENCY].slots
    few = (0.010 - 0.005) / 0.0005 + 1
    assert slots.kept == pytest.approx((1 + CREDIT) * few, rel=0.2), "it has run none so far"
    assert slots.limit <= slots.kept
    dispatcher.first_token(tight, 0.1)
    dispatcher.finish(tight, Outcome.OK, Usage(100, 0, 101), 0.1 + 100 * 0.008, is_whole=True)
    assert slots.kept == inf
    assert dispatcher.attainment.counts == {("ann", Timeliness.MET): 1}


def test_what_the_cluster_does_not_answer_counts_against_it() -> None:
    """A request that all replicas failed was not in time; one whose client left says nothing."""
    dispatcher = _dispatcher()
    left, failed = _offer(dispatcher, TIGHT, 1), _offer(dispatcher, TIGHT, 2)
    dispatcher.finish(left, Outcome.CLIENT_LEFT, Usage(), 1.0)
    dispatcher.finish(failed, Outcome.REPLICA_FAILED, Usage(), 1.0)
    assert dispatcher.attainment.counts == {("ann", Timeliness.FAILED): 1}
