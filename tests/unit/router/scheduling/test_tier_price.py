"""What expected_ttft makes of prompts that replicas hold below their devices."""

from dataclasses import replace
from random import Random

import numpy as np
import pytest

from router.dispatch.replica import Replica
from router.estimator.expectation import Usage
from router.estimator.model_estimator import ModelEstimator
from router.prefix_cache.exact import CONFIRM_S, ResidencyDelta
from router.prompt.chunk_chain import ChunkChain
from router.replicas.endpoint import Endpoint, Signal
from router.replicas.load_report import LoadReport
from router.replicas.tier_report import TierReport
from router.request import RoutingRequest
from router.scheduling.expected_ttft import Terms
from router.scheduling.interface import Decision
from router.scheduling.registry import policy_named

TOKENS = 6000
CHUNK = 60
CHAIN = ChunkChain(
    list(range(1, TOKENS // CHUNK + 1)), [4 * end for end in range(CHUNK, TOKENS + 1, CHUNK)], 4 * TOKENS
)
NOTHING = np.empty(0, np.uint64)
REPORT = LoadReport(1, 0, 0, 0, 0.0, 1_000_000, 8000.0, 0.0)
FETCH_S = Terms._fields.index("fetch_s")


class Gateway:
    """Two replicas with tiers, the policy, and what it decides of one prompt."""

    def __init__(self, *fetch_s_per_token: float) -> None:
        self.estimator = ModelEstimator()
        self.policy = policy_named("expected_ttft", self.estimator)
        self.replicas = []
        for number, s_per_token in enumerate(fetch_s_per_token):
            signals = frozenset({Signal.LOAD, Signal.RESIDENCY})
            replica = Replica(Endpoint(f"r{number}", "m", "h", 1, kv_tokens=1_000_000, signals=signals))
            self.estimator.join(replica)
            replica.report = replace(REPORT, tiers=TierReport(0, 0, 0, 0, s_per_token))
            self.estimator.reported(replica, replica.report, 0.0)
            self.replicas.append(replica)

    def hold(self, replica: int, *, device: int = 0, below: int = 0) -> None:
        """Have a replica hold the prompt's first chunks on its device, and those that follow below it."""
        chunks = np.arange(1, device + below + 1, dtype=np.uint64)
        ends = (chunks * CHUNK).astype(np.uint32)
        assert self.estimator.apply_delta(
            f"r{replica}",
            ResidencyDelta(
                0,
                chunks[:device],
                NOTHING,
                snapshot=True,
                tokens=ends[:device],
                lower=chunks[device:],
                lower_tokens=ends[device:],
            ),
        )

    def request(self, now_s: float = 0.0) -> RoutingRequest:
        """Return a request for the prompt, looked up."""
        request = RoutingRequest("id", "m", "/v1/completions", stream=True, body=b"", now_s=now_s, chain=CHAIN)
        request.match = self.estimator.match(CHAIN)
        return request

    def decide(self) -> Decision[Replica]:
        """Return what is decided of it."""
        decision = self.policy.decide(self.request(), self.replicas, Random(0))
        assert decision is not None
        return decision


def test_what_is_below_is_fetched_and_not_computed() -> None:
    """The cost is the fetch and the rest's prefill, and stays the sum of its terms."""
    gateway = Gateway(1e-5, 1e-5)
    gateway.hold(0, device=10, below=50)
    decision = gateway.decide()
    fetch_s = decision.terms[0][FETCH_S]
    assert fetch_s == pytest.approx(50 * CHUNK * 1e-5)
    assert decision.terms[0][Terms._fields.index("prefill_s")] == pytest.approx((TOKENS - 60 * CHUNK) / 8000)
    assert decision.terms[1][FETCH_S] == 0.0
    for terms, cost in zip(decision.terms, decision.costs, strict=True):
        assert sum(terms) == pytest.approx(cost)
    assert decision.replica.replica_id == "r0"


@pytest.mark.parametrize(("s_per_token", "winner"), [(1e-6, "r0"), (1e-3, "r1")])
def test_a_slow_tier_is_worth_less_than_a_shorter_match(s_per_token: float, winner: str) -> None:
    """The whole prompt below one device against half of it on another's: what a fetch takes decides."""
    gateway = Gateway(s_per_token, s_per_token)
    gateway.hold(0, below=100)
    gateway.hold(1, device=50)
    assert gateway.decide().replica.replica_id == winner


def test_the_device_wins_over_what_is_below() -> None:
    """Of two replicas with the whole prompt, the one that need not fetch it."""
    gateway = Gateway(1e-5, 1e-5)
    gateway.hold(0, below=100)
    gateway.hold(1, device=100)
    assert gateway.decide().replica.replica_id == "r1"


def test_a_fetch_teaches_nothing_of_the_prefill_rate() -> None:
    """A time to first token that was all fetch leaves the rates as they were."""
    gateway = Gateway(1e-4)
    gateway.hold(0, below=99)
    replica = gateway.replicas[0]
    before = replica.rates.now.s_per_token
    for now_s in range(0, 500, 10):
        expectation = gateway.estimator.expect(gateway.request(float(now_s)), replica)
        assert expectation.fetch_s == pytest.approx(99 * CHUNK * 1e-4)
        ended_s = now_s + expectation.fetch_s + expectation.uncached_tokens * before
        gateway.estimator.prefilled(expectation, ended_s)
        gateway.estimator.finished(expectation, Usage(TOKENS, 99 * CHUNK, 1), ended_s)
        gateway.estimator.tick(ended_s + CONFIRM_S)  # nothing confirms what was claimed on the device
        gateway.estimator.check_integrity()
    assert replica.rates.now.s_per_token == pytest.approx(before, rel=0.2)


def test_without_tiers_nothing_is_charged() -> None:
    """No count of devices is kept, and the term is 0."""
    gateway = Gateway(1e-5)
    gateway.hold(0, device=50)
    request = gateway.request()
    assert request.match.device_counts is None
    assert gateway.decide().terms[0][FETCH_S] == 0.0
