"""Tokens a second, as engines report them."""

import pytest

from deployments.engines.rates import BusyRate
from deployments.engines.vllm.load import LoadMeter


def test_a_rate_is_tokens_over_busy_seconds() -> None:
    """Unknown before the first observation; then each weighs as long as it lasted."""
    rate = BusyRate()
    assert rate.per_s == 0
    rate.observe(100, 1.0)
    assert rate.per_s == pytest.approx(100)
    rate.observe(10, 0.01)
    assert rate.per_s == pytest.approx(110 / 1.01, rel=0.01)


def test_a_rate_forgets() -> None:
    """After several memories the old rate no longer shows."""
    rate = BusyRate(memory_s=5)
    rate.observe(1000, 1.0)
    for _ in range(30):
        rate.observe(10, 1.0)
    assert rate.per_s == pytest.approx(10, rel=0.05)


def test_prefill_is_measured_from_arrival_to_completion() -> None:
    """Idle time before a request does not count; iterations that complete no prompt do."""
    meter = LoadMeter()
    meter.arrived(100.0, was_idle=True)
    meter.iterated(100.5, 0, 0, prefilling=True)
    meter.iterated(101.0, 2000, 1, prefilling=False)
    assert meter.prefill_rate.per_s == pytest.approx(2000)
    for step in range(1, 11):
        meter.iterated(101.0 + step * 0.1, 0, 4, prefilling=False)
    meter.arrived(500.0, was_idle=True)
    meter.iterated(501.0, 2000, 1, prefilling=False)
    assert meter.prefill_rate.per_s == pytest.approx(2000)


def test_decoding_is_measured_by_iteration() -> None:
    """Four sequences, a token each every 100 ms, are 40 tokens a second."""
    meter = LoadMeter()
    meter.arrived(0.0, was_idle=True)
    for step in range(1, 21):
        meter.iterated(step * 0.1, 0, 4, prefilling=False)
    assert meter.decode_rate.per_s == pytest.approx(40)
