"""Rates are learned from few outcomes, and one odd outcome does not spoil them."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.estimator.learned_rates import (
    FIT_EACH_UNTIL,
    LearnedRates,
    ProbeOutcome,
    Rates,
    rates_of,
    shared_rates,
)
from router.estimator.learning.least_squares import nonnegative_fit


def _learn(rates: LearnedRates, truth: Rates, outcomes: int, seed: int = 0, noise: float = 0.0) -> None:
    rng = Random(seed)
    for _ in range(outcomes):
        tokens, running = rng.uniform(10.0, 6000.0), rng.randrange(0, 32)
        ttft_s = truth.overhead_s + tokens * truth.s_per_token + running * truth.s_per_running
        rates.learn(ttft_s * rng.uniform(1 - noise, 1 + noise), tokens, running)


def test_before_any_outcome_the_prior_is_expected() -> None:
    """A new replica's expected time follows from the prior alone."""
    assert LearnedRates(rates_of(5000.0)).expected_s(1000.0, 9) == pytest.approx(0.2)


@pytest.mark.parametrize("tokens_per_s", [400.0, 8000.0, 90_000.0])
def test_a_score_of_outcomes_teaches_the_rate(tokens_per_s: float) -> None:
    """Twenty outcomes are enough to learn a rate that is far from the prior."""
    rates = LearnedRates(rates_of(8000.0))
    _learn(rates, rates_of(tokens_per_s), 20, noise=0.05)
    assert rates.tokens_per_s == pytest.approx(tokens_per_s, rel=0.1)


def test_overhead_and_decoding_are_told_from_prefill() -> None:
    """The fixed overhead and the share of each running sequence are learned apart from the prefill rate."""
    truth = Rates(0.05, 1 / 5000.0, 0.004)
    rates = LearnedRates(rates_of())
    _learn(rates, truth, 200)
    for learned, true in zip(rates.now, truth, strict=True):
        assert learned == pytest.approx(true, rel=0.25)


@pytest.mark.parametrize("seed", range(8))
def test_a_burst_does_not_make_prefill_look_free(seed: int) -> None:
    """First tokens come at the ends of steps, while ever more sequences run: the rate stays near what the engine says.

    A step takes 0.35 s for 53 000 tokens. A fit of these outcomes alone can have all the time be that of the sequences.
    """
    rng = Random(seed)
    rates = LearnedRates(rates_of(115_000.0), is_told=True)
    for running in range(100, 3000, 60):
        tokens = rng.uniform(10_000.0, 50_000.0)
        steps = 1 + rng.random()  # the one under way is left in part
        rates.learn(0.35 * steps * (1 + running / 8000), tokens, running)
        assert 115_000.0 / 2 < rates.tokens_per_s < 115_000.0 * 2


def test_one_hiccup_is_no_new_rate() -> None:
    """A first token that came much too late counts as a few times too late, and is soon forgotten."""
    rates = LearnedRates(rates_of(8000.0))
    _learn(rates, rates_of(8000.0), 40)
    rates.learn(100.0, 1000.0, 0)
    assert rates.tokens_per_s > 4000.0
    _learn(rates, rates_of(8000.0), 60)
    assert rates.tokens_per_s == pytest.approx(8000.0, rel=0.1)


def test_a_new_rate_is_believed_soon() -> None:
    """After a hundred outcomes of a replica that became eight times slower, its rate is the new one."""
    rates = LearnedRates(rates_of(8000.0))
    _learn(rates, rates_of(8000.0), 100)
    _learn(rates, rates_of(1000.0), 100)
    assert rates.tokens_per_s == pytest.approx(1000.0, rel=0.15)


def test_a_replica_nobody_uses_gets_another_chance() -> None:
    """Without requests a slow replica's rate returns to the mean of all replicas, so it is tried again."""
    rates = LearnedRates(rates_of(8000.0))
    _learn(rates, rates_of(500.0), 50)
    shared = rates_of(8000.0)
    for _ in range(60):
        rates.relax(60.0, shared)
    assert rates.tokens_per_s == pytest.approx(8000.0, rel=0.05)


def test_what_all_share_is_their_mean_by_what_they_learned() -> None:
    """The shared rates are the mean of the replicas that have outcomes; those without do not count."""
    fast, slow, new = (LearnedRates(rates_of()) for _ in range(3))
    assert shared_rates([new]) is None
    _learn(fast, rates_of(10_000.0), 500)
    _learn(slow, rates_of(5_000.0), 500)
    shared = shared_rates([fast, slow, new])
    assert shared is not None
    assert 1 / shared.s_per_token == pytest.approx(20_000.0 / 3, rel=0.05)


def test_what_others_learned_is_expected_at_once_and_own_outcomes_still_count() -> None:
    """A new replica has its peers' rates at once, and its own after twenty outcomes if they differ."""
    rates = LearnedRates(rates_of(8000.0))
    rates.expect(rates_of(1000.0))
    assert rates.tokens_per_s == pytest.approx(1000.0)
    _learn(rates, rates_of(4000.0), 20, noise=0.05)
    assert rates.tokens_per_s == pytest.approx(4000.0, rel=0.15)


def test_noise_is_no_difference() -> None:
    """A rate within the factor `SAME` of the shared one counts as equal to it; a rate further away does not."""
    shared = Rates(0.01, 1 / 8000.0, 0.001)
    alike, faster = LearnedRates(shared), LearnedRates(shared)
    _learn(alike, Rates(0.01, 1 / 9000.0, 0.001), 100)
    _learn(faster, Rates(0.01, 1 / 12_000.0, 0.001), 100)
    assert alike.now == shared
    assert alike.fitted.s_per_token == pytest.approx(1 / 9000.0, rel=0.05)
    assert faster.now == faster.fitted
    assert faster.tokens_per_s == pytest.approx(12_000.0, rel=0.05)


def _probed(truth: Rates) -> LearnedRates:
    rates = LearnedRates(rates_of())
    rates.learn_probes(
        [ProbeOutcome(tokens, truth.overhead_s + tokens * truth.s_per_token) for tokens in (32.0, 128.0, 256.0)]
    )
    return rates


def test_probes_tell_the_rates_at_once_however_far_from_the_prior() -> None:
    """A replica thirty times slower than the prior is expected to be that slow, where an outcome were a surprise."""
    truth = Rates(0.02, 1 / 250.0, 0.0)
    rates = _probed(truth)
    assert rates.now == pytest.approx(truth)
    assert rates.expected_s(1000.0, 0) == pytest.approx(4.02)


def test_what_probes_told_outlasts_idle_time_and_the_peers_mean() -> None:
    """After an hour without requests, in which outcomes fade, a slow and a fast replica are still told apart."""
    slow, fast = _probed(Rates(0.01, 1 / 1000.0, 0.0)), _probed(Rates(0.01, 1 / 4000.0, 0.0))
    for _ in range(60):
        shared = shared_rates([slow, fast])
        assert shared is not None
        for rates in (slow, fast):
            rates.relax(60.0, shared)
    assert slow.tokens_per_s == pytest.approx(1000.0, rel=0.01)
    assert fast.tokens_per_s == pytest.approx(4000.0, rel=0.01)


def test_probes_that_differ_by_noise_tell_no_difference() -> None:
    """Equal replicas whose probes took 5 % more or less are expected to be equally fast."""
    one, other = _probed(Rates(0.01, 1.05 / 4000.0, 0.0)), _probed(Rates(0.01, 0.95 / 4000.0, 0.0))
    shared = shared_rates([one, other])
    assert shared is not None
    for rates in (one, other):
        rates.expect(shared)
    assert one.now == other.now


def test_requests_outweigh_probes() -> None:
    """A replica that was probed while others used it is as fast as requests show, and fades to its peers' mean then."""
    rates = _probed(Rates(0.0, 1 / 1000.0, 0.0))
    _learn(rates, rates_of(4000.0), 2 * FIT_EACH_UNTIL)
    assert rates.tokens_per_s == pytest.approx(4000.0, rel=0.1)
    for _ in range(60):
        rates.relax(60.0, rates_of(4000.0))
    assert rates.tokens_per_s == pytest.approx(4000.0, rel=0.1)


@given(
    outcomes=st.lists(
        st.tuples(st.floats(0.0, 1e6), st.floats(1.0, 1e7), st.integers(0, 4096)),
        max_size=40,
    )
)
def test_rates_are_never_negative_or_nan(outcomes: list[tuple[float, float, int]]) -> None:
    """After any outcomes, even absurd ones, no rate is negative and the expected time is finite and above 0."""
    rates = LearnedRates(rates_of())
    for ttft_s, tokens, running in outcomes:
        rates.learn(ttft_s, tokens, running)
        assert all(rate >= 0.0 for rate in rates.now)
        assert 0.0 < rates.expected_s(1000.0, 3) < float("inf")


@given(truth=st.lists(st.floats(0.0, 10.0), min_size=3, max_size=3), seed=st.integers(0, 99))
def test_the_fit_finds_what_made_the_data(truth: list[float], seed: int) -> None:
    """From values on a line without noise, the fit returns that line's coefficients."""
    rng = Random(seed)
    rows = [[1.0, rng.uniform(0, 5), rng.uniform(0, 5)] for _ in range(20)]
    values = [sum(a * b for a, b in zip(row, truth, strict=True)) for row in rows]
    moments = [[sum(row[i] * row[j] for row in rows) for j in range(3)] for i in range(3)]
    xy = [sum(row[i] * value for row, value in zip(rows, values, strict=True)) for i in range(3)]
    assert nonnegative_fit(moments, xy) == pytest.approx(truth, abs=1e-6)
