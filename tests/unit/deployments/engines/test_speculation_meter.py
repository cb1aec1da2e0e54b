"""What speculative decoding brings, measured from steps whose true cost is known."""

from random import Random

import pytest

from deployments.engines.speculation_meter import LEAST_STEPS, SpeculationMeter
from deployments.engines.vllm.load import LoadMeter, StepDrafts

BASE_S, SEQUENCE_S, DRAFTED_S = 0.010, 0.0005, 0.0004


def _step_s(sequences: int, drafted: int) -> float:
    return BASE_S + SEQUENCE_S * sequences + DRAFTED_S * drafted


def _run(meter: SpeculationMeter, *, batches: tuple[int, ...], acceptance: float, found: float, seed: int = 1) -> float:
    """Run 2 000 steps of up to five drafted tokens a sequence; return the true speed-up over none."""
    random = Random(seed)
    tokens = seconds = without_s = 0.0
    for number in range(2_000):
        sequences = batches[number // 50 % len(batches)]
        drafts = [5 for _ in range(sequences) if random.random() < found]
        right = []
        for _ in drafts:
            accepted = 0
            while accepted < 5 and random.random() < acceptance:
                accepted += 1
            right.append(accepted)
        by_place = [sum(count > place for count in right) for place in range(5)]
        step_s, got = _step_s(sequences, sum(drafts)), sequences + sum(right)
        meter.verified(len(drafts), sum(drafts), by_place)
        meter.decoded(step_s * random.uniform(0.9, 1.1), sequences, sum(drafts), got)
        tokens, seconds = tokens + got, seconds + step_s
        without_s += got / sequences * _step_s(sequences, 0)
    return without_s / seconds


@pytest.mark.parametrize("batches", [(1,), (8,), (1, 4, 16)])
@pytest.mark.parametrize(("acceptance", "found"), [(0.9, 0.8), (0.3, 0.5), (0.02, 0.9)])
def test_the_speed_up_is_the_true_one(batches: tuple[int, ...], acceptance: float, found: float) -> None:
    """Within a tenth, for drafts that are often right and for such that make it slower, in small and large batches."""
    meter = SpeculationMeter()
    true = _run(meter, batches=batches, acceptance=acceptance, found=found)
    told = meter.report()
    assert told.speedup == pytest.approx(true, rel=0.1)
    assert (told.speedup < 1) == (true < 1)
    rate = told.accepted_by_position[0] / told.drafts
    assert rate == pytest.approx(acceptance, abs=0.03)
    assert told.accepted_tokens == sum(told.accepted_by_position)
    assert told.draft_tokens == 5 * told.drafts


def test_what_the_steps_do_not_tell_is_not_guessed() -> None:
    """A draft in each step: no step shows what none would take. The tokens a step are known all the same."""
    meter = SpeculationMeter()
    for number in range(400):
        sequences = 1 + number // 20 % 3
        meter.decoded(_step_s(sequences, 5 * sequences), sequences, 5 * sequences, 3 * sequences)
    told = meter.report()
    assert told.tokens_per_step == pytest.approx(3)
    assert told.speedup == 0


def test_what_was_told_once_counts_while_all_steps_have_drafts() -> None:
    """A copy drafts in each step; what a drafted token takes is known from the steps before."""
    meter = SpeculationMeter()
    for number in range(100):
        drafted = 5 * (number % 2)
        meter.decoded(_step_s(1, drafted), 1, drafted, 1)
    for _ in range(20_000):
        meter.decoded(_step_s(1, 5), 1, 5, 6)
    assert meter.report().speedup == pytest.approx(6 * _step_s(1, 0) / _step_s(1, 5), rel=0.02)


def test_nothing_is_told_of_few_steps() -> None:
    """A handful of steps says nothing yet; they are counted."""
    meter = SpeculationMeter()
    for number in range(int(LEAST_STEPS) - 1):
        meter.verified(1, 5, (1, 1, 0, 0, 0))
        meter.decoded(_step_s(1, number % 6), 1, number % 6, 2)
    told = meter.report()
    assert (told.tokens_per_step, told.speedup) == (0, 0)
    assert (told.drafts, told.draft_tokens, told.accepted_tokens) == (29, 145, 58)


def test_steps_with_prompts_do_not_count() -> None:
    """Of vLLM's iterations those that computed prompts, or waited for one, say nothing of drafts; all drafts count."""
    meter = LoadMeter()
    drafts = StepDrafts(1, 5, (1, 1, 1, 0, 0))
    now_s = 0.0
    for number in range(300):
        is_prompt, now_s = number % 3 == 0, now_s + (1.0 if number % 3 == 0 else 0.02 if number % 3 == 1 else 0.01)
        has_draft = number % 3 == 1
        meter.iterated(
            now_s,
            500 if is_prompt else 0,
            1 if is_prompt or not has_draft else 4,
            prefilling=False,
            sequences=0 if is_prompt else 1,
            drafts=drafts if has_draft else StepDrafts(),
        )
    told = meter.speculation.report()
    assert (told.drafts, told.accepted_tokens) == (100, 300)
    assert told.tokens_per_step == pytest.approx(2.5, rel=0.001)
    assert told.speedup == pytest.approx(2.5 * 0.01 / 0.015, rel=0.01)
