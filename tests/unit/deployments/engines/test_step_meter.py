"""How full and how fast an engine's steps are."""

import pytest

from deployments.engines.step_meter import StepMeter
from deployments.engines.vllm.load import LoadMeter
from router.replicas.step_report import StepReport


def test_steps_without_prompts_and_with_some_are_told_apart() -> None:
    """What is in them is a mean over time; nothing is known before the first step."""
    meter = StepMeter()
    assert meter.report() == StepReport(0.0, 0.0, 0.0)
    meter.decoded(10, 10, 0.01)
    meter.decoded(20, 20, 0.02)
    meter.prefilled(6000, 3, 0.03)
    meter.prefilled(4000, 1, 0.01)
    told = meter.report()
    assert told.decode_tokens_per_s == pytest.approx(1000)
    assert told.sequences == pytest.approx((10 + 2 * 20) / 3, rel=0.01)
    assert told.prompt_tokens == pytest.approx((3 * 2000 + 4000) / 4, rel=0.01)


def test_vllms_steps_with_prompts_do_not_slow_its_decode_rate() -> None:
    """A prompt in two chunks beside a stream: the learned decode rate falls, that of steps without prompts does not."""
    meter = LoadMeter()
    meter.arrived(0.0, was_idle=True)
    meter.iterated(0.5, 100, 1, prefilling=False)
    now_s = 0.5
    for _ in range(20):
        now_s += 0.01
        meter.iterated(now_s, 0, 1, prefilling=False, sequences=1)
    meter.arrived(now_s, was_idle=False)
    meter.iterated(now_s + 1.0, 0, 1, prefilling=True, sequences=1)
    meter.iterated(now_s + 2.0, 8000, 2, prefilling=False, sequences=1)
    told = meter.steps.report()
    assert meter.decode_rate.per_s < 15
    assert told.decode_tokens_per_s == pytest.approx(100)
    assert told.sequences == pytest.approx(1)
    assert told.prompt_tokens == pytest.approx((0.5 * 100 + 2.0 * 4000) / 2.5, rel=0.1)
