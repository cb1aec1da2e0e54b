"""What a replica's streams can spare for prompts, and what it costs once they cannot."""

from math import exp, inf

import pytest

from router.estimator.streams.slack import (
    ASSUMED_SLOWDOWN,
    CREDIT,
    LEAST_SPARE,
    MARGIN,
    MISS_POWER,
    MISS_S,
    MOST_TIMES,
    StreamSlack,
)
from router.estimator.streams.speed import PRIOR_LENGTH, StreamSpeed

SPEED = StreamSpeed()
"""Tokens take 10 ms, and 0.1 ms more for each stream."""


def _held_to(tpot_s: float, streams: int = 1) -> tuple[StreamSlack, float]:
    """Return the slack of a replica whose streams have one target, and that target as it is kept."""
    slack = StreamSlack()
    for _ in range(streams):
        slack.join(tpot_s)
    return slack, slack.target_s(SPEED)


def test_what_a_target_leaves_can_go_to_prompts() -> None:
    """With 50 streams a token takes 15 ms: of a target of 30 ms half is to spare, of one of 15 ms next to nothing."""
    slack, target_s = _held_to(0.030, 50)
    assert target_s == pytest.approx(0.030, rel=0.05)
    assert slack.spare(50, SPEED) == pytest.approx(1 - 0.015 / (MARGIN * target_s))
    assert _held_to(0.015, 50)[0].spare(50, SPEED) == LEAST_SPARE
    assert slack.spare(0, SPEED) == 1.0


def test_streams_without_a_target_may_take_twice_the_time() -> None:
    """So a replica with few streams has time to spare, and one with many has not, whatever the model."""
    slack = StreamSlack()
    assert slack.target_s(SPEED) == ASSUMED_SLOWDOWN * SPEED.token_s
    slack.join(inf)
    assert slack.target_s(SPEED) == ASSUMED_SLOWDOWN * SPEED.token_s
    assert slack.spare(5, SPEED) > 0.4 > LEAST_SPARE == slack.spare(100, SPEED)


def test_the_tightest_target_counts_unless_few_have_it() -> None:
    """One stream in fifty does not make all the others' slack useless; one in ten does."""
    slack, usual_s = _held_to(0.050, 49)
    tight = slack.join(0.010)
    assert slack.target_s(SPEED) == usual_s
    more = [slack.join(0.010) for _ in range(5)]
    assert slack.target_s(SPEED) < 0.011
    for number in (tight, *more):
        slack.leave(number)
    assert slack.target_s(SPEED) == usual_s


def test_what_was_computed_is_paid_back_and_goes_with_the_streams_it_delayed() -> None:
    """Of what is owed, the share that streams can spare is made good each second; ended streams are owed nothing."""
    slack, _ = _held_to(0.030, 50)
    spare, life_s = slack.spare(50, SPEED), PRIOR_LENGTH * SPEED.each_s(50)
    slack.spend(2.0, 50, SPEED, 10.0)
    assert slack.owed_s(50, SPEED, 10.0) == 2.0
    assert slack.owed_s(50, SPEED, 11.0) == pytest.approx(2.0 * exp(-1 / life_s) - spare)
    assert slack.owed_s(50, SPEED, 60.0) == 0.0
    assert slack.owed_s(0, SPEED, 10.0) == 0.0


def test_a_prompt_that_was_not_computed_is_owed_no_longer() -> None:
    """A request that leaves before its prompt is computed costs its neighbours nothing."""
    slack, _ = _held_to(0.030, 50)
    slack.spend(2.0, 50, SPEED, 10.0)
    slack.spend(-2.0, 50, SPEED, 10.0)
    assert slack.owed_s(50, SPEED, 10.0) == 0.0
    slack.spend(-2.0, 50, SPEED, 10.0)
    assert slack.owed_s(50, SPEED, 10.0) == 0.0


def test_a_prompt_costs_little_within_the_credit_and_much_beyond() -> None:
    """At the credit it costs what it would at a prefill replica of that speed; at twice that, eight times as much."""
    slack, target_s = _held_to(0.030, 50)
    credit_s = CREDIT * PRIOR_LENGTH * (MARGIN * target_s - SPEED.each_s(50))
    spare = slack.spare(50, SPEED)
    assert slack.price_s(credit_s, 50, SPEED, 0.0) == pytest.approx(credit_s / spare)
    assert slack.price_s(2 * credit_s, 50, SPEED, 0.0) == pytest.approx(8 * credit_s / spare)
    assert slack.price_s(credit_s / 10, 50, SPEED, 0.0) == pytest.approx(credit_s / spare / 1000)
    slack.spend(credit_s, 50, SPEED, 0.0)
    assert slack.price_s(credit_s, 50, SPEED, 0.0) == pytest.approx(8 * credit_s / spare)
    assert slack.price_s(credit_s, 0, SPEED, 0.0) == 0.0


def test_the_price_has_a_bound() -> None:
    """A prompt that no other replica computes in reasonable time is computed even by one at its limit."""
    slack, _ = _held_to(0.010, 50)
    assert slack.price_s(1.0, 50, SPEED, 0.0) == pytest.approx(MOST_TIMES / LEAST_SPARE)


def test_tight_streams_come_to_replicas_with_few_and_patient_ones_to_each_other() -> None:
    """A patient stream costs more beside tight ones; a tight one costs more where many run."""
    tight, _ = _held_to(0.014, 20)
    patient, _ = _held_to(0.050, 20)
    assert patient.joining_s(0.050, 20, SPEED) < tight.joining_s(0.050, 20, SPEED)
    assert patient.joining_s(0.014, 10, SPEED) < patient.joining_s(0.014, 30, SPEED)


def test_a_stream_that_nears_its_target_costs_a_miss() -> None:
    """On an empty replica only its own token time counts, with the eighth power of how near it is."""
    slack = StreamSlack()
    each_s = SPEED.each_s(1) / MARGIN
    kept_s = _held_to(0.012)[1]
    assert slack.joining_s(0.012, 0, SPEED) == pytest.approx(MISS_S * (each_s / kept_s) ** MISS_POWER)


def test_few_classes_however_many_targets() -> None:
    """A thousand clients with targets of their own make a few classes, so that decisions stay short."""
    slack = StreamSlack()
    kept = [slack.join(0.010 + 0.0001 * number) for number in range(1_000)]
    assert len(set(kept)) < 30
    slack.check_integrity()
    for number in kept:
        slack.leave(number)
    assert slack.target_s(SPEED) == ASSUMED_SLOWDOWN * SPEED.token_s


@pytest.mark.parametrize("tpot_s", [1e-300, 1e-3, 1e9, inf])
@pytest.mark.parametrize("each_s", [0.0, 1e-9, 1e4])
def test_every_target_and_every_speed_has_a_price(tpot_s: float, each_s: float) -> None:
    """However absurd a target is, and however fast or slow an engine: costs are numbers that can be compared."""
    speed, slack = StreamSpeed(), StreamSlack()
    speed.token_s = speed.per_running_s = each_s
    slack.join(tpot_s)
    slack.spend(1.0, 3, speed, 0.0)
    costs = [slack.price_s(0.5, 3, speed, 0.1), slack.joining_s(tpot_s, 3, speed), slack.owed_s(3, speed, 0.1)]
    assert all(0.0 <= cost < 1e12 for cost in costs)
