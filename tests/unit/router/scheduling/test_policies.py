"""What each policy promises of its picks."""

from collections import Counter
from random import Random

import pytest

from cluster.errors import PolicyError
from router.dispatch.fleet import Fleet
from router.dispatch.replica import Replica
from router.replicas.endpoint import Endpoint, Signal
from router.replicas.load_report import LoadReport
from router.request import RoutingRequest
from router.scheduling.needed_telemetry import why_unmet
from router.scheduling.registry import POLICIES, policy_named, policy_names

REQUEST = RoutingRequest("id", "m", "/v1/completions", stream=False, body=b"{}")


def _replicas(*loads: int) -> list[Replica]:
    replicas = [Replica(Endpoint(f"r{number}", "m", "127.0.0.1", 1)) for number in range(len(loads))]
    for replica, load in zip(replicas, loads, strict=True):
        replica.engine.in_flight = load
    return replicas


def _picks(policy: str, replicas: list[Replica], count: int, seed: int = 0) -> list[str]:
    chosen, rng = policy_named(policy), Random(seed)
    decisions = [chosen.decide(REQUEST, replicas, rng) for _ in range(count)]
    return [decision.replica.replica_id for decision in decisions if decision is not None]


def test_round_robin_takes_turns() -> None:
    """Each replica gets its turn, even one with many requests."""
    assert _picks("round_robin", _replicas(9, 0, 0), 6) == ["r0", "r1", "r2", "r0", "r1", "r2"]


def test_least_load_takes_the_least_and_shares_ties() -> None:
    """A replica with more requests than another is never picked; equal ones get about equal shares."""
    counts = Counter(_picks("least_load", _replicas(1, 0, 2, 0), 1000))
    assert counts.keys() == {"r1", "r3"}
    assert 400 < counts["r1"] < 600


def test_least_load_believes_reports_of_other_gateways_requests() -> None:
    """A replica that reports requests of other gateways counts as loaded, though this gateway sent it none."""
    replicas = _replicas(1, 0)
    replicas[1].report = LoadReport(1, 5, 3, 0, 0.0, 0, 0.0, 0.0)
    assert _picks("least_load", replicas, 1) == ["r0"]


def test_power_of_two_never_takes_the_worst_and_spreads_over_the_rest() -> None:
    """The less loaded of two drawn at random is picked: of three, the most loaded never, the least in two of three."""
    counts = Counter(_picks("power_of_two", _replicas(0, 5, 9), 3000))
    assert counts["r2"] == 0
    assert counts["r0"] == pytest.approx(2000, rel=0.1)


@pytest.mark.parametrize("name", policy_names())
def test_a_run_can_be_replayed(name: str) -> None:
    """The same seed makes the same choices."""
    assert _picks(name, _replicas(0, 0, 0, 0), 50, seed=3) == _picks(name, _replicas(0, 0, 0, 0), 50, seed=3)


@pytest.mark.parametrize("name", policy_names())
def test_no_candidate_no_decision(name: str) -> None:
    """Without candidates every policy returns None."""
    assert policy_named(name).decide(REQUEST, [], Random(0)) is None


def test_a_policy_that_insists_on_telemetry_says_what_is_missing_and_what_to_take_instead() -> None:
    """The message names policy, signal, replica, what the replica provides and why, and the policies that work."""
    exact = policy_named("expected_ttft:exact")
    signals = frozenset({Signal.LOAD, Signal.RATES})
    bare = Endpoint("r0", "m", "h", 1, signals=signals, affinity_proof="a prompt sent twice was not cached")
    why = why_unmet(exact, [bare])
    for words in ("'expected_ttft:exact' needs residency of", "r0 provides load, rates (a prompt sent twice was not"):
        assert words in why
    assert "choose a policy that does without: expected_ttft, consistent_hash, least_load" in why
    assert ":exact" not in why.partition("without:")[2]
    telling = Endpoint("r1", "m", "h", 1, signals=signals | {Signal.RESIDENCY})
    assert why_unmet(exact, [bare, telling]) == ""
    assert why_unmet(exact, []) == ""
    assert all(why_unmet(policy_named(name), [bare]) == "" for name in POLICIES)


def test_a_replica_that_lacks_what_the_policy_needs_is_used_only_where_no_other_is_left() -> None:
    """Exact replicas are picked first; when they have failed a request, a replica without telemetry is picked."""
    fleet = Fleet(policy_named("prefix_affinity:exact"))
    telling = Endpoint("a", "m", "h", 1, signals=frozenset({Signal.RESIDENCY}))
    fleet.set_replicas([telling, Endpoint("b", "m", "h", 2)])
    picked = [fleet.policy.decide(REQUEST, fleet.candidates, Random(0)) for _ in range(4)]
    assert [decision.replica.replica_id for decision in picked if decision is not None] == ["a"] * 4
    assert fleet.breaker.broke_off(fleet.replicas["a"], 0.0)
    fleet.refresh()
    fleet.check_integrity()
    decision = fleet.policy.decide(REQUEST, fleet.candidates, Random(0))
    assert decision is not None
    assert decision.replica.replica_id == "b"
    fleet.set_policy(policy_named("round_robin"))
    assert fleet.breaker.answered(fleet.replicas["a"])
    fleet.refresh()
    fleet.check_integrity()
    assert len(fleet.candidates) == 2


@pytest.mark.parametrize("name", ["round_robin:exact", "expected_ttft:exakt", "expected_ttft:"])
def test_only_policies_that_look_at_caches_can_insist(name: str) -> None:
    """A policy that does not look at caches has no `:exact` variant, and a misspelt suffix is an error."""
    with pytest.raises(PolicyError, match="did you mean"):
        policy_named(name)


def test_an_unknown_policy_names_the_known_ones() -> None:
    """The error suggests the known name that is closest."""
    with pytest.raises(PolicyError, match="did you mean 'round_robin'"):
        policy_named("round_robbin")
