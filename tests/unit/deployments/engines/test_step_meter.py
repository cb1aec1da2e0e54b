"""How full and how fast an engine's steps are."""

import pytest

from deployments.engines.step_meter import AnswersBeside, StepMeter
from deployments.engines.vllm.load import LoadMeter, StepDrafts
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


@pytest.mark.parametrize("plain", [0, 20])
def test_what_prompts_add_to_steps_is_told_apart_from_the_answers_beside_them(plain: int) -> None:
    """Steps of 30 ms with 1 000 prompt tokens and of 50 ms with 2 000: 20 µs a token beside 10 ms, if seen or not."""
    meter = StepMeter()
    for _ in range(20):
        meter.prefilled(1000, 1, 0.03, AnswersBeside(1, 5))
        meter.prefilled(4000, 2, 0.1, AnswersBeside(2, 10))
    assert meter.report().added_tokens_per_s == pytest.approx(50_000)
    for _ in range(plain):
        meter.decoded(5, 5, 0.01)
    assert meter.report().added_tokens_per_s == pytest.approx(50_000)
    assert meter.report().answer_tokens_per_s == pytest.approx(500)


def test_steps_with_nothing_but_prompts_tell_what_prompts_add() -> None:
    """No answer goes on in them, so they are short: 10 µs a token, beside 100 ms for answers."""
    meter = StepMeter()
    meter.prefilled(960, 1, 0.0096)
    for number in range(40):
        prompts = 240 + number % 3
        meter.prefilled(prompts, 1, 0.1 + prompts * 1e-5, AnswersBeside(1, 24))
    assert meter.report().added_tokens_per_s == pytest.approx(100_000)
    assert meter.report().answer_tokens_per_s == pytest.approx(240)


def test_tokens_that_drafts_brought_are_answers_too() -> None:
    """Three sequences get a token each and two from drafts in a step of 10 ms: 500 tokens a second, not 300."""
    meter = LoadMeter()
    now_s = 0.0
    for number in range(40):
        prompt = 100 + 100 * (number % 3)
        meter.arrived(now_s, was_idle=number == 0)
        now_s += 0.01 + prompt * 1e-4
        meter.iterated(now_s, prompt, 6, prefilling=False, sequences=3, drafts=StepDrafts(1, 4, (1, 1, 0, 0)))
    assert meter.steps.report().added_tokens_per_s == pytest.approx(10_000)
    assert meter.steps.report().answer_tokens_per_s == pytest.approx(500)


def test_steps_that_are_all_alike_do_not_tell_what_prompts_add() -> None:
    """Then nothing is said of it, in place of a guess."""
    meter = StepMeter()
    for _ in range(20):
        meter.prefilled(1000, 1, 0.03, AnswersBeside(1, 5))
    told = meter.report()
    assert (told.added_tokens_per_s, told.answer_tokens_per_s) == (0.0, 0.0)


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
