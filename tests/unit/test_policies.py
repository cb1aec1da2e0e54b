"""What each policy promises of its choices."""

from collections import Counter
from random import Random

import pytest

from cluster.errors import PolicyError
from router.policy.registry import POLICIES, policy_named
from router.request import RoutingRequest
from router.snapshot import Endpoint, LoadReport, ReplicaSnapshot

REQUEST = RoutingRequest("id", "m", "/v1/completions", stream=False, body=b"{}")


def _replicas(*loads: int) -> list[ReplicaSnapshot]:
    return [
        ReplicaSnapshot(Endpoint(f"r{number}", "m", "127.0.0.1", 1), in_flight=load)
        for number, load in enumerate(loads)
    ]


def _picks(policy: str, replicas: list[ReplicaSnapshot], count: int, seed: int = 0) -> list[str]:
    chosen, rng = policy_named(policy), Random(seed)
    decisions = [chosen.decide(REQUEST, replicas, rng) for _ in range(count)]
    return [decision.replica.replica_id for decision in decisions if decision is not None]


def test_round_robin_takes_turns() -> None:
    """Each replica gets its turn, whatever its load."""
    assert _picks("round_robin", _replicas(9, 0, 0), 6) == ["r0", "r1", "r2", "r0", "r1", "r2"]


def test_least_load_takes_the_least_and_shares_ties() -> None:
    """Never a replica with more requests; equal ones get about equal shares."""
    counts = Counter(_picks("least_load", _replicas(1, 0, 2, 0), 1000))
    assert counts.keys() == {"r1", "r3"}
    assert 400 < counts["r1"] < 600


def test_least_load_believes_reports_of_other_gateways_requests() -> None:
    """A replica busy with other gateways' requests is loaded, though this gateway sent it none."""
    replicas = _replicas(1, 0)
    replicas[1].report = LoadReport(1, 5, 3, 0, 0.0, 0, 0.0, 0.0)
    assert _picks("least_load", replicas, 1) == ["r0"]


def test_power_of_two_never_takes_the_worst_and_spreads_over_the_rest() -> None:
    """Of any two drawn the better one is taken: the most loaded of three never is, the least most often."""
    counts = Counter(_picks("power_of_two", _replicas(0, 5, 9), 3000))
    assert counts["r2"] == 0
    assert counts["r0"] == pytest.approx(2000, rel=0.1)


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_a_run_can_be_replayed(name: str) -> None:
    """The same seed makes the same choices."""
    assert _picks(name, _replicas(0, 0, 0, 0), 50, seed=3) == _picks(name, _replicas(0, 0, 0, 0), 50, seed=3)


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_no_candidate_no_decision(name: str) -> None:
    """With nothing to choose from a policy says so."""
    assert policy_named(name).decide(REQUEST, [], Random(0)) is None


def test_an_unknown_policy_names_the_known_ones() -> None:
    """The message helps to mend a typing mistake."""
    with pytest.raises(PolicyError, match="did you mean 'round_robin'"):
        policy_named("round_robbin")
