"""The journal keeps, for each of the last requests, its decisions and how it ended."""

import pytest

from router.dispatch.journal import MAX_KEPT_ATTEMPTS, Journal, explanation
from router.dispatch.replica import Replica
from router.outcome import Outcome
from router.replicas.endpoint import Endpoint
from router.scheduling.interface import MAX_SHOWN, Decision, cheapest


def _decision(costs: list[float], pick: int, *, explained: bool = True) -> Decision[Replica]:
    replicas = [Replica(Endpoint(f"r{number}", "m", "h", 1)) for number in range(len(costs))]
    shown = cheapest(costs, pick) if len(costs) > MAX_SHOWN else None
    terms = [(costs[at] - 1.0, 1.0) for at in shown or range(len(costs))] if explained else []
    names = ("queue_s", "prefill_s") if explained else ()
    return Decision(replicas[pick], replicas, costs, "expected_ttft", "seconds", names, terms, shown)


def test_a_decision_is_kept_with_its_terms_and_its_end() -> None:
    """The entry has the candidates, each term of each cost, the pick, the outcome and the tokens."""
    journal = Journal()
    attempt = journal.decided("id", _decision([3.0, 2.0], 1), 10.0, matched_bytes=50, prompt_bytes=80)
    attempt.ttft_s = 0.5
    journal.ended("id", Outcome.OK, 12.5, prompt_tokens=20, cached_tokens=12, completion_tokens=7)
    entry = journal.find("id")
    assert entry is not None
    (kept,) = entry.attempts
    assert (kept.policy, kept.unit, kept.picked) == ("expected_ttft", "seconds", "r1")
    assert (kept.matched_bytes, kept.prompt_bytes, kept.ttft_s) == (50, 80, 0.5)
    rows = [(row.replica_id, row.cost, row.terms) for row in kept.candidates()]
    assert rows == [
        ("r1", 2.0, {"queue_s": 1.0, "prefill_s": 1.0}),
        ("r0", 3.0, {"queue_s": 2.0, "prefill_s": 1.0}),
    ]
    assert (entry.outcome, entry.total_s) == (Outcome.OK, 2.5)
    assert (entry.prompt_tokens, entry.cached_tokens, entry.completion_tokens) == (20, 12, 7)


def test_costs_that_are_one_thing_have_no_terms() -> None:
    """A decision whose costs have no terms is kept too, with empty terms."""
    journal = Journal()
    journal.decided("id", _decision([3.0], 0, explained=False), 0.0)
    entry = journal.find("id")
    assert entry is not None
    assert entry.attempts[0].candidates()[0].terms == {}


def test_a_request_sent_again_has_several_attempts() -> None:
    """Each decision is an attempt of its own, with when it was made; of twenty, only the last few are kept."""
    journal = Journal()
    for number in range(20):
        journal.decided("id", _decision([1.0, 2.0], number % 2), float(number))
    entry = journal.find("id")
    assert entry is not None
    assert [attempt.at_s for attempt in entry.attempts] == [float(n) for n in range(20 - MAX_KEPT_ATTEMPTS, 20)]
    assert [attempt["after_s"] for attempt in explanation(entry, "m")["attempts"]] == [0, 1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("pick", [0, 499])
def test_of_many_candidates_the_cheapest_and_the_pick_are_kept(pick: int) -> None:
    """A decision between five hundred replicas keeps `MAX_SHOWN` rows."""
    journal = Journal()
    attempt = journal.decided("id", _decision([float(cost) for cost in range(500)], pick), 0.0)
    kept = [row.replica_id for row in attempt.candidates()]
    assert len(kept) == MAX_SHOWN
    assert attempt.weighed_count == 500
    assert f"r{pick}" in kept
    assert kept[:3] == ["r0", "r1", "r2"]
    assert attempt.candidates()[0].terms == {"queue_s": -1.0, "prefill_s": 1.0}


def test_the_oldest_request_goes_first() -> None:
    """A journal for three requests forgets the first of four, and ignores the end of a forgotten one."""
    journal = Journal(max_requests=3)
    for number in range(5):
        journal.decided(f"id{number}", _decision([1.0], 0), float(number))
    assert len(journal) == 3
    assert journal.find("id1") is None
    assert [entry.request_id for entry in journal.latest(2)] == ["id4", "id3"]
    assert journal.latest(0) == []
    journal.ended("id1", Outcome.OK, 9.0)
    with pytest.raises(ValueError, match="keeps none"):
        Journal(max_requests=0)
