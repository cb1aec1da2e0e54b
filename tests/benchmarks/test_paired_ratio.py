"""The ratio of pairs, and when it counts as known."""

import math
from random import Random

import pytest

from tests.benchmarks.paired_ratio import PairedRatio, measure_pairs


def test_slowdowns_and_speedups_cancel_out() -> None:
    """Twice as fast once and half as fast once is no difference."""
    assert PairedRatio([2.0, 0.5]).value == pytest.approx(1.0)
    assert PairedRatio([2.0, 0.5]).error == math.inf


def test_quiet_pairs_stop_early_and_noisy_ones_give_up() -> None:
    """Pairs are measured until the error is small, at least `least`, at most `most`; the error then says the rest."""
    quiet = measure_pairs(lambda n: 0.98 + 0.001 * (n % 2), least=4, most=40, error=0.01, progress=lambda _: None)
    assert len(quiet.ratios) == 4
    assert quiet.value == pytest.approx(0.9805, abs=1e-3)
    rng = Random(1)
    noisy = measure_pairs(lambda _: rng.choice((0.5, 2.0)), least=4, most=12, error=0.01, progress=lambda _: None)
    assert len(noisy.ratios) == 12
    assert noisy.error > 0.1


def test_the_interval_holds_the_truth_nineteen_times_in_twenty() -> None:
    """Of 400 ratios measured with 10 % noise about 95 % have the true one within their error."""
    rng = Random(7)
    held = 0
    for _ in range(400):
        measured = PairedRatio([0.97 * math.exp(rng.gauss(0, 0.1)) for _ in range(30)])
        held += abs(math.log(measured.value / 0.97)) <= measured.error
    assert 0.91 < held / 400 < 0.98
