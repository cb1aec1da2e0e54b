"""Probes grow with the server's speed, and never take more than their second."""

import pytest

from deployments.standalone.rate_probe.plan import BUDGET_S, LONGEST_S, LONGEST_TOKENS, Probe, ProbePlan
from router.estimator.learned_rates import rates_through


def probe_all(
    plan: ProbePlan, *, overhead_s: float, tokens_per_s: float, step_s: float, first_s: float = 0.0
) -> list[Probe]:
    """Answer all probes of a plan as a server of these rates does, the first `first_s` later; return them."""
    sent: list[Probe] = []
    while (probe := plan.next_probe()) is not None:
        ttft_s = overhead_s + probe.tokens / tokens_per_s + first_s * (not sent)
        plan.answered(probe.tokens, probe.tokens, ttft_s, ttft_s + (probe.answer_tokens - 1) * step_s)
        sent.append(probe)
    return sent


@pytest.mark.parametrize("tokens_per_s", [300.0, 1000.0, 8000.0, 50_000.0, 1e6])
@pytest.mark.parametrize("overhead_s", [0.0, 0.005, 0.06])
def test_rates_follow_from_less_than_a_second(tokens_per_s: float, overhead_s: float) -> None:
    """For slow and fast servers, with much and little overhead: the line through the probes is the server's own."""
    plan = ProbePlan(10**9)
    sent = probe_all(plan, overhead_s=overhead_s, tokens_per_s=tokens_per_s, step_s=0.01)
    assert plan.spent_s < BUDGET_S
    assert all(overhead_s + probe.tokens / tokens_per_s <= LONGEST_S for probe in sent)
    assert [probe.answer_tokens for probe in sent].count(1) == len(sent) - 1, "one shows the decode rate"
    assert sum(probe.tokens for probe in sent) <= 3 * LONGEST_TOKENS, "caches are hardly touched"
    rates = rates_through(plan.outcomes)
    assert 1.0 / rates.s_per_token == pytest.approx(tokens_per_s, rel=1e-6)
    assert rates.overhead_s == pytest.approx(overhead_s, abs=1e-9)


def test_what_the_first_request_alone_takes_does_not_count() -> None:
    """A server that compiles for 0.3 s at its first request is as fast as one that does not."""
    plan = ProbePlan(10**9)
    probe_all(plan, overhead_s=0.01, tokens_per_s=4000.0, step_s=0.01, first_s=0.3)
    assert 1.0 / rates_through(plan.outcomes).s_per_token == pytest.approx(4000.0, rel=1e-6)


def test_one_answer_alone_says_nothing() -> None:
    """After a first answer of 0.7 s the second would be over a second in all: it is not sent, and nothing is known."""
    plan = ProbePlan(10**9)
    assert len(probe_all(plan, overhead_s=0.7, tokens_per_s=1e6, step_s=0.0)) == 1
    assert plan.outcomes == []


def test_short_contexts_get_short_prompts() -> None:
    """No prompt is longer than the server can take; one that can take none is not probed."""
    plan = ProbePlan(100)
    assert max(probe.tokens for probe in probe_all(plan, overhead_s=0.0, tokens_per_s=1e4, step_s=0.0)) in range(
        50, 101
    )
    assert ProbePlan(0).next_probe() is None


def test_time_of_probes_without_an_answer_is_spent_too() -> None:
    """A plan whose second was used up by probes that were given up sends no more."""
    plan = ProbePlan(10**9)
    plan.gave_up(0.6)
    assert plan.next_probe() is not None
    plan.gave_up(0.6)
    assert plan.next_probe() is None
