"""How far streams scatter around the time per token that is expected of them."""

from random import Random

import pytest

from router.estimator.streams.scatter import BINS, LOWEST, STEP, StreamScatter


def _learned(median: float, sigma: float) -> StreamScatter:
    scatter, rng = StreamScatter(), Random(0)
    for _ in range(2_000):
        scatter.learn(rng.lognormvariate(0.0, sigma) * median)
    return scatter


def test_the_share_over_a_ratio_is_that_of_the_streams_that_came() -> None:
    """Of streams that scatter by a fifth, half are over the median, a sixth over one deviation, few over two."""
    scatter = _learned(1.0, 0.2)
    assert scatter.share_over(1.0) == pytest.approx(0.5, abs=0.06)
    assert scatter.share_over(1.22) == pytest.approx(0.16, abs=0.06)
    assert scatter.share_over(1.5) == pytest.approx(0.02, abs=0.03)


def test_streams_that_are_alike_have_a_sharp_edge_and_the_risk_a_slope() -> None:
    """Nearly none is 5 % over; where the batch is a guess, some may be, and fewer the farther the target is."""
    scatter = _learned(1.0, 0.005)
    assert scatter.share_over(1.05) < 0.01
    risks = [scatter.risk_over(ratio) for ratio in (0.8, 0.9, 1.0, 1.05, 1.1, 1.25)]
    assert risks == sorted(risks, reverse=True)
    assert risks[0] > 0.99
    assert 0.02 < risks[3] < 0.5
    assert risks[-1] < 0.01


@pytest.mark.parametrize("ratio", [1e-9, 0.1, LOWEST, 1.0, 50.0, 1e9])
def test_any_ratio_is_learned_and_told(ratio: float) -> None:
    """Shares stay between 0 and 1, fall with the ratio, and are 1 below and 0 above all that is told apart."""
    scatter = StreamScatter()
    for _ in range(100):
        scatter.learn(ratio)
    for told in (scatter.share_over, scatter.risk_over):
        shares = [told(LOWEST * STEP**at) for at in range(-2, BINS + 2)]
        assert shares == sorted(shares, reverse=True)
        assert (shares[0], shares[-1]) == (1.0, 0.0)


def test_what_is_long_ago_is_forgotten_and_weights_stay_finite() -> None:
    """After 5 000 streams at twice the time, 1 000 as fast as expected count alone."""
    scatter = StreamScatter()
    for _ in range(5_000):
        scatter.learn(2.0)
    assert scatter.share_over(1.9) > 0.95
    for _ in range(1_000):
        scatter.learn(1.0)
    assert scatter.share_over(1.9) < 0.02
